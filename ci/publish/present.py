"""Whether all of a release is still there: what no pointer may lead to otherwise."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import ContractError
from ..names import wheel_path
from . import images
from .manifest import MANIFEST, Release
from .places import Places


def demand(places: Places, release: Release) -> None:
    """Raise ``ContractError`` with everything of ``release`` that is not there, or there with other bytes."""
    where = f"{release.commit}/{MANIFEST}"
    data = places.store.read(where)
    if data is not None and data != release.encode():
        hint = "a commit is released once; make a new commit for other bytes"
        raise ContractError("other-release", f"{places.store.name}/{where} is another release", hint=hint)
    gone = (*([where] if data is None else []), *_lacking(places, release))
    if gone:
        message = f"{len(gone)} parts of release {release.commit[:12]} are not there; no pointer was moved"
        hint = "release its commit again, or choose another release; inv release-status shows which there are"
        raise ContractError("release-gone", message, context="\n".join(gone), hint=hint)


def _lacking(places: Places, release: Release) -> Iterator[str]:
    for row in release.images:
        if not images.digest_at(places, row.digest):
            yield f"image {row.name}: {release.place}@{row.digest}"
    for wheel in release.wheels:
        path = f"{release.commit}/{wheel_path(wheel.sha256, wheel.filename)}"
        found = places.store.stored(path)
        if found is None or found.size != wheel.size:
            yield f"wheel {wheel.filename}: {places.store.name}/{path}"
        elif wheel.metadata and places.store.stored(f"{path}.metadata") is None:
            yield f"metadata of {wheel.filename}: {places.store.name}/{path}.metadata"
