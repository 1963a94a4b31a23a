"""Every pin of a stack with its age, and how it stands to its upstream where that was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..recipe.stack import Stack
from ..world.clock import Clock
from ..world.process import Run, run
from .ages import Age, ages
from .drift import Drift, drifts
from .kinds import Pin, pins_of
from .upstream import Upstream


@dataclass(frozen=True)
class Listing:
    """The pins of ``stack`` in the order of its lock; ``drift`` is empty where nobody was asked."""

    stack: Stack
    pins: tuple[Pin, ...]
    ages: Mapping[str, Age]
    drift: Mapping[str, Drift] = field(default_factory=dict)


def listing(stack: Stack, clock: Clock, upstream: Upstream | None = None, start: Run = run) -> Listing:
    """The pins; with ``upstream``, it is asked about all of them."""
    pins = pins_of(stack)
    return Listing(stack, pins, ages(stack, clock, start), drifts(pins, upstream) if upstream else {})
