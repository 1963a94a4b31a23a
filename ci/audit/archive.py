"""Static libraries: the members of an ``ar`` archive, in the GNU and the BSD spelling of long names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..errors import ContractError
from .fields import broken, name, piece

MAGIC = b"!<arch>\n"
THIN = b"!<thin>\n"


class Member(NamedTuple):
    """A file in the archive."""

    name: str
    data: memoryview


def members(data: memoryview) -> Iterator[Member]:
    """Every member that is a file; symbol tables are left out. Raises ``ContractError`` when it is damaged."""
    if data[:8] == THIN:
        hint = "its members are files beside it: audit those, or make it without the T of ar"
        raise ContractError("thin-archive", "a thin archive holds names only", hint=hint)
    at, names = 8, memoryview(b"")
    while at < len(data):
        header = bytes(piece(data, at, 60, "the header of an archive member"))
        if header[58:] != b"`\n" or not header[48:58].strip().isdigit():
            raise broken(f"there is no archive member at byte {at}, where one must begin")
        body = piece(data, at + 60, int(header[48:58]), "an archive member")
        at += 60 + len(body) + len(body) % 2
        short = header[:16].rstrip().decode("ascii", "backslashreplace")
        if short == "//":
            names = body
        elif short not in {"/", "/SYM64/", "__.SYMDEF"}:
            yield _member(short, body, names)


def _member(short: str, body: memoryview, names: memoryview) -> Member:
    if short.startswith("#1/") and short[3:].isdigit():
        length = int(short[3:])
        return Member(name(piece(body, 0, length, "a member's name")).rstrip("\0"), body[length:])
    if short.startswith("/") and short[1:].isdigit():
        begin = int(short[1:])
        if begin >= len(names):
            raise broken("an archive member whose name is not in the archive's table of names")
        return Member(name(memoryview(bytes(names[begin : begin + 4096]).partition(b"/\n")[0])), body)
    return Member(short.removesuffix("/"), body)
