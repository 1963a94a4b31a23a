"""Everything a target of a Dockerfile is made from, derived and never listed by hand."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Mapping

from ...errors import ConfigError
from .expand import ExpandError, UnknownVariable
from .graph import Graph, Kind, Origin, target_stage
from .model import Dockerfile, Instruction, Stage
from .mounts import parse_mount
from .needs import FileNeed, ImageNeed, Reach, RemoteNeed
from .refs import RefError, is_commit, parse_remote
from .scope import Declared, GlobalScope, StageScope, platform_args


def reach(
    dockerfile: Dockerfile,
    target: str | None,
    args: Mapping[str, str],
    *,
    platform: str,
    contexts: Collection[str],
) -> Reach:
    """What ``target`` (the last stage by default) needs, with the build arguments ``args``.

    ``platform`` is like ``linux/amd64``; ``contexts`` are the names of named contexts,
    which stand in for stages and images of the same name.  Raises ``ConfigError`` for
    an unknown target, and, all at once, for every line whose inputs cannot be known.
    """
    stage = target_stage(dockerfile, target)
    default = dockerfile.stages[-1].name or "default"
    scope = GlobalScope(dockerfile, args, platform_args(platform, target or default))
    graph = Graph(dockerfile, scope, contexts)
    walk = _Walk(graph, scope)
    for reached in graph.reached(stage):
        walk.stage(reached)
    if graph.shadowed(stage):
        walk.contexts.append(graph.contexts[stage.id])
    if graph.problems:
        raise ConfigError.of(graph.all_problems())
    return walk.result(stage)


class _Walk:
    """Runs the reached stages in file order and writes down what they need."""

    def __init__(self, graph: Graph, scope: GlobalScope) -> None:
        self.graph = graph
        self.outer = scope
        self.scopes: dict[int, StageScope] = {}
        self.declared: list[tuple[str, Declared]] = []
        self.used: set[str] = set()
        self.stages: list[str] = []
        self.instructions: list[tuple[str, int, str]] = []
        self.images: list[ImageNeed] = []
        self.contexts: list[str] = []
        self.files: list[FileNeed] = []
        self.remotes: list[RemoteNeed] = []

    def stage(self, stage: Stage) -> None:
        """One stage: its base, the triggers it inherits, its own lines."""
        self.stages.append(stage.id)
        self.used |= self.graph.used[stage.index]
        self.instructions.append((stage.id, stage.line, stage.text))
        scope = self.scopes[stage.index] = self._base(stage)
        for trigger in self.graph.triggers(stage):
            self._run(stage, trigger, scope)
        for instruction in stage.instructions:
            text = self._run(stage, instruction, scope)
            self.instructions.append((stage.id, instruction.line, text))

    def _base(self, stage: Stage) -> StageScope:
        base = self.graph.bases[stage.index]
        if base.kind is Kind.STAGE:
            return self.scopes[base.stage].child()
        if base.kind is Kind.SCRATCH:
            return StageScope.scratch(self.outer)
        if base.kind is Kind.CONTEXT:
            self.contexts.append(base.name)
        else:
            platform = self.graph.platforms[stage.index]
            self.images.append(ImageNeed(base.name, platform, stage.id, stage.line, "from"))
        return StageScope(self.outer)

    def _run(self, stage: Stage, instruction: Instruction, scope: StageScope) -> str:
        """Evaluate one instruction; the text that stands for it in the result."""
        try:
            match instruction.keyword:
                case "ARG":
                    return self._arg(stage, instruction, scope)
                case "ENV":
                    scope.environment(instruction.words)
                case "COPY" | "ADD":
                    self._copy(stage, instruction, scope)
                case "RUN":
                    self._mounts(stage, instruction, scope)
        except ExpandError as error:
            self.graph.problem(instruction.line, "dockerfile-expansion", f"{instruction.keyword}: {error}")
        except RefError as error:
            self.graph.problem(instruction.line, "dockerfile-source", str(error))
        except UnknownVariable as unknown:
            self._unknown(instruction, unknown.name)
        return instruction.text

    def _unknown(self, instruction: Instruction, name: str) -> None:
        self.graph.problem(
            instruction.line,
            "unknown-variable",
            f"{instruction.keyword} uses ${name}, whose value cannot be known from this file",
            f"The base image may set it. Write ARG {name}=... or ENV {name}=... before this line, or pass it.",
        )

    def _arg(self, stage: Stage, instruction: Instruction, scope: StageScope) -> str:
        found = [scope.declare(arg) for arg in instruction.args]
        self.declared.extend((stage.id, declared) for declared in found)
        # The text names the arguments only, their values are beside it: a changed default
        # is one change.  Where the base image has a say, the default stays in the text.
        if all(declared.known for declared in found):
            return " ".join(["ARG", *(declared.name for declared in found)])
        return instruction.text

    def _copy(self, stage: Stage, instruction: Instruction, scope: StageScope) -> None:
        name = instruction.flag("from")
        origin = self.graph.origin(name, stage, instruction.line, by_index=True) if name else None
        if name and (origin is None or self._elsewhere(origin, stage, instruction, "copy")):
            return
        parents = instruction.is_set("parents")
        paths: list[str] = []
        for raw in instruction.sources:
            source = scope.expand(raw)
            if not self._remote(source, stage, instruction, scope, local=bool(name)):
                paths.append(_pivoted(source) if parents else _clean(source))
        if paths:
            excludes = instruction.all_flags("exclude")
            context = origin.name if origin else ""
            how = instruction.keyword.lower()
            self._need(FileNeed(context, tuple(paths), instruction.line, how, excludes, parents))

    def _need(self, need: FileNeed) -> None:
        file = self.graph.dockerfile.file
        self.files.append(FileNeed(need.context, need.sources, need.line, need.how, need.excludes, need.parents, file))

    def _elsewhere(self, origin: Origin, stage: Stage, instruction: Instruction, how: str) -> bool:
        """Whether the files come from an image or a stage; an image is noted."""
        if origin.kind is Kind.IMAGE:
            self.images.append(ImageNeed(origin.name, None, stage.id, instruction.line, how))
        return origin.kind is not Kind.CONTEXT

    def _remote(self, source: str, stage: Stage, instruction: Instruction, scope: StageScope, *, local: bool) -> bool:
        remote = parse_remote(source) if "@" in source or "://" in source else None
        if remote is None:
            return False
        if local or instruction.keyword == "COPY":
            raise RefError(f"COPY takes no URL: {source}; ADD does")
        raw = instruction.flag("checksum")
        checksum = scope.expand(raw) if raw else None
        commit = remote.commit
        if remote.is_git and commit is None and checksum and is_commit(checksum):
            commit = checksum
        self.remotes.append(RemoteNeed(source, checksum, commit, remote.is_git, stage.id, instruction.line))
        return True

    def _mounts(self, stage: Stage, instruction: Instruction, scope: StageScope) -> None:
        for value in instruction.all_flags("mount"):
            mount = parse_mount(value)
            if mount.kind not in {"bind", "cache"} or (mount.kind == "cache" and not mount.origin):
                continue
            origin = None
            if mount.origin:
                origin = self.graph.origin(mount.origin, stage, instruction.line, by_index=False)
                if origin is None or self._elsewhere(origin, stage, instruction, "mount"):
                    continue
            source = _clean(scope.expand(mount.source))
            self._need(FileNeed(origin.name if origin else "", (source,), instruction.line, "bind"))

    def result(self, target: Stage) -> Reach:
        """The finished answer."""
        declarations = list(self._declarations())
        args, unset = _named(declarations)
        return Reach(
            target=target.id,
            stages=tuple(self.stages),
            args=args,
            unset=unset,
            instructions=tuple(self.instructions),
            images=tuple(self.images),
            contexts=tuple(sorted(set(self.contexts))),
            files=tuple(self.files),
            remotes=tuple(self.remotes),
            declared=frozenset(declared.name for _, declared in declarations),
        )

    def _declarations(self) -> Iterator[tuple[str, Declared]]:
        """The global ARGs that matter, then those of the reached stages."""
        inherited = {declared.name for _, declared in self.declared if declared.name in self.outer.declared}
        redeclared = {name for name in inherited if self._takes_global(name)}
        for name in sorted(self.outer.closure(self.used | redeclared)):
            yield "FROM", Declared(name, self.outer.declared[name])
        yield from self.declared

    def _takes_global(self, name: str) -> bool:
        stages = (stage for stage in self.graph.dockerfile.stages if stage.id in self.stages)
        lines = (line for stage in stages for line in self.graph.body(stage) if line.keyword == "ARG")
        return any(arg.name == name and arg.default is None for line in lines for arg in line.args)


def _named(
    declarations: list[tuple[str, Declared]],
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """(name, value) pairs and names without a value; told apart by stage only where they differ."""
    by_name: dict[str, list[tuple[str, Declared]]] = {}
    for where, declared in declarations:
        by_name.setdefault(declared.name, []).append((where, declared))
    args: list[tuple[str, str]] = []
    unset: list[str] = []
    for name, found in by_name.items():
        same = len({(declared.value, declared.known) for _, declared in found}) == 1
        for label, value in [(name, found[0][1].value)] if same else _labelled(name, found):
            if value is None:
                unset.append(label)
            else:
                args.append((label, value))
    return tuple(sorted(args)), tuple(sorted(unset))


def _labelled(name: str, found: list[tuple[str, Declared]]) -> Iterator[tuple[str, str | None]]:
    count: dict[str, int] = {}
    for where, declared in found:
        number = count[where] = count.get(where, 0) + 1
        yield f"{name}@{where}" + (f"#{number}" if number > 1 else ""), declared.value


def _clean(source: str) -> str:
    """The path relative to the context's root; like BuildKit, nothing leads above it."""
    return posixpath.normpath("/" + source.lstrip("/")).lstrip("/") or "."


def _pivoted(source: str) -> str:
    """As ``_clean``, keeping the ``/./`` that divides what ``--parents`` keeps from what it drops."""
    base, pivot, rest = source.partition("/./")
    return f"{_clean(base)}/./{_clean(rest)}" if pivot else _clean(source)
