"""Whether files of an installed package are still those that its wheel brought: its RECORD says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from . import files


def altered(folder: Path) -> tuple[str, ...] | None:
    """The files below ``folder``, a folder inside a package, that are not as they were installed.

    Those that were added or removed are among them.  None where no RECORD beside the package tells of any.
    """
    for record in sorted(folder.parent.parent.glob("*.dist-info/RECORD")):
        if rows := dict(_rows(record, f"{folder.parent.name}/{folder.name}/")):
            there = {path: _digest(folder / path) for path in files.walk(folder)}
            return tuple(sorted(path for path in rows.keys() | there.keys() if rows.get(path) != there.get(path)))
    return None


def _rows(record: Path, start: str) -> Iterator[tuple[str, str]]:
    """Each file below ``start`` with its digest; of what an installer compiled there is none."""
    import csv

    for row in csv.reader(files.read_text(record).splitlines()):
        if row and row[0].startswith(start) and row[1:] and row[1]:
            yield row[0].removeprefix(start), row[1]


def _digest(path: Path) -> str:
    """As a RECORD writes it: unpadded, of the bytes that a link leads to."""
    import hashlib
    from base64 import urlsafe_b64encode

    try:
        digest = hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return "unreadable"
    return "sha256=" + urlsafe_b64encode(digest).rstrip(b"=").decode()
