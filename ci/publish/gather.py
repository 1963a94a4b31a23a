"""Look at everything a retention is judged by: stores, journals, every tag and manifest. One unclear answer ends it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import InfraError
from . import journal
from .cached import SET
from .images import registry_of
from .manifest import MANIFEST
from .places import Places
from .reach import Repository
from .retention import Facts, Shelf

if TYPE_CHECKING:
    from ..world import registry as oci
    from ..world.docker_hub import DockerHub

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NOTHING_DONE = "nothing is removed on an answer that is not clear; run the same command again"


@dataclass(frozen=True)
class Scope:
    """What a retention is about.

    ``places`` are those of the channel, ``others`` of every other channel of the file; ``images`` are the names of
    released images; ``hub`` drops tags where the registry is Docker Hub.
    """

    places: Places
    others: Sequence[Places]
    images: Collection[str]
    hub: DockerHub | None = None


def gather(scope: Scope) -> Facts:
    """Everything as it is now; raises ``InfraError`` where any of it cannot be had.

    The store is read before the registry: a release that is staged meanwhile has its tags before its manifest.
    """
    places = scope.places
    mine, shelves = shelf(places), tuple(shelf(other) for other in scope.others)
    sets: dict[str, bool] = {}
    for stored in places.cache.below(""):
        key, _, rest = stored.path.partition("/")
        sets[key] = sets.get(key, False) or rest == SET
    known = {digest for _, digest in mine.leftover}
    known |= {row.digest for release in mine.releases.values() for row in release.images}
    found = repository(scope, places.repository, known) if places.registry else None
    caches = None
    if places.registry and not scope.hub:  # Docker Hub has no repositories of three parts
        caches = repository(scope, cache_of(places.repository), (), manifests=False)
    return Facts(places.clock.now(), mine, shelves, scope.images, found, caches, sets)


def cache_of(repository: str) -> str:
    """Where builds keep their caches: a tag for each identity, and one for each branch and tier."""
    return f"{repository}/cache"


def shelf(places: Places) -> Shelf:
    """What the store has of one channel."""
    standing = places.standing()
    folders, whole = set(), set()
    for stored in places.store.below(""):
        commit, _, rest = stored.path.partition("/")
        if _COMMIT.fullmatch(commit) and rest:
            folders.add(commit)
            whole |= {commit} if rest == MANIFEST else set()
    releases = {commit: places.released(commit) for commit in sorted(whole)}
    entries = journal.entries(places)
    return Shelf(places.channel, standing[0] if standing else None, releases, frozenset(folders - whole), entries)


def repository(scope: Scope, path: str, known: Collection[str], *, manifests: bool = True) -> Repository:
    """One repository of the registry: all tags, and with ``manifests`` all that they and ``known`` lead to."""
    from ..world import registry as oci

    registry = registry_of(scope.places)
    name = f"{scope.places.place.host if scope.places.place else registry.host}/{path}"
    listed = (scope.hub or registry).tags(path)
    if isinstance(listed, oci.Unknown):
        raise _unclear(f"the tags of {name}", listed)
    tags: dict[str, str] = {}
    for tag in listed if isinstance(listed, tuple) else ():
        found = registry.head(path, tag)
        if isinstance(found, oci.Unknown):
            raise _unclear(f"{name}:{tag}", found)
        if isinstance(found, oci.Found):
            tags[tag] = found.digest
    if not manifests:
        return Repository(name, tags)
    return _followed(registry, Repository(name, tags, deletes=not scope.hub), path, {*known, *tags.values()})


def _followed(registry: oci.Registry, bare: Repository, path: str, starts: Collection[str]) -> Repository:
    """The repository with every manifest that ``starts`` lead to; what is not there leads nowhere."""
    from ..world import registry as oci
    from ..world.registry_tags import TOMBSTONE

    children: dict[str, frozenset[str]] = {}
    subjects: dict[str, str] = {}
    tombstones: set[str] = set()
    seen: set[str] = set()
    pending = sorted(digest for digest in starts if oci.DIGEST.fullmatch(digest))
    while pending:
        digest = pending.pop()
        if digest in seen:
            continue
        seen.add(digest)
        answer = registry.manifest(path, digest)
        if isinstance(answer, oci.Unknown):
            raise _unclear(f"{bare.name}@{digest}", answer)
        if isinstance(answer, oci.Absent):
            continue
        document: dict[str, Any] = json.loads(answer[1])
        children[digest] = frozenset(row["digest"] for row in document.get("manifests") or ())
        if about := (document.get("subject") or {}).get("digest"):
            subjects[digest] = about
        if TOMBSTONE in (document.get("annotations") or {}):
            tombstones.add(digest)
        pending += [*children[digest], *filter(None, [about])]
    return replace(bare, children=children, subjects=subjects, tombstones=frozenset(tombstones))


def _unclear(what: str, answer: oci.Unknown) -> InfraError:
    return InfraError("could-not-tell", f"{what}: {answer.reason}", hint=_NOTHING_DONE)
