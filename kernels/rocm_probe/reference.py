"""What every kernel has to compute, in NumPy.

Sums are taken in the kernels' own order.  Additions agree to the last bit; where a kernel fuses a
multiplication and an addition, it rounds once and NumPy may round twice, so ``TOLERANCE`` allows for that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

DROPPED = -1
"""The slot of a pair that goes nowhere: the router chose no expert, or the expert is full."""

TOLERANCE = 1e-6
"""Largest relative error of a fused multiplication and addition against two roundings."""


def vector_add(left: Floats, right: Floats) -> Floats:
    """``left + right``."""
    return left + right


def bandwidth_copy(source: Floats) -> Floats:
    """The same numbers."""
    return source.copy()


def bandwidth_triad(left: Floats, right: Floats, scale: float) -> Floats:
    """``left + scale * right``, rounded once: float64 holds the product of two float32 exactly."""
    exact = left.astype(np.float64) + np.float64(np.float32(scale)) * right.astype(np.float64)
    return exact.astype(np.float32)


def peer_copy(remote: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The same bits."""
    return remote.copy()


def expert_slots(experts: Ints, count: int, capacity: int) -> tuple[Ints, Ints]:
    """The slot of each (token, choice) pair, and how many pairs wanted each of ``count`` experts.

    Slots are given in order of the pairs.  ``experts`` is flat; what is not an expert's number goes nowhere.
    """
    slots = np.full(experts.shape, DROPPED, dtype=np.int32)
    used = np.zeros(count, dtype=np.int32)
    for expert in range(count):
        pairs = np.flatnonzero(experts == expert)
        used[expert] = len(pairs)
        slots[pairs[:capacity]] = np.arange(min(len(pairs), capacity), dtype=np.int32)
    return slots, used


def expert_dispatch(tokens: Floats, experts: Ints, slots: Ints, count: int, capacity: int) -> Floats:
    """The experts' buffers, [expert][capacity][width]; places nobody took are zero."""
    top_k = len(experts) // len(tokens)
    buffers = np.zeros((count, capacity, tokens.shape[1]), dtype=np.float32)
    kept = np.flatnonzero((experts >= 0) & (slots != DROPPED))
    buffers[experts[kept], slots[kept]] = tokens[kept // top_k]
    return buffers


def expert_combine(buffers: Floats, experts: Ints, slots: Ints, weights: Floats) -> Floats:
    """For each token the weighted sum of its experts' rows, in order of the choices; weights are [token][choice]."""
    tokens, top_k = weights.shape
    total = np.zeros((tokens, buffers.shape[2]), dtype=np.float32)
    for choice in range(top_k):
        expert, slot = experts[choice::top_k], slots[choice::top_k]
        kept = np.flatnonzero((expert >= 0) & (slot != DROPPED))
        rows = buffers[expert[kept], slot[kept]].astype(np.float64)
        exact = total[kept].astype(np.float64) + weights[kept, choice, None].astype(np.float64) * rows
        total[kept] = exact.astype(np.float32)
    return total
