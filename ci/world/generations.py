"""The pages of an index in a folder: two generations, and a link that shows which of them is served.

The other one is brought up to date, page by page that differs, and takes its place in one rename.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from . import files
from .drafts import Drafts, fill, settle

_NAMES = ("pages-a", "pages-b")


class Generations:
    """The generations in the folder ``ours``, one of them served as ``link``."""

    def __init__(self, link: Path, ours: Path) -> None:
        self._link = link
        self._ours = ours
        self._drafts = Drafts(ours)

    def publish(self, pages: Mapping[str, bytes]) -> None:
        """Bring the generation that is not served up to date, then let it take the other's place in one rename."""
        digests = {path: hashlib.sha256(data).hexdigest() for path, data in pages.items()}
        with files.disk_errors(f"cannot write the pages below {self._ours}"):
            current = self._current()
            self._drafts.sweep()
            if current and self._holds(current) == digests:
                return
            name = next(each for each in _NAMES if each != current)
            held = self._holds(name)
            self._forget(name)
            if held is None:
                files.remove(self._ours / name)
            else:
                _prune(self._ours / name, held.keys() - pages.keys())
            held = held or {}
            _fill_all(self._ours / name, {path: pages[path] for path in pages if held.get(path) != digests[path]})
            self._write(self._ours / f"{name}.json", json.dumps(digests).encode())
            self._switch(name)

    def update(self, pages: Mapping[str, bytes]) -> None:
        """Replace or add these pages, in this order, each whole or not at all."""
        with files.disk_errors(f"cannot write the pages below {self._ours}"):
            current = self._ours / self._current()
            self._forget(current.name)
            for path, data in pages.items():
                self._write(current / path, data)

    def _write(self, target: Path, data: bytes) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._drafts.new() as draft:
            fill(str(draft), data)
            settle(draft)
            draft.replace(target)

    def _current(self) -> str:
        """The name of the generation that is served; empty before the first."""
        try:
            return self._link.readlink().name
        except FileNotFoundError:
            return ""

    def _switch(self, name: str) -> None:
        with self._drafts.new() as draft:
            draft.symlink_to(f"{self._ours.name}/{name}")
            draft.replace(self._link)

    def _holds(self, name: str) -> dict[str, str] | None:
        """The digests of a generation's pages.

        None when a run stopped while it wrote there, or a page changed after the list was written.
        """
        path = self._ours / f"{name}.json"
        document = files.read_json(path)
        if not isinstance(document, dict):
            return None
        written = path.stat().st_ctime_ns
        base = f"{self._ours}/{name}/"
        return document if all(_changed(base + page) <= written for page in document) else None

    def _forget(self, name: str) -> None:
        """From here on nobody vouches for what a generation holds."""
        (self._ours / f"{name}.json").unlink(missing_ok=True)


def _changed(path: str) -> float:
    """When a file's bytes or name last changed, in nanoseconds; never for one that is gone."""
    try:
        return os.stat(path).st_ctime_ns  # noqa: PTH116 - tens of thousands
    except OSError:
        return float("inf")


def _prune(folder: Path, paths: Iterable[str]) -> None:
    """Remove pages that are no longer wanted, and the folders they leave empty."""
    for path in paths:
        (folder / path).unlink(missing_ok=True)
        with suppress(OSError):
            (folder / path).parent.rmdir()


def _fill_all(folder: Path, pages: Mapping[str, bytes]) -> None:
    """Write files below a folder nobody reads yet; plain calls, since there may be tens of thousands."""
    base = f"{folder}/"
    os.makedirs(base, exist_ok=True)  # noqa: PTH103
    made = {""}
    for path, data in pages.items():
        parent = path.rpartition("/")[0]
        if parent not in made:
            os.makedirs(base + parent, exist_ok=True)  # noqa: PTH103
            made.add(parent)
        fill(base + path, data)
