"""The script that pins the key of an apt source: what it writes are the packets it understood, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import runpy
from pathlib import Path

import pytest

from ci.recipe.stack import HOME

MAIN = runpy.run_path(str(HOME / "scripts/apt-key.py"))["main"]
GOOD, EVIL = (b"\x04" + name * 300 for name in (b"g", b"e"))
FINGERPRINT = hashlib.sha1(b"\x99" + len(GOOD).to_bytes(2, "big") + GOOD).hexdigest().upper()  # noqa: S324
BEGIN, END = (b"-----%b PGP PUBLIC KEY BLOCK-----\n" % word for word in (b"BEGIN", b"END"))


def old(kind: int, body: bytes) -> bytes:
    """A packet in the old format with two bytes of length, as the script writes it."""
    return bytes([0x81 | kind << 2]) + len(body).to_bytes(2, "big") + body


def new(kind: int, body: bytes, size: bytes = b"") -> bytes:
    """A packet in the new format, with five bytes of length if no other ``size`` is given."""
    return bytes([0xC0 | kind]) + (size or b"\xff" + len(body).to_bytes(4, "big")) + body


KEY = old(6, GOOD) + old(13, b"Good <g@example.invalid>") + old(2, b"s" * 200) + old(14, b"sub") + old(2, b"t" * 200)
PHOTO = new(17, b"p" * 900)


def armoured(data: bytes) -> bytes:
    return BEGIN + b"Comment: c\n\n" + base64.encodebytes(data) + b"=abcd\n" + END


def written(folder: Path, data: bytes, wanted: str = FINGERPRINT) -> bytes:
    """What the script makes of a file."""
    (folder / "key").write_bytes(data)
    MAIN([str(folder / "key"), wanted, str(folder / "out")])
    return (folder / "out").read_bytes()


def refused(folder: Path, data: bytes, wanted: str = FINGERPRINT) -> str:
    """Why the script refuses a file; it writes nothing."""
    with pytest.raises(SystemExit) as caught:
        written(folder, data, wanted)
    assert not (folder / "out").exists()
    message = str(caught.value)
    assert message.startswith("apt-key.py: ")
    return message.removeprefix("apt-key.py: ")


@pytest.mark.parametrize(
    "data",
    [
        KEY + PHOTO,
        armoured(KEY + PHOTO),
        armoured(KEY + PHOTO).replace(b"\n", b"\r\n"),
        armoured(KEY + PHOTO).replace(b"=abcd\n", b"") + b"\n \n",
        b"A listing of the key\n\n" + armoured(KEY + PHOTO),
    ],
)
def test_a_key_comes_out_packet_by_packet(tmp_path: Path, data: bytes) -> None:
    assert written(tmp_path, data, FINGERPRINT.lower()) == KEY + PHOTO
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o644


def test_every_length_that_is_said_in_front_is_read_and_written_as_one(tmp_path: Path) -> None:
    two = (len(GOOD) - 192).to_bytes(2, "big")
    data = new(6, GOOD, bytes([two[0] + 192, two[1]])) + new(13, b"u", b"\x01") + new(2, b"s" * 200)
    data += b"\xb8\x01k" + bytes([0x80 | 2 << 2 | 2]) + (3).to_bytes(4, "big") + b"sig" + new(17, b"p" * 900)
    assert written(tmp_path, data) == (
        old(6, GOOD) + old(13, b"u") + old(2, b"s" * 200) + old(14, b"k") + old(2, b"sig") + PHOTO
    )


HIDDEN = b"\x7f\x7f\x7f\x7f" + b"\0" * 508 + b"\0" + old(6, EVIL)
"""Read as five bytes of length, the first four say more than the file has; gpg reads parts, and then a key."""


@pytest.mark.parametrize(
    ("tail", "said"),
    [
        (b"\xcb\xe9" + HIDDEN, "comes in parts"),
        (b"\xcd\xe9" + HIDDEN, "comes in parts"),
        (b"\xcd\xfe" + HIDDEN, "comes in parts"),
        (b"\xb7" + old(6, EVIL), "has no length"),
        (b"\xcd\xff" + HIDDEN, f"the user ID at byte {len(KEY)} is longer than the file"),
        (b"\xb4\x05abcd", "longer than the file"),
        (b"\xcd\x05abcd", "longer than the file"),
        (b"\xcd\xc0", "longer than the file"),
        (b"\xcd\xff\x00\x00", "longer than the file"),
        (b"\xcd", "longer than the file"),
        (b"\xb5", "longer than the file"),
        (new(13, b"u" * 0x10000), "has 65536 bytes, more than 65535"),
        (old(11, b"literal"), f"a packet of type 11 at byte {len(KEY)}, which is no part of a key"),
        (old(12, b"trust"), "a packet of type 12"),
        (new(20, b"other"), "a packet of type 20"),
        (b"\xc0\x00", "a packet of type 0"),
        (b"\n", f"byte {len(KEY)} begins no OpenPGP packet"),
        (armoured(old(6, EVIL)), f"byte {len(KEY)} begins no OpenPGP packet"),
        (old(6, EVIL), f"the key is {FINGERPRINT}, "),
        (KEY, f"the key is {FINGERPRINT}, {FINGERPRINT}, pinned is {FINGERPRINT}"),
    ],
)
def test_what_no_key_has_is_refused_armoured_or_not(tmp_path: Path, tail: bytes, said: str) -> None:
    assert said in refused(tmp_path, KEY + tail)
    assert said in refused(tmp_path, armoured(KEY + tail))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (armoured(KEY) + old(6, EVIL), "not one armoured OpenPGP key and nothing after it"),
        (armoured(KEY) + b"more\n", "not one armoured"),
        (armoured(KEY) + armoured(old(6, EVIL)), "not one armoured"),
        (armoured(KEY).replace(END, b""), "not one armoured"),
        (armoured(KEY).replace(b"PUBLIC KEY BLOCK", b"MESSAGE"), "not one armoured"),
        (armoured(KEY).replace(b"=abcd", b"?abcd"), "something else than base64"),
        (armoured(KEY).replace(b"Comment: c\n\n", b""), "the key is none"),
        (b"<!doctype html>\n", "this is no OpenPGP key"),
        (b"", "this is no OpenPGP key"),
        (KEY.replace(GOOD, EVIL), f"pinned is {FINGERPRINT}"),
        (old(6, b"\x03" + GOOD[1:]), "a key of version 3, only version 4 is known"),
        (old(6, b""), "a key of version ?"),
        (old(13, b"u") + KEY, "the key begins with a user ID"),
    ],
)
def test_what_is_not_the_pinned_key_alone_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    assert said in refused(tmp_path, data)
