"""A mixture-of-experts exchange in NumPy: where every token goes, and what comes back.

Tokens of all ranks are drawn from a seed, so each rank can compute the right answer by itself.  Expert
``e`` lives on rank ``e // EXPERTS`` and multiplies a token by ``e + 1``; the results of a token's two
experts are added, each with its weight.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

EXPERTS = 4
"""On each rank."""
CHOICES = 2
"""Experts that a token goes to."""
HIDDEN = 64

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


class Share(NamedTuple):
    """What one rank begins with: tokens (n, HIDDEN), their experts (n, CHOICES) and weights (n, CHOICES)."""

    tokens: Floats
    experts: Integers
    weights: Floats


class Dispatch(NamedTuple):
    """Rows to send, by destination: which token each is, which expert it goes to, and how many to each rank."""

    rows: Integers
    experts: Integers
    choice: Integers
    counts: Integers


def loads(case: str, ranks: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """(tokens each rank begins with, how likely each rank's experts are) of a named case.

    ``even``; ``uneven``; ``starved``: nothing goes to the last rank, and rank 0 begins with nothing;
    ``crowded``: everything goes to the last rank.
    """
    last = ranks - 1
    if case == "even":
        return (256,) * ranks, (1.0,) * ranks
    if case == "uneven":
        return tuple(17 + 101 * rank for rank in range(ranks)), tuple(1.0 + 3.0 * rank for rank in range(ranks))
    if case == "starved":
        return (0, *(128,) * last), (*(1.0,) * last, 0.0)
    if case == "crowded":
        return (64,) * ranks, (*(0.0,) * last, 1.0)
    raise ValueError(f"no case {case!r}")


CASES = ("even", "uneven", "starved", "crowded")


def draw(case: str, ranks: int, seed: int) -> list[Share]:
    """What each rank begins with; the same on every rank."""
    source = np.random.default_rng(seed)
    sizes, likely = loads(case, ranks)
    # Gumbel noise on logarithms: the largest are a draw without replacement, and what has no chance is never drawn.
    with np.errstate(divide="ignore"):
        chance = np.log(np.repeat(np.asarray(likely), EXPERTS))
    shares = []
    for size in sizes:
        tokens = source.standard_normal((size, HIDDEN), dtype=np.float32)
        drawn = chance + source.gumbel(size=(size, chance.size))
        experts = np.argsort(-drawn, axis=1)[:, :CHOICES].astype(np.int64)
        weights = source.random((size, CHOICES), dtype=np.float32)
        shares.append(Share(tokens, experts, weights))
    return shares


def dispatch(share: Share, ranks: int) -> Dispatch:
    """Which rows a rank sends where, in order of destination."""
    size = len(share.tokens)
    tokens = np.repeat(np.arange(size), CHOICES)
    choice = np.tile(np.arange(CHOICES), size)
    experts = share.experts.reshape(-1)
    order = np.argsort(experts // EXPERTS, kind="stable")
    counts = np.bincount(experts // EXPERTS, minlength=ranks)
    return Dispatch(tokens[order], experts[order], choice[order], counts.astype(np.int64))


def results(share: Share, plan: Dispatch) -> Floats:
    """What the experts must make of the rows of ``plan``, without any exchange: (rows, HIDDEN)."""
    product: Floats = share.tokens[plan.rows] * (plan.experts + 1).astype(np.float32)[:, None]
    return product


def combine(share: Share, plan: Dispatch, rows: Floats) -> Floats:
    """The tokens again, each the weighted sum of its rows: (n, HIDDEN)."""
    combined = np.zeros_like(share.tokens)
    np.add.at(combined, plan.rows, rows * share.weights[plan.rows, plan.choice][:, None])
    return combined


def answer(share: Share) -> Floats:
    """What a rank must have in the end, by another way than ``combine``: (n, HIDDEN)."""
    factor = (share.weights * (share.experts + 1)).sum(axis=1, keepdims=True)
    product: Floats = (share.tokens * factor).astype(np.float32)
    return product


def worst(found: Floats, expected: Floats) -> float:
    """The largest difference, relative to the largest right number; infinite where a number is none."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    if not found.size:
        return 0.0
    return float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))


def makers_of_wrong_rows(found: Floats, expected: Floats, plan: Dispatch, tolerance: float) -> tuple[int, ...]:
    """The ranks whose experts gave back rows that are off."""
    makers = plan.experts // EXPERTS
    return tuple(
        int(rank) for rank in np.unique(makers) if worst(found[makers == rank], expected[makers == rank]) > tolerance
    )
