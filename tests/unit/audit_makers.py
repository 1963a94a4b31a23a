"""Samples of a real compiler, and makers of every container they can be in."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

SAMPLES = Path(__file__).parent / "samples" / "audit"
NAMES = ("gfx942.hsaco", "zstd2.hipfb", "zstd3.hipfb", "two-sources.so", "one.o", "rdc.bc", "rdc.o", "new.o")
HOST = ("host-x86_64-unknown-linux-gnu-", b"")


@cache
def sample(name: str) -> bytes:
    """The bytes of a compiler's file."""
    path = SAMPLES / name
    return path.read_bytes() if path.exists() else gzip.decompress((SAMPLES / f"{name}.gz").read_bytes())


def bundle(entries: Iterable[tuple[str, bytes]]) -> bytes:
    """A plain offload bundle of (id or target, bytes)."""
    named = [(name if "-" in name else f"hipv4-amdgcn-amd-amdhsa--{name}", data) for name, data in entries]
    at = 32 + sum(24 + len(name) for name, _ in named)
    head, body = b"__CLANG_OFFLOAD_BUNDLE__" + struct.pack("<Q", len(named)), b""
    for name, data in named:
        head += struct.pack("<QQQ", at + len(body), len(data), len(name)) + name.encode()
        body += data
    return head + body


def compressed(plain: bytes, version: int = 2, *, size: int | None = None, digest: int | None = None) -> bytes:
    """The same, compressed with zlib."""
    packed = zlib.compress(plain)
    size = len(plain) if size is None else size
    digest = (
        int.from_bytes(hashlib.md5(plain, usedforsecurity=False).digest()[:8], "little") if digest is None else digest
    )
    layout, begin = {1: ("<IQ", 20), 2: ("<IIQ", 24), 3: ("<QQQ", 32)}[version]
    fields = (size, digest) if version == 1 else (begin + len(packed), size, digest)
    return b"CCOB" + struct.pack("<HH", version, 0) + struct.pack(layout, *fields) + packed


def packaged(targets: Sequence[tuple[str, bytes]], version: int = 2) -> bytes:
    """An offload binary of the new driver; version 1 takes one target."""
    entry, string = 40, 16 if version == 1 else 24
    strings = [("triple", "amdgcn-amd-amdhsa"), ("arch", "")]
    body = b""
    heads = b""
    base = 32 + len(targets) * (entry + len(strings) * string)
    tables = b""
    for index, (target, data) in enumerate(targets):
        at = 32 + len(targets) * entry + index * len(strings) * string
        for key, value in (("triple", "amdgcn-amd-amdhsa"), ("arch", target)):
            where = base + len(body)
            body += key.encode() + b"\0" + value.encode() + b"\0"
            tables += struct.pack("<QQ", where, where + len(key) + 1) + (
                b"" if version == 1 else struct.pack("<Q", len(value))
            )
        heads += struct.pack("<HHIQQQQ", 1, 3, 0, at, len(strings), base + len(body), len(data))
        body += data
    whole = base + len(body)
    more = entry if version == 1 else len(targets)
    return b"\x10\xff\x10\xad" + struct.pack("<IQQQ", version, whole, 32, more) + heads + tables + body


def archive(members: Mapping[str, bytes], *, bsd: bool = False) -> bytes:
    """A static library; names longer than 15 characters in the GNU way, or all of them in the BSD way."""
    table = b"".join(name.encode() + b"/\n" for name in members if len(name) > 15)
    made = b"!<arch>\n" + _member("/", b"\0\0\0\0")
    if table and not bsd:
        made += _member("//", table)
    for name, data in members.items():
        if bsd:
            made += _member(f"#1/{len(name)}", name.encode() + data)
        else:
            made += _member(f"/{table.index(name.encode())}" if len(name) > 15 else name + "/", data)
    return made


def _member(name: str, data: bytes) -> bytes:
    header = f"{name:16}{0:<12}{0:<6}{0:<6}{'644':8}{len(data):<10}`\n".encode()
    return header + data + b"\n" * (len(data) % 2)


METADATA = "Metadata-Version: 2.4\nName: probe\nVersion: 1.0+rocm.7.0\n"
WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-linux_x86_64\n"
FILE = "probe-1.0+rocm.7.0-py3-none-linux_x86_64.whl"
INFO = "probe-1.0+rocm.7.0.dist-info"


def digest(data: bytes) -> str:
    """A hash as RECORD has it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def contents(extra: Mapping[str, bytes] | None = None, metadata: str = METADATA, tags: str = WHEEL) -> dict[str, bytes]:
    """The files of a good wheel, RECORD last."""
    files = {"probe/__init__.py": b"", **(extra or {})}
    files |= {f"{INFO}/METADATA": metadata.encode(), f"{INFO}/WHEEL": tags.encode()}
    rows = [f"{name},{digest(data)},{len(data)}" for name, data in files.items()]
    files[f"{INFO}/RECORD"] = "\n".join([*rows, f"{INFO}/RECORD,,", ""]).encode()
    return files


def zipped(files: Iterable[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    """A zip archive of them, in this order."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files:
            made.writestr(name, data)
    return stream.getvalue()


def wheel(folder: Path, extra: Mapping[str, bytes] | None = None, *, name: str = FILE, **options: str) -> Path:
    """A good wheel with ``extra`` files in it."""
    path = folder / name
    path.write_bytes(zipped(contents(extra, **options).items()))
    return path
