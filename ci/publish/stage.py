"""Put a release where it will stay: everything under names that never move, its manifest last.

Every step looks first and writes what is missing, so that a run that was stopped is continued by the next one.
Until the manifest is there nobody takes the set for a release.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ContractError, InfraError
from ..names import wheel_path
from ..wheels.wheelfile import facts
from ..world import files
from ..world.store import METADATA, WHEEL, Store
from . import cached, clashes, images, index, wheelset
from .cached import WheelSet
from .images import Origin
from .manifest import MANIFEST, Release, WheelRow
from .places import CACHE, Places

if TYPE_CHECKING:
    from .make import Candidate

_LATER = "nothing of this release can be seen yet: its manifest is written last; the same command again continues"


def stage(places: Places, candidate: Candidate, origin: Origin | None = None) -> Release:
    """Stage ``candidate``; the release as it stands in the store, an equal one that is there with its own date.

    Images that are not in the channel's repository are copied from ``origin``.
    Raises ``ContractError`` with everything that stands under one of its names and is something else,
    before the first write, and ``InfraError`` where the store or the registry cannot be used.
    """
    release = candidate.release
    _refuse(places, release)
    staging = _Staging(places, release, candidate.files)
    staging.keep()
    staging.fill()
    for row in release.images:
        images.tag(places, release, row, origin)
    if release.wheels:
        pages = places.store.within(release.commit)
        with pages.alone(places.say):
            pages.publish(index.of_set(release))
    if places.store.create(f"{release.commit}/{MANIFEST}", release.encode()):
        return release
    _refuse(places, release)
    return places.released(release.commit)


def _refuse(places: Places, release: Release) -> None:
    found = tuple(clashes.clashes(places, release))
    if found:
        raise ContractError.of(found)


@dataclass(frozen=True)
class _Staging:
    places: Places
    release: Release
    files: Mapping[str, Path]

    def keep(self) -> None:
        """Bring the sets of the parts into the cache, where they are not, or not whole."""
        for key in clashes.parts(self.release):
            rows = tuple(row for row in self.release.wheels if row.part == key)
            if wheelset.whole(self.places.cache, key) is None and not self._there(rows):
                with _telling("not all wheels are stored"):
                    wheelset.keep(self.places, WheelSet(key, rows), self.files)

    def _there(self, rows: Iterable[WheelRow]) -> bool:
        """Whether the release has these wheels already, or will never get them: this host has them no more."""
        lost = [row for row in rows if row.sha256 not in self.files]
        there = _sizes(self.places.store, self.release.commit) if lost else {}
        gone = [row.filename for row in lost if there.get(self._path(row)) != row.size]
        if gone:
            hint = "the same command again makes them, or finds them in the cache"
            raise InfraError("no-wheel", f"neither this host nor the store has {', '.join(gone)}", hint=hint)
        return bool(lost)

    def fill(self) -> None:
        """Put the wheels into the release's own set, from the cache and without a way through this host."""
        there = _sizes(self.places.store, self.release.commit)
        for path, row in self._set().items():
            if there.get(path) != row.size:
                self.places.say(f"copying {row.filename} into the release")
                with _telling(f"{row.filename} was not copied into the release"):
                    target = f"{self.places.channel.name}/{path}"
                    self.places.whole.copy(f"{CACHE}/{cached.cached_path(row)}", target)
                    self._whole(path, row)
        self._describe(self.places.store, self._set())

    def _whole(self, path: str, row: WheelRow) -> None:
        """Look at the bytes of a copy before a manifest vouches for them: a cache is never believed."""
        store = self.places.store
        with files.disk_errors(f"cannot read {store.name}/{path}"), store.opened(path) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
        if digest != row.sha256:
            store.remove(path)
            self.places.cache.discard(row.part)
            hint = "the damaged set was taken out of the cache; the same command again makes the wheels anew"
            message = f"{row.filename} has other bytes in {self.places.cache.name} than it was made with"
            raise InfraError("damaged-cache", message, hint=hint, context=f"its SHA-256 is {digest}")

    def _set(self) -> dict[str, WheelRow]:
        return {self._path(row): row for row in self.release.wheels}

    def _path(self, row: WheelRow) -> str:
        return f"{self.release.commit}/{wheel_path(row.sha256, row.filename)}"

    def _describe(self, store: Store, wanted: Mapping[str, WheelRow]) -> None:
        """Put the metadata beside each wheel."""
        for path, row in wanted.items():
            beside = path.removesuffix(WHEEL) + METADATA
            data = store.read(beside)
            if data is None or hashlib.sha256(data).hexdigest() != row.metadata:
                with _telling(f"the metadata of {row.filename} was not stored"):
                    store.write(beside, self._metadata(store, path, row))

    def _metadata(self, store: Store, path: str, row: WheelRow) -> bytes:
        source = self.files.get(row.sha256)
        if source:
            return facts(row.filename, lambda _name: source.open("rb")).metadata
        return facts(path, store.opened).metadata


def _sizes(store: Store, folder: str) -> dict[str, int]:
    return {each.path: each.size for each in store.below(folder)}


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Say of an error what it kept from happening, and that nothing is released."""
    try:
        yield
    except InfraError as error:
        told = (each._replace(message=f"{what}: {each.message}", hint=_hint(each.hint)) for each in error.problems)
        raise InfraError.of(told) from None


def _hint(hint: str) -> str:
    return f"{hint}; {_LATER}" if hint else _LATER
