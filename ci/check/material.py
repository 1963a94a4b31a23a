"""What the rules look at: a stack's files as they are, read also where the stack itself cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from .. import documents
from ..errors import ConfigError, Place, Problem
from ..pipeline import pools, triggers
from ..pipeline.patterns import Paths
from ..pipeline.pools import Pools
from ..recipe import dockerfile
from ..recipe import pins as lock
from ..recipe import stack as stacks
from ..recipe.dockerfile.model import Instruction
from ..recipe.dockerfile.mounts import parse_mount
from ..recipe.stack import Stack
from ..recipe.values import Resolved, resolve_args
from ..settings import Settings
from ..suites import catalogue
from ..suites.catalogue import Catalogue
from ..suites.runtime import SUITE
from ..world import files
from ..world.clock import SystemClock
from ..world.process import Run, run
from . import listed, shell, tree
from .fates import Options
from .tree import Tree

_SHEBANGS = ("#!/bin/sh", "#!/bin/bash", "#!/usr/bin/env bash", "#!/usr/bin/env sh", "#!/bin/dash")


class Text(NamedTuple):
    """A file of the recipe; ``name`` is how a person in this folder may open it."""

    name: str
    path: Path
    text: str


class Recipe(NamedTuple):
    """A Dockerfile: its text, and its model where it can be read, else the problems."""

    file: Text
    model: dockerfile.Dockerfile | None
    problems: tuple[Problem, ...]


class Step(NamedTuple):
    """What runs as one: a RUN, or a script. What it fetches, it has to check itself."""

    file: str
    commands: tuple[shell.Command, ...]

    def place(self, command: shell.Command) -> Place:
        """Where ``command`` stands."""
        return Place(self.file, command.line, command.column)


class Given(NamedTuple):
    """What the caller said: folders of sources by name, and a suite file to use instead of the stack's."""

    sources: Mapping[str, str] = MappingProxyType({})
    catalogue: str = ""


