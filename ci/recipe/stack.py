"""A stack: one YAML file that says what is built, from what, with which arguments."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .. import documents
from ..errors import ConfigError, Place, Problem
from ..names import Reference
from ..world import files
from . import args as types
from . import pins as lock

HOME = files.package_data("recipe_data", "docker")
"""The recipe that ships with the tool."""

MAIN = "recipe"
"""The name of the recipe folder among the trees of a build; no source may take it."""


class ArgSpec(NamedTuple):
    """A build argument: its closed type, default and limits.

    ``within``: the arch list this one is part of; ``environment``: read from the variable of its name; ``nic``: the
    NIC backends under which alone it is an argument; ``version_of``: the source whose version it is in a release.
    """

    name: str
    type: str
    default: str
    feature: str
    allowed: tuple[str, ...]
    place: Place
    within: str = ""
    environment: bool = False
    nic: tuple[str, ...] = ()
    version_of: str = ""


class Root(NamedTuple):
    """An image we do not build: the reference registries serve, and the Debian suite it can be made from.

    With ``digest`` (``sha256:...``, or what it would be resolved from) it enters an identity by that and BuildKit
    gets it; ``pin`` is the pin it came from.
    """

    name: str
    image: str
    debian: str
    digest: str = ""
    pin: str = ""


class Fetched(NamedTuple):
    """A source that a stage of its name fetches where no folder stands in for it.

    ``remote`` is the argument that asks for that; without it, the folder is the caller's git root if the file
    ``known_by`` is in it.  Empty: it is fetched unless ``--source`` names a folder.
    """

    name: str
    remote: str
    known_by: str


class Component(NamedTuple):
    """A stage that builds one native dependency on any HIP toolchain; ``base`` is its parent's argument."""

    name: str
    dockerfile: str
    target: str
    base: str
    fetch: tuple[str, ...]
    place: Place


class Tier(NamedTuple):
    """One image of the stack; ``parents`` maps a build argument to the tier or root it names.

    ``artifact`` is the stage whose files make it out of its parents; empty where it has none.  An image older than
    ``max_age_days`` is due for another epoch; 0 is never.
    """

    name: str
    dockerfile: str
    target: str
    parents: tuple[tuple[str, str], ...]
    beside: tuple[str, ...]
    fetch: tuple[str, ...]
    place: Place
    artifact: str = ""
    max_age_days: int = 0


@dataclass(frozen=True)
class Stack:
    """A whole stack file, and the recipe folder its paths are relative to."""

    name: str
    file: str
    path: Path
    recipe: Path
    summary: str
    repository: str
    platform: str
    sources: tuple[str, ...]
    args: tuple[ArgSpec, ...]
    roots: Mapping[str, Root]
    tiers: Mapping[str, Tier]
    pins: Mapping[str, str]
    disk_gb: int = 0
    toolchain: str = ""
    suites: str = ""
    channels: str = ""
    contracts: str = ""
    pipeline: str = ""
    caches: Mapping[str, Any] = field(default_factory=dict)
    fetched: Mapping[str, Fetched] = field(default_factory=dict)
    components: Mapping[str, Component] = field(default_factory=dict)
    bake: tuple[str, ...] = ()

    @property
    def option(self) -> str:
        """What a command needs to mean the lock of this stack; the shipped ones share theirs, and need nothing."""
        return "" if self.recipe == HOME else f" --stack {shlex.quote(self.file)}"

    def tier(self, name: str) -> Tier:
        """The tier called ``name``; raises ``ConfigError`` with a suggestion."""
        if name not in self.tiers:
            hint = documents.suggest(name, list(self.tiers))
            raise ConfigError("unknown-tier", f"stack {self.name} has no tier {name!r}", hint=hint)
        return self.tiers[name]

    def chain(self, *names: str) -> tuple[Tier, ...]:
        """The tiers ``names`` need, parents first, and each tier's ``beside`` before it."""
        ordered: dict[str, Tier] = {}

        def visit(name: str, trail: tuple[str, ...]) -> None:
            if name in ordered or name in self.roots:
                return
            if name in trail:
                raise ConfigError("tier-cycle", f"tiers descend from each other: {' → '.join((*trail, name))}")
            tier = self.tier(name)
            for needed in (*tier.beside, *(parent for _, parent in tier.parents)):
                visit(needed, (*trail, name))
            ordered[name] = tier

        for name in names:
            visit(name, ())
        return tuple(ordered.values())


