"""Rules about what can be read at all: settings, the stack and every file it names, and the plan they make."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from .. import settings as settings_room
from ..audit import contract, image_rules
from ..build import inputs, plan
from ..build.component import BASE
from ..build.inputs import RECIPE, Parent
from ..build.lookup import Absent
from ..errors import ConfigError, Place, Problem
from ..pins import kinds
from ..pipeline import pools
from ..publish import channel
from ..recipe import stack as stacks
from ..recipe.stack import Root, Stack, Tier
from ..recipe.tree import Tree
from ..recipe.values import Resolved
from ..suites import catalogue
from ..world import git
from ..world.process import Run, run
from .material import Case

_STAND_IN = f"check.invalid/toolchain:1@sha256:{'0' * 64}"
"""An image for components to stand on; nobody asks for it."""


_NONE: Mapping[str, str] = MappingProxyType({})


def settings(case: Case) -> Iterator[Problem]:
    """The environment and the options hold what they may."""
    yield from settings_room.problems(case.settings)


def stack(case: Case) -> Iterator[Problem]:
    """The stack file and its lock can be read, and every name in them leads somewhere."""
    yield from case.problems
    for index, name in enumerate(case.stack.bake if case.stack else ()):
        if not (case.recipe / name).is_file():
            hint = f"looked in {stacks.shown(case.recipe)}"
            yield Problem("no-file", f"bake: there is no file {name}", hint, place=case.place("bake", index))


def dockerfiles(case: Case) -> Iterator[Problem]:
    """Every Dockerfile can be read."""
    for recipe in case.recipes:
        yield from recipe.problems
        if recipe.model and recipe.model.escape != "\\":
            hint = "remove the # escape= line: what its steps fetch can be read only with the usual backslash"
            yield Problem("odd-escape", "nothing looks into its RUN", hint, place=Place(recipe.file.name, 1, 1))


def channels(case: Case) -> Iterator[Problem]:
    """The channel file, where there is one, can be read."""
    if case.stack and case.stack.channels:
        yield from _problems(case, channel.load, case.shown(case.stack.channels), case.place("channels"))


def suites(case: Case) -> Iterator[Problem]:
    """The test catalogue, where there is one, can be read."""
    if case.stack and case.suite_file:
        load = partial(catalogue.load, file=case.given.catalogue)
        if case.given.catalogue:  # it may be a folder of files, whose problems know theirs
            yield from _problems(case, load, "", Place(case.suite_file))
        else:
            yield from _problems(case, load, case.suite_file, case.place("suites"))


def lost(case: Case) -> Iterator[Problem]:
    """A step file of another project says nothing that is lost here."""
    for each in case.catalogue.lost if case.catalogue else ():
        step = f"step {each.step}: " if each.step else ""
        yield Problem("not-carried-over", f"{step}{each.what}", each.remedy, place=each.place)


def pipelines(case: Case) -> Iterator[Problem]:
    """The pipeline file, where there is one, can be read."""
    if case.stack and case.stack.pipeline:
        yield from _problems(case, pools.load, case.pipeline_file, case.place("pipeline"))


def contracts(case: Case) -> Iterator[Problem]:
    """The contracts of the images, where there are any, can be read."""
    if case.stack and case.stack.contracts:
        load = partial(contract.of_tier, tier=next(iter(case.stack.tiers)), rules=image_rules.NAMES)
        yield from _problems(case, load, case.shown(case.stack.contracts), case.place("contracts"))


def upstreams(case: Case) -> Iterator[Problem]:
    """What the pins follow, where a file says so, can be read."""
    if case.stack:
        yield from _problems(case, kinds.pins_of, case.shown(kinds.FILE), Place(case.shown(kinds.FILE)))


def _problems(case: Case, load: Callable[[Stack], object], file: str, named: Place) -> Iterator[Problem]:
    """What is wrong with ``file`` (empty: what each place says), by places a person may open; ``named`` names it."""
    try:
        if case.stack:
            load(case.stack)
    except ConfigError as error:
        for problem in error.problems:
            place = problem.place
            yield problem._replace(place=place._replace(file=file or place.file) if place else named)


def plans(case: Case) -> Iterator[Problem]:
    """Every tier and component has a plan: its stages, files and arguments are known, and nothing in it can move."""
    if case.stack is None or any(recipe.model is None for recipe in case.recipes):
        return
    args = case.args
    trees, goals = _trees(case.stack, case.start, _given(case)), tuple(case.stack.tiers)
    found = _try(partial(plan.check_args, case.stack, args, goals, trees))
    found += _try(partial(_tiers, case.stack, args, trees))
    for name in case.stack.components:
        found += _try(partial(_component, case.stack, name, args, trees))
    names = {recipe.file.path.name: recipe.file.name for recipe in case.recipes}
    for problem in found:
        place = problem.place
        yield problem._replace(place=place._replace(file=names.get(place.file, place.file))) if place else problem


def examined(stack: Stack, args: Resolved, start: Run = run) -> Iterator[inputs.Inputs]:
    """What every tier, and every component on a stand-in for its parent, is made from; raises ``ConfigError``."""
    trees = _trees(stack, start)
    yield from (tier.inputs for tier in _tiers(stack, args, trees).tiers)
    yield from (_component(stack, name, args, trees) for name in stack.components)


def _given(case: Case) -> Mapping[str, str]:
    """The folders of sources by name, the tree under test among them: what stages take of it has to be there."""
    known_by = {name: source.known_by for name, source in (case.stack.fetched if case.stack else {}).items()}
    found = [name for name, file in known_by.items() if file and case.source and file in case.source.files]
    return {name: str(case.source.root) for name in found if case.source} | dict(case.given.sources)


def _trees(stack: Stack, start: Run, given: Mapping[str, str] = _NONE) -> Mapping[str, Tree]:
    """The recipe, each source that is ``given``, and for others that no stage can fetch the caller's tree."""
    folders = {RECIPE: stack.recipe} | {name: Path(path).absolute() for name, path in given.items()}
    if missing := [name for name in stack.sources if name not in given]:
        folders |= dict.fromkeys(missing, git.toplevel(Path.cwd(), start) or Path.cwd())
    return {name: Tree(name, root, {}, partial(git.tracked, start=start)) for name, root in folders.items()}


def _tiers(stack: Stack, args: Resolved, trees: Mapping[str, Tree]) -> plan.Plan:
    """The whole plan, as it is where nothing was ever built."""
    goals = tuple(stack.tiers)
    return plan.make(stack, goals, args, trees, roots={}, lookup=_nowhere, last=_never, everything=True)


def _component(stack: Stack, name: str, args: Resolved, trees: Mapping[str, Tree]) -> inputs.Inputs:
    component = stack.components[name]
    tier = Tier(
        name,
        component.dockerfile,
        component.target,
        ((component.base, BASE),),
        (),
        component.fetch,
        component.place,
    )
    image, _, digest = _STAND_IN.partition("@")
    alone = replace(stack, tiers={name: tier}, roots={BASE: Root(BASE, image, "", digest)})
    parent = Parent(component.base, BASE, _STAND_IN, digest, is_root=True)
    return inputs.examine(alone, tier, args, trees, (parent,))


def _try(step: Callable[[], object]) -> list[Problem]:
    try:
        step()
    except ConfigError as error:
        return list(error.problems)
    return []


def _nowhere(_tag: str, _identity: str) -> Absent:
    return Absent()


def _never(_tier: str) -> None:
    return None
