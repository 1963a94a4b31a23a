"""Arguments lie where the kernels look for them."""

from __future__ import annotations

import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.probe import KERNELS, module

arguments = module("arguments")

BY_HAND = {
    "vector_add": "<QQQQ",
    "bandwidth_copy": "<QQQ",
    "bandwidth_triad": "<QQQf4xQ",
    "peer_copy": "<QQQ",
    "expert_slots": "<QQQII",
    "expert_dispatch": "<QQQQIII",
    "expert_combine": "<QQQQQIII",
}
"""The same layouts with their padding written out; the engine tests compare with the compiler's own."""

VALUES = {"P": 0x7F00_1234_5678_9AB0, "Q": 2**40 + 3, "I": 2**32 - 1, "i": -1, "f": 1.5}


@pytest.mark.parametrize("kernel", sorted(BY_HAND))
def test_a_block_is_what_is_written_by_hand(kernel: str) -> None:
    values = [VALUES[kind] for kind in arguments.SIGNATURES[kernel]]
    assert arguments.pack(kernel, values) == struct.pack(BY_HAND[kernel], *values)


def test_every_kernel_of_the_sources_has_a_signature() -> None:
    pattern = re.compile(r"^ROCM_PROBE_KERNEL void (\w+)\(([^)]*)\)", re.MULTILINE)
    found = {
        name: len(parameters.split(","))
        for path in sorted((KERNELS / "src").glob("*.hip"))
        for name, parameters in pattern.findall(path.read_text())
    }
    assert found == {name: len(kinds) for name, kinds in arguments.SIGNATURES.items()}


@given(st.lists(st.sampled_from("PQIif"), min_size=1, max_size=12))
def test_every_argument_is_aligned_and_none_overlaps(kinds: list[str]) -> None:
    places = arguments.layout(kinds)
    assert all(offset % size == 0 for offset, size in places)
    ends = [offset + size for offset, size in places]
    assert all(begin >= end and begin - end < 8 for (begin, _), end in zip(places[1:], ends[:-1], strict=True))


def test_mistakes_are_refused() -> None:
    with pytest.raises(ValueError, match="takes 4 arguments, not 1"):
        arguments.pack("vector_add", [1])
    with pytest.raises(struct.error):
        arguments.pack("expert_slots", [0, 0, 0, 2**32, 1])
    with pytest.raises(struct.error):
        arguments.pack("vector_add", [-1, 0, 0, 1])
