"""The words of a command and its environment, as the program inside the sandbox gets them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from .catalogue import Command, Step

JUNIT, EVENTS, SELECT, SHARDS, LOG = "junit.xml", "events.jsonl", "select.txt", "shards.json", "log.txt"
"""The files in a results folder."""


class Folders(NamedTuple):
    """Where the sandbox sees the shipped test files, a command's results, and a cache of the step's own."""

    suite: str = "/rocm-ci/suite"
    results: str = "/rocm-ci/results"
    cache: str = "/rocm-ci/cache"

    def fill(self, text: str) -> str:
        """``text`` with ``{suite}``, ``{results}`` and ``{cache}`` replaced; no other brace means anything."""
        for name, value in self._asdict().items():
            text = text.replace(f"{{{name}}}", value)
        return text


def argv(command: Command, folders: Folders, *, select: bool = False, collect: bool = False) -> tuple[str, ...]:
    """The argument list of a command; ``select`` runs what ``select.txt`` names, ``collect`` runs nothing."""
    words = tuple(map(folders.fill, command.words))
    if command.kind != "pytest":
        return words
    ours = [
        "python3", "-m", "pytest", "-p", "rocm_ci_watch", "-p", "no:cacheprovider",
        f"--rocm-ci-results={folders.results}", f"--junitxml={folders.results}/{JUNIT}", "-o", "junit_family=xunit2",
    ]  # fmt: skip
    ours += [f"--rocm-ci-select={folders.results}/{SELECT}"] if select else []
    ours += ["--collect-only", "-q"] if collect else []
    return (*ours, *words)


def exclusions(step_excluded: Sequence[str]) -> tuple[str, ...]:
    """The pytest options that leave tests out: an id by ``--deselect``, a whole file by ``--ignore``."""
    return tuple(f"--deselect={each}" if "::" in each else f"--ignore={each}" for each in step_excluded)


def environment(step: Step, folders: Folders, visible: str) -> Mapping[str, str]:
    """Everything a step's commands see beside what their image sets: nothing is inherited from the caller.

    ``PYTORCH_ROCM_ARCH`` is empty: the image's list would make whatever compiles at run time
    compile for every arch.  ``visible`` is the one visibility mask (see ``mask``).
    """
    own = {
        "LANG": "C.UTF-8",
        "PYTHONPATH": _modules(folders),
        "PYTHONFAULTHANDLER": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "XDG_CACHE_HOME": folders.cache,
        "PYTORCH_ROCM_ARCH": "",
        "HIP_VISIBLE_DEVICES": visible,
    }
    return own | filled(step.env, folders)


def filled(env: Mapping[str, str], folders: Folders) -> dict[str, str]:
    """``env`` with the folders in it; a ``PYTHONPATH`` stands behind ours, without which no test is watched."""
    found = {name: folders.fill(value) for name, value in env.items()}
    if "PYTHONPATH" in found:
        found["PYTHONPATH"] = f"{_modules(folders)}:{found['PYTHONPATH']}"
    return found


def _modules(folders: Folders) -> str:
    return f"{folders.suite}/plugin:{folders.suite}/site"


def mask(numbers: Iterable[int]) -> str:
    """The GPUs by number; -1 for none, because HIP reads an empty mask as no mask."""
    return ",".join(map(str, numbers)) or "-1"
