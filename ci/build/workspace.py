"""Everything a build verb works with, put together once: settings, stack, trees, engine, registry, records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from .. import documents
from .. import settings as settings_room
from ..errors import ConfigError, InfraError, Problem
from ..names import Place
from ..recipe import stack as stacks
from ..recipe.stack import Root, Stack, Tier
from ..recipe.tree import Tree
from ..recipe.values import Resolved, found_commits, resolve_args
from ..settings import Settings
from ..world import git
from ..world.clock import Clock, SystemClock
from ..world.engine import Engine, endpoint
from . import plan as planning
from . import roots
from .inputs import RECIPE
from .lookup import REGISTRY, SCOPE, Absent, Found, Shelf, finder, verify_remote
from .record import Records
from .scope import ALONE, Reach, Scope, reach

if TYPE_CHECKING:
    from ..world.registry import Registry


@dataclass(frozen=True)
class Workspace:
    """The world of one run of a build verb.

    ``place`` is where published images and caches are read, ``registry`` what answers there.  ``writes`` is where
    this run may put any, and ``target`` what answers there: the same for a trusted run, a place in its ``scope`` for
    an untrusted one, None where it may write nowhere.
    """

    settings: Settings
    stack: Stack
    args: Resolved
    trees: Mapping[str, Tree]
    engine: Engine
    place: Place | None
    registry: Registry | None
    state: Path
    records: Records
    clock: Clock
    writes: Place | None = None
    target: Registry | None = None
    scope: Scope = ALONE

    @property
    def reach(self) -> Reach:
        """How far this run is trusted, and its places."""
        return Reach(self.scope, self.place, self.writes)

    def plan(self, goals: tuple[str, ...], *, everything: bool = False) -> planning.Plan:
        """Plan ``goals`` against the world as it is now; nothing is written."""
        self.expect(goals, everything=everything)
        make = partial(planning.make, self.stack, goals, self.args, self.trees, everything=everything)
        try:
            made = self.roots()
        except InfraError:
            # A recipe that cannot be meant is the first thing to mend, engine or no engine.
            make(roots={}, lookup=lambda _tag, _identity: Absent(), last=lambda _tier: None)
            raise
        try:
            return make(roots=made, lookup=self.look, last=partial(self.records.last, self.stack.name))
        finally:
            self.engine.forget()

    def expect(self, goals: tuple[str, ...], *, everything: bool = False) -> None:
        """Let the engine begin with what the next ``plan`` will ask it, while there is other work to do."""
        self.engine.expect(self._likely(goals, everything))

    def _likely(self, goals: tuple[str, ...], everything: bool) -> Iterator[str]:
        """The images a plan will most likely ask for: the roots, and each tier as it was built last."""
        for root in _unpinned(self.stack):
            yield roots.reference(self.stack, root)
        wanted = self.stack.chain(*goals) if everything else self._first(goals)
        for tier in wanted:
            if identity := self.records.last_identity(self.stack.name, tier.name):
                yield planning.tag_of(self.stack, tier, identity)

    def _first(self, goals: tuple[str, ...]) -> Iterator[Tier]:
        for goal in goals:
            for name in (*self.stack.tier(goal).beside, goal):
                yield self.stack.tiers[name]

    def roots(self) -> Mapping[str, roots.Made]:
        """The roots that are here."""
        found = {root.name: roots.find(self.stack, root, self.engine) for root in _unpinned(self.stack)}
        return {name: made for name, made in found.items() if made}

    @cached_property
    def look(self) -> planning.Lookup:
        """Look one content tag up: where everybody reads, then in the run's own scope, then in the engine."""
        return finder(self.engine, self._shelves)

    @property
    def _shelves(self) -> tuple[Shelf, ...]:
        found = [Shelf(REGISTRY, self.place, self.registry)] if self.place and self.registry else []
        if self.writes and self.target and self.writes != self.place:
            found.append(Shelf(SCOPE, self.writes, self.target))
        return tuple(found)

    def verify(self, found: Found, tag: str, identity: str) -> None:
        """Read the label of what a registry was found to have under ``tag``; see ``lookup.verify_remote``."""
        for shelf in self._shelves:
            if shelf.where == found.where:
                verify_remote(shelf.registry, shelf.place, tag, identity, found.digest)

    def remember(self) -> None:
        """Keep the hash caches for the next run, and the roots for an explanation without an engine."""
        self.records.save_roots(self.stack.name, self.roots())
        for tree in self.trees.values():
            if tree.learned:
                self.records.save_hashes(tree.root, tree.hashes)


