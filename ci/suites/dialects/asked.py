"""One step of another project's file: its keys, where each stands, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...audit import secrets
from ...documents import Document, suggest
from ...errors import Place, Problem
from ...yaml_text import Path
from .lost import Lost

BOOLEANS = (
    "autorun_on_main", "dind", "fast_check", "fast_check_only", "mount_buildkite_agent", "no_gpu", "no_plugin",
    "optional", "torch_nightly",
)  # fmt: skip
COUNTS = ("num_devices", "num_gpus", "num_nodes", "parallelism")
NUMBERS = (*COUNTS, "timeout_in_minutes")
TEXTS = ("agent_pool", "grade", "gpu", "device", "key", "label", "working_dir")
LISTS = ("mirror_hardwares", "source_file_dependencies")
MAPS = ("env", "mirror")
COMMANDS, DEVICES, GPUS = ("commands", "command"), ("agent_pool", "device", "gpu"), ("num_gpus", "num_devices")
"""Keys that say the same thing; of several in a step the one in front counts."""

_KINDS: Mapping[type | tuple[type, ...], tuple[str, tuple[str, ...]]] = {
    bool: ("true or false", BOOLEANS),
    int: ("a whole number", COUNTS),
    (int, float): ("a number", ("timeout_in_minutes",)),
    str: ("text", TEXTS),
    list: ("a list", LISTS),
    dict: ("a map", MAPS),
}

TOLD: Mapping[str, str] = {
    "agent_tags": "pools of the pipeline file say which agents run it",
    "agents": "pools of the pipeline file say which agents run it",
    "allow_dependency_failure": "steps do not wait for each other",
    "amdexperimental": "pools of the pipeline file say where it runs",
    "artifact_paths": "what a step writes to {results} is kept",
    "branches": "say in profiles which pipelines it is part of",
    "concurrency": "the jobs of a pool bound how many run at once",
    "concurrency_group": "the jobs of a pool bound how many run at once",
    "depends_on": "steps do not wait for each other; images come by what they need",
    "dind": "--runtime says whether a step gets a container of its own",
    "if": "say in profiles which pipelines it is part of",
    "id": "its name follows from its key or label",
    "matrix": "write a step for each, or matrix: archs",
    "mirror_hardwares": "say in profiles and needs.archs where it runs",
    "mount_buildkite_agent": "no sandbox sees the agent; what a step writes to {results} is kept",
    "no_plugin": "every step runs in an image of the stack",
    "plugins": "every step runs in an image of the stack",
    "priority": "image jobs go first, tests after them",
    "retry": "only exit 4 and a lost agent are tried again",
    "skip": "write skip: {reason, until}",
    "soft_fail": "write soft: {reason, until}; it may fail until that day, not for ever",
    "torch_nightly": "a build with another torch is another stack",
}
"""Keys that are not carried over, and what does their work here."""

KNOWN = (*BOOLEANS, *NUMBERS, *TEXTS, *LISTS, *MAPS, *TOLD, "command", "commands")
_FINE = {"no_plugin": False, "soft_fail": False, "torch_nightly": False, "mount_buildkite_agent": False, "skip": False}
"""Values that ask for nothing."""


@dataclass
class Asked:
    """The ``values`` of a step by key, and the path of each; ``name`` is set once it is known."""

    document: Document
    path: Path
    values: dict[str, Any]
    paths: dict[str, Path]
    name: str = ""
    lost: list[Lost] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def text(self, key: str) -> str:
        """The text under ``key``; empty where there is none."""
        return str(self.values.get(key, ""))

    def on(self, key: str) -> bool:
        """Whether ``key`` is true."""
        return self.values.get(key) is True

    def chosen(self, keys: Sequence[str]) -> str:
        """The first of ``keys`` that the step has; empty for none."""
        return next((key for key in keys if key in self.values), "")

    def number(self, key: str, default: int) -> int:
        """The number under ``key``."""
        return int(self.values.get(key, default))

    def place(self, key: str = "", *below: str | int) -> Place:
        """Where ``key`` (or what is below it) stands; the step itself for none."""
        return self.document.place(*self.paths.get(key, self.path), *below) if key else self.document.place(*self.path)

    def key_place(self, key: str) -> Place:
        """Where the key itself stands."""
        return self.document.key(*self.paths.get(key, (*self.path, key)))

    def lose(self, key: str, what: str, remedy: str, *below: str | int) -> None:
        """Tell that what stands under ``key`` was not carried over."""
        place = self.place(key, *below) if below else self.key_place(key)
        self.lost.append(Lost(place, self.name, what, remedy))

    def asks_nothing(self, key: str) -> bool:
        """Whether the value of ``key`` is none, or what happens by itself: tests wait for their image."""
        value = self.values[key]
        needed = value if isinstance(value, list) else [value]
        images = key == "depends_on" and all(str(each).startswith("image-build") for each in needed if each)
        return images or bool(value == _FINE.get(key))

    def tell_the_rest(self) -> None:
        """Tell every key whose value our form cannot hold, and every key nobody knows."""
        for key, value in self.values.items():
            if key in TOLD and not self.asks_nothing(key):
                self.lose(key, f"{key}: {_shown(value)}", TOLD[key])
            elif key not in KNOWN:
                self.lose(key, f"the key {key!r}, which nobody here knows", suggest(key, sorted(KNOWN)))
        for key, first in self._beside():
            remedy = "keep one of them; the other is a step of its own"
            self.lose(key, f"{key}: {_shown(self.values[key])} beside {first}", remedy)
        if self.text("grade") not in ("", "Blocking"):
            self.lose("grade", f"grade: {self.text('grade')}", TOLD["soft_fail"])

    def _beside(self) -> Iterator[tuple[str, str]]:
        """Each key that another one in front of it overrules, and that one."""
        for same in (COMMANDS, DEVICES, GPUS):
            first = self.chosen(same)
            differing = (key for key in same if key in self.values and self.values[key] != self.values[first])
            yield from ((key, first) for key in differing)


def asked(document: Document, path: Path, step: Mapping[str, Any], mirror: str = "") -> Asked:
    """The step at ``path``; with ``mirror`` as that mirror of it says.

    A mirror has what it says itself, and of the step only ``_SHARED``: what it runs (its own environment on top) and
    for which sources, never how long it may take or in how many parts.
    """
    paths: dict[str, Path] = {key: (*path, key) for key in step}
    values = dict(step)
    if mirror:
        own = step["mirror"][mirror]
        replaced = {key for same in (COMMANDS, DEVICES, GPUS) if any(key in own for key in same) for key in same}
        values = {key: value for key, value in step.items() if key in _SHARED and key not in replaced} | dict(own)
        if all(isinstance(each.get("env"), dict) for each in (step, own)):
            values["env"] = step["env"] | own["env"]
        paths = {key: (*path, "mirror", mirror, key) if key in own else (*path, key) for key in values}
    made = Asked(document, path, values, paths)
    made.problems += _wrong_kinds(made)
    return made


def of_a_group(document: Document, path: Path, group: Mapping[str, Any]) -> list[Lost]:
    """What a group of steps says for all of them, which none of them gets."""
    made = Asked(document, path, {key: value for key, value in group.items() if key not in ("group", "steps")}, {})
    for key, value in made.values.items():
        if not made.asks_nothing(key):
            remedy = TOLD["depends_on"] if key == "key" else TOLD.get(key, "write it into each of its steps")
            made.lose(key, f"{key}: {_shown(value)} of the group", remedy)
    return made.lost


_SHARED = (
    "label", "key", "command", "commands", "working_dir", "env", "optional", "autorun_on_main", "fast_check",
    "fast_check_only", "source_file_dependencies", "num_devices", "num_nodes", "no_gpu", "soft_fail",
)  # fmt: skip


def _wrong_kinds(step: Asked) -> list[Problem]:
    """A problem for every value of another type; the value is taken out."""
    problems = []
    for kind, (words, keys) in _KINDS.items():
        for key in keys:
            value = step.values.get(key)
            if key in step.values and not _is(value, kind):
                if not (value == "" and key in TOLD):  # an empty value of a key that is only told
                    problems.append(Problem("wrong-type", f"{key} must be {words}", place=step.place(key)))
                del step.values[key]
    return problems


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Whether ``value`` is of that kind; ``2.0`` is a whole number as well."""
    if kind is int and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _shown(value: Any) -> str:
    """A value on one line; its secrets go before it is cut, since half of one has no shape."""
    value = _without_secrets(value)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text = ", ".join(map(str, value)) if isinstance(value, list) else text
    return text if len(text) <= 90 else text[:87] + "..."


def _without_secrets(value: Any, name: str = "") -> Any:
    """``value`` with ``***`` for the secrets in it: by their shape, or by the ``name`` they stand under."""
    if isinstance(value, dict):
        return {_without_secrets(key): _without_secrets(each, str(key)) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_secrets(each, name) for each in value]
    if isinstance(value, str):
        return "***" if name and secrets.is_secret(name, value) else secrets.masked(value)
    return value
