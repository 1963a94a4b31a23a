"""Numbers and names at a place in a block of bytes; a place outside of it is a truncated file."""

from __future__ import annotations

import errno
import io
import struct
from typing import TYPE_CHECKING

from ..errors import ContractError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

CUT = "the file was cut off or overwritten: copy it again, or build it again"
"""The hint of every error about bytes that do not fit together."""


def numbers(layout: str, data: memoryview, at: int, what: str) -> tuple[int, ...]:
    """Little-endian integers laid out as ``struct`` writes it, at ``at``."""
    try:
        return struct.unpack_from("<" + layout, data, at)
    except (struct.error, OverflowError):
        raise broken(f"{what} ends in the middle of a field, at byte {at}") from None


def piece(data: memoryview, at: int, size: int, what: str) -> memoryview:
    """``size`` bytes at ``at``, all of them there."""
    if at < 0 or size < 0 or at + size > len(data):
        raise broken(f"{what} says {size} bytes at {at}, but there are only {len(data)}")
    return data[at : at + size]


def name(data: memoryview) -> str:
    """Bytes that should be ASCII; others show as escapes."""
    return bytes(data).decode("ascii", "backslashreplace")


def broken(message: str) -> ContractError:
    """The error for bytes that contradict themselves."""
    return ContractError("broken-binary", message, hint=CUT)


def stream(data: memoryview) -> io.BufferedReader:
    """A block of bytes as a seekable stream, nothing copied."""
    return io.BufferedReader(_Reader(data))


class _Reader(io.RawIOBase):
    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._data)}[whence]
        self._at = start + offset
        if self._at < 0:
            raise OSError(errno.EINVAL, "a place before the beginning")  # what a real file says, and zipfile expects
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, target: Buffer, /) -> int:
        into = memoryview(target)
        found = self._data[self._at : self._at + len(into)] if self._at < len(self._data) else self._data[:0]
        into[: len(found)] = found
        self._at += len(found)
        return len(found)
