"""What an index must know of a wheel, read from the wheel itself and checked against its name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, NamedTuple

from ..errors import ContractError

if TYPE_CHECKING:
    import zipfile

    from packaging.tags import Tag

MOST_METADATA = 8 << 20
"""Bytes of METADATA or WHEEL that are read; nothing real comes near, a crafted archive may."""


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
    """Read the wheel at ``path``; ``ContractError`` when it is not one or disagrees with its name."""
    name = named(path.rpartition("/")[2])
    try:
        with opened(path) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
            stream.seek(0)
            metadata, tags = _inside(path, stream)
    except OSError as error:
        hint = "make it readable, or move it out of the folder"
        raise ContractError("wheel-unreadable", f"{path}: {error.strerror or error}", hint=hint) from None
    requires = _agreed(path, name, metadata, tags)
    return Facts(name, digest, requires, metadata)


def _inside(path: str, stream: IO[bytes]) -> tuple[bytes, bytes]:
    """The METADATA and WHEEL files of the one dist-info folder."""
    import zipfile

    try:
        with zipfile.ZipFile(stream) as archive:
            folders = {item.partition("/")[0] for item in archive.namelist() if ".dist-info/" in item}
            tops = [folder for folder in folders if folder.endswith(".dist-info")]
            if len(tops) != 1:
                raise _broken(path, f"it has {len(tops)} .dist-info folders, not one")
            return _small(path, archive, f"{tops[0]}/METADATA"), _small(path, archive, f"{tops[0]}/WHEEL")
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise _broken(path, f"it is no readable zip archive: {error}") from None


def _small(path: str, archive: zipfile.ZipFile, member: str) -> bytes:
    import zlib

    try:
        with archive.open(member) as stream:
            data = stream.read(MOST_METADATA + 1)
    except KeyError:
        raise _broken(path, f"it has no {member}") from None
    except zlib.error as error:
        raise _broken(path, f"{member} cannot be unpacked: {error}") from None
    if len(data) > MOST_METADATA:
        raise _broken(path, f"{member} is larger than {MOST_METADATA} bytes")
    return data


def _agreed(path: str, name: WheelName, metadata: bytes, wheel: bytes) -> str:
    """``Requires-Python``, once name, version and tags inside are those of the file name."""
    from email.parser import BytesHeaderParser

    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.tags import parse_tag
    from packaging.utils import canonicalize_name
    from packaging.version import InvalidVersion, Version

    inside = BytesHeaderParser().parsebytes(metadata)
    found = str(inside["Name"]), str(inside["Version"])
    try:
        agrees = (canonicalize_name(found[0]), str(Version(found[1]))) == (name.project, name.version)
    except InvalidVersion:
        agrees = False
    if not agrees:
        raise _broken(path, f"its METADATA says {found[0]} {found[1]}", "wheel-disagrees")
    listed = BytesHeaderParser().parsebytes(wheel).get_all("Tag", [])
    tags = frozenset(tag for item in listed for tag in parse_tag(str(item).strip()))
    if tags != name.tags:
        shown = ", ".join(sorted(map(str, tags))) or "no tag"
        raise _broken(path, f"its WHEEL file says {shown}: it was renamed, not retagged", "wheel-disagrees")
    requires = str(inside["Requires-Python"] or "").strip()
    try:
        SpecifierSet(requires)
    except InvalidSpecifier:
        raise _broken(path, f"its Requires-Python {requires!r} is no version range") from None
    return requires


def _broken(path: str, why: str, reference: str = "wheel-broken") -> ContractError:
    hint = "build it anew (wheel tags changes tags rightly); to index the others, move it out of the folder"
    return ContractError(reference, f"{path}: {why}", hint=hint)
