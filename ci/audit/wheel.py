"""A wheel, opened as if its maker meant harm, and read once: every byte is hashed, binaries are taken apart.

What makes it unsafe to unpack (paths that leave it, links, bombs) is an error at once; what makes
it wrong (hashes, names, tags) are facts for the rules to judge.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..errors import CiError, ContractError, Problem
from ..world import views
from . import contents, inspect
from .contents import Opened, damaged
from .fields import stream
from .inspect import Inspection

HASHES = ("sha256", "sha384", "sha512")
"""What RECORD may hash with: the others are broken (PEP 376 as amended)."""

_BLOCK = 1 << 20


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
    with views.mapped(path) as data, contents.opened(str(path), stream(data), len(data)) as opened:
        return _read(path, opened, len(data))


def _read(path: Path, opened: Opened, size: int) -> Wheel:
    folder = opened.dist_info + "/"
    files = {
        info.filename.removeprefix(folder): opened.archive.read(info)
        for info in opened.infos
        if info.filename.startswith(folder) and info.file_size <= contents.TEXT
    }
    rows = _rows(path, files["RECORD"])
    wanted = {row.path: row.digest.partition("=")[0] for row in rows}
    read_all = [_member(opened.archive, info, wanted.get(info.filename, ""), path) for info in opened.infos]
    parser = BytesParser(policy=compat32)
    return Wheel(
        path,
        size,
        tuple(member for member, _ in read_all),
        rows,
        opened.dist_info,
        parser.parsebytes(files["METADATA"], headersonly=True),
        parser.parsebytes(files["WHEEL"], headersonly=True),
        files,
        tuple(found for _, found in read_all if isinstance(found, Inspection)),
        tuple(problem for _, found in read_all if isinstance(found, CiError) for problem in found.problems),
    )


def _rows(path: Path, data: bytes) -> tuple[Row, ...]:
    try:
        lines = list(csv.reader(io.StringIO(data.decode("utf-8"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise damaged(str(path), "broken-record", f"has a RECORD that cannot be read: {error}") from None
    rows = tuple(Row(*(*line, "", "", "")[:3]) for line in lines if line)
    if not rows:
        raise damaged(str(path), "broken-record", "has an empty RECORD")
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
