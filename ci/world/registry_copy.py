"""Copying an image between registries, digest for digest, with all that belongs to it.

Blobs go first, then manifests from the leaves up, the index last: whoever sees the index sees all of it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ContractError, InfraError
from .files import disk_errors
from .registry import DIGEST, MANIFEST_TYPES, Absent, Found, Registry, Unknown

_INDEX = MANIFEST_TYPES[0]
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class _Side:
    """One end of a copy."""

    registry: Registry
    repository: str

    def __str__(self) -> str:
        return f"{self.registry.host}/{self.repository}"


@dataclass(slots=True)
class _Whole:
    """What belongs to an image: blobs with their sizes, manifests from the leaves up, and the lists of artifacts."""

    blobs: dict[str, int] = field(default_factory=dict)
    manifests: dict[str, tuple[Found, bytes]] = field(default_factory=dict)
    listed: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def copy(
    source: Registry,
    source_repository: str,
    digest: str,
    target: Registry,
    target_repository: str,
    *,
    say: Callable[[str], None],
    scratch: Path,
) -> Found:
    """Copy the image ``digest`` with attestations and what hangs on it by fallback tag; what the target then shows.

    What is there is not sent again; layers pass through a file in ``scratch``, one at a time.  Raises
    ``InfraError``, naming blob and side; before all blobs are there nothing is published.  Raises
    ``ContractError`` where the source does not have the image.
    """
    here, there = _Side(source, source_repository), _Side(target, target_repository)
    whole = _Whole()
    _gather(here, digest, whole)
    _send_blobs(here, there, whole, say, scratch)
    for reference, (found, body) in whole.manifests.items():
        if reference != digest:
            _put(there, reference, found, body)
    for subject, entries in whole.listed.items():
        _list(there, subject, entries)
    return _put(there, digest, *whole.manifests[digest])


def _gather(side: _Side, digest: str, whole: _Whole) -> None:
    """Add a manifest after all that it names, and what hangs on it."""
    if digest in whole.manifests:
        return
    found, body = _read(side, digest)
    content = json.loads(body)
    for row in _rows(side, digest, content.get("manifests")):
        _gather(side, row["digest"], whole)
    config = [content["config"]] if "config" in content else []
    for row in (*_rows(side, digest, config), *_rows(side, digest, content.get("layers"))):
        whole.blobs[row["digest"]] = row["size"]
    whole.manifests[digest] = (found, body)
    entries = _entries(side, digest)
    if entries:
        whole.listed[digest] = entries
    for row in entries:
        _gather(side, row["digest"], whole)


def _rows(side: _Side, reference: str, rows: object) -> list[dict[str, Any]]:
    """The descriptors of a list, which may be missing; anything but digest and size in them is as it may be."""
    listed = [] if rows is None else rows
    if isinstance(listed, list) and all(
        isinstance(row, dict) and DIGEST.fullmatch(str(row.get("digest"))) and isinstance(row.get("size"), int)
        for row in listed
    ):
        return listed
    hint = "whoever wrote it did not write a valid image; build and push it again"
    raise ContractError("copy-source", f"{side}@{reference} names something without digest and size", hint=hint)


def _read(side: _Side, digest: str) -> tuple[Found, bytes]:
    seen = side.registry.manifest(side.repository, digest)
    if isinstance(seen, tuple):
        return seen
    if isinstance(seen, Absent):
        raise ContractError("copy-source", f"{side}@{digest} does not exist", hint="look at what the release names")
    raise _unknown(side, digest, seen)


def _entries(side: _Side, digest: str) -> list[dict[str, Any]]:
    """What is listed under the fallback tag of a digest."""
    seen = side.registry.manifest(side.repository, _fallback(digest))
    if isinstance(seen, Unknown):
        raise _unknown(side, _fallback(digest), seen)
    return [] if isinstance(seen, Absent) else _rows(side, _fallback(digest), json.loads(seen[1]).get("manifests"))


def _fallback(digest: str) -> str:
    return digest.replace(":", "-")


def _send_blobs(here: _Side, there: _Side, whole: _Whole, say: Callable[[str], None], scratch: Path) -> None:
    missing = [
        (digest, size)
        for digest, size in whole.blobs.items()
        if not there.registry.has_blob(there.repository, digest, size)
    ]
    if not missing:
        say(f"all {len(whole.blobs)} blobs are there")
    moved = 0
    for number, (digest, size) in enumerate(missing, 1):
        _send_blob(here, there, digest, size, scratch)
        moved += size
        say(f"copied {number} of {len(missing)} blobs, {moved // _MB} MB")


def _send_blob(here: _Side, there: _Side, digest: str, size: int, scratch: Path) -> None:
    if here.registry.host == there.registry.host and _mounted(here, there, digest, size):
        return
    with disk_errors(f"cannot make {scratch}"):
        scratch.mkdir(parents=True, exist_ok=True)
    path = scratch / f".blob-{secrets.token_hex(8)}"
    try:
        here.registry.save_blob(here.repository, digest, size, path)
        there.registry.send_blob(there.repository, digest, path)
    finally:
        path.unlink(missing_ok=True)


def _mounted(here: _Side, there: _Side, digest: str, size: int) -> bool:
    taken = there.registry.mount_blob(there.repository, digest, here.repository)
    return taken and there.registry.has_blob(there.repository, digest, size)


def _put(side: _Side, digest: str, found: Found, body: bytes) -> Found:
    seen = side.registry.head(side.repository, digest)
    if isinstance(seen, Unknown):
        raise _unknown(side, digest, seen)
    if isinstance(seen, Found):
        return seen
    return side.registry.put_manifest(side.repository, digest, body, found.media_type)


def _list(side: _Side, subject: str, entries: list[dict[str, Any]]) -> None:
    """List the artifacts beside those that the target already has."""
    there = _entries(side, subject)
    missing = [row for row in entries if row not in there]
    if missing:
        body = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [*there, *missing]}
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        side.registry.put_manifest(side.repository, _fallback(subject), text, _INDEX)


def _unknown(side: _Side, reference: str, seen: Unknown) -> InfraError:
    hint = "nothing is published; the same command again continues"
    return InfraError("registry-copy", f"{side}@{reference} cannot be read: {seen.reason}", hint=hint)
