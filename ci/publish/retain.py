"""``retain``: look at everything, decide, and only then remove; what is removed stands in the journal before.

A release goes first, so that nobody goes back to one that is half there; then its tags, then digests that
nothing leads to any more.  Killed anywhere, the next retention finds in the journal what this one meant to do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import InfraError
from ..world.registry import Absent, digest_of
from ..world.store import Store
from . import journal, lease
from .cached import SET
from .gather import Scope, cache_of, gather
from .images import registry_of
from .journal import Entry, Removed
from .manifest import MANIFEST
from .places import Places
from .retention import RETAIN, Facts, Fate, Kind, plan
from .switch import moment

_IN_REGISTRY = (Kind.TAG, Kind.CACHE_TAG, Kind.MANIFEST)


@dataclass(frozen=True)
class Retained:
    """The fates of all there is; with ``applied`` what goes is gone, but for ``spared``, which came into use since."""

    channel: str
    fates: tuple[Fate, ...]
    applied: bool
    spared: tuple[Fate, ...] = ()


class Taken(NamedTuple):
    """What a retention took: ``what`` names it, ``digest`` is what it held, ``run`` and ``at`` who took it and when."""

    at: str
    run: str
    what: str
    digest: str
    why: str


def scope_of(places: Places, others: Sequence[Places], images: Collection[str]) -> Scope:
    """A retention of the channel of ``places``; where the registry is Docker Hub, tags go through its own API."""
    from ..world import docker_hub
    from ..world.credentials import docker_credentials
    from ..world.http import send

    hub = None
    if places.registry and places.registry.host in docker_hub.HOSTS:
        hub = docker_hub.DockerHub(send=send, clock=places.clock, credentials=docker_credentials(places.say))
    return Scope(places, others, images, hub)


def retain(scope: Scope, run: str, *, apply: bool) -> Retained:
    """Judge everything of a channel; with ``apply`` remove what goes.

    Raises ``InfraError`` with nothing removed where a fact cannot be had, and with what is still there where a
    removal fails; the same call again goes on.
    """
    channel = scope.places.channel.name
    fates = plan(gather(scope))
    if not apply or not any(fate.goes for fate in fates):
        return Retained(channel, fates, apply)
    with lease.held(scope.places, run) as held:
        facts = gather(scope)
        before = set(fates)
        fates = plan(facts)
        going = [fate for fate in fates if fate.goes and fate in before]
        if not going:
            return Retained(channel, fates, applied=True)
        spared = _Removal(scope, facts, run, held.check).perform(going)
    return Retained(channel, fates, applied=True, spared=spared)


def removed(places: Places) -> tuple[Taken, ...]:
    """Everything retention ever took from the channel, oldest first."""
    return tuple(
        Taken(entry.at, entry.run, row.what, row.digest, row.why)
        for entry in journal.entries(places)
        if entry.kind == RETAIN
        for row in entry.removed
    )


@dataclass(frozen=True)
class _Removal:
    scope: Scope
    facts: Facts
    run: str
    check: Callable[[], None]

    def perform(self, going: Sequence[Fate]) -> tuple[Fate, ...]:
        """Write down what goes, remove it, look that it is gone; gives what came into use meanwhile and stays."""
        self._may(going)
        journal.write(self.scope.places, self._entry(going))
        for kind in (Kind.RELEASE, Kind.TAG, Kind.CACHE_TAG):
            self._each(kind, going)
        manifests = {fate.name for fate in going if fate.kind is Kind.MANIFEST}
        spared: tuple[Fate, ...] = ()
        if manifests:  # somebody may have tagged one of them since
            judged = [
                fate for fate in plan(gather(self.scope)) if fate.kind is Kind.MANIFEST and fate.name in manifests
            ]
            self._each(Kind.MANIFEST, [fate for fate in judged if fate.goes])
            spared = tuple(fate for fate in judged if not fate.goes)
        self._each(Kind.WHEELS, going)
        kept = {(fate.kind, fate.name) for fate in spared}
        self._look(fate for fate in going if (fate.kind, fate.name) not in kept)
        return spared

    def _entry(self, going: Iterable[Fate]) -> Entry:
        places, standing = self.scope.places, self.facts.shelf.standing
        if standing is None:  # a plan without one takes nothing
            raise InfraError("no-standing", f"channel {places.channel.name} stands at nothing")
        rows = tuple(Removed(self.facts.what(fate.kind, fate.name), fate.digest, fate.why) for fate in going)
        return Entry(standing.sequence, self.run, RETAIN, moment(places), standing.commit, (), rows)

    def _each(self, kind: Kind, fates: Iterable[Fate]) -> None:
        for fate in fates:
            if fate.kind is kind:
                self.check()
                self.scope.places.say(f"removing {self.facts.what(kind, fate.name)}")
                self._remove(fate)

    def _remove(self, fate: Fate) -> None:
        places = self.scope.places
        if fate.kind is Kind.RELEASE:
            _discard(places.store, fate.name, MANIFEST)
        elif fate.kind is Kind.WHEELS:
            _discard(places.cache, fate.name, SET)
        elif fate.kind is Kind.MANIFEST:
            registry_of(places).delete(places.repository, fate.name)
        else:
            registry = self.scope.hub or registry_of(places)
            registry.drop(self._path(fate.kind), fate.name, f"retain {self.run}")

    def _path(self, kind: Kind) -> str:
        repository = self.scope.places.repository
        return cache_of(repository) if kind is Kind.CACHE_TAG else repository

    def _may(self, going: Iterable[Fate]) -> None:
        """Find out whether the registry deletes at all, by a digest that nothing has, before anything is gone."""
        if not self.scope.hub and any(fate.kind in _IN_REGISTRY for fate in going):
            nothing = digest_of(f"retain {self.run}".encode())
            registry_of(self.scope.places).delete(self.scope.places.repository, nothing)

    def _look(self, gone: Iterable[Fate]) -> None:
        """Raise ``InfraError`` with what is still there."""
        left = [self.facts.what(fate.kind, fate.name) for fate in gone if self._there(fate)]
        if left:
            hint = "the registry or the store lags, or somebody wrote it again; run the same command again"
            message = f"{len(left)} of what was removed is still there, or again"
            raise InfraError("not-removed", message, hint=hint, context="\n".join(left))

    def _there(self, fate: Fate) -> bool:
        places = self.scope.places
        if fate.kind in _IN_REGISTRY:
            found = registry_of(places).head(self._path(fate.kind), fate.name)
            return not isinstance(found, Absent)
        store = places.store if fate.kind is Kind.RELEASE else places.cache
        return any(True for _ in store.below(fate.name))


def _discard(store: Store, folder: str, manifest: str) -> None:
    """Remove a set, first what makes it one: nobody may take half of it for the whole."""
    store.remove(f"{folder}/{manifest}")
    store.discard(folder)
