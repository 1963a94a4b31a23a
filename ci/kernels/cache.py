"""Code objects that were compiled before, found by what went into them.

Two steps, because only a compile tells which headers a source includes.  A *unit* (source, flags,
compiler, arch) leads to the header lists of earlier compiles; the one whose headers all have
the bytes they had then names the object.  An object's name is the digest of its bytes, which is
checked at every read: one that was cut short is compiled again, never handed out.

Per user, because nobody else may write what a build trusts.  Every file is written whole or not
at all, and no run waits for another: two that compile the same thing write the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..audit.code_object import Kernel
from ..errors import ConfigError
from ..world import files

VERSION = 1
_VARIANTS = 8
"""Header lists kept for a unit: switching between a few branches hits, an endless list does not grow."""

LIMIT = 4 * 1000**3
"""Bytes of objects kept; past it the ones not used for longest go."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A compiled object: its digest and size, what its compile took, and its kernels."""

    digest: str
    size: int
    seconds: float
    kernels: tuple[Kernel, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry whose bytes are there and whole."""

    entry: Entry
    data: bytes


class Digests:
    """SHA-256 of files, each read once in a run; paths are relative to ``root`` or absolute."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._known: dict[str, str] = {}

    def of(self, path: str) -> str:
        """The digest of a file; empty where there is none."""
        if path not in self._known:
            self._known[path] = self.fresh(path)
        return self._known[path]

    def fresh(self, path: str) -> str:
        """The digest as it is now."""
        try:
            with open(os.path.join(self._root, path), "rb") as stream:  # noqa: PTH118, PTH123 - hundreds of headers
                return hashlib.sha256(stream.read()).hexdigest()
        except OSError:
            return ""


def unit_key(fields: Sequence[str]) -> str:
    """One digest for a list of texts; framed, so that no text can flow into its neighbour."""
    return hashlib.sha256(json.dumps([VERSION, *fields]).encode()).hexdigest()


class Cache:
    """The objects of one user below ``folder``."""

    def __init__(self, folder: Path, digests: Digests) -> None:
        self.folder = folder
        self._digests = digests
        self._sets: dict[str, bool] = {}
        if folder.is_dir() and folder.stat().st_uid != os.geteuid():
            hint = "remove it, or set ROCM_CI_STATE to a folder of your own"
            raise ConfigError("foreign-cache", f"{folder} belongs to another user", hint=hint)

    def find(self, key: str) -> Hit | None:
        """The object of a unit, if its headers are what they were at one of its compiles."""
        for variant in self._variants(key):
            if self._holds(variant):
                data = self._read(variant["object"])
                if data is not None:
                    return Hit(_entry(variant), data)
        return None

    def keep(self, key: str, headers: Mapping[str, str], outside: Mapping[str, str], hit: Hit) -> None:
        """Remember an object: ``headers`` are the project's own, ``outside`` those of the system, with digests."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        path = self._object(hit.entry.digest)
        if self._read(hit.entry.digest) is None:
            files.write_whole(path, hit.data)
        row = {
            "headers": dict(headers),
            "outside": self._keep_set(outside),
            "object": hit.entry.digest,
            "size": hit.entry.size,
            "seconds": hit.entry.seconds,
            "kernels": [asdict(kernel) for kernel in hit.entry.kernels],
        }
        others = [
            each
            for each in self._variants(key)
            if (each["headers"], each["outside"]) != (row["headers"], row["outside"])
        ]
        data = {"version": VERSION, "variants": [row, *others][:_VARIANTS]}
        files.write_whole(self._unit(key), json.dumps(data).encode())

    def digest(self, path: str) -> str:
        """The digest of a file of this host, as this run knows it."""
        return self._digests.of(path)

    def prune(self, limit: int = LIMIT) -> int:
        """Remove the objects not used for longest until ``limit`` bytes are left; gives how many went."""
        found = []
        for path in (self.folder / "objects").glob("*/*"):
            with suppress(FileNotFoundError):  # another run prunes too
                status = path.stat()
                found.append((status.st_atime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        gone = 0
        for _, size, path in sorted(found):
            if total <= limit:
                break
            path.unlink(missing_ok=True)
            total -= size
            gone += 1
        return gone

    def _variants(self, key: str) -> list[dict[str, Any]]:
        data = files.read_json(self._unit(key))
        if not isinstance(data, dict) or data.get("version") != VERSION:
            return []
        variants: list[dict[str, Any]] = data["variants"]
        return variants

    def _holds(self, variant: Mapping[str, Any]) -> bool:
        headers: Mapping[str, str] = variant["headers"]
        return all(self._digests.of(path) == digest for path, digest in headers.items()) and self._set_holds(
            variant["outside"]
        )

    def _set_holds(self, name: str) -> bool:
        """System headers are the same few hundred for most units: each set is compared once in a run."""
        if not name:
            return True
        if name not in self._sets:
            rows = files.read_json(self.folder / "sets" / f"{name}.json")
            whole = isinstance(rows, dict) and unit_key([json.dumps(rows, sort_keys=True)]) == name
            self._sets[name] = whole and all(self._digests.of(path) == digest for path, digest in rows.items())
        return self._sets[name]

    def _keep_set(self, rows: Mapping[str, str]) -> str:
        if not rows:
            return ""
        name = unit_key([json.dumps(dict(rows), sort_keys=True)])
        path = self.folder / "sets" / f"{name}.json"
        if not path.is_file():
            files.write_whole(path, json.dumps(dict(rows), sort_keys=True).encode())
        return name

    def _read(self, digest: str) -> bytes | None:
        try:
            data = self._object(digest).read_bytes()
        except OSError:
            return None
        return data if hashlib.sha256(data).hexdigest() == digest else None

    def _object(self, digest: str) -> Path:
        return self.folder / "objects" / digest[:2] / f"{digest}.hsaco"

    def _unit(self, key: str) -> Path:
        return self.folder / "units" / key[:2] / f"{key}.json"


def _entry(variant: Mapping[str, Any]) -> Entry:
    kernels = tuple(Kernel(**row) for row in variant["kernels"])
    return Entry(variant["object"], variant["size"], variant["seconds"], kernels)
