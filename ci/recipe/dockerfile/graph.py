"""Which stage, image or named context a name means, and which stages a target reaches."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from enum import Enum
from typing import NamedTuple

from ...errors import ConfigError, Place, Problem
from .expand import ExpandError
from .grammar import did_you_mean
from .model import Dockerfile, Instruction, Stage
from .mounts import parse_mount
from .refs import familiar
from .scope import GlobalScope

_INDEX = re.compile(r"[+-]?[0-9]+\Z")


class Kind(Enum):
    """What an origin is."""

    STAGE = "stage"
    IMAGE = "image"
    CONTEXT = "context"
    SCRATCH = "scratch"


class Origin(NamedTuple):
    """Where a base or a copied file comes from; ``name`` is a reference or a context, ``stage`` an index."""

    kind: Kind
    name: str = ""
    stage: int = -1


class Graph:
    """Resolves names against one Dockerfile, its arguments and the named contexts."""

    def __init__(self, dockerfile: Dockerfile, scope: GlobalScope, contexts: Collection[str]) -> None:
        self.dockerfile = dockerfile
        self.contexts = {familiar(name): name for name in contexts}
        self.problems: list[Problem] = []
        self.used: list[set[str]] = []
        self.platforms: list[str | None] = []
        self.bases = [self._base(stage, scope) for stage in dockerfile.stages]

    def problem(self, line: int, reference: str, message: str, hint: str = "") -> None:
        """Remember one mistake; the caller raises them together."""
        self.problems.append(Problem(reference, message, hint, place=Place(self.dockerfile.file, line)))

    def all_problems(self) -> list[Problem]:
        """Each problem once, in order of line."""
        return sorted(dict.fromkeys(self.problems), key=lambda problem: problem.place.line if problem.place else 0)

    def shadowed(self, stage: Stage) -> bool:
        """Whether a named context stands in for the whole stage."""
        return stage.name is not None and familiar(stage.name) in self.contexts

    def _base(self, stage: Stage, scope: GlobalScope) -> Origin:
        try:
            ref, used = scope.expand(stage.base)
            platform, more = scope.expand(stage.platform) if stage.platform is not None else (None, set())
        except ExpandError as error:
            self.problem(stage.line, "dockerfile-expansion", f"{stage.text}: {error}")
            ref, used, platform, more = "", set(), None, set()
        else:
            self._check_base(stage, ref, platform)
        self.used.append(used | more)
        self.platforms.append(platform)
        # Only the stages before this one, and by the exact name, as BuildKit does.
        earlier = self.dockerfile.stages[: stage.index]
        found = next((other for other in earlier if other.name == ref), None)
        return self._stage(found) if found else self._outside(ref)

    def _check_base(self, stage: Stage, ref: str, platform: str | None) -> None:
        if not ref:
            hint = "Give its ARG a default before the first FROM, or pass it."
            self.problem(stage.line, "dockerfile-from-empty", f"{stage.text}: the base is empty", hint)
        if platform == "":
            self.problem(stage.line, "dockerfile-from-empty", f"{stage.text}: the platform is empty")
        named = self.dockerfile.stage(ref)
        if named and named.index < stage.index and named.name != ref:
            hint = f"BuildKit compares the base with lower-case names: write FROM {named.name}."
            self.problem(stage.line, "dockerfile-from-case", f"FROM {ref} is not the stage {named.name}", hint)

    def _stage(self, stage: Stage) -> Origin:
        if self.shadowed(stage):
            return Origin(Kind.CONTEXT, self.contexts[familiar(stage.id)])
        return Origin(Kind.STAGE, stage.id, stage.index)

    def _outside(self, ref: str) -> Origin:
        if ref == "scratch":
            return Origin(Kind.SCRATCH)
        short = familiar(ref)
        if short in self.contexts:
            return Origin(Kind.CONTEXT, self.contexts[short])
        return Origin(Kind.IMAGE, ref)

    def origin(self, name: str, stage: Stage, line: int, *, by_index: bool) -> Origin | None:
        """What ``--from=name`` means inside ``stage``; ``None`` after noting a problem."""
        stages = self.dockerfile.stages
        if by_index and _INDEX.match(name):
            index = int(name)
            found = stages[index] if 0 <= index < len(stages) else None
            if found is None:
                self.problem(line, "dockerfile-no-stage", f"there is no stage number {name}", _listing(stages))
                return None
        else:
            found = self.dockerfile.stage(name)
        if found is None:
            return self._outside(name)
        if found.index >= stage.index and not self.shadowed(found):
            hint = f"The stage {found.id} begins in line {found.line}; a stage can only take from earlier ones."
            self.problem(line, "dockerfile-later-stage", f"{stage.id} takes from {found.id} before it exists", hint)
            return None
        return self._stage(found)

    def triggers(self, stage: Stage) -> Iterator[Instruction]:
        """The ONBUILD instructions of the stage this one is built from."""
        base = self.bases[stage.index]
        if base.kind is Kind.STAGE:
            for instruction in self.dockerfile.stages[base.stage].instructions:
                if instruction.trigger:
                    yield instruction.trigger

    def body(self, stage: Stage) -> Iterator[Instruction]:
        """What runs in the stage: inherited triggers first, then its own lines."""
        yield from self.triggers(stage)
        yield from stage.instructions

    def reached(self, target: Stage) -> list[Stage]:
        """The target and every stage it is made from, in file order; notes problems."""
        seen: set[int] = set()
        queue = [] if self.shadowed(target) else [target.index]
        while queue:
            index = queue.pop()
            if index in seen:
                continue
            seen.add(index)
            queue.extend(self._parents(self.dockerfile.stages[index]))
        return [self.dockerfile.stages[index] for index in sorted(seen)]

    def _parents(self, stage: Stage) -> Iterator[int]:
        base = self.bases[stage.index]
        if base.kind is Kind.STAGE:
            yield base.stage
        for instruction in self.body(stage):
            for name, by_index in _froms(instruction):
                origin = self.origin(name, stage, instruction.line, by_index=by_index)
                if origin and origin.kind is Kind.STAGE:
                    yield origin.stage


def _froms(instruction: Instruction) -> Iterator[tuple[str, bool]]:
    if instruction.keyword == "COPY" and (name := instruction.flag("from")):
        yield name, True
    elif instruction.keyword == "RUN":
        for value in instruction.all_flags("mount"):
            if name := parse_mount(value).origin:
                yield name, False


def target_stage(dockerfile: Dockerfile, target: str | None) -> Stage:
    """The stage to build, the last by default; raises ``ConfigError`` with a suggestion."""
    if target is None:
        return dockerfile.stages[-1]
    stage = dockerfile.stage(target)
    if stage is None:
        names = tuple(stage.name for stage in dockerfile.stages if stage.name)
        raise ConfigError(
            "unknown-target",
            f"{dockerfile.file} has no stage {target}",
            hint=did_you_mean(target.lower(), names) or _listing(dockerfile.stages),
            place=Place(dockerfile.file),
        )
    return stage


def _listing(stages: tuple[Stage, ...]) -> str:
    return f"Its stages are: {', '.join(stage.id for stage in stages)}."
