"""A stack: one YAML file that says what is built, from what, with which arguments."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from .. import documents
from ..errors import ConfigError, Place, Problem
from ..names import Reference
from ..settings import Settings
from ..world import files
from . import args as types

HOME = files.package_data("recipe_data", "docker")
"""The recipe that ships with the tool."""

MAIN = "recipe"
"""The name of the recipe folder among the trees of a build; no source may take it."""


class ArgSpec(NamedTuple):
    """A build argument: its closed type, default and limits."""

    name: str
    type: str
    default: str
    feature: str
    allowed: tuple[str, ...]
    place: Place


class Root(NamedTuple):
    """An image we do not build: the reference registries serve, and the Debian suite it can be made from."""

    name: str
    image: str
    debian: str


class Tier(NamedTuple):
    """One image of the stack; ``parents`` maps a build argument to the tier or root it names.

    ``artifact`` is the stage whose files make it out of its parents; empty where it has none.
    """

    name: str
    dockerfile: str
    target: str
    parents: tuple[tuple[str, str], ...]
    beside: tuple[str, ...]
    fetch: tuple[str, ...]
    place: Place
    artifact: str = ""


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
    path = _locate(name)
    document = documents.read(files.read_text(path), _shown(path))
    schema = json.loads(files.read_text(HOME / "stacks" / "stack.schema.json"))
    recipe = path.parent.parent if path.parent.name == "stacks" else path.parent
    pins, pin_problems = _pins(recipe / "pins.json")
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
    document = documents.read(files.read_text(path), _shown(path))
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


def _locate(name: str) -> Path:
    if "/" in name or name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise ConfigError("no-stack", f"there is no stack file {name}", hint="check the path given to --stack")
        return path.absolute()
    path = HOME / "stacks" / f"{name}.yaml"
    if not path.is_file():
        hint = documents.suggest(name, shipped()) + "; a path must contain a / or end in .yaml"
        raise ConfigError("no-stack", f"there is no stack {name!r}", hint=hint)
    return path


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _pins(path: Path) -> tuple[Mapping[str, str], tuple[Problem, ...]]:
    """``pins.json``: a flat object of strings, the shape ``docker buildx bake -f`` reads as well."""
    if not path.is_file():
        return {}, ()
    document = documents.read(files.read_text(path), _shown(path))
    schema = {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}}
    return document.value, (*document.problems, *documents.check(document, schema))


def _build(document: documents.Document, path: Path, recipe: Path, pins: Mapping[str, str]) -> Stack:
    data: Mapping[str, Any] = document.value
    return Stack(
        name=data["name"],
        file=_shown(path),
        path=path,
        recipe=recipe,
        summary=data["summary"],
        repository=data["repository"],
        platform=data["platform"],
        sources=tuple(data.get("sources", ())),
        args=tuple(
            ArgSpec(
                name,
                entry["type"],
                entry.get("default", ""),
                entry.get("feature", ""),
                tuple(entry.get("allowed", types.NIC_BACKENDS)),
                document.place("args", name),
            )
            for name, entry in data.get("args", {}).items()
        ),
        roots={
            name: Root(name, entry["image"], entry.get("debian", "")) for name, entry in data.get("roots", {}).items()
        },
        tiers={
            name: Tier(
                name,
                entry["dockerfile"],
                entry["target"],
                tuple(entry.get("parents", {}).items()),
                tuple(entry.get("beside", ())),
                tuple(entry.get("fetch", ())),
                document.place("tiers", name),
                entry.get("artifact", ""),
            )
            for name, entry in data["tiers"].items()
        },
        pins=pins,
        disk_gb=data.get("disk_gb", 0),
        toolchain=data.get("toolchain", ""),
        suites=data.get("suites", ""),
        channels=data.get("channels", ""),
    )


def _link_problems(stack: Stack, document: documents.Document) -> Iterator[Problem]:
    """What the schema cannot see: names that lead nowhere, names used twice."""
    yield from _name_problems(stack, document)
    yield from _tier_problems(stack, document)
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
    for index, name in enumerate(stack.sources):
        if name == MAIN or name in stack.sources[:index]:
            message = f"source {name}: the name is taken"
            hint = f"{MAIN} is the folder of the stack file itself; each source needs a name of its own"
            yield Problem("name-clash", message, hint, place=document.place("sources", index))
    if Reference.parse(stack.repository).host:
        hint = "a first part with a dot, a port or localhost is a host; give the host with --registry"
        message = f"repository {stack.repository} begins with a registry's host"
        yield Problem("wrong-value", message, hint, place=document.place("repository"))


def _tier_problems(stack: Stack, document: documents.Document) -> Iterator[Problem]:
    known = [*stack.tiers, *stack.roots]
    if stack.toolchain and stack.toolchain not in stack.tiers:
        hint = documents.suggest(stack.toolchain, list(stack.tiers))
        yield Problem("unknown-tier", f"no tier {stack.toolchain!r}", hint, place=document.place("toolchain"))
    for tier in stack.tiers.values():
        if not (stack.recipe / tier.dockerfile).is_file():
            where = document.place("tiers", tier.name, "dockerfile")
            hint = f"looked in {_shown(stack.recipe)}"
            yield Problem("no-dockerfile", f"there is no Dockerfile {tier.dockerfile}", hint, place=where)
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


class ArgValue(NamedTuple):
    """A build argument's value in canonical spelling, and where it came from."""

    name: str
    value: str
    source: str