def load(name: str) -> Stack:
    """The stack called ``name`` (shipped), or the one in the file ``name``; all problems at once."""
    path = locate(name)
    document = documents.read(files.read_text(path), shown(path))
    schema = json.loads(files.read_text(HOME / "stacks" / "stack.schema.json"))
    recipe = recipe_of(path)
    pins, pin_problems = _pins(recipe / lock.FILE)
    problems = (*document.problems, *documents.check(document, schema), *pin_problems)
    documents.refuse(problems)
    stack = _build(document, path, recipe, pins)
    documents.refuse(tuple(_link_problems(stack, document)))
    return stack


def shipped() -> tuple[str, ...]:
    """The names of the stacks that ship with the tool."""
    return tuple(sorted(path.stem for path in (HOME / "stacks").glob("*.yaml")))


def archs() -> tuple[types.Arch, ...]:
    """The one table of gfx targets."""
    path = HOME / "archs.yaml"
    document = documents.read(files.read_text(path), shown(path))
    documents.refuse(document.problems)
    return tuple(
        types.Arch(
            name,
            tuple(entry.get("aliases", ())),
            int(entry["mach"], 16),
            frozenset(key for key, value in entry.get("supports", {}).items() if value),
        )
        for name, entry in document.value["archs"].items()
    )


def recipe_of(path: Path) -> Path:
    """The recipe folder of a stack file: its own folder, or the one above ``stacks``."""
    return path.parent.parent if path.parent.name == "stacks" else path.parent


def locate(name: str) -> Path:
    """The file of the stack ``name``; raises ``ConfigError`` with a suggestion."""
    if "/" in name or name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            message = f"{name} is a folder" if path.is_dir() else f"there is no stack file {name}"
            raise ConfigError("no-stack", message, hint="--stack takes a stack file or a shipped name; check the path")
        return path.absolute()
    path = HOME / "stacks" / f"{name}.yaml"
    if not path.is_file():
        hint = documents.suggest(name, shipped()) + "; a path must contain a / or end in .yaml"
        raise ConfigError("no-stack", f"there is no stack {name!r}", hint=hint)
    return path


