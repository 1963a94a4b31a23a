"""Large files as memory: mapped read-only, or put in a scratch folder that is gone afterwards."""

from __future__ import annotations

import mmap
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from ..errors import ConfigError, Place
from .files import disk_errors, unreadable


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    """The bytes of ``path`` without reading them; a missing or unreadable file is the caller's mistake."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # asked before opening: a pipe would wait for its writer
            hint = "name a regular file"
            raise ConfigError("not-a-file", f"{path} is not a regular file", hint=hint, place=Place(str(path)))
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            held = mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ) if size else None
    except FileNotFoundError:
        raise ConfigError("no-file", f"there is no file {path}", hint="check the path") from None
    except OSError as error:
        raise unreadable(path, error) from None
    try:
        yield memoryview(held) if held is not None else memoryview(b"")
    finally:
        if held is not None:
            with suppress(BufferError):  # a traceback still holds a view; the last one to go unmaps it
                held.close()


class Spool:
    """A file without a name that takes bytes as they come, then shows them all; gone when it is closed."""

    def __init__(self) -> None:
        with disk_errors("cannot make a temporary file"):
            self._stream = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever uses us as a context
        self._map: mmap.mmap | None = None

    def add(self, block: bytes) -> None:
        """Append ``block``."""
        with disk_errors("cannot unpack into the folder for temporary files"):
            self._stream.write(block)

    def view(self) -> memoryview:
        """Everything added so far."""
        with disk_errors("cannot unpack into the folder for temporary files"):
            self._stream.flush()
            if not self._stream.tell():
                return memoryview(b"")
            self._map = mmap.mmap(self._stream.fileno(), 0, access=mmap.ACCESS_READ)
        return memoryview(self._map)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._map is not None:
            with suppress(BufferError):
                self._map.close()
        self._stream.close()


@contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """An empty folder of our own, removed at the end, also when the end is an error."""
    with disk_errors(f"cannot make a folder for {purpose}"):
        folder = tempfile.TemporaryDirectory(prefix="rocm-ci-", ignore_cleanup_errors=True)
    with folder as name:
        yield Path(name)
