"""The objects' folder: exactly what was asked for, and a list of it that leaves no old object unnoticed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from ..errors import ConfigError
from ..world import files
from .compile import Row
from .sources import Project

LIST = "objects.json"
VERSION = 1


def hand_out(folder: Path, project: Project, rows: Sequence[Row], made: Sequence[bytes], compiler: str) -> int:
    """Write the objects that are not there yet; gives how many were written.

    What an earlier run listed and this one did not make is removed, nothing else: a package must not
    ship the object of a source that is gone.
    """
    names = [project.object_name(row.source, row.arch) for row in rows]
    stale = _listed(folder) - set(names)
    written = 0
    for name, data in zip(names, made, strict=True):
        written += _put(folder / name, data)
    for name in sorted(stale):
        files.remove(folder / name)
    document = {
        "schema": VERSION,
        "compiler": compiler,
        "objects": [_entry(*pair) for pair in zip(names, rows, strict=True)],
    }
    if files.read_json(folder / LIST) != document:
        files.write_json(folder / LIST, document)
        (folder / LIST).chmod(0o644)
    return written


def _put(path: Path, data: bytes) -> bool:
    try:
        if path.read_bytes() == data:
            return False
    except OSError:
        pass
    files.write_whole(path, data)
    path.chmod(0o644)
    return True


def _listed(folder: Path) -> set[str]:
    """What an earlier run put there; a name that leads out of the folder is nobody's to remove."""
    document = files.read_json(folder / LIST)
    if not isinstance(document, dict):
        return set()
    if document.get("schema", 0) > VERSION:
        hint = "use the newer rocm-ci that wrote it, or another --out"
        raise ConfigError("newer-list", f"{folder / LIST} was written by a newer version", hint=hint)
    names = {str(entry.get("file", "")) for entry in document.get("objects", ())}
    root = folder.resolve()
    return {name for name in names if name.endswith(".hsaco") and (root / name).resolve().is_relative_to(root)}


def _entry(name: str, row: Row) -> Mapping[str, object]:
    return {
        "file": name,
        "source": row.source,
        "arch": row.arch,
        "sha256": row.digest,
        "size": row.size,
        "kernels": [asdict(kernel) for kernel in row.kernels],
    }
