"""Images for audits: ELF files that link to what a test says, layers, and archives as ``docker save`` writes them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import zstandard

LINKER = "/lib64/ld-linux-x86-64.so.2"
_BASE = 0x400000
_NEEDED, _SONAME, _RPATH, _RUNPATH, _STRTAB, _STRSZ = 1, 14, 15, 29, 5, 10


def elf(
    *needed: str, soname: str = "", runpath: str = "", rpath: str = "", interpreter: str = "", machine: int = 62
) -> bytes:
    """A shared library or program that links to ``needed``; nothing of it can run."""
    texts = [(_NEEDED, name) for name in needed]
    texts += [(tag, text) for tag, text in ((_SONAME, soname), (_RPATH, rpath), (_RUNPATH, runpath)) if text]
    strings, rows = b"\0", []
    for tag, text in texts:
        rows.append((tag, len(strings)))
        strings += text.encode() + b"\0"
    interp = interpreter.encode() + b"\0" if interpreter else b""
    count = 3 if interp else 2
    at = 64 + 56 * count
    place = {"interp": at, "strings": at + len(interp)}
    table = place["strings"] + len(strings)
    rows += [(_STRTAB, _BASE + place["strings"]), (_STRSZ, len(strings)), (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *row) for row in rows)
    size = table + len(dynamic)
    segments = [(1, 0, size), (2, table, len(dynamic))]
    segments += [(3, place["interp"], len(interp))] if interp else []
    heads = b"".join(
        struct.pack("<IIQQQQQQ", kind, 4, at, _BASE + at, _BASE + at, long, long, 8) for kind, at, long in segments
    )
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, count, 64, 0, 0)
    return header + heads + interp + strings + dynamic


class Link(NamedTuple):
    """A symbolic link, or with ``hard`` another name of a file of the same layer."""

    target: str
    hard: bool = False


Files = Mapping[str, bytes | Link | None]
"""Path to bytes, link or (None) folder; ``.wh.`` names delete."""


def layer(files: Files) -> bytes:
    """A layer as a plain tar archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            if content is None:
                member.type = tarfile.DIRTYPE
            elif isinstance(content, Link):
                member.type = tarfile.LNKTYPE if content.hard else tarfile.SYMTYPE
                member.linkname = content.target
            else:
                member.size = len(content)
            made.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return stream.getvalue()


PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": lambda data: gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]),
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


def saved(layers: Sequence[Files | bytes], *, commands: Iterable[str] = (), packer: str = "plain", **run: Any) -> bytes:
    """An archive of an image; ``run`` are keys of its config (``Env``, ``Labels``, ``Cmd``)."""
    blobs = [PACKERS[packer](made if isinstance(made, bytes) else layer(made)) for made in layers]
    history = [{"created_by": command} for command in commands]
    config = json.dumps({"architecture": "amd64", "config": run, "history": history}).encode()
    names = [f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}" for blob in [*blobs, config]]
    manifest = json.dumps([{"Config": names[-1], "RepoTags": None, "Layers": names[:-1]}]).encode()
    files = dict(zip(names, [*blobs, config], strict=True)) | {"manifest.json": manifest}
    return layer(files)


def pieces(data: bytes, size: int = 10_000) -> Iterable[bytes]:
    """As they come over a connection."""
    return (data[at : at + size] for at in range(0, len(data), size))


def distribution(
    name: str, version: str, files: Mapping[str, bytes], site: str = "opt/venv/site-packages"
) -> dict[str, bytes]:
    """The files of an installed distribution, its RECORD telling their hashes."""
    from tests.unit.audit_makers import digest

    info = f"{name}-{version}.dist-info"
    found = {f"{site}/{path}": data for path, data in files.items()}
    found[f"{site}/{info}/METADATA"] = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n\nName: no\n".encode()
    rows = [f"{path},{digest(data)},{len(data)}" for path, data in files.items()]
    found[f"{site}/{info}/RECORD"] = "\n".join([*rows, f"{info}/METADATA,,", f"{info}/RECORD,,", ""]).encode()
    return found
