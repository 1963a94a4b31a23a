"""Shards: how much longer the longest one is than it has to be, ours beside pytest-split and beside index-modulo.

Nothing runs here and no clock is asked: all seconds are sums of the durations in ``shards.json``, which says
how it was made.  pytest-split is asked through its own ``least_duration``, the better of its two algorithms for
this; it deals single tests, so it comes closer to even than whole files can, and sets each module up in almost
every shard.  What that costs is the last row, where a module's set-up is paid in each shard that has a test of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci.suites.ids import file
from ci.suites.shard import plan

from .goals import Measured
from .measure import Series

if TYPE_CHECKING:
    from .scenes import Bench

COUNTS = range(2, 17)
DATA = Path(__file__).with_name("shards.json")
Shards = Sequence[Sequence[str]]


def recorded() -> dict[str, float]:
    """Seconds of each test of the recorded set, in the order of collection."""
    rows = json.loads(DATA.read_text())["seconds"]
    return {f"{name}::{test}": seconds for name, tests in rows.items() for test, seconds in tests.items()}


def set_up() -> dict[str, float]:
    """Seconds to set up each file's module, beside its tests."""
    found: dict[str, float] = json.loads(DATA.read_text())["set_up"]
    return found


def floor(seconds: Mapping[str, float], count: int) -> float:
    """What no plan can go below: the longest test, or an even share."""
    return max(*seconds.values(), sum(seconds.values()) / count)


def shards(_bench: Bench) -> dict[str, Measured]:
    """The worst of all counts against the floor; against the others, round by round of the counts."""
    seconds = recorded()
    plans = {name: [deal(seconds, count) for count in COUNTS] for name, deal in WAYS.items()}
    spans = {name: [max(lengths(each, seconds)) for each in made] for name, made in plans.items()}
    floors = [floor(seconds, count) for count in COUNTS]
    worst = max(range(len(COUNTS)), key=lambda number: spans["ours"][number] / floors[number])
    modules = set_up()
    paid = {name: [max(lengths(each, seconds, modules)) for each in made] for name, made in plans.items()}
    return {
        "shards-floor": Measured(series(spans["ours"][worst]), series(floors[worst])),
        "shards-split": Measured(series(*spans["ours"]), series(*spans["pytest-split"])),
        "shards-modulo": Measured(series(*spans["ours"]), series(*spans["modulo"])),
        "shards-set-up": Measured(series(*paid["ours"]), series(*paid["pytest-split"])),
    }


def lengths(made: Shards, seconds: Mapping[str, float], modules: Mapping[str, float] | None = None) -> list[float]:
    """How long each shard takes, with the set-up of its modules where that is given."""
    paid = [sum(modules[name] for name in {file(test) for test in shard}) if modules else 0.0 for shard in made]
    return [sum(seconds[test] for test in shard) + extra for shard, extra in zip(made, paid, strict=True)]


def series(*seconds: float) -> Series:
    return Series(seconds)


def ours(seconds: Mapping[str, float], count: int) -> Shards:
    return plan(tuple(seconds), seconds, count)


def modulo(seconds: Mapping[str, float], count: int) -> Shards:
    """Every ``count``-th test, as ``--shard-id`` options do."""
    return [list(seconds)[number::count] for number in range(count)]


@dataclass(frozen=True)
class Item:
    """All that pytest-split asks of a test."""

    nodeid: str


def split(seconds: Mapping[str, float], count: int) -> Shards:
    """The groups of pytest-split."""
    from pytest_split.algorithms import Algorithms

    items: list[Any] = [Item(test) for test in seconds]
    groups = Algorithms.least_duration.value(count, items, dict(seconds))
    return [[item.nodeid for item in group.selected] for group in groups]


WAYS: Mapping[str, Callable[[Mapping[str, float], int], Shards]] = {
    "ours": ours,
    "pytest-split": split,
    "modulo": modulo,
}
