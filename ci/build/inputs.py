"""From a tier to its manifest: what its Dockerfile reaches, with every value and file it reads."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from itertools import repeat
from typing import NamedTuple

from ..errors import ConfigError, Place, Problem
from ..identity import Input, Manifest
from ..recipe import dockerfile
from ..recipe.pins import MARK, Lacking, lacking
from ..recipe.stack import MAIN, Component, Stack, Tier
from ..recipe.tree import Entry, Tree
from ..recipe.values import Resolved
from ..world import files

RECIPE = MAIN
"""The name of the main build context in a manifest: the recipe folder."""


class Parent(NamedTuple):
    """An image a tier descends from.

    ``reference`` is what FROM gets; ``identity`` is a tier's identity or, for a root, its layers'
    diff-ids joined by commas; empty while the root is not here yet.
    """

    argument: str
    name: str
    reference: str
    identity: str
    is_root: bool


class Inputs(NamedTuple):
    """Everything one tier is made from.

    ``manifest`` is None while a parent has no identity, or a pin or a source it needs is ``lacking``.
    """

    tier: Tier
    text: str
    args: tuple[tuple[str, str], ...]
    parents: tuple[Parent, ...]
    selected: Mapping[str, Mapping[str, Entry]]
    manifest: Manifest | None
    lacking: tuple[Lacking, ...] = ()


def examine(stack: Stack, tier: Tier, args: Resolved, trees: Mapping[str, Tree], parents: tuple[Parent, ...]) -> Inputs:
    """Read the tier's Dockerfile and select its files; raises ``ConfigError`` with all that is wrong."""
    path = stack.recipe / tier.dockerfile
    text = files.read_text(path)
    model = _parse(text, tier.dockerfile)
    values = {**_values(stack, args), **{parent.argument: parent.reference for parent in parents}}
    contexts = contexts_of(stack, args, trees)
    reached = dockerfile.reach(model, tier.target, values, platform=stack.platform, contexts=contexts)
    problems = tuple(_problems(stack, tier, model, reached, parents))
    if problems:
        raise ConfigError.of(problems)
    missing = tuple(_lacking(stack, reached, values, contexts - trees.keys(), parents))
    selected = _select(tier, reached, trees)
    passed = tuple((name, value) for name, value in sorted(values.items()) if name in reached.declared)
    manifest = None
    if not missing and all(parent.identity for parent in parents):
        manifest = Manifest.of(_inputs(stack, model, reached, parents, selected))
    return Inputs(tier, text, passed, parents, selected, manifest, missing)


def part(stack: Stack, whole: Inputs, component: Component, args: Resolved, trees: Mapping[str, Tree]) -> Inputs | None:
    """The inputs of a component as it is built within a tier; None where the tier does not reach its stage."""
    if component.dockerfile != whole.tier.dockerfile:
        return None
    model = _parse(whole.text, whole.tier.dockerfile)
    values = {**_values(stack, args), **{parent.argument: parent.reference for parent in whole.parents}}
    contexts = contexts_of(stack, args, trees)
    stage = model.stage(component.target)
    tier, own = (
        dockerfile.reach(model, target, values, platform=stack.platform, contexts=contexts)
        for target in (whole.tier.target, component.target)
    )
    if stage is None or stage.id not in tier.stages:
        return None
    used = {image.ref for image in own.images}
    parents = tuple(parent for parent in whole.parents if parent.reference in used)
    names = tuple((parent.argument, parent.name) for parent in parents)
    alone = Tier(component.name, component.dockerfile, component.target, names, (), component.fetch, component.place)
    return examine(stack, alone, args, trees, parents)


def contexts_of(stack: Stack, args: Resolved, given: Collection[str]) -> frozenset[str]:
    """The sources that are folders in this run: those ``given``, and those that somebody would have to give.

    A source that a stage of its name fetches is none of them.
    """
    local = {name for name, source in stack.fetched.items() if source.remote and args.get(source.remote) != "1"}
    return frozenset({*stack.sources, *given, *local}) - {RECIPE}


def _lacking(
    stack: Stack,
    reached: dockerfile.Reach,
    values: Mapping[str, str],
    absent: Collection[str],
    parents: tuple[Parent, ...],
) -> Iterator[Lacking]:
    """What must be resolved or given before the tier has an identity."""
    for parent in parents:
        if parent.is_root and (found := lacking(stack.pins, stack.roots[parent.name].pin, option=stack.option)):
            yield found
    for name in sorted(reached.declared & values.keys()):
        if found := lacking(stack.pins, name, values[name], stack.option):
            yield found
    for name in sorted({need.context for need in reached.files} & set(absent)):
        source = stack.fetched[name]
        why = f"source {name} is not here: this folder has no {source.known_by}"
        yield Lacking(name, why, f"give --source {name}=PATH, or {source.remote}=1 to build a commit of its repository")


def _values(stack: Stack, args: Resolved) -> dict[str, str]:
    """What ARGs get: pins, and the stack's arguments; one of those without a value has none by its pin either."""
    own = {spec.name for spec in stack.args}
    pins = {name: value for name, value in stack.pins.items() if name not in own}
    return {**pins, **{arg.name: arg.value for arg in args.values}}


def model_of(stack: Stack, tier: Tier) -> dockerfile.Dockerfile:
    """The tier's Dockerfile."""
    return _parse(files.read_text(stack.recipe / tier.dockerfile), tier.dockerfile)


def reached(stack: Stack, tier: Tier, args: Resolved, contexts: frozenset[str]) -> dockerfile.Reach:
    """What the tier is made from, whatever its parents are; an argument may choose a stage (``FROM nic-${NIC}``)."""
    pending = {argument: f"pending/{name}" for argument, name in tier.parents}
    values = {**_values(stack, args), **pending}
    return dockerfile.reach(model_of(stack, tier), tier.target, values, platform=stack.platform, contexts=contexts)


