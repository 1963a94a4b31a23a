"""Offload bundles: the containers clang puts device code of several targets in.

Three layouts, all little-endian, as LLVM 21 writes and LLVM 23 reads them:

- ``__CLANG_OFFLOAD_BUNDLE__``: u64 count, then per entry u64 offset, u64 size, u64 length of the
  id, the id.  Offsets count from the magic.  A linked ``.hip_fatbin`` has one per source file,
  one after the other, with zeros between.
- ``CCOB``: u16 version, u16 method (0 zlib, 1 zstd), then the size of all of it (not in version 1,
  u32 in 2, u64 in 3), the size of what is inside (u32, u32, u64), and half of the MD5 of what is
  inside; then the compressed bundle.
- ``0x10FF10AD`` (the new offload driver): u32 version, u64 size, u64 offset of the entries, and the
  size of the one entry (version 1) or the number of entries (version 2).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import ContractError
from .fields import broken, name, numbers, piece

PLAIN = b"__CLANG_OFFLOAD_BUNDLE__"
COMPRESSED = b"CCOB"
PACKAGED = b"\x10\xff\x10\xad"
MAGICS = (PLAIN, COMPRESSED, PACKAGED)

LARGEST = 4 << 30
"""Bytes a compressed bundle may unpack to: the ROCm math libraries stay below one of these."""

_RATIO = 1000
"""What zstd reaches on three nearly equal code objects is below 100; a bomb is far above this."""
_SMALL = 16 << 20
_MOST_ENTRIES = 4096
_HEADERS = {1: "IQ", 2: "IIQ", 3: "QQQ"}


class Entry(NamedTuple):
    """One target's piece: ``target`` as written, features included (``gfx90a:xnack-``).

    ``bundle`` counts bundles from 0; offload binaries, which have one target each, do not count.
    """

    target: str
    data: memoryview
    compressed: bool = False
    bundle: int = 0


def entries(data: memoryview) -> Iterator[Entry]:
    """The device entries of all bundles in ``data``, one after the other; entries of the host are left out.

    Raises ``ContractError`` for anything that is cut off, damaged or between the bundles.
    """
    at, number = _skip_zeros(data, 0), 0
    while at < len(data):
        rest = data[at:]
        if rest[:24] == PLAIN:
            found, end = _plain(rest)
        elif rest[:4] == COMPRESSED:
            found, end = _compressed(rest)
        elif rest[:4] == PACKAGED:
            found, end = _packaged(rest)
        else:
            raise broken(f"there is no offload bundle at byte {at}, where one must begin")
        yield from (entry._replace(bundle=number) for entry in found)
        number += rest[:4] != PACKAGED
        at = _skip_zeros(data, at + end)


def target(identifier: str) -> str:
    """``hipv4-amdgcn-amd-amdhsa--gfx90a:xnack-`` → ``gfx90a:xnack-``; empty for the host's entry."""
    kind, *_triple, chosen = [*identifier.split("-", 5), "", "", "", "", ""][:6]
    if kind == "host":
        return ""
    if not chosen:
        raise broken(f"the offload entry {identifier!r} names no target")
    return chosen


def _skip_zeros(data: memoryview, at: int) -> int:
    while at < len(data):
        block = bytes(data[at : at + 65536])
        left = block.lstrip(b"\0")
        if left:
            return at + len(block) - len(left)
        at += len(block)
    return at


def _plain(data: memoryview) -> tuple[list[Entry], int]:
    (count,) = numbers("Q", data, 24, "an offload bundle")
    if count > _MOST_ENTRIES:
        raise broken(f"an offload bundle says it has {count} entries")
    at, found, seen = 32, [], set()
    end = at
    for _ in range(count):
        offset, size, length = numbers("QQQ", data, at, "an offload bundle")
        identifier = name(piece(data, at + 24, length, "the name of an offload entry"))
        at += 24 + length
        inside = piece(data, offset, size, f"offload entry {identifier}")
        end = max(end, at, offset + size)
        if identifier in seen:
            raise broken(f"an offload bundle has two entries {identifier}")
        seen.add(identifier)
        chosen = target(identifier)
        if chosen and size:  # an empty one is how the bundler says: not built for this target
            found.append(Entry(chosen, inside))
    return found, end


