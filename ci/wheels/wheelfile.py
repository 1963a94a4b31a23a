"""What an index must know of a wheel, read from the wheel itself: it is safe to unpack, and its names agree."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, NamedTuple

from ..audit import agreement, contents
from ..errors import ContractError, Place, Problem

if TYPE_CHECKING:
    from packaging.tags import Tag


class WheelName(NamedTuple):
    """A wheel's file name taken apart: ``project`` is normalised, ``version`` in its normal form."""

    project: str
    version: str
    build: str
    tags: frozenset[Tag]


@dataclass(frozen=True, slots=True)
class Facts:
    """A wheel: its bytes' digest and what its METADATA says."""

    name: WheelName
    sha256: str
    requires_python: str
    metadata: bytes


def named(filename: str) -> WheelName:
    """Take ``filename`` apart; ``ContractError`` when it is not a wheel's."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename
    from packaging.version import InvalidVersion

    try:
        project, version, build, tags = parse_wheel_filename(filename)
    except (InvalidWheelFilename, InvalidVersion) as error:
        hint = "a wheel is called name-version-python-abi-platform.whl; build it anew, never rename one"
        raise ContractError("wheel-name", f"{filename!r} is not a wheel's name: {error}", hint=hint) from None
    return WheelName(project, str(version), "".join(map(str, build)), tags)


def facts(path: str, opened: Callable[[str], AbstractContextManager[IO[bytes]]]) -> Facts:
    """Read the wheel at ``path``; ``ContractError`` with all that is unsafe in it or disagrees with its names."""
    name = named(path.rpartition("/")[2])
    try:
        with opened(path) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
            with contents.opened(path, stream, stream.tell()) as wheel:
                metadata, tags, dist_info = wheel.text("METADATA"), wheel.text("WHEEL"), wheel.dist_info
    except OSError as error:
        hint = "make it readable"
        message = f"{path}: {error.strerror or error}"
        raise ContractError("wheel-unreadable", message, hint=hint, place=Place(path)) from None
    return Facts(name, digest, _agreed(path, dist_info, metadata, tags), metadata)


def _agreed(path: str, dist_info: str, metadata: bytes, tags: bytes) -> str:
    """``Requires-Python``, once all names agree: file, folders, METADATA and WHEEL."""
    from email.parser import BytesHeaderParser

    filename = path.rpartition("/")[2]
    said = BytesHeaderParser().parsebytes(metadata)
    found = [
        *agreement.names(filename, dist_info, said),
        *agreement.tags(filename, BytesHeaderParser().parsebytes(tags)),
        *agreement.place(path, str(said["Version"])),
    ]
    if found:
        place = Place(path)
        raise ContractError.of(
            Problem("wheel-disagrees", f"{each.subject}: {each.message}", each.hint, place=place) for each in found
        )
    return str(said["Requires-Python"] or "").strip()