def declared(stack: Stack, tier: Tier, args: Resolved, contexts: frozenset[str]) -> frozenset[str]:
    """The build arguments the tier's reached stages declare."""
    return reached(stack, tier, args, contexts).declared


@lru_cache(maxsize=8)
def _parse(text: str, file: str) -> dockerfile.Dockerfile:
    """Tiers share a file: its lines are read once."""
    return dockerfile.parse(text, file)


def _select(tier: Tier, reached: dockerfile.Reach, trees: Mapping[str, Tree]) -> Mapping[str, Mapping[str, Entry]]:
    selected = {}
    problems: list[Problem] = []
    for context in sorted({need.context for need in reached.files} & {"", *trees}):
        needs = tuple(need for need in reached.files if need.context == context)
        name = context or RECIPE
        ignore = (".dockerignore",) if context else (f"{tier.dockerfile}.dockerignore", ".dockerignore")
        try:
            selected[name] = trees[name].select(needs, ignore)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError.of(problems)
    return selected


def _inputs(
    stack: Stack,
    model: dockerfile.Dockerfile,
    reached: dockerfile.Reach,
    parents: tuple[Parent, ...],
    selected: Mapping[str, Mapping[str, Entry]],
) -> Iterator[Input]:
    yield Input("platform", "", stack.platform)
    yield Input("target", "", reached.target)
    if "EPOCH" in stack.pins:
        yield Input("epoch", "", stack.pins["EPOCH"])
    if model.syntax:
        yield Input("syntax", "", model.syntax)
    names = {parent.argument for parent in parents}
    for parent in parents:
        yield Input("root" if parent.is_root else "parent", parent.argument, parent.identity)
    for name, value in reached.args:
        if name not in names:
            yield Input("arg", name, value)
    references = {parent.reference for parent in parents}
    for image in reached.images:
        if image.ref not in references:
            yield Input("image", image.ref.partition("@")[0], image.ref.partition("@")[2])
    for remote in reached.remotes:
        yield Input("remote", remote.url, remote.commit or remote.checksum or "")
    count: dict[str, int] = {}
    for stage, _line, text in reached.instructions:
        count[stage] = count.get(stage, -1) + 1
        yield Input("instruction", f"{stage}/{count[stage]:04d}", text)
    for context, entries in selected.items():
        paths = [f"{context}:{path}" for path in entries]
        contents = [f"{mode} {sha256}" for _, mode, sha256 in entries.values()]
        yield from map(Input, repeat("file"), paths, contents)


def _artifact_problems(tier: Tier, model: dockerfile.Dockerfile, reached: dockerfile.Reach) -> Iterator[Problem]:
    """What would let the files of the artifact stage be something else than what makes the tier out of its parents."""
    if not tier.artifact:
        return
    stage = model.stage(tier.artifact)
    if stage is None or stage.id not in reached.stages or stage.id == reached.target:
        hint = f"write RUN --mount=type=bind,from={tier.artifact} or COPY --from={tier.artifact} in stage {tier.target}"
        message = f"tier {tier.name}: its target {tier.target} takes nothing from an artifact stage {tier.artifact}"
        yield Problem("unused-artifact", message, hint, place=tier.place)
    elif stage.base != "scratch":
        hint = f"write FROM scratch AS {tier.artifact} and COPY --from the stage that makes the files"
        place = Place(tier.dockerfile, stage.line)
        yield Problem("artifact-not-scratch", f"stage {tier.artifact} holds more than the files", hint, place=place)


def _problems(
    stack: Stack,
    tier: Tier,
    model: dockerfile.Dockerfile,
    reached: dockerfile.Reach,
    parents: tuple[Parent, ...],
) -> Iterator[Problem]:
    """What would make an identity lie: inputs that can move without a change of any text."""
    used = {image.ref for image in reached.images}
    for parent in parents:
        if parent.reference not in used:
            hint = f"use it: FROM ${{{parent.argument}}} in a stage that {tier.target} reaches"
            message = f"tier {tier.name}: no reached FROM uses the parent argument {parent.argument}"
            yield Problem("unused-parent", message, hint, place=tier.place)
    references = {parent.reference for parent in parents}
    for image in reached.images:
        if image.ref not in references and "@sha256:" not in image.ref:
            hint = "add @sha256:..., or declare it under roots: and pass it as a parent"
            place = Place(tier.dockerfile, image.line)
            yield Problem("unpinned-image", f"image {image.ref} can move", hint, place=place)
    for remote in reached.remotes:
        if not (remote.commit or remote.checksum or MARK in remote.url):
            hint = "pin a git source to its 40-digit commit (#...), a download with ADD --checksum=sha256:..."
            place = Place(tier.dockerfile, remote.line)
            yield Problem("unpinned-remote", f"{remote.url} can move", hint, place=place)
    yield from _artifact_problems(tier, model, reached)
    if model.syntax and "@sha256:" not in model.syntax:
        hint = "remove the # syntax= line or pin it by digest"
        yield Problem("unpinned-syntax", f"frontend {model.syntax} can move", hint, place=Place(tier.dockerfile, 1))
    for context in reached.contexts:
        hint = "a source is a tree of files: COPY --from it, or declare an image under roots:"
        yield Problem("source-as-image", f"FROM {context}: a source is no image", hint, place=Place(tier.dockerfile))
    unknown = {need.context for need in reached.files if need.context} - {*stack.sources, *stack.fetched}
    for context in sorted(unknown):
        yield Problem("unknown-context", f"no source is called {context!r}", f"declare it in {stack.file}")