class Resolved(NamedTuple):
    """All build arguments of a stack for this run, with notices for the person who gave them."""

    values: tuple[ArgValue, ...]
    notices: tuple[str, ...]
    problems: tuple[Problem, ...]

    def get(self, name: str) -> str:
        """The value of ``name``, empty when it has none."""
        return next((arg.value for arg in self.values if arg.name == name), "")


STANDARD = ("PYTORCH_ROCM_ARCH", "DEEPEP_ROCM_ARCH", "NIC_BACKEND", "AINIC_VERSION", "UBUNTU_CODENAME")


def resolve_args(stack: Stack, settings: Settings, table: Sequence[types.Arch]) -> Resolved:
    """Every argument of the stack by the one precedence, checked by its closed type.

    ``AINIC_VERSION`` is an argument only under a backend that reads it: its default must
    not be an input of an identity it cannot influence.
    """
    values: list[ArgValue] = []
    notices: list[str] = []
    problems: list[Problem] = []
    nic = _nic(stack, settings)
    for spec in stack.args:
        setting_value, source = _raw(spec, settings, stack)
        if spec.type == "ainic-version" and nic not in types.NEEDS_AINIC and not _given(source):
            continue
        if not setting_value:
            continue
        checked = _checked(spec, setting_value, stack, table, nic)
        values.append(ArgValue(spec.name, checked.value, source))
        notices += checked.notices
        place = None if _given(source) else spec.place
        problems += [replace(problem, place=place, context=f"given by {source}") for problem in checked.problems]
    declared = {spec.name for spec in stack.args}
    for name in STANDARD:
        setting = settings.get(name)
        if setting.source and name not in declared:
            message = f"{setting.source}: stack {stack.name} has no build argument {name}"
            unused = types.ainic_version(setting.value, nic).problems if name == "AINIC_VERSION" else ()
            problems += unused or [Problem("unused-arg", message, "do not set it, or choose another --stack")]
    return Resolved(tuple(values), tuple(notices), tuple(problems))


def _given(source: str) -> bool:
    """Whether a person gave the value for this run; else it is the stack's own, or its pins'."""
    return bool(source) and not source.startswith(("stack", "pins"))


def _nic(stack: Stack, settings: Settings) -> str:
    default = next((spec.default for spec in stack.args if spec.name == "NIC_BACKEND"), "")
    return settings.get("NIC_BACKEND", default).value or "none"


def _raw(spec: ArgSpec, settings: Settings, stack: Stack) -> tuple[str, str]:
    default = spec.default or stack.pins.get(spec.name, "")
    source = f"stack {spec.place}" if spec.default else "pins.json"
    if spec.name in STANDARD:
        setting = settings.get(spec.name, default, source)
        return setting.value, setting.source
    return default, source


def _checked(spec: ArgSpec, value: str, stack: Stack, table: Sequence[types.Arch], nic: str) -> types.Checked:
    if spec.type == "arch-list":
        return types.arch_list(spec.name, value, table, spec.feature)
    if spec.type == "nic-backend":
        return types.nic_backend(value, spec.allowed, stack.name)
    if spec.type == "ainic-version":
        return types.ainic_version(value, nic)
    if spec.type == "ubuntu-codename":
        return types.ubuntu_codename(value)
    return types.Checked(value)
