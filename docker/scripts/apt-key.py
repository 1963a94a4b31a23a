"""apt-key.py FILE FINGERPRINT OUT: write the OpenPGP key of FILE to OUT if its fingerprint is the one that is pinned.

Done without gnupg, so that a stage needs one look at its apt sources and not two.  FILE may be armoured.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_ARMOUR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:.+\r?\n)*?\r?\n(.+?)(?:\r?\n=\S{4})?\r?\n-----END", re.DOTALL
)

PUBLIC_KEY = 6
"""The packet type of a primary key (RFC 9580, 5.5.1.1)."""


def binary(data: bytes) -> bytes:
    """The packets, without the armour."""
    found = _ARMOUR.search(data)
    return base64.b64decode(found[1]) if found else data


def packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each packet, in the old and the new format; partial lengths do not occur in keys."""
    at = 0
    while at < len(data):
        head = data[at]
        if not head & 0x80:
            raise SystemExit("apt-key.py: this is no OpenPGP key")
        if head & 0x40:
            kind, first = head & 0x3F, data[at + 1]
            if first < 192:
                start, size = at + 2, first
            elif first < 224:
                start, size = at + 3, ((first - 192) << 8) + data[at + 2] + 192
            else:
                start, size = at + 6, int.from_bytes(data[at + 2 : at + 6], "big")
        else:
            kind, width = (head >> 2) & 0xF, 1 << (head & 3)
            start, size = at + 1 + width, int.from_bytes(data[at + 1 : at + 1 + width], "big")
        yield kind, data[start : start + size]
        at = start + size


def fingerprint(body: bytes) -> str:
    """The version 4 fingerprint of a primary key."""
    if not body or body[0] != 4:
        raise SystemExit(f"apt-key.py: a key of version {body[0] if body else '?'}, only version 4 is known")
    framed = b"\x99" + len(body).to_bytes(2, "big") + body
    return hashlib.sha1(framed, usedforsecurity=False).hexdigest().upper()


def main(arguments: list[str]) -> None:
    """Exit with a message unless FILE holds exactly the pinned key."""
    file, wanted, out = arguments
    data = binary(Path(file).read_bytes())
    found = [fingerprint(body) for kind, body in packets(data) if kind == PUBLIC_KEY]
    if found != [wanted.upper()]:
        raise SystemExit(f"apt-key.py: the key is {', '.join(found) or 'none'}, pinned is {wanted}")
    Path(out).write_bytes(data)
    Path(out).chmod(0o644)


if __name__ == "__main__":
    main(sys.argv[1:])
