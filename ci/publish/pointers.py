"""The pointers of a channel: moving tags of images, and its package index.

A pointer is called ``image:<host/path>:<tag>`` and shows a digest, or ``index:<channel>`` and shows the
SHA-256 over its pages.  What each is to show follows from what the channel stands at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from ..errors import InfraError
from ..names import MAIN_IMAGE
from ..world.store import PAGES
from . import images, index, journal
from .journal import Move
from .manifest import Release, Standing
from .places import Places

Pages = Mapping[str, bytes]
"""The pages of an index, by path below ``simple/``."""


def image_pointer(places: Places, image: str) -> str:
    """The pointer of an image of the release."""
    return f"image:{places.reference(places.channel.moving(image))}"


def index_pointer(places: Places) -> str:
    """The pointer of the channel's package index."""
    return f"index:{places.channel.name}"


def pages(listed: Iterable[Release]) -> Pages:
    """The index that lists these releases; none where they have no wheels."""
    releases = tuple(listed)
    return index.of_channel(releases) if any(release.wheels for release in releases) else {}


def value(shown: Pages) -> str | None:
    """What an index of these pages shows: a SHA-256 over them all, None where there is no page."""
    if not shown:
        return None
    rows = (f"{path} {hashlib.sha256(shown[path]).hexdigest()}\n" for path in sorted(shown))
    return hashlib.sha256("".join(rows).encode()).hexdigest()


def wanted(places: Places, release: Release, listed: Iterable[Release]) -> dict[str, str]:
    """What every pointer shows once the channel stands at ``release`` and its index has ``listed``."""
    found = {image_pointer(places, row.name): row.digest for row in release.images}
    digest = value(pages(listed))
    return {**found, index_pointer(places): digest} if digest else found


def listed(places: Places, standing: Standing) -> tuple[Release, ...]:
    """The releases the index has while the channel stands there; raises ``ContractError`` for one that is gone."""
    return tuple(places.released(commit) for commit in standing.listed)


def standing_at(places: Places, standing: Standing) -> dict[str, str]:
    """What every pointer shows while the channel stands there."""
    return wanted(places, places.released(standing.commit), listed(places, standing))


def names(places: Places, standing: Standing | None, *more: Mapping[str, str]) -> tuple[str, ...]:
    """The pointers there may be, in the order they are moved: those of ``more``, and those the journal knows."""
    entry = journal.entry(places, standing.sequence, standing.run) if standing else None
    known = {move.pointer for move in entry.moves} if entry else set()
    ours = f"image:{places.reference('')}"  # a channel that changed its registry leaves the old tags alone
    found = {name for name in known if name.startswith(ours)}.union(*more, {index_pointer(places)})
    last = (image_pointer(places, MAIN_IMAGE), index_pointer(places))
    return tuple(sorted(found, key=lambda name: (name in last, name == last[1], name)))


def seen(places: Places, pointers: Sequence[str]) -> dict[str, str | None]:
    """What these pointers show now, None for nothing; raises ``InfraError`` where that cannot be told."""
    return {name: _shown(places, name) for name in pointers}


def differences(places: Places, pointers: Sequence[str], aim: Mapping[str, str], commit: str) -> tuple[Move, ...]:
    """Every pointer with what it shows and what it is to show, those that stay as well; looks at each."""
    now = seen(places, pointers)
    return tuple(Move(name, now[name], aim.get(name), commit) for name in pointers if now[name] or name in aim)


def shown(places: Places) -> Pages:
    """The pages of the index as they are now."""
    paths = [stored.path for stored in places.store.below(PAGES)]
    read = {path.removeprefix(f"{PAGES}/"): places.store.read(path) for path in paths}
    return {path: data for path, data in read.items() if data is not None}


def put(places: Places, move: Move, show: Pages, note: str) -> None:
    """Let a pointer show its new value; ``show`` are the pages of an index with it, ``note`` says who drops a tag."""
    if move.pointer == index_pointer(places):
        places.store.publish(show)
        return
    registry, tag = images.registry_of(places), move.pointer.rpartition(":")[2]
    if move.new is None:
        registry.drop(places.repository, tag, note)
        return
    found = images.manifest_at(places, move.new)
    if found is None:
        raise InfraError("no-image", f"{move.pointer} cannot be moved: the registry has no {move.new}")
    registry.put_manifest(places.repository, tag, found[1], found[0].media_type)


def _shown(places: Places, pointer: str) -> str | None:
    if pointer == index_pointer(places):
        return value(shown(places))
    return images.digest_at(places, pointer.rpartition(":")[2]) or None
