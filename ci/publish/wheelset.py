"""Wheel sets of the cache as ``make`` uses them: the key of a project's wheel, sets that are whole, new ones kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from ..errors import ContractError
from ..wheels.job import Request
from ..wheels.look import entry_of
from ..wheels.wheelfile import facts
from ..world import files
from ..world.store import Store
from .cached import SET, WheelSet, cached_path, find
from .manifest import WheelRow
from .places import CACHE, Places

_KEY_VERSION = 1
"""Changes when equal inputs would give another wheel."""


def project_key(request: Request, toolchain: str) -> str:
    """The identity of a project's wheel: 64 hex digits over all that goes into it.

    ``toolchain`` is the identity of what compiles it, empty where nothing is compiled.
    """
    source = request.source
    contents = ((path, files.content(source.root / path)) for path in source.files())
    inputs = {
        "schema": _KEY_VERSION,
        "project": source.name,
        "release": source.release,
        "version": str(request.version(request.options.rocm or "0")),
        "commit": request.history.commit if request.history else "",
        "archs": list(request.compile.archs) if request.compile else [],
        "torch": request.torch,
        "rocm": request.options.rocm,
        "toolchain": toolchain,
        "files": [[path, found.mode, found.sha256] for path, found in contents],
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def row_of(path: Path, key: str) -> WheelRow:
    """The row of a wheel of this host; raises ``ContractError`` where its names disagree."""
    found = facts(path.name, lambda _name: path.open("rb"))
    entry = entry_of(found, path.name, path.stat().st_size).entry
    return WheelRow(
        entry.project,
        entry.version,
        entry.filename,
        entry.sha256,
        entry.size,
        entry.requires_python,
        entry.metadata,
        key,
    )


def whole(cache: Store, key: str) -> WheelSet | None:
    """The set of ``key``; None where there is none, and where a file of it is gone or has another size."""
    found = find(cache, key)
    if found is None:
        return None
    there = {each.path: each.size for each in cache.below(key)}
    return found if all(there.get(cached_path(row)) == row.size for row in found.wheels) else None


def keep(places: Places, made: WheelSet, paths: Mapping[str, Path]) -> WheelSet:
    """Put new wheels (``paths`` by SHA-256) into their set; the set that stands then, another run's if that was first.

    Raises ``ContractError`` where a set of other wheels is there and no longer whole.
    """
    stands = find(places.cache, made.key)
    if stands is None or _same(stands, made):
        _upload(places, made, paths)
        if stands or places.whole.create(f"{CACHE}/{made.key}/{SET}", made.encode()):
            return made
    theirs = whole(places.cache, made.key)
    if theirs is None:
        hint = f"remove {CACHE}/{made.key} there, then run the same command again"
        raise ContractError("other-set", f"{places.cache.name} has a damaged set of other wheels", hint=hint)
    places.say(f"another run made the wheels of {made.key[:12]} first; using those")
    return theirs


def _same(one: WheelSet, other: WheelSet) -> bool:
    return sorted(one.wheels) == sorted(other.wheels)


def _upload(places: Places, made: WheelSet, paths: Mapping[str, Path]) -> None:
    """Bring what is missing there, metadata first; a wheel that changed on this host since is refused.

    The place as a whole is written to: the index of a channel sweeps what others have not finished in it.
    """
    there = {each.path: each.size for each in places.whole.below(f"{CACHE}/{made.key}")}
    items: list[tuple[Path, str]] = []
    for row in made.wheels:
        path = f"{CACHE}/{cached_path(row)}"
        if there.get(path) != row.size or f"{path}.metadata" not in there:
            data = _metadata(paths[row.sha256], row)
            if places.whole.read(f"{path}.metadata") != data:
                places.whole.write(f"{path}.metadata", data)
            items += [(paths[row.sha256], path)] if there.get(path) != row.size else []
    if items:
        places.whole.take_all(items, places.say)


def _metadata(source: Path, row: WheelRow) -> bytes:
    found = facts(row.filename, lambda _name: source.open("rb"))
    if (found.sha256, hashlib.sha256(found.metadata).hexdigest()) != (row.sha256, row.metadata):
        hint = "somebody wrote to it meanwhile; the same command again makes it anew"
        message = f"{source} is not the {row.filename} that was made: its SHA-256 is {found.sha256}"
        raise ContractError("wheel-changed", message, hint=hint, context=f"made {row.sha256}")
    return found.metadata