@dataclass(frozen=True)
class Case:
    """One stack and its files; ``stack`` is None where it cannot be read, for which there are ``problems``.

    ``source`` are the files of the tree under test; None where that is not here.
    """

    settings: Settings
    name: str
    path: Path
    stack: Stack | None
    problems: tuple[Problem, ...]
    recipes: tuple[Recipe, ...] = ()
    scripts: tuple[Text, ...] = ()
    pins: documents.Document = field(default_factory=lambda: documents.Document("", {}, {}))
    document: documents.Document = field(default_factory=lambda: documents.Document("", {}, {}))
    start: Run = run
    source: Tree | None = None
    given: Given = field(default_factory=Given)
    today: date = date.min

    def place(self, *path: str | int) -> Place:
        """Where a value of the stack file stands."""
        return self.document.place(*path)

    @property
    def recipe(self) -> Path:
        """The folder that all paths of the stack are relative to."""
        return stacks.recipe_of(self.path)

    @cached_property
    def suite_file(self) -> str:
        """The suite file, as a person in this folder may open it; empty where there is none."""
        named = self.stack.suites if self.stack else ""
        return self.given.catalogue or (self.shown(named) if named else "")

    def in_suites(self, place: Place) -> Place:
        """A place of the catalogue by the name a person may open: the stack's own knows its bare name alone."""
        return place if self.given.catalogue else place._replace(file=self.suite_file)

    @cached_property
    def calls(self) -> tuple[listed.Call, ...]:
        """Every program that a step of the suite file starts."""
        return tuple(listed.calls(self.catalogue)) if self.catalogue else ()

    @cached_property
    def pipeline_file(self) -> str:
        """The pipeline file, as a person in this folder may open it; empty where there is none."""
        named = self.stack.pipeline if self.stack else ""
        return self.shown(named) if named else ""

    def shown(self, name: str) -> str:
        """A file of the recipe, as a person in this folder may open it."""
        return stacks.shown(self.recipe / name)

    @cached_property
    def catalogue(self) -> Catalogue | None:
        """The suite file; None where there is none, or it cannot be read."""
        try:
            return catalogue.load(self.stack, self.given.catalogue) if self.stack and self.suite_file else None
        except ConfigError:
            return None

    @cached_property
    def pools(self) -> Pools | None:
        """The pipeline file; None where there is none, or it cannot be read."""
        try:
            return pools.load(self.stack) if self.stack and self.pipeline_file else None
        except ConfigError:
            return None

    @cached_property
    def paths(self) -> Paths:
        """The files of the tree under test, for patterns."""
        return Paths(self.source.files if self.source else ())

    @cached_property
    def args(self) -> Resolved:
        """The arguments of the stack, which can be read."""
        assert self.stack is not None  # noqa: S101 - whoever asks has one
        return resolve_args(self.stack, self.settings, stacks.archs())

    @cached_property
    def triggers(self) -> Mapping[str, str]:
        """The files of the tree under test whose change runs every step, each with why; without ``run_all``."""
        if not (self.source and self.stack and self.catalogue and self.pools):
            return {}
        bare = self.pools._replace(run_all=())
        try:
            return triggers.run_all(
                self.stack, self.args, self.catalogue, bare, top=self.source.root, changed=self.source.files
            )
        except ConfigError:  # a Dockerfile that cannot be meant is a finding of other rules
            return {}

    @cached_property
    def shipped(self) -> Tree:
        """The test files that ship with the tool."""
        return Tree(SUITE, frozenset(files.walk(SUITE)))

    @cached_property
    def lock(self) -> Mapping[str, str]:
        """The pins, whatever else is wrong."""
        value = self.pins.value
        found = value.items() if isinstance(value, dict) else ()
        return {name: text for name, text in found if isinstance(text, str)}

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Every RUN of every Dockerfile, and every shell script that one of them takes."""
        runs = (step for recipe in self.recipes for step in _runs(recipe))
        return (*runs, *(Step(script.name, shell.commands(script.text)) for script in self.scripts))

    @cached_property
    def declared(self) -> frozenset[str]:
        """The names of all ARGs of the Dockerfiles."""
        models = [recipe.model for recipe in self.recipes if recipe.model]
        outer = {arg.name for model in models for arg in model.global_args}
        inner = {
            arg.name for model in models for line in instructions(model) if line.keyword == "ARG" for arg in line.args
        }
        return frozenset(outer | inner)


def read(settings: Settings, start: Run = run, given: Given = Given(), today: date | None = None) -> Case:  # noqa: B008 - frozen
    """The stack of the settings with its files; raises ``ConfigError`` only where there is no stack file or source."""
    name = settings.get("ROCM_CI_STACK").value
    path = stacks.locate(name)
    stack, problems = None, tuple[Problem, ...]()
    try:
        stack = stacks.load(name)
    except ConfigError as error:
        problems = error.problems
    folder, odd = stacks.recipe_of(path), list[Problem]()
    document = _document(path, odd)
    recipes = tuple(_recipe(folder / each) for each in _dockerfiles(document) if (folder / each).is_file())
    scripts = tuple(_scripts(folder, recipes, odd))
    pins = _document(folder / lock.FILE, odd)
    placed = {each.message for each in odd}
    root = tree.under_test(stack, given.sources, start) if stack else None
    source = _source(root, start, odd) if root else None
    problems = (*(each for each in problems if each.message not in placed), *odd)
    return Case(
        settings, stack.name if stack else name, path, stack, problems, recipes, scripts, pins, document, start,
        source, given, today or SystemClock().now().date(),
    )  # fmt: skip


def _source(root: Path, start: Run, problems: list[Problem]) -> Tree | None:
    """The tree under test; of one that cannot be listed, as in the middle of a merge, the problems."""
    try:
        return tree.read(root, start)
    except ConfigError as error:
        problems += error.problems
        return None


def instructions(model: dockerfile.Dockerfile) -> Iterator[Instruction]:
    """Every instruction of every stage, and what an ONBUILD triggers in its place."""
    for stage in model.stages:
        for line in stage.instructions:
            yield line.trigger or line


def raw(recipe: Recipe, line: int) -> str:
    """The text of the instruction that begins at ``line``, as it is written, up to the next one."""
    model = recipe.model
    lines = recipe.file.text.splitlines(keepends=True)
    starts = [stage.line for stage in model.stages] if model else []
    starts += [each.line for stage in model.stages for each in stage.instructions] if model else []
    end = min((start for start in starts if start > line), default=len(lines) + 1)
    return "".join(lines[line - 1 : end - 1])


def find(recipe: Recipe, line: int, word: str) -> Place:
    """The place of ``word`` in the instruction that begins at ``line``."""
    text = raw(recipe, line)
    at = max(text.find(word), 0)
    row = text.count("\n", 0, at)
    return Place(recipe.file.name, line + row, at - (text.rfind("\n", 0, at) + 1) + 1)


def text(path: Path, problems: list[Problem]) -> str:
    """The text of a file; of one that cannot be read none, and that is among ``problems``."""
    try:
        return files.read_text(path)
    except ConfigError as error:
        hint = "make it a file of UTF-8 text that this user may read"
        problems += [each._replace(hint=hint, place=Place(stacks.shown(path))) for each in error.problems]
        return ""


def _dockerfiles(document: documents.Document) -> tuple[str, ...]:
    """The Dockerfiles that a stack file names, even if it is broken elsewhere."""
    value = document.value
    sections = [value.get(key) for key in ("tiers", "components")] if isinstance(value, dict) else []
    entries = [entry for section in sections if isinstance(section, dict) for entry in section.values()]
    names = [entry.get("dockerfile") for entry in entries if isinstance(entry, dict)]
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))


def _recipe(path: Path) -> Recipe:
    problems = list[Problem]()
    file = Text(stacks.shown(path), path, text(path, problems))
    if problems:
        return Recipe(file, None, tuple(problems))
    try:
        return Recipe(file, dockerfile.parse(file.text, file.name), ())
    except ConfigError as error:
        return Recipe(file, None, error.problems)


def _document(path: Path, problems: list[Problem]) -> documents.Document:
    shown = stacks.shown(path)
    content = text(path, problems) if path.exists() else ""
    return documents.read(content, shown) if content else documents.Document(shown, {}, {})


def _runs(recipe: Recipe) -> Iterator[Step]:
    if recipe.model is None or recipe.model.escape != "\\":
        return
    shells = dict[str, Options]()
    for stage in recipe.model.stages:
        options = shells.get(stage.base.lower(), Options())
        for line in (each.trigger or each for each in stage.instructions):
            if line.keyword == "SHELL":
                options = Options().after(line.words[1:])
            elif line.keyword == "RUN":
                yield Step(recipe.file.name, shell.instruction(raw(recipe, line.line), line.line, options))
        shells[stage.id] = options


def _scripts(folder: Path, recipes: tuple[Recipe, ...], problems: list[Problem]) -> Iterator[Text]:
    """The shell scripts below ``folder`` that a stage mounts or copies."""
    taken = {
        source for recipe in recipes if recipe.model for line in instructions(recipe.model) for source in _taken(line)
    }
    paths: set[Path] = set()
    for source in taken:
        found = folder / source
        paths |= {each for each in found.rglob("*") if each.is_file()} if found.is_dir() else {found}
    for path in sorted(paths):
        if path.is_file() and not path.is_symlink() and (path.suffix in {".sh", ".bash"} or _says_so(path)):
            yield Text(stacks.shown(path), path, text(path, problems))


def _says_so(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(40).decode(errors="replace").startswith(_SHEBANGS)


def _taken(line: Instruction) -> Iterator[str]:
    """The paths of the recipe, other than all of it, that an instruction takes and that no variable is part of."""
    if line.keyword in {"COPY", "ADD"} and line.flag("from") is None:
        sources = list(line.sources)
    elif line.keyword == "RUN":
        mounts = [parse_mount(value) for value in line.all_flags("mount")]
        sources = [mount.source for mount in mounts if mount.kind == "bind" and not mount.origin]
    else:
        return
    for source in sources:
        clean = source.lstrip("./")
        if clean and not set(clean) & set("$*?[:"):
            yield clean
