"""The files of an image, read from the archive an engine exports, file by file as they arrive."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from ..errors import InfraError
from . import files

_MOUNTED = frozenset({".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"})
"""What an engine puts into every container it makes; none of it is the image's."""

_END = bytes(1024)
"""How every tar archive ends."""


class File(NamedTuple):
    """A file by its path in the image; ``stream`` None for a link or a device."""

    path: str
    stream: IO[bytes] | None

    def save(self, target: Path) -> None:
        """Write it to ``target``; ``InfraError`` where the archive breaks off in its middle."""
        with files.disk_errors(f"cannot write {target}"), target.open("wb") as new:
            try:
                if self.stream is not None:
                    shutil.copyfileobj(self.stream, new)
            except tarfile.TarError as error:
                raise _cut(str(error)) from None


def read(pieces: Iterator[bytes]) -> Iterator[File]:
    """Every file of the archive, each to be read before the next; raises ``InfraError`` where it breaks off."""
    source = Pieces(pieces)
    try:
        with tarfile.open(fileobj=source, mode="r|") as archive:
            for member in archive:
                path = member.name.removeprefix("./").lstrip("/")
                if not member.isdir() and path not in _MOUNTED:
                    yield File(path, archive.extractfile(member) if member.isreg() else None)
            end = archive.offset + len(_END)
        source.drain()
    except tarfile.TarError as error:
        raise _cut(str(error)) from None
    if source.last != _END or source.count < end:
        raise _cut("it has no end")


def _cut(why: str) -> InfraError:
    hint = "the connection was cut; run the same command again, or inv doctor"
    return InfraError("engine-stream", f"the files of the image broke off: {why}", hint=hint)


class Pieces(io.RawIOBase):
    """Pieces as a stream; ``count`` of bytes so far and the ``last`` of them tell a whole archive from a part."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""
        self.last = b""
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes, none at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = piece
            self.count += len(piece)
            self.last = (self.last + piece)[-len(_END) :]
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def drain(self) -> None:
        """Read to the end."""
        while self.read(1 << 20):
            pass