def open_workspace(
    settings: Settings,
    sources: Mapping[str, str],
    goals: tuple[str, ...],
    say: Callable[[str], None],
    adapt: Callable[[Stack, Engine], Stack] = lambda stack, _engine: stack,
) -> Workspace:
    """Read the stack and check every option; raises ``ConfigError`` with all problems before the engine is asked.

    ``adapt`` may make another stack of it first.
    """
    problems = list(settings_room.problems(settings))
    place: list[Place] = []
    loaded: list[Stack] = []
    _try(problems, lambda: loaded.append(stacks.load(settings.get("ROCM_CI_STACK").value)))
    _try(problems, lambda: place.extend(_place(settings)))
    if not loaded:
        documents.refuse(problems)
    engine = Engine(endpoint(settings))
    stack = adapt(loaded[0], engine)
    args = resolve_args(stack, settings, stacks.archs())
    wanted = goals or tuple(stack.tiers)
    folders = _folders(stack, sources, args, problems)
    _try(problems, lambda: planning.check_args(stack, args, wanted, folders))
    given = place[0] if place else None
    reached = [Reach(ALONE, given, given)]
    _try(problems, lambda: reached.append(reach(settings, given, lambda: _changeable(folders))))
    documents.refuse(problems)
    args = found_commits(stack, args, git.remote_commit)
    state = Path(settings.get("ROCM_CI_STATE").value)
    records = Records(state)
    clock = SystemClock()
    trees = {name: _tree(name, root, records) for name, root in folders.items()}
    reads, writes = reached[-1].reads, reached[-1].writes
    registry = registry_at(reads, clock, say) if reads else None
    target = registry if reads == writes else registry_at(writes, clock, say) if writes else None
    scope = reached[-1].scope
    return Workspace(
        settings, stack, args, trees, engine, reads, registry, state, records, clock, writes, target, scope
    )


def _changeable(folders: Mapping[str, Path]) -> Iterator[Path]:
    """Every tree that whoever asked for this run may have written."""
    yield from folders.values()
    if around := git.toplevel(Path.cwd()):
        yield around


def _tree(name: str, root: Path, records: Records) -> Tree:
    """The tree, git already asked what it tracks there."""
    listing = git.ask(root)
    return Tree(name, root, records.hashes(root), lambda _root: listing())


def _try(problems: list[Problem], step: Callable[[], None]) -> None:
    """Run ``step``; what is wrong is collected, so that a person sees every mistake at once."""
    try:
        step()
    except ConfigError as error:
        problems += error.problems


def _place(settings: Settings) -> tuple[Place, ...]:
    setting = settings.get("ROCM_CI_REGISTRY")
    return (Place.parse(setting.value),) if setting.value.strip() else ()


def registry_at(place: Place, clock: Clock, say: Callable[[str], None], *, anonymous: bool = False) -> Registry:
    """The registry of ``place``, asked with what ``docker login`` left behind, or as nobody."""
    from ..world.credentials import docker_credentials
    from ..world.http import send
    from ..world.registry import Registry

    credentials = (lambda _host: None) if anonymous else docker_credentials(say)
    return Registry(place.host, send=send, clock=clock, credentials=credentials)


def _unpinned(stack: Stack) -> tuple[Root, ...]:
    """The roots we get ourselves; those with a digest are BuildKit's to get."""
    return tuple(root for root in stack.roots.values() if not root.digest)


def wrong_source(stack: Stack, name: str, path: str) -> Problem | None:
    """What is wrong with ``--source NAME=PATH`` for a stack, whatever is built of it; None for nothing."""
    names = (*stack.sources, *stack.fetched)
    if name not in names:
        known = documents.suggest(name, names) if names else f"{stack.file} declares none"
        return Problem("unknown-source", f"stack {stack.name} has no source {name!r}", known)
    if not Path(path).is_dir():
        return Problem("no-source", f"source {name}: there is no folder {path}", "check --source")
    return None


def _folders(stack: Stack, sources: Mapping[str, str], args: Resolved, problems: list[Problem]) -> Mapping[str, Path]:
    """The root of every tree: the recipe's, and each source's (``--source``, else the caller's git root).

    A source that a stage can fetch has a folder only where one is given, or where the caller stands in it.
    """
    folders = {RECIPE: stack.recipe}
    for name, path in sources.items():
        if wrong := wrong_source(stack, name, path):
            problems.append(wrong)
        elif name in stack.fetched and args.get(stack.fetched[name].remote) == "1":
            hint = f"leave --source {name}=... out, or do not set {stack.fetched[name].remote}"
            problems.append(Problem("mixed-source", f"source {name} is asked for as a folder and as a commit", hint))
        else:
            folders[name] = Path(path).absolute()
    missing = [name for name in stack.sources if name not in sources]
    local = [
        name
        for name, source in stack.fetched.items()
        if source.remote and args.get(source.remote) != "1" and name not in sources
    ]
    if missing or local:  # else there may be no git here at all
        around = git.toplevel(Path.cwd()) or Path.cwd()
        folders |= dict.fromkeys(missing, around)
        folders |= {name: around for name in local if (around / stack.fetched[name].known_by).exists()}
    return folders
