"""apt-key.py FILE FINGERPRINT OUT: write the OpenPGP key of FILE to OUT if its fingerprint is the one that is pinned.

Done without gnupg, so that a stage needs one look at its apt sources and not two.  FILE may be armoured.  OUT is no
copy: it is written anew from the packets that were understood here, so that apt cannot find another key in it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

ARMOUR = [b"-----BEGIN PGP PUBLIC KEY BLOCK-----", b"-----END PGP PUBLIC KEY BLOCK-----"]

PUBLIC_KEY = 6
"""The packet type of a primary key (RFC 9580, 5.5.1.1)."""

KINDS = {2: "signature", PUBLIC_KEY: "public key", 13: "user ID", 14: "public subkey", 17: "user attribute"}
"""What a certificate is made of (RFC 9580, 10.1)."""

LONGEST = 0xFFFF
"""Bytes of a packet's body, as many as the old format counts in two; keys have far shorter ones."""


def refuse(why: str) -> NoReturn:
    """Exit with a message."""
    raise SystemExit(f"apt-key.py: {why}")


def binary(data: bytes) -> bytes:
    """The packets, without the armour; nothing but blank lines may follow it."""
    if data[:1] >= b"\x80":
        return data
    lines = [line.strip() for line in data.splitlines()]
    marks = [at for at, line in enumerate(lines) if line.startswith(b"-----")]
    if not marks:
        refuse("this is no OpenPGP key")
    if [lines[at] for at in marks] != ARMOUR or any(lines[marks[1] + 1 :]):
        refuse("this is not one armoured OpenPGP key and nothing after it")
    inside = lines[marks[0] + 1 : marks[1]]
    body = inside[inside.index(b"") + 1 :] if b"" in inside else []  # behind the blank line that ends the headers
    if body and body[-1].startswith(b"="):  # a checksum
        body.pop()
    try:
        return base64.b64decode(b"".join(body), validate=True)
    except binascii.Error:
        refuse("the armour of the key holds something else than base64")


def packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each packet; exits for one that keys do not have, or whose end is not said in front of it."""
    at = 0
    while at < len(data):
        kind, start, size = header(data, at)
        if kind not in KINDS:
            refuse(f"the key has a packet of type {kind} at byte {at}, which is no part of a key")
        if start + size > len(data):
            refuse(f"the {KINDS[kind]} at byte {at} is longer than the file")
        if size > LONGEST:
            refuse(f"the {KINDS[kind]} at byte {at} has {size} bytes, more than {LONGEST}")
        at = start + size
        yield kind, data[start:at]


def header(data: bytes, at: int) -> tuple[int, int, int]:
    """Type of the packet at ``at``, where its body begins, and its bytes (RFC 9580, 4.2)."""
    if not data[at] & 0x80:
        refuse(f"byte {at} begins no OpenPGP packet")
    if not data[at] & 0x40:  # the old format
        kind, width = (data[at] >> 2) & 0xF, 1 << (data[at] & 3)
        if width == 8:
            refuse(f"the packet at byte {at} has no length")
        return kind, at + 1 + width, number(data, at + 1, width)
    kind, first = data[at] & 0x3F, number(data, at + 1, 1)
    if first < 192:
        return kind, at + 2, first
    if first < 224:
        return kind, at + 3, ((first - 192) << 8) + number(data, at + 2, 1) + 192
    if first < 255:
        refuse(f"the packet at byte {at} comes in parts")
    return kind, at + 6, number(data, at + 2, 4)


def number(data: bytes, at: int, width: int) -> int:
    """The ``width`` bytes at ``at`` as a number; what is beyond the end counts as nothing."""
    return int.from_bytes(data[at : at + width], "big")


def packet(kind: int, body: bytes) -> bytes:
    """One packet: in the old format where that has the type, since every apt takes that for a key ring."""
    if kind < 16:
        return bytes([0x81 | kind << 2]) + len(body).to_bytes(2, "big") + body
    return bytes([0xC0 | kind, 0xFF]) + len(body).to_bytes(4, "big") + body


def fingerprint(body: bytes) -> str:
    """The version 4 fingerprint of a primary key."""
    if body[:1] != b"\x04":
        refuse(f"a key of version {body[0] if body else '?'}, only version 4 is known")
    framed = b"\x99" + len(body).to_bytes(2, "big") + body
    return hashlib.sha1(framed).hexdigest().upper()  # noqa: S324 - what the fingerprint is defined as


def main(arguments: list[str]) -> None:
    """Exit with a message unless FILE holds exactly the pinned key."""
    file, wanted, out = arguments
    parts = list(packets(binary(Path(file).read_bytes())))
    found = [fingerprint(body) for kind, body in parts if kind == PUBLIC_KEY]
    if found != [wanted.upper()]:
        refuse(f"the key is {', '.join(found) or 'none'}, pinned is {wanted}")
    if parts[0][0] != PUBLIC_KEY:
        refuse(f"the key begins with a {KINDS[parts[0][0]]}")
    Path(out).write_bytes(b"".join(packet(kind, body) for kind, body in parts))
    Path(out).chmod(0o644)


if __name__ == "__main__":
    main(sys.argv[1:])
