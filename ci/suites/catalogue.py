"""The test catalogue of a stack: suites and their steps, read from one file and checked as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from .. import documents
from ..errors import ConfigError, Place, Problem
from ..recipe.stack import HOME, Stack
from ..recipe.stack import archs as arch_table
from ..world import files
from .dialects.found import found
from .dialects.lost import Lost


class Command(NamedTuple):
    """One command of a step.

    ``kind`` is ``pytest`` (arguments of it), ``run`` (a program and its arguments; a ``shell`` line is bash's) or
    ``ranks``: a program and its arguments for each node of a step on several.  ``env`` is its own, beside the step's.
    """

    kind: str
    words: tuple[str, ...]
    allow_empty: bool = False
    ranks: tuple[tuple[str, ...], ...] = ()
    env: tuple[tuple[str, str], ...] = ()


class Needs(NamedTuple):
    """What a node has to have; ``components``: and the image."""

    gpus: int = 0
    archs: tuple[str, ...] = ()
    memory_gb: int = 0
    rdma: bool = False
    network: bool = False
    nodes: int = 1
    components: tuple[str, ...] = ()
    nic: str = ""


class Limits(NamedTuple):
    """Seconds for all of a step, for a silence, and between SIGTERM and SIGKILL."""

    seconds: float
    silent: float
    grace: float


class Bounds(NamedTuple):
    """How a container is bounded; 0 is no bound."""

    shm_mb: int = 64
    memory_mb: int = 0
    pids: int = 16384
    ipc: str = "private"


class Exemption(NamedTuple):
    """Why a test (or, with ``test`` empty, a whole step) is left out or forgiven, and until which day."""

    reason: str
    until: date
    link: str = ""
    test: str = ""
    owner: str = ""

    def holds(self, today: date) -> bool:
        """Whether the exemption still counts."""
        return today <= self.until

    def __str__(self) -> str:
        link = f", {self.link}" if self.link else ""
        return f"{self.reason} (until {self.until}{link})"


class Health(NamedTuple):
    """The program that proves a GPU well, and the seconds it may take."""

    argv: tuple[str, ...]
    seconds: float


PROFILES = ("pr", "main", "nightly", "full")
"""The pipelines there are."""

_MOST_SHARDS = 1000
_MOST_OF_A_LIMIT = {"minutes": 10_080, "silent_minutes": 10_080, "grace_seconds": 3600}
"""A week, and an hour."""

_SHELL = ("bash", "-e", "-o", "pipefail", "-c")


class Elsewhere(NamedTuple):
    """A regular expression that the text of a test file for another platform matches, and what that says."""

    pattern: str
    reason: str


class Ready(NamedTuple):
    """How to tell that rank 0 can be reached: it takes a connection within ``seconds``, on ``port`` (0: MASTER_PORT).

    With a ``path`` it has to answer ``GET path`` with 200.  The others start no sooner.
    """

    seconds: float
    port: int = 0
    path: str = ""


class Step(NamedTuple):
    """A step as it is on one kind of node.

    ``sources`` are globs whose change makes it run (none: every change), ``profiles`` the pipelines it is part of,
    ``matrix`` the archs it runs on once each; with ``soft`` its failure fails nothing while that holds.
    """

    name: str
    summary: str
    tier: str
    commands: tuple[Command, ...]
    needs: Needs
    limits: Limits
    bounds: Bounds
    env: Mapping[str, str]
    secrets: tuple[str, ...]
    models: tuple[str, ...]
    workdir: str
    shards: int
    skip: Exemption | None
    skips: tuple[Exemption, ...]
    ready: Ready | None = None
    sources: tuple[str, ...] = ()
    profiles: tuple[str, ...] = PROFILES
    matrix: tuple[str, ...] = ()
    soft: Exemption | None = None


class Suite(NamedTuple):
    """A named list of steps."""

    name: str
    summary: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    """A whole suite file; ``data`` are the steps as written, resolved for a kind of node by ``step``.

    ``workspace`` is the image's folder that the source tree lies in; ``document`` knows where everything stands.
    ``lost`` is what a step file of another project says and this form cannot, ``notices`` what was made of such a file.
    """

    file: str
    runtime: str
    suites: Mapping[str, Suite]
    bounds: Mapping[str, Bounds]
    quarantine: tuple[Exemption, ...]
    health: Health | None
    durations: Path | None
    data: Mapping[str, Mapping[str, Any]]
    workspace: str
    elsewhere: tuple[Elsewhere, ...]
    document: documents.Document
    lost: tuple[Lost, ...] = ()
    notices: tuple[str, ...] = ()

    def suite(self, name: str) -> Suite:
        """The suite called ``name``; raises ``ConfigError`` with a suggestion."""
        if name not in self.suites:
            hint = documents.suggest(name, list(self.suites))
            raise ConfigError("unknown-suite", f"{self.file} has no suite {name!r}", hint=hint)
        return self.suites[name]

    def runs_on_cpu(self, name: str) -> bool:
        """Whether step ``name`` says how it runs where there is no GPU, or needs none anywhere."""
        data = self.data[name]
        return "cpu" in data or not data.get("needs", {}).get("gpus", 0)

    def step(self, name: str, arch: str = "") -> Step:
        """Step ``name`` on a node of ``arch``; an empty arch is a node without GPUs."""
        data = dict(self.data[name])
        variant = data.get("archs", {}).get(arch, {}) if arch else data.get("cpu", {})
        if not arch and "cpu" in data:
            data["needs"] = {**data.get("needs", {}), "gpus": 0, "archs": []}
        env = {**data.get("env", {}), **variant.get("env", {})}
        data |= variant | {"needs": {**data.get("needs", {}), **variant.get("needs", {})}, "env": env}
        return _step(name, data, self.bounds)


def load(stack: Stack, file: str = "") -> Catalogue:
    """The catalogue of ``stack``; raises ``ConfigError`` with all problems, each with its line.

    ``file`` is used instead of the stack's own: a suite file, or a step file of another project, which takes from the
    stack's own what it cannot say (``dialects.home``).
    """
    if not (file or stack.suites):
        hint = "name its suite file: `suites: suites/NAME.yaml`"
        raise ConfigError("no-suites", f"stack {stack.name} has no suites", hint=hint, place=Place(stack.file))
    components = tuple(spec.feature for spec in stack.args if spec.within)
    own = stack.recipe / stack.suites
    if not file:
        return read(own, tuple(stack.tiers), components)
    return read(Path(file), tuple(stack.tiers), components, own if stack.suites else None, shown=file)


def read(
    path: Path, tiers: tuple[str, ...], components: tuple[str, ...] = (), own: Path | None = None, *, shown: str = ""
) -> Catalogue:
    """The catalogue in the file ``path``, whose steps run in the images of ``tiers``.

    ``components`` are those that a build may leave out, by the names that steps need them under; ``own`` is the suite
    file of the stack where ``path`` is another, and ``shown`` how problems name ``path``.
    """
    document, lost, notices = found(path, own, shown or path.name)
    schema = json.loads(files.read_text(HOME / "suites" / "suite.schema.json"))
    documents.refuse((*document.problems, *documents.check(document, schema)))
    documents.refuse(tuple(_problems(document, tiers, components)))
    data = document.value
    health = data.get("health")
    return Catalogue(
        file=document.file,
        runtime=data["runtime"],
        suites={name: Suite(name, each["summary"], tuple(each["steps"])) for name, each in data["suites"].items()},
        bounds={name: Bounds(**each) for name, each in data.get("bounds", {}).items()},
        quarantine=tuple(_exemption(each) for each in data.get("quarantine", ())),
        health=Health(tuple(health["run"]), float(health["seconds"])) if health else None,
        durations=path.parent.parent / data["durations"] if "durations" in data else None,
        data=data["steps"],
        workspace=data.get("workspace", ""),
        elsewhere=tuple(Elsewhere(**each) for each in data.get("elsewhere", ())),
        document=document,
        lost=lost,
        notices=notices,
    )


def _step(name: str, data: Mapping[str, Any], bounds: Mapping[str, Bounds]) -> Step:
    needs = data.get("needs", {})
    return Step(
        name=name,
        summary=data["summary"],
        tier=data.get("tier", "test"),
        commands=tuple(_command(each) for each in data["commands"]),
        needs=Needs(**needs | {key: tuple(needs.get(key, ())) for key in ("archs", "components")}),
        limits=_limits(data["limits"]),
        bounds=bounds[data["bounds"]] if "bounds" in data else Bounds(),
        env=data.get("env", {}),
        secrets=tuple(data.get("secrets", ())),
        models=tuple(data.get("models", ())),
        workdir=data.get("workdir", "{suite}"),
        shards=int(data.get("shards", 1)),
        ready=Ready(**data["ready"]) if "ready" in data else None,
        skip=_exemption(data["skip"]) if "skip" in data else None,
        skips=tuple(_exemption(each) for each in data.get("skips", ())),
        sources=tuple(data.get("sources", ())),
        profiles=tuple(data.get("profiles", PROFILES)),
        matrix=tuple(data.get("matrix", ())),
        soft=_exemption(data["soft"]) if "soft" in data else None,
    )


def _command(data: Mapping[str, Any]) -> Command:
    if "ranks" in data:
        return Command("ranks", (), ranks=tuple(map(tuple, data["ranks"])))
    kind = "pytest" if "pytest" in data else "run"
    words = (*_SHELL, data["shell"]) if "shell" in data else tuple(data[kind])
    return Command(kind, words, data.get("allow_empty", False), env=tuple(data.get("env", {}).items()))


def _limits(data: Mapping[str, float]) -> Limits:
    seconds = 60.0 * data["minutes"]
    return Limits(seconds, 60.0 * data.get("silent_minutes", data["minutes"]), float(data.get("grace_seconds", 60)))


def _exemption(data: Mapping[str, str]) -> Exemption:
    return Exemption(**{**data, "until": date.fromisoformat(data["until"])})  # type: ignore[arg-type]


# --- what the schema cannot see -----------------------------------------------------------------


def _problems(document: documents.Document, tiers: tuple[str, ...], components: tuple[str, ...]) -> Iterator[Problem]:
    data = document.value
    archs = [arch.name for arch in arch_table()]
    for name, step in data["steps"].items():
        yield from _step_problems(document, ("steps", name), step, (tiers, components, archs))
    used = set()
    for name, suite in data["suites"].items():
        for index, step in enumerate(suite["steps"]):
            where = partial(document.place, "suites", name, "steps", index)
            if step not in data["steps"]:
                hint = documents.suggest(step, list(data["steps"]))
                yield Problem("unknown-step", f"no step {step!r}", hint, place=where())
            elif step in suite["steps"][:index]:
                yield Problem("step-twice", f"suite {name} has step {step} twice", place=where())
            used.add(step)
    for name in data["steps"].keys() - used:
        hint = "put it into a suite, or delete it: a step nobody runs is no test"
        yield Problem("unused-step", f"no suite has step {name}", hint, place=document.key("steps", name))
    for index, each in enumerate(data.get("quarantine", ())):
        yield from _date_problem(each, partial(document.place, "quarantine", index, "until"))


def _step_problems(
    document: documents.Document,
    path: tuple[str, ...],
    step: Mapping[str, Any],
    known: tuple[Sequence[str], Sequence[str], Sequence[str]],
) -> Iterator[Problem]:
    """What is wrong with one step; ``known`` are the tiers, the components and the archs there are."""
    tiers, components, archs = known
    if step.get("tier", "test") not in tiers:
        hint = documents.suggest(step.get("tier", "test"), tiers)
        yield Problem(
            "unknown-tier", f"no tier {step.get('tier', 'test')!r}", hint, place=document.place(*path, "tier")
        )
    for index, each in enumerate(step.get("skips", ())):
        yield from _date_problem(each, partial(document.place, *path, "skips", index, "until"))
    if "soft" in step:
        yield from _date_problem(step["soft"], partial(document.place, *path, "soft", "until"))
    for index, arch in enumerate(step.get("matrix", ())):
        if arch not in archs:
            hint = documents.suggest(arch, archs)
            yield Problem("unknown-arch", f"no arch {arch!r}", hint, place=document.place(*path, "matrix", index))
    for arch in step.get("archs", {}):
        if arch not in archs:
            hint = documents.suggest(arch, archs)
            yield Problem("unknown-arch", f"no arch {arch!r}", hint, place=document.key(*path, "archs", arch))
    variants: list[tuple[tuple[str, ...], Mapping[str, Any]]] = [((), step), (("cpu",), step.get("cpu", {}))]
    variants += [(("archs", name), each) for name, each in step.get("archs", {}).items()]
    for where, variant in variants:
        yield from _variant_problems(document, (*path, *where), variant, archs)
        for index, component in enumerate(variant.get("needs", {}).get("components", ())):
            if component not in components:
                place = document.place(*path, *where, "needs", "components", index)
                hint = documents.suggest(component, components) if components else "no build of this stack lacks any"
                yield Problem("unknown-component", f"no component {component!r}", hint, place=place)


def _variant_problems(
    document: documents.Document, path: tuple[str, ...], variant: Mapping[str, Any], archs: Sequence[str]
) -> Iterator[Problem]:
    bounds = list(document.value.get("bounds", {}))
    if "bounds" in variant and variant["bounds"] not in bounds:
        hint = documents.suggest(variant["bounds"], bounds) if bounds else "the file has no bounds"
        yield Problem("unknown-bounds", f"no bounds {variant['bounds']!r}", hint, place=document.place(*path, "bounds"))
    for index, command in enumerate(variant.get("commands", ())):
        where = partial(document.place, *path, "commands", index)
        yield from _command_problems(command, variant.get("needs", {}).get("nodes", 1), where)
    for index, arch in enumerate(variant.get("needs", {}).get("archs", ())):
        if arch not in archs:
            place = document.place(*path, "needs", "archs", index)
            yield Problem("unknown-arch", f"no arch {arch!r}", documents.suggest(arch, archs), place=place)
    if not 1 <= variant.get("shards", 1) <= _MOST_SHARDS:
        message = f"shards must be 1 or more, and at most {_MOST_SHARDS}"
        yield Problem("wrong-value", message, place=document.place(*path, "shards"))
    for key, most in _MOST_OF_A_LIMIT.items():
        if not 0 < variant.get("limits", {}).get(key, 1) <= most:
            message = f"{key} must be above 0, and at most {most}"
            yield Problem("wrong-value", message, place=document.place(*path, "limits", key))
    if "skip" in variant:
        yield from _date_problem(variant["skip"], partial(document.place, *path, "skip", "until"))


def _command_problems(command: Mapping[str, Any], nodes: int, where: Callable[[], Place]) -> Iterator[Problem]:
    given = command.keys() & {"pytest", "run", "shell", "ranks"}
    if len(given) != 1:
        message = "a command is pytest, run, shell or ranks"
        yield Problem("which-command", message, "give exactly one of them", place=where())
    elif nodes > 1 and "pytest" in given:
        hint = "let a rank run pytest: ranks: [[python3, -m, pytest, ...], ...]"
        yield Problem("which-command", "pytest alone does not run on several nodes", hint, place=where())
    elif "ranks" in given and "env" in command:
        hint = "write it as the step's env"
        yield Problem("unused-key", "ranks have no env of their own", hint, place=where())
    elif "ranks" in given and len(command["ranks"]) != nodes:
        message = f"ranks has {len(command['ranks'])} commands, the step needs {nodes} nodes"
        yield Problem("wrong-value", message, "one command per node", place=where())


def _date_problem(exemption: Mapping[str, str], where: Callable[[], Place]) -> Iterator[Problem]:
    try:
        date.fromisoformat(exemption["until"])
    except ValueError:
        yield Problem("wrong-value", f"{exemption['until']} is no day", place=where())
