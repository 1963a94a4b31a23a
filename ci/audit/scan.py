"""What is kept of one file of an image while its bytes pass by: never the bytes of a large one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from ..errors import ContractError, Problem
from ..world import views
from . import elf, inspect, secrets
from .elf import HostElf
from .inspect import Inspection
from .libraries import matches

_LINKED = (b"\x02\x00", b"\x03\x00")
"""``e_type`` of a program and of a shared library; the dynamic linker never sees an object."""

_HEAD = 64
_BLOCK = 1 << 20
_IN_MEMORY = 64 << 20
_LONGEST_TEXT = 16 << 20
_TEXTS = re.compile(
    r"etc/ld\.so\.conf(\.d/[^/]+)?|etc/ld-musl-[^/]+\.path|(.*/)?(site|dist)-packages/[^/]+\.dist-info/(METADATA|RECORD)"
)
_COVERED = re.compile(r".*\.(py|h|hpp)|(.*/)?(site|dist)-packages/.*\.so(\.[^/]*)?")
_RECORD = ".dist-info/RECORD"


class Kept(NamedTuple):
    """What the rules need of a file: how it links, its device code, why it cannot be read, what secrets it holds.

    ``text`` is that of a file that tells where libraries or distributions are; ``digest`` the SHA-256 of one
    that a fingerprint may cover.
    """

    host: HostElf | None = None
    code: Inspection | None = None
    problems: tuple[Problem, ...] = ()
    secrets: tuple[str, ...] = ()
    text: bytes = b""
    digest: bytes = b""


_NOTHING = Kept()


@dataclass(frozen=True, slots=True)
class Scan:
    """Looks at files: ``native`` are shell patterns of those whose device code counts, ``texts`` further ones to keep.

    ``hashed`` is whether the fingerprint of a package will be compared.
    """

    native: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    hashed: bool = False

    def __call__(self, path: str, size: int, stream: IO[bytes]) -> Kept | None:
        """What is kept of a file; None where nothing is."""
        head = stream.read(_HEAD)
        kind = inspect.recognise(head)
        native = bool(self.native) and matches("/" + path, self.native) and bool(kind or inspect.claims(path))
        hashed = self.hashed and bool(_COVERED.fullmatch(path))
        if native or _is_linked(kind, head):
            with _whole(head, size, stream) as data:
                found = _binary(path, data, native=native)
                return found._replace(digest=hashlib.sha256(data).digest()) if hashed else found
        wanted = path in self.texts or (bool(_TEXTS.fullmatch(path)) and (self.hashed or not path.endswith(_RECORD)))
        if size <= secrets.LARGEST or (wanted and size <= _LONGEST_TEXT):
            found = _text(path, head + stream.read(), wanted=wanted, hashed=hashed)
        else:
            found = Kept(digest=_digest(head, stream)) if hashed else _NOTHING
        return None if found == _NOTHING else found


def _is_linked(kind: str, head: bytes) -> bool:
    return kind == "elf" and head[16:18] in _LINKED and int.from_bytes(head[18:20], "little") != elf.AMDGPU


@contextmanager
def _whole(head: bytes, size: int, stream: IO[bytes]) -> Iterator[memoryview]:
    if size <= _IN_MEMORY:
        yield memoryview(head + stream.read())
        return
    with views.Spool() as spool:
        spool.add(head)
        while block := stream.read(_BLOCK):
            spool.add(block)
        yield spool.view()


def _binary(path: str, data: memoryview, *, native: bool) -> Kept:
    try:
        if native:
            found = inspect.look(data, Path("/" + path), "/" + path)
            return Kept(found.host, found)
        return Kept(elf.linked(data))
    except ContractError as error:
        return Kept(problems=error.problems)


def _text(path: str, data: bytes, *, wanted: bool, hashed: bool) -> Kept:
    text = data if wanted else b""
    if path.endswith(".dist-info/METADATA"):
        text = data.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    held = () if b"\0" in data[:_HEAD] else secrets.in_file(path, data)
    return Kept(secrets=held, text=text, digest=hashlib.sha256(data).digest() if hashed else b"")


def _digest(head: bytes, stream: IO[bytes]) -> bytes:
    digest = hashlib.sha256(head)
    while block := stream.read(_BLOCK):
        digest.update(block)
    return digest.digest()
