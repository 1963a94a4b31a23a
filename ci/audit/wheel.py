"""A wheel, opened as if its maker meant harm, and read once: every byte is hashed, binaries are taken apart.

What makes it unsafe to unpack (paths that leave it, links, bombs) is an error at once; what makes
it wrong (hashes, names, tags) are facts for the rules to judge.
"""

from __future__ import annotations

import csv
import hashlib
import io
import stat
import zipfile
import zlib
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..errors import CiError, ContractError, Place, Problem
from ..world import views
from . import inspect
from .fields import stream
from .inspect import Inspection

LARGEST = 32 << 30
"""Bytes a wheel may unpack to."""

HASHES = ("sha256", "sha384", "sha512")
"""What RECORD may hash with: the others are broken (PEP 376 as amended)."""

_SMALL = 64 << 20
_RATIO = 250
"""Compiled code and tables deflate by less than 30; a bomb of zeros by 1000."""
_TEXT = 16 << 20
_BLOCK = 1 << 20
_REMEDY = "build the wheel again with a build backend; do not zip it by hand"


class Row(NamedTuple):
    """A line of RECORD: ``digest`` is ``sha256=...``, ``size`` as written; both empty for RECORD itself."""

    path: str
    digest: str
    size: str


class Member(NamedTuple):
    """A file in the wheel: its sizes unpacked and packed, and the hash of its bytes, written as in RECORD."""

    name: str
    size: int
    packed: int
    digest: str


@dataclass(frozen=True, slots=True)
class Wheel:
    """What is in a wheel. ``files`` are the small files of its dist-info folder, by their name there."""

    path: Path
    size: int
    members: tuple[Member, ...]
    rows: tuple[Row, ...]
    dist_info: str
    metadata: Message
    tags: Message
    files: dict[str, bytes]
    binaries: tuple[Inspection, ...]
    problems: tuple[Problem, ...]


def read(path: Path) -> Wheel:
    """Everything in the wheel ``path``.

    Raises ``ConfigError`` when there is no such file, ``ContractError`` with every reason why it must
    not be unpacked or cannot be read.
    """
    with views.mapped(path) as data, _unzipping(path):
        if not len(data):
            raise _damaged(path, "empty-wheel", "is empty")
        with zipfile.ZipFile(stream(data)) as archive:
            infos = archive.infolist()
            _refuse(path, tuple(_dangers(infos, len(data))))
            return _read(path, archive, infos, len(data))


def _read(path: Path, archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo], size: int) -> Wheel:
    infos = [info for info in infos if not info.is_dir()]
    dist_info = _dist_info(path, infos)
    files = {
        info.filename.removeprefix(dist_info + "/"): archive.read(info)
        for info in infos
        if info.filename.startswith(dist_info + "/") and info.file_size <= _TEXT
    }
    missing = [name for name in ("METADATA", "WHEEL", "RECORD") if name not in files]
    _refuse(path, tuple(_missing(name, dist_info) for name in missing))
    rows = _rows(path, files["RECORD"])
    wanted = {row.path: row.digest.partition("=")[0] for row in rows}
    read_all = [_member(archive, info, wanted.get(info.filename, ""), path) for info in infos]
    parser = BytesParser(policy=compat32)
    return Wheel(
        path,
        size,
        tuple(member for member, _ in read_all),
        rows,
        dist_info,
        parser.parsebytes(files["METADATA"], headersonly=True),
        parser.parsebytes(files["WHEEL"], headersonly=True),
        files,
        tuple(found for _, found in read_all if isinstance(found, Inspection)),
        tuple(problem for _, found in read_all if isinstance(found, CiError) for problem in found.problems),
    )


@contextmanager
def _unzipping(path: Path) -> Iterator[None]:
    """Whatever a damaged archive makes the library raise, it is a damaged wheel."""
    wrong = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, KeyError, IndexError, OverflowError)
    try:
        yield
    except CiError:
        raise
    except zipfile.BadZipFile as error:
        cut = "not a zip" in str(error).lower()
        reference, what = ("not-a-zip", "is not a zip archive, or its end is missing") if cut else ("", "")
        raise _damaged(path, reference or "broken-wheel", what or f"is damaged: {error}") from None
    except (*wrong, AssertionError, MemoryError, OSError) as error:
        raise _damaged(path, "broken-wheel", f"is damaged: {str(error) or type(error).__name__}") from None
    except Exception as error:  # noqa: BLE001 - struct.error and whatever else bytes can provoke
        raise _damaged(path, "broken-wheel", f"is damaged: {type(error).__name__}: {error}") from None