def shown(path: Path) -> str:
    """``path`` as a person in this folder may open it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _pins(path: Path) -> tuple[Mapping[str, str], tuple[Problem, ...]]:
    """``pins.json``: a flat object of strings, the shape ``docker buildx bake -f`` reads as well."""
    if not path.exists():
        return {}, ()
    document = documents.read(files.read_text(path), shown(path))
    schema = {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}}
    checked = documents.check(document, schema)
    return document.value, (*document.problems, *checked, *(() if checked else lock.problems(document)))


def _build(document: documents.Document, path: Path, recipe: Path, pins: Mapping[str, str]) -> Stack:
    data: Mapping[str, Any] = document.value
    return Stack(
        name=data["name"],
        file=shown(path),
        path=path,
        recipe=recipe,
        summary=data["summary"],
        repository=data["repository"],
        platform=data["platform"],
        sources=tuple(data.get("sources", ())),
        args=tuple(_argument(document, name, entry) for name, entry in data.get("args", {}).items()),
        roots={
            name: Root(name, entry["image"], entry.get("debian", ""), pins.get(pin, ""), pin)
            for name, entry in data.get("roots", {}).items()
            for pin in [entry.get("digest", "")]
        },
        tiers={name: _tier(document, name, entry) for name, entry in data["tiers"].items()},
        pins=pins,
        disk_gb=data.get("disk_gb", 0),
        toolchain=data.get("toolchain", ""),
        suites=data.get("suites", ""),
        channels=data.get("channels", ""),
        pipeline=data.get("pipeline", ""),
        contracts=data.get("contracts", ""),
        caches=data.get("caches", {}),
        fetched={
            name: Fetched(name, entry.get("remote", ""), entry.get("known_by", ""))
            for name, entry in data.get("fetched", {}).items()
        },
        components={name: _component(document, name, entry) for name, entry in data.get("components", {}).items()},
        bake=tuple(data.get("bake", ())),
    )


def _component(document: documents.Document, name: str, entry: Mapping[str, Any]) -> Component:
    fetch, place = tuple(entry.get("fetch", ())), document.place("components", name)
    return Component(name, entry["dockerfile"], entry["target"], entry["base"], fetch, place)


def _argument(document: documents.Document, name: str, entry: Mapping[str, Any]) -> ArgSpec:
    return ArgSpec(
        name,
        entry["type"],
        entry.get("default", ""),
        entry.get("feature", ""),
        tuple(entry.get("allowed", ())),
        document.place("args", name),
        entry.get("within", ""),
        entry.get("environment", False),
        tuple(entry.get("nic", types.NEEDS_AINIC if entry["type"] == "ainic-version" else ())),
        entry.get("version_of", ""),
    )


def _tier(document: documents.Document, name: str, entry: Mapping[str, Any]) -> Tier:
    return Tier(
        name,
        entry["dockerfile"],
        entry["target"],
        tuple(entry.get("parents", {}).items()),
        tuple(entry.get("beside", ())),
        tuple(entry.get("fetch", ())),
        document.place("tiers", name),
        entry.get("artifact", ""),
        entry.get("max_age_days", 0),
    )


def _link_problems(stack: Stack, document: documents.Document) -> Iterator[Problem]:
    """What the schema cannot see: names that lead nowhere, names used twice."""
    yield from _name_problems(stack, document)
    yield from _tier_problems(stack, document)
    if stack.caches:
        from . import caching

        yield from caching.problems(document, stack.components)
    for name, component in stack.components.items():
        yield from _dockerfile_problems(stack, component.dockerfile, document.place("components", name, "dockerfile"))
    for name in stack.tiers:
        try:
            stack.chain(name)
        except ConfigError as error:
            if error.problems[0].reference == "tier-cycle":
                yield error.problems[0]
                return


def _name_problems(stack: Stack, document: documents.Document) -> Iterator[Problem]:
    for name in stack.roots.keys() & stack.tiers.keys():
        yield Problem("name-clash", f"{name} is both a root and a tier", place=document.key("roots", name))
    for name in stack.components.keys() & {*stack.tiers, *stack.roots}:
        message = f"{name} is both a component and a tier or root"
        yield Problem("name-clash", message, place=document.key("components", name))
    for name in stack.fetched:
        if name == MAIN or name in stack.sources:
            message = f"source {name}: the name is taken"
            yield Problem("name-clash", message, "call it otherwise", place=document.key("fetched", name))
    for root in stack.roots.values():
        if root.pin and not root.digest:
            hint = f"add it to pins.json; {lock.MARK}{root.image} where nobody could resolve it yet"
            yield Problem("no-pin", f"pins.json has no {root.pin}", hint, place=document.place("roots", root.name))
    known = (*stack.sources, *stack.fetched)
    for spec in stack.args:
        if spec.version_of and spec.version_of not in known:
            where = document.place("args", spec.name, "version_of")
            hint = documents.suggest(spec.version_of, list(known))
            yield Problem("unknown-source", f"no source {spec.version_of!r}", hint, place=where)
    for index, name in enumerate(stack.sources):
        if name == MAIN or name in stack.sources[:index]:
            message = f"source {name}: the name is taken"
            hint = f"{MAIN} is the folder of the stack file itself; each source needs a name of its own"
            yield Problem("name-clash", message, hint, place=document.place("sources", index))
    if Reference.parse(stack.repository).host:
        hint = "a first part with a dot, a port or localhost is a host; give the host with --registry"
        message = f"repository {stack.repository} begins with a registry's host"
        yield Problem("wrong-value", message, hint, place=document.place("repository"))


def _dockerfile_problems(stack: Stack, dockerfile: str, where: Place) -> Iterator[Problem]:
    if not (stack.recipe / dockerfile).is_file():
        hint = f"looked in {shown(stack.recipe)}"
        yield Problem("no-dockerfile", f"there is no Dockerfile {dockerfile}", hint, place=where)


def _tier_problems(stack: Stack, document: documents.Document) -> Iterator[Problem]:
    known = [*stack.tiers, *stack.roots]
    if stack.toolchain and stack.toolchain not in stack.tiers:
        hint = documents.suggest(stack.toolchain, list(stack.tiers))
        yield Problem("unknown-tier", f"no tier {stack.toolchain!r}", hint, place=document.place("toolchain"))
    for tier in stack.tiers.values():
        yield from _dockerfile_problems(stack, tier.dockerfile, document.place("tiers", tier.name, "dockerfile"))
        if tier.artifact and not any(parent in stack.tiers for _, parent in tier.parents):
            where = document.place("tiers", tier.name, "artifact")
            hint = "an artifact is installed on the image of another tier; leave it out here"
            yield Problem("artifact-without-parent", f"tier {tier.name} descends from no tier", hint, place=where)
        for argument, parent in tier.parents:
            if parent not in known:
                where = document.place("tiers", tier.name, "parents", argument)
                yield Problem(
                    "unknown-parent",
                    f"no tier or root {parent!r}",
                    documents.suggest(parent, known),
                    place=where,
                )
        for index, other in enumerate(tier.beside):
            if other not in stack.tiers:
                where = document.place("tiers", tier.name, "beside", index)
                yield Problem(
                    "unknown-tier",
                    f"no tier {other!r}",
                    documents.suggest(other, list(stack.tiers)),
                    place=where,
                )
