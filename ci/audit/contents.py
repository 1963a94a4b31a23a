"""A wheel's table of contents, judged before a byte is unpacked: what is unsafe in it, and whether it is a wheel.

Light on purpose: the package index opens thousands of wheels this way and needs nothing that reads ELF.
"""

from __future__ import annotations

import errno
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, NamedTuple

from ..errors import CiError, ContractError, Place, Problem

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

LARGEST = 32 << 30
"""Bytes a wheel may unpack to."""

TEXT = 16 << 20
"""Bytes a file of the dist-info folder may have to be read whole; nothing real comes near."""

_SMALL = 64 << 20
_RATIO = 250
"""Compiled code and tables deflate by less than 30; a bomb of zeros by 1000."""
_STORED, _DEFLATED = 0, 8
_NEEDED = ("METADATA", "WHEEL", "RECORD")
_REMEDY = "build the wheel again with a build backend; do not zip it by hand"


class Opened(NamedTuple):
    """A wheel that may be unpacked: its files, folders left out, and the name of its one dist-info folder."""

    archive: ZipFile
    infos: tuple[ZipInfo, ...]
    dist_info: str

    def text(self, name: str) -> bytes:
        """The file ``name`` of the dist-info folder."""
        return self.archive.read(f"{self.dist_info}/{name}")


@contextmanager
def opened(path: str, stream: IO[bytes], size: int) -> Iterator[Opened]:
    """Open the wheel of ``size`` bytes in ``stream``; ``path`` is its name in errors.

    Raises ``ContractError`` with every reason why it must not be unpacked, or for what is no wheel;
    also for whatever a damaged archive makes the body of the ``with`` statement raise.
    """
    from zipfile import ZipFile

    with _unzipping(path):
        if not size:
            raise damaged(path, "empty-wheel", "is empty")
        with ZipFile(stream) as archive:
            infos = archive.infolist()
            _refuse(path, tuple(_dangers(infos, size)))
            files = tuple(info for info in infos if not info.is_dir())
            dist_info = _dist_info(path, files)
            _refuse(path, tuple(_missing(files, dist_info)))
            yield Opened(archive, files, dist_info)


def damaged(path: str, reference: str, what: str) -> ContractError:
    """The error of a wheel that cannot be read: "NAME is empty"."""
    name = path.rpartition("/")[2]
    return ContractError(reference, f"{name} {what}", hint="build it, or copy it, again", place=Place(path))


@contextmanager
def _unzipping(path: str) -> Iterator[None]:
    """Whatever a damaged archive makes the library raise, it is a damaged wheel; what the disk raises is not."""
    from zipfile import BadZipFile

    try:
        yield
    except CiError:
        raise
    except BadZipFile as error:
        if "not a zip" in str(error).lower():
            raise damaged(path, "not-a-zip", "is not a zip archive, or its end is missing") from None
        raise damaged(path, "broken-wheel", f"is damaged: {error}") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place before the file's beginning
            raise
        raise damaged(path, "broken-wheel", "is damaged: it names places outside of itself") from None
    except Exception as error:  # noqa: BLE001 - zlib.error, struct.error and whatever else bytes can provoke
        raise damaged(path, "broken-wheel", f"is damaged: {type(error).__name__}: {error}") from None


def _refuse(path: str, problems: tuple[Problem, ...]) -> None:
    if problems:
        place = Place(path)
        placed = (Problem(each.reference, each.message, each.hint, each.context, place) for each in problems)
        raise ContractError.of(placed)


def _dangers(infos: list[ZipInfo], size: int) -> Iterator[Problem]:
    """Everything that makes unpacking unsafe."""
    for name, count in Counter(info.filename.rstrip("/") for info in infos).items():
        if count > 1:
            hint = f"readers disagree which counts; {_REMEDY}"
            yield Problem("duplicate-member", f"{name!r} is in it {count} times", hint)
    for info in infos:
        yield from _danger(info)
    whole = sum(info.file_size for info in infos)
    packed = sum(info.compress_size for info in infos)
    if packed > size:
        message = f"its members take {packed} bytes, but the file has {size}: they lie on top of each other"
        yield Problem("wheel-bomb", message, "do not unpack it")
    elif whole > LARGEST:
        yield Problem("wheel-bomb", f"it unpacks to {whole} bytes; {LARGEST} are allowed", "do not unpack it")


def _danger(info: ZipInfo) -> Iterator[Problem]:
    name = info.filename
    if _leaves(name):
        yield Problem("unsafe-path", f"the path {name!r} leads out of the archive, or is no portable path", _REMEDY)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        what = "a symbolic link" if kind == stat.S_IFLNK else "neither a file nor a folder"
        yield Problem("unsafe-member", f"{name!r} is {what}", f"a wheel holds files only; {_REMEDY}")
    if info.flag_bits & 1:
        yield Problem("unsafe-member", f"{name!r} is encrypted", _REMEDY)
    elif info.compress_type not in {_STORED, _DEFLATED}:
        hint = f"installers read stored and deflated members only; {_REMEDY}"
        yield Problem("unsafe-member", f"{name!r} is compressed by method {info.compress_type}", hint)
    if info.file_size > _SMALL and info.file_size > _RATIO * max(1, info.compress_size):
        message = f"{name!r} unpacks from {info.compress_size} to {info.file_size} bytes"
        yield Problem("wheel-bomb", message, "no compiled file deflates like this: do not unpack it")


def _leaves(name: str) -> bool:
    bare = name.removesuffix("/")
    parts = bare.split("/")
    return (
        not bare
        or any(part in {"", ".", ".."} for part in parts)
        or any(ord(letter) < 32 or letter in "\\\x7f" for letter in name)
        or parts[0].endswith(":")
    )


def _dist_info(path: str, infos: tuple[ZipInfo, ...]) -> str:
    found = sorted({info.filename.partition("/")[0] for info in infos if ".dist-info/" in info.filename})
    found = [name for name in found if name.endswith(".dist-info")]
    if len(found) != 1:
        what = f"{len(found)} dist-info folders: {', '.join(found)}" if found else ""
        what = what or "no dist-info folder, so it is a zip archive but no wheel"
        message = f"{path.rpartition('/')[2]} has {what}"
        raise ContractError("no-dist-info", message, hint=_REMEDY, place=Place(path))
    return found[0]


def _missing(infos: tuple[ZipInfo, ...], dist_info: str) -> Iterator[Problem]:
    sizes = {info.filename: info.file_size for info in infos}
    for name in _NEEDED:
        size = sizes.get(f"{dist_info}/{name}")
        if size is None:
            yield Problem(f"no-{name.lower()}", f"there is no {dist_info}/{name} in it", _REMEDY)
        elif size > TEXT:
            yield Problem("wheel-bomb", f"{dist_info}/{name} has {size} bytes; {TEXT} are allowed", "do not unpack it")
