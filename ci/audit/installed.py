"""The Python distributions of an image, and the fingerprints of those that everything else was compiled against."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import posixpath
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from .tree import Tree

_INFO = re.compile(r"(?:.*/)?(?:site|dist)-packages/[^/]+\.dist-info/METADATA")
_COVERED = {".py", ".h", ".hpp"}


class Distribution(NamedTuple):
    """One that is installed; ``folder`` is its dist-info folder."""

    name: str
    version: str
    folder: str


class File(NamedTuple):
    """A file a distribution brought: as its RECORD writes it, where that is, its SHA-256, and the one in RECORD.

    A digest nobody knows is empty.
    """

    written: str
    path: str
    digest: bytes
    recorded: bytes


def distributions(tree: Tree) -> tuple[Distribution, ...]:
    """Every distribution in a ``site-packages`` or ``dist-packages`` folder, by name; those vendored are not."""
    found = []
    for node in tree.files():
        if _INFO.fullmatch(node.entry.path):
            fields = dict(_fields(node.kept.text.decode("utf-8", "replace")))
            name = re.sub(r"[-_.]+", "-", fields.get("name", "")).lower()
            found.append(Distribution(name, fields.get("version", ""), posixpath.dirname(node.entry.path)))
    return tuple(sorted(found))


def _fields(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and not line[:1].isspace():
            yield key.lower(), value.strip()


def covered(tree: Tree, distribution: Distribution) -> tuple[File, ...]:
    """The files a fingerprint is made of: Python files, headers and shared objects; empty without a RECORD.

    The recipe's ``protected.py`` writes fingerprints of the same files in the same order.
    """
    record = tree.at(f"{distribution.folder}/RECORD")
    rows = csv.reader(io.StringIO(record.kept.text.decode("utf-8", "replace"))) if record else ()
    said = {PurePosixPath(row[0]): row[1] if len(row) > 1 else "" for row in rows if row}
    site = posixpath.dirname(distribution.folder)
    return tuple(_file(tree, site, str(path), said[path]) for path in sorted(said, key=str) if _is_covered(path))


def _is_covered(path: PurePosixPath) -> bool:
    return path.suffix in _COVERED or ".so" in path.suffixes


def _file(tree: Tree, site: str, name: str, said: str) -> File:
    path = posixpath.normpath(f"/{site}/{name}").lstrip("/")
    node = tree.at(path)
    return File(name, path, node.kept.digest if node else b"", _recorded(said))


def _recorded(said: str) -> bytes:
    kind, _, text = said.partition("=")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) if kind == "sha256" else b""
    except ValueError:
        return b""


def fingerprint(files: tuple[File, ...]) -> str:
    """One digest over all of them."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.written}\0".encode() + file.digest)
    return digest.hexdigest()
