"""Files of a folder while they are not whole yet: written aside, then put into their place in one step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import files

_ABANDONED = 3600.0
"""Seconds without a write after which a draft is one that a killed run left."""


class Drafts:
    """The drafts in one folder; others, of other hosts too, may have theirs there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def new(self) -> Iterator[Path]:
        """A name for a draft; what still has it at the end of the block is removed. ``OSError`` as the disk says."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"new-{os.urandom(8).hex()}"
        try:
            yield path
        finally:
            with suppress(OSError):  # the error that brought us here says more
                path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what killed runs left: drafts nobody has written to for an hour, by the clock of the file system."""
        found = list(self._folder.glob("new-*"))
        if not found:
            return
        with self.new() as now:
            now.touch()
            latest = now.stat().st_mtime
        for draft in found:
            with suppress(FileNotFoundError):  # whole by now, and in its place
                if latest - draft.lstat().st_mtime > _ABANDONED:
                    files.remove(draft)


def fill(path: str, data: bytes) -> None:
    """Write a file that everybody may read."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
    finally:
        os.close(handle)


def settle(path: Path) -> None:
    """Wait until a file's bytes are on the disk, so that no name ever leads to bytes a power cut took."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