def _damaged(path: Path, reference: str, what: str) -> ContractError:
    return ContractError(reference, f"{path.name} {what}", hint="build it, or copy it, again", place=Place(str(path)))


def _refuse(path: Path, problems: tuple[Problem, ...]) -> None:
    if problems:
        place = Place(str(path))
        placed = (Problem(each.reference, each.message, each.hint, each.context, place) for each in problems)
        raise ContractError.of(placed)


def _dangers(infos: list[zipfile.ZipInfo], size: int) -> Iterator[Problem]:
    """Everything that makes unpacking unsafe, seen from the table of contents alone."""
    for name, count in Counter(info.filename.rstrip("/") for info in infos).items():
        if count > 1:
            yield Problem(
                "duplicate-member", f"{name!r} is in it {count} times", f"readers disagree which counts; {_REMEDY}"
            )
    for info in infos:
        yield from _danger(info)
    whole = sum(info.file_size for info in infos)
    packed = sum(info.compress_size for info in infos)
    if packed > size:
        message = f"its members take {packed} bytes, but the file has {size}: they lie on top of each other"
        yield Problem("wheel-bomb", message, "do not unpack it")
    elif whole > LARGEST:
        yield Problem("wheel-bomb", f"it unpacks to {whole} bytes; {LARGEST} are allowed", "do not unpack it")


def _danger(info: zipfile.ZipInfo) -> Iterator[Problem]:
    name = info.filename
    if _leaves(name):
        yield Problem("unsafe-path", f"the path {name!r} leads out of the archive, or is no portable path", _REMEDY)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        what = "a symbolic link" if kind == stat.S_IFLNK else "neither a file nor a folder"
        yield Problem("unsafe-member", f"{name!r} is {what}", f"a wheel holds files only; {_REMEDY}")
    if info.flag_bits & 1:
        yield Problem("unsafe-member", f"{name!r} is encrypted", _REMEDY)
    elif info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
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


def _dist_info(path: Path, infos: list[zipfile.ZipInfo]) -> str:
    found = sorted({info.filename.partition("/")[0] for info in infos if ".dist-info/" in info.filename})
    found = [name for name in found if name.endswith(".dist-info")]
    if len(found) != 1:
        message = f"{path.name} has {len(found)} dist-info folders: {', '.join(found)}" if found else ""
        message = message or f"{path.name} has no dist-info folder, so it is a zip archive but no wheel"
        raise ContractError("no-dist-info", message, hint=_REMEDY, place=Place(str(path)))
    return found[0]


def _missing(name: str, dist_info: str) -> Problem:
    return Problem(f"no-{name.lower()}", f"there is no {dist_info}/{name} in it", _REMEDY)


def _rows(path: Path, data: bytes) -> tuple[Row, ...]:
    try:
        lines = list(csv.reader(io.StringIO(data.decode("utf-8"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _damaged(path, "broken-record", f"has a RECORD that cannot be read: {error}") from None
    rows = tuple(Row(*(*line, "", "", "")[:3]) for line in lines if line)
    if not rows:
        raise _damaged(path, "broken-record", "has an empty RECORD")
    return rows


def _member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, algorithm: str, wheel: Path
) -> tuple[Member, Inspection | CiError | None]:
    """Read one member to its end, hash it, and take it apart if it is a binary."""
    algorithm = algorithm if algorithm in HASHES else "sha256"
    hasher = hashlib.new(algorithm)
    with archive.open(info) as stream, views.Spool() as spool:
        block = stream.read(_BLOCK)
        binary = bool(inspect.recognise(block[:24])) or inspect.claims(info.filename)
        while block:
            hasher.update(block)
            if binary:
                spool.add(block)
            block = stream.read(_BLOCK)
        found = _inspected(spool, info.filename, wheel) if binary else None
    digest = f"{algorithm}={urlsafe_b64encode(hasher.digest()).decode().rstrip('=')}"
    return Member(info.filename, info.file_size, info.compress_size, digest), found


def _inspected(spool: views.Spool, name: str, wheel: Path) -> Inspection | CiError:
    try:
        return inspect.look(spool.view(), Path(PurePosixPath(name)), f"{wheel.name}:{name}")
    except ContractError as error:
        return error
