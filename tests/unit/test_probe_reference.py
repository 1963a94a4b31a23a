"""The references against loops anybody can check by eye."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.probe import module

reference = module("reference")

SMALL = st.floats(-100, 100, width=32)


def rounded(exact: Fraction) -> np.float32:
    """The float32 next to an exact number."""
    return np.float32(float(exact))


@given(st.lists(st.tuples(SMALL, SMALL), min_size=1, max_size=20), SMALL)
def test_vectors(pairs: list[tuple[float, float]], scale: float) -> None:
    left, right = (np.array(column, dtype=np.float32) for column in zip(*pairs, strict=True))
    add = [rounded(Fraction(a) + Fraction(b)) for a, b in pairs]
    assert reference.vector_add(left, right).tolist() == [float(each) for each in add]
    triad = reference.bandwidth_triad(left, right, scale)
    exact = [rounded(Fraction(a) + Fraction(scale) * Fraction(b)) for a, b in pairs]
    for got, wanted in zip(triad.tolist(), exact, strict=True):
        assert math.isclose(got, float(wanted), rel_tol=reference.TOLERANCE, abs_tol=1e-37)


def test_copies_are_copies() -> None:
    bits = np.array([0, 1, 2**32 - 1], dtype=np.uint32)
    copied = reference.peer_copy(bits)
    bits[0] = 7
    assert copied.tolist() == [0, 1, 2**32 - 1]


@st.composite
def routings(draw: st.DrawFn) -> tuple[int, int, int, int, list[int]]:
    tokens, top_k, count, capacity = (draw(st.integers(1, limit)) for limit in (9, 4, 5, 6))
    experts = draw(st.lists(st.integers(-1, count - 1), min_size=tokens * top_k, max_size=tokens * top_k))
    return tokens, top_k, count, capacity, experts


@given(routings())
def test_routing(routing: tuple[int, int, int, int, list[int]]) -> None:
    tokens, top_k, count, capacity, experts = routing
    width = 3
    values = np.arange(tokens * width, dtype=np.float32).reshape(tokens, width) + 1
    weights = (np.arange(tokens * top_k, dtype=np.float32).reshape(tokens, top_k) + 1) / 8
    flat = np.array(experts, dtype=np.int32)
    slots, used = reference.expert_slots(flat, count, capacity)
    buffers = reference.expert_dispatch(values, flat, slots, count, capacity)
    got = reference.expert_combine(buffers, flat, slots, weights)

    taken = [0] * count
    expected = [[0.0] * width for _ in range(tokens)]
    for pair, expert in enumerate(experts):
        if expert < 0:
            assert slots[pair] == reference.DROPPED
            continue
        slot, taken[expert] = taken[expert], taken[expert] + 1
        if slot >= capacity:
            assert slots[pair] == reference.DROPPED
            continue
        assert slots[pair] == slot
        token, choice = divmod(pair, top_k)
        assert buffers[expert, slot].tolist() == values[token].tolist()
        for column in range(width):  # eighths times small whole numbers: float32 holds every sum exactly
            expected[token][column] += float(weights[token, choice]) * float(values[token, column])
    assert used.tolist() == taken
    assert got.tolist() == expected
    assert np.count_nonzero(buffers) == width * sum(min(number, capacity) for number in taken)
