"""Which tests run together: one plan from recorded durations, and the proof afterwards that it was carried out. Pure.

A file stays whole, because fixtures of module scope are dear, unless it alone takes longer than a
shard should.  Units are placed longest first, each into the first shard *of its own order* that
has room: that order is drawn from the unit's name, so that a test that became slower, or one that is
new, moves few others, where "into the emptiest shard" would deal all of them anew.

What holds for every input: the same tests and durations give the same plan, whatever order the files
come in; no shard is longer than twice max(longest test, total / count); none is empty unless there
are fewer tests than shards.  Where there are many files of many lengths none is longer than 1.01 times that
maximum; durations off by up to 5 % then move a twentieth of the work on average, one more test a hundredth.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from . import ids as names

_LEAST = 1000
"""Microseconds any test takes at least: where nothing takes any time, numbers are balanced."""

_PIECES = (1, 4, 16)
"""In how many pieces the share of one shard is cut where a file is longer than that, coarse first."""

_TIGHT = (101, 102)
_LOOSE = range(103, 201)
"""How full a shard may get, in percent; with 200 there is always room, because no unit is longer than 100."""


def plan(ids: Sequence[str], seconds: Mapping[str, float], count: int) -> tuple[tuple[str, ...], ...]:
    """``count`` shards of the tests ``ids``, each in the order of ``ids``.

    ``seconds`` are recorded durations; a test without one counts as the median of its file, else of all.
    """
    place = {test: number for number, test in enumerate(ids)}
    lengths = _lengths(place, seconds)
    shards = _placed(lengths, count) if lengths else [[] for _ in range(count)]
    _fill(shards, lengths)
    tests = ([test for unit in shard for test in unit.tests] for shard in shards)
    return tuple(tuple(sorted(each, key=place.__getitem__)) for each in tests)


def proof(planned: Sequence[Sequence[str]], collected: Sequence[str], ran: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """What keeps us from saying that all ``collected`` tests ran, each once, each in the shard it was given to.

    ``ran`` has what ended in each shard, in the order of ``planned``; no problem at all is the proof.
    """
    problems = [*_differences("the plan", (test for shard in planned for test in shard), collected)]
    if len(ran) != len(planned):
        problems.append(f"{len(planned)} shards were planned, {len(ran)} came back")
    for number, (wanted, ended) in enumerate(zip(planned, ran, strict=False), 1):
        problems += _differences(f"shard {number} of {len(planned)}", ended, wanted)
    return tuple(problems)


def _differences(who: str, has: Iterable[str], wanted: Sequence[str]) -> Iterator[str]:
    found, asked = Counter(has), Counter(wanted)
    for what, tests in (
        ("lacks", [test for test in asked if test not in found]),
        ("has what nobody asked for:", [test for test in found if test not in asked]),
        ("has more than once:", [test for test, times in found.items() if times > 1]),
    ):
        if tests:
            yield f"{who} {what} {names.several(tests)}"


# --- units ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Unit:
    """Tests that stay together; ``length`` in microseconds."""

    name: str
    tests: tuple[str, ...]
    length: int

    @property
    def rank(self) -> tuple[int, str]:
        """Longest first, by powers of two: a length that is a little off changes the order of few."""
        return -self.length.bit_length(), hashlib.sha256(self.name.encode()).hexdigest()

    def order(self, count: int) -> list[int]:
        """The shards in this unit's own order; one shard more leaves the order of the others as it was."""
        return sorted(range(count), key=lambda shard: hashlib.sha256(f"{shard} {self.name}".encode()).digest())


def _lengths(tests: Iterable[str], seconds: Mapping[str, float]) -> dict[str, int]:
    """Microseconds of each test."""
    known: dict[str, list[float]] = {}
    tests = list(tests)
    for test in tests:
        if test in seconds:
            known.setdefault(names.file(test), []).append(seconds[test])
    usual = {file: median(values) for file, values in known.items()}
    everywhere = median([value for values in known.values() for value in values]) if known else 1.0
    guessed = (seconds.get(test, usual.get(names.file(test), everywhere)) for test in tests)
    return {test: max(_LEAST, round(value * 1e6)) for test, value in zip(tests, guessed, strict=True)}


def _units(lengths: Mapping[str, int], share: int, pieces: int | None) -> list[_Unit]:
    """Files, and of those longer than ``share`` pieces of ``share / pieces``; None: their single tests."""
    together: dict[str, list[str]] = {}
    for test in lengths:
        together.setdefault(names.file(test), []).append(test)
    units = []
    for file, tests in together.items():
        length = sum(map(lengths.__getitem__, tests))
        if length <= share:
            units.append(_Unit(file, tuple(tests), length))
        elif pieces is None:
            units += [_Unit(test, (test,), lengths[test]) for test in tests]
        else:
            units += _cut(_Unit(file, tuple(tests), length), lengths, -(-length * pieces // share))
    return sorted(units, key=lambda unit: unit.rank)


def _cut(unit: _Unit, lengths: Mapping[str, int], count: int) -> list[_Unit]:
    """About ``count`` neighbourly pieces of equal length. Named by number: where a cut moves, its piece does not."""
    found: dict[int, list[str]] = {}
    before = 0
    for test in unit.tests:
        middle = 2 * before + lengths[test]
        found.setdefault(middle * count // (2 * unit.length), []).append(test)
        before += lengths[test]
    return [
        _Unit(f"{unit.name}#{number}", tuple(tests), sum(map(lengths.__getitem__, tests)))
        for number, tests in found.items()
    ]


# --- placing --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Shards:
    """Shards that are being filled, none above ``most``."""

    count: int
    most: int
    units: list[list[_Unit]] = field(init=False)
    lengths: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.units = [[] for _ in range(self.count)]
        self.lengths = [0] * self.count

    def take(self, unit: _Unit, order: Sequence[int]) -> bool:
        """Put the unit into the first shard that has room for it; False where none has."""
        for shard in order:
            if self.lengths[shard] + unit.length <= self.most:
                self.units[shard].append(unit)
                self.lengths[shard] += unit.length
                return True
        return False


def _placed(lengths: Mapping[str, int], count: int) -> list[list[_Unit]]:
    """The units of each shard: files as whole and shards as even as can be had."""
    share = max(*lengths.values(), -(-sum(lengths.values()) // count))
    for pieces in (*_PIECES, None):
        units = _units(lengths, share, pieces)
        orders = {unit.name: unit.order(count) for unit in units}
        for percent in (*_TIGHT, *_LOOSE) if pieces is None else _TIGHT:
            shards = _Shards(count, share * percent // 100)
            if all(shards.take(unit, orders[unit.name]) for unit in units):
                return shards.units
    raise AssertionError("a shard of twice the share has room for every unit")


def _fill(shards: list[list[_Unit]], lengths: Mapping[str, int]) -> None:
    """Let no shard stay empty while another has two tests: the longest of those gives away half."""
    for empty in (shard for shard in shards if not shard):
        givers = [shard for shard in shards if sum(len(unit.tests) for unit in shard) > 1]
        if not givers:
            return
        giver = max(givers, key=lambda shard: sum(unit.length for unit in shard))
        units = giver if len(giver) > 1 else _cut(giver[0], lengths, 2)
        units = sorted(units, key=lambda unit: unit.rank)
        giver[:], empty[:] = units[::2], units[1::2]
