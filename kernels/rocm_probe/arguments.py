"""How a kernel's arguments lie in memory: as the code object's metadata says, each at its natural alignment.

A kernel gets one block of bytes.  An argument packed four bytes off is not an error to the
runtime, it is a wild pointer on the GPU, so the layout is spelled out here and compared with
the metadata of real code objects in the tests.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

POINTER, U64, U32, I32, F32 = "P", "Q", "I", "i", "f"
"""Kinds of argument, as ``struct`` spells them."""

SIGNATURES: dict[str, tuple[str, ...]] = {
    "vector_add": (POINTER, POINTER, POINTER, U64),
    "bandwidth_copy": (POINTER, POINTER, U64),
    "bandwidth_triad": (POINTER, POINTER, POINTER, F32, U64),
    "peer_copy": (POINTER, POINTER, U64),
    "expert_slots": (POINTER, POINTER, POINTER, U32, U32),
    "expert_dispatch": (POINTER, POINTER, POINTER, POINTER, U32, U32, U32),
    "expert_combine": (POINTER, POINTER, POINTER, POINTER, POINTER, U32, U32, U32),
}
"""The explicit arguments of every kernel, in order; the runtime adds the hidden ones itself."""

_SIZES = {POINTER: 8, U64: 8, U32: 4, I32: 4, F32: 4}
_SPELLED = {POINTER: "<Q", U64: "<Q", U32: "<I", I32: "<i", F32: "<f"}


def layout(kinds: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """(offset, size) of each argument; every kind is aligned to its own size."""
    rows = []
    end = 0
    for kind in kinds:
        size = _SIZES[kind]
        begin = -(-end // size) * size
        rows.append((begin, size))
        end = begin + size
    return tuple(rows)


def pack(kernel: str, values: Sequence[int | float]) -> bytes:
    """The argument block of ``kernel``; ``ValueError`` for a wrong count, ``struct.error`` for a value out of range."""
    kinds = SIGNATURES[kernel]
    if len(values) != len(kinds):
        raise ValueError(f"{kernel} takes {len(kinds)} arguments, not {len(values)}")
    places = layout(kinds)
    block = bytearray(places[-1][0] + places[-1][1])
    for kind, (offset, _), value in zip(kinds, places, values, strict=True):
        struct.pack_into(_SPELLED[kind], block, offset, value)
    return bytes(block)