def _compressed(data: memoryview) -> tuple[list[Entry], int]:
    version, method = numbers("HH", data, 4, "a compressed offload bundle")
    if version not in _HEADERS:
        hint = "it was made by a newer compiler than this audit knows; versions 1 to 3 are known"
        raise ContractError("unknown-bundle", f"a compressed offload bundle of version {version}", hint=hint)
    fields = numbers(_HEADERS[version], data, 8, "a compressed offload bundle")
    inside, digest = fields[-2:]
    begin = 24 if version == 2 else 32 if version == 3 else 20
    end = fields[0] if version > 1 else _next_magic(data, begin)
    packed = piece(data, begin, end - begin, "a compressed offload bundle")
    if inside > LARGEST or (inside > _SMALL and inside > _RATIO * len(packed)):
        message = f"a compressed offload bundle of {len(packed)} bytes says it unpacks to {inside}"
        raise ContractError("bundle-bomb", message, hint="no compiler writes this; do not install the file")
    unpacked = _unpack(packed, method, inside)
    if int.from_bytes(hashlib.md5(unpacked, usedforsecurity=False).digest()[:8], "little") != digest:
        raise broken("a compressed offload bundle does not unpack to what was packed: its hash differs")
    view = memoryview(unpacked)
    if view[:24] != PLAIN:
        raise broken("a compressed offload bundle holds no offload bundle")
    found, _ = _plain(view)
    return [entry._replace(compressed=True) for entry in found], end


def _next_magic(data: memoryview, begin: int) -> int:
    """Where a version 1 bundle ends: it does not say, so LLVM looks for the next one as well."""
    found = bytes(data[begin:]).find(COMPRESSED)
    return len(data) if found < 0 else begin + found


def _unpack(packed: memoryview, method: int, size: int) -> bytes:
    """Exactly ``size`` bytes; one more is asked for, so that a lie about the size shows."""
    try:
        if method == 0:
            unpacked = zlib.decompressobj().decompress(packed, size + 1)
        elif method == 1:
            unpacked = _unpack_zstd(packed, size)
        else:
            hint = "it was made by a newer compiler than this audit knows; zlib and zstd are known"
            raise ContractError("unknown-bundle", f"an offload bundle compressed by method {method}", hint=hint)
    except (zlib.error, MemoryError, OverflowError) as error:
        raise broken(f"a compressed offload bundle cannot be unpacked: {error}") from None
    if len(unpacked) != size:
        raise broken(f"a compressed offload bundle says it unpacks to {size} bytes, and it does not")
    return unpacked


def _unpack_zstd(packed: memoryview, size: int) -> bytes:
    import zstandard

    pieces, left = [], size + 1
    unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    try:
        with unpacker.stream_reader(packed) as stream:
            while left and (block := stream.read(min(left, 1 << 20))):
                pieces.append(block)
                left -= len(block)
    except zstandard.ZstdError as error:
        raise broken(f"a compressed offload bundle cannot be unpacked: {error}") from None
    return b"".join(pieces)


def _packaged(data: memoryview) -> tuple[list[Entry], int]:
    version, whole, offset, more = numbers("IQQQ", data, 4, "an offload binary")
    if version not in {1, 2}:
        hint = "it was made by a newer compiler than this audit knows; versions 1 and 2 are known"
        raise ContractError("unknown-bundle", f"an offload binary of version {version}", hint=hint)
    binary = piece(data, 0, whole, "an offload binary")
    count = 1 if version == 1 else more
    if whole < 32 or count > _MOST_ENTRIES:
        raise broken(f"an offload binary of {whole} bytes says it has {count} entries")
    return [_packed_entry(binary, offset + 40 * index, version) for index in range(count)], whole


def _packed_entry(binary: memoryview, at: int, version: int) -> Entry:
    _kinds, _flags, strings, count, offset, size = numbers("IIQQQQ", binary, at, "an offload binary")
    if count > _MOST_ENTRIES:
        raise broken(f"an offload binary says it has {count} strings")
    known = {}
    for index in range(count):
        step = 16 if version == 1 else 24
        key, value = numbers("QQ", binary, strings + step * index, "an offload binary")
        known[_string(binary, key)] = _string(binary, value)
    arch = known.get("arch", "")
    if not arch:
        raise broken("an offload binary names no target")
    return Entry(arch, piece(binary, offset, size, f"the offload binary of {arch}"))


def _string(binary: memoryview, at: int) -> str:
    block = bytes(piece(binary, at, min(4096, len(binary) - at), "a string of an offload binary"))
    return block.partition(b"\0")[0].decode("ascii", "backslashreplace")
