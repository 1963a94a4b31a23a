"""Files on which every step depends: what a change of them means is no step's own business.

They are derived from what makes the images, so they cannot drift from it: whatever goes into an image above the
tested ones, or into native code, may change how any test ends. Only changed paths are looked at, never the tree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..build import inputs
from ..documents import refuse
from ..errors import Problem
from ..recipe import pins
from ..recipe.dockerfile import Dockerfile, FileNeed, Ignore, touched
from ..recipe.dockerfile.globs import go_glob
from ..recipe.stack import HOME, Component, Stack, Tier
from ..recipe.values import Resolved
from ..suites.catalogue import Catalogue
from ..world import files as disk
from .patterns import Paths, ancestors
from .pools import Pools
from .select import compiled

_TOOL = ("ci", "tasks.py", "noxfile.py", "pyproject.toml", "requirements", "tests/gpu")
_IGNORE = ".dockerignore"


class _Need(NamedTuple):
    """Files that something is made from: ``of`` names it, ``ignore`` are the ignore files of their context."""

    need: FileNeed
    of: str
    ignore: tuple[str, ...]


def run_all(
    stack: Stack,
    args: Resolved,
    catalogue: Catalogue,
    pools: Pools,
    *,
    top: Path | None,
    changed: Collection[str],
    links: Collection[str] = (),
) -> Mapping[str, str]:
    """Those of the ``changed`` paths (deleted ones too) on which every step of ``catalogue`` depends, each with why.

    ``links`` are those that are links or submodules, ``top`` is the tree they are relative to.  Raises ``ConfigError``
    where a Dockerfile or pattern cannot be meant.
    """
    if top is None or not changed:
        return {}
    paths = Paths(changed, links)
    found: dict[str, str] = {}
    for path, why in _found(stack, args, catalogue, pools, _Tree(top.resolve(), paths)):
        found.setdefault(path, why)
    return dict(sorted(found.items()))


class _Tree(NamedTuple):
    """The source tree, and what changed in it."""

    top: Path
    paths: Paths

    def inside(self, path: Path) -> str | None:
        """``path`` relative to the top, ``.`` for the top itself; None where it lies elsewhere."""
        whole = path.resolve()
        return whole.relative_to(self.top).as_posix() if whole.is_relative_to(self.top) else None


def _found(stack: Stack, args: Resolved, catalogue: Catalogue, pools: Pools, tree: _Tree) -> Iterator[tuple[str, str]]:
    tested = frozenset(step.get("tier", "test") for step in catalogue.data.values())
    for path, why in (*_recipe(stack, catalogue, tested), *_tool()):
        place = tree.inside(path)
        if place == catalogue.file.rstrip("/") and path.is_dir():
            continue  # a folder of step files, each of which is among the sources of its steps by this name
        yield from ((file, why) for file in (tree.paths.below(place) if place else ()))
    contexts = _contexts(stack, args, tree)
    for each in _needs(stack, args, tested) if contexts else ():
        if each.need.context in contexts:
            yield from _inputs(each, contexts[each.need.context])
    problems: list[Problem] = []
    rules = compiled(pools.run_all, pools.document, ("run_all",), problems.append)
    refuse(tuple(problems))
    for file, pattern in rules.matches(tree.paths):
        yield file, f"run_all of {pools.file} has {pattern}"
    if way := rules.leads(tree.paths):
        yield way[0], f"run_all of {pools.file} has {way[1]}, which may lie below it"


def _recipe(stack: Stack, catalogue: Catalogue, tested: Collection[str]) -> Iterator[tuple[Path, str]]:
    """The files that say what is built and tested."""
    yield stack.path, "the stack"
    yield HOME / "archs.yaml", "the table of archs"
    yield stack.recipe / pins.FILE, "the pins"
    for name, what in ((stack.suites, "the test catalogue"), (stack.pipeline, "the pipeline file")):
        if name:
            yield stack.recipe / name, what
    if stack.contracts:
        yield stack.recipe / stack.contracts, "the contracts of the images"
    # The stack's own is a bare name here, and so may be another's: a file too many is run for, never one too few.
    yield Path(catalogue.file), "the test catalogue"
    for tier in stack.chain(*sorted(tested)):
        yield stack.recipe / tier.dockerfile, f"the Dockerfile of {tier.name}"
    for component in stack.components.values():
        yield stack.recipe / component.dockerfile, f"the Dockerfile of {component.name}"


def _tool() -> Iterator[tuple[Path, str]]:
    """The tool itself, where its checkout is the source tree or a part of it."""
    for name in _TOOL:
        yield HOME.parent / name, "a part of the tool"


class _Context:
    """A build context that lies in the tree: the paths that changed there, relative to it."""

    def __init__(self, tree: _Tree, place: str) -> None:
        self.root = tree.top / place
        self.prefix = "" if place == "." else f"{place}/"
        self.paths = [path.removeprefix(self.prefix) for path in tree.paths.below(place)]
        self.known = frozenset(self.paths)
        self.links = [path.removeprefix(self.prefix) for path in tree.paths.links if path.startswith(self.prefix)]
        self._ignored: dict[tuple[str, ...], Callable[[str], bool]] = {}

    def ignored(self, names: tuple[str, ...]) -> Callable[[str], bool]:
        """Whether a path is never sent, by the first of the ignore files ``names`` that is there."""
        if names not in self._ignored:
            file = next((self.root / name for name in names if (self.root / name).is_file()), None)
            self._ignored[names] = Ignore.parse(disk.read_text(file), file.name).ignored if file else _never
        return self._ignored[names]


def _never(_path: str) -> bool:
    return False


def _contexts(stack: Stack, args: Resolved, tree: _Tree) -> Mapping[str, _Context]:
    """The contexts in which something changed, by name: the main one is the recipe, each other a source."""
    recipe = tree.inside(stack.recipe)
    places = {} if recipe is None else {"": recipe}
    for name in inputs.contexts_of(stack, args, ()):
        known = stack.fetched[name].known_by if name in stack.fetched else ""
        if not known or known in tree.paths or (tree.top / known).exists():
            places[name] = "."
    found = {name: _Context(tree, place) for name, place in places.items()}
    return {name: context for name, context in found.items() if context.paths}


def _inputs(each: _Need, context: _Context) -> Iterator[tuple[str, str]]:
    """The changed files that the need takes, those that decide what is ignored, and links and submodules on the way."""
    why = f"an input of {each.of} ({each.need.file}:{each.need.line})"
    yield from ((context.prefix + name, why) for name in each.ignore if name in context.known)
    ignored = context.ignored(each.ignore)
    ways = {above for source in each.need.sources for above in ancestors(source)} & context.known
    ways |= {link for link in context.links if any(_enters(source, link) for source in each.need.sources)}
    for path in sorted(touched(each.need, context.paths) | ways):
        if not ignored(path):
            yield context.prefix + path, why


def _enters(source: str, link: str) -> bool:
    """Whether what a COPY names may lie below ``link``."""
    parts, inside = source.split("/"), link.split("/")
    here = zip(parts, inside, strict=False)
    return len(inside) < len(parts) and all(re.fullmatch(go_glob(part), name, re.DOTALL) for part, name in here)


# --- what is made from what ---------------------------------------------------------------------


def _needs(stack: Stack, args: Resolved, tested: Collection[str]) -> Iterator[_Need]:
    """What the tiers above the tested ones and all components are made from; of the tested ones, their native parts."""
    contexts = inputs.contexts_of(stack, args, ())
    chain = stack.chain(*sorted(tested))
    above = {tier.name for name in tested for tier in stack.chain(name) if tier.name != name}
    for tier in (*(tier for tier in chain if tier.name in above), *map(_alone, stack.components.values())):
        yield from (_of(tier, need) for need in inputs.reached(stack, tier, args, contexts).files)
    for tier in chain:
        if tier.name not in above:
            needs = inputs.reached(stack, tier, args, contexts).files
            model = inputs.model_of(stack, tier)
            yield from (_of(tier, need) for need in needs if not need.context or _is_part(model, tier, need))


def _alone(component: Component) -> Tier:
    """The component as a tier, whatever it is built on."""
    parents = ((component.base, component.base),)
    return Tier(component.name, component.dockerfile, component.target, parents, (), component.fetch, component.place)


def _of(tier: Tier, need: FileNeed) -> _Need:
    return _Need(need, tier.name, (_IGNORE,) if need.context else (f"{tier.dockerfile}{_IGNORE}", _IGNORE))


def _is_part(model: Dockerfile, tier: Tier, need: FileNeed) -> bool:
    """Whether a tested tier's need is that of a stage which builds a part of it from chosen files.

    The stages that become the image, or the artifact it is made with, hold the sources that steps name themselves;
    so does one that takes a whole tree.
    """
    own = {tier.artifact}
    stage = model.stage(tier.target)
    while stage:
        own.add(stage.id)
        stage = model.stage(stage.base)
    at = next(each for each in reversed(model.stages) if each.line <= need.line)
    return at.id not in own and need.sources != (".",)
