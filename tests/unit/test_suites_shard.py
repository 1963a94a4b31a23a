"""Shards: even, stable, whole files together, and nothing lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.suites.ids import file
from ci.suites.shard import plan, proof
from tests.bench.shards import floor, recorded

RECORDED = recorded()
IDS = tuple(RECORDED)
WORK = sum(RECORDED.values())


def dice(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - it has to be repeatable, not secret


def longest(shards: Sequence[Sequence[str]], seconds: Mapping[str, float]) -> float:
    return max(sum(seconds[test] for test in shard) for shard in shards)


def home(shards: Sequence[Sequence[str]]) -> dict[str, int]:
    return {test: number for number, shard in enumerate(shards) for test in shard}


def moved(before: Sequence[Sequence[str]], after: Sequence[Sequence[str]]) -> float:
    """The part of the recorded work that changed its shard."""
    old, new = home(before), home(after)
    return sum(RECORDED[test] for test in old if new[test] != old[test]) / WORK


@pytest.mark.parametrize("count", range(2, 17))
def test_the_recorded_set_is_even_within_2_percent(count: int) -> None:
    shards = plan(IDS, RECORDED, count)
    assert proof(shards, IDS, shards) == ()
    assert longest(shards, RECORDED) <= 1.02 * floor(RECORDED, count)


@pytest.mark.parametrize("count", [2, 5, 8, 16])
def test_files_stay_together_unless_they_are_longer_than_their_share(count: int) -> None:
    sizes: dict[str, float] = {}
    for test, seconds in RECORDED.items():
        sizes[file(test)] = sizes.get(file(test), 0) + seconds
    where: dict[str, set[int]] = {}
    for test, shard in home(plan(IDS, RECORDED, count)).items():
        where.setdefault(file(test), set()).add(shard)
    divided = {name for name, shards in where.items() if len(shards) > 1}
    assert divided == {name for name in sizes if sizes[name] > floor(RECORDED, count)}


def test_a_little_noise_moves_little() -> None:
    """The promise of the module's first lines; into the emptiest shard, a third of the work would move."""
    noise, one_more = [], []
    for count in range(2, 17):
        before = plan(IDS, RECORDED, count)
        throw = dice(count)
        noise.append(moved(before, plan(IDS, {t: s * throw.uniform(0.95, 1.05) for t, s in RECORDED.items()}, count)))
        new = f"{file(throw.choice(IDS))}::test_new"
        one_more.append(moved(before, plan((*IDS, new), RECORDED, count)))
    assert sum(noise) / len(noise) <= 0.035
    assert sum(one_more) / len(one_more) <= 0.01
    assert max(noise + one_more) <= 0.1


def test_tests_keep_the_order_they_were_collected_in() -> None:
    mixed = list(IDS)
    dice(1).shuffle(mixed)
    for shard in plan(mixed, RECORDED, 4):
        assert list(shard) == sorted(shard, key=mixed.index)


def test_the_order_of_files_does_not_matter() -> None:
    files = list(dict.fromkeys(map(file, IDS)))
    dice(1).shuffle(files)
    other = [test for name in files for test in IDS if file(test) == name]
    assert home(plan(other, RECORDED, 6)) == home(plan(IDS, RECORDED, 6))


def test_one_long_file_is_cut_into_neighbours() -> None:
    ids = [f"a.py::t[{n}]" for n in range(400)]
    shards = plan(ids, dict.fromkeys(ids, 0.5), 4)
    assert [len(shard) for shard in shards] == [100] * 4
    assert all(list(shard) == ids[ids.index(shard[0]) :][:100] for shard in shards)


def test_pieces_fill_what_whole_files_leave() -> None:
    long = {f"long.py::t[{n}]": 1.0 for n in range(230)}
    seconds = {**long, "other.py::t": 70.0}
    shards = plan(list(seconds), seconds, 3)
    assert longest(shards, seconds) <= 102


def test_a_test_longer_than_everything_else_is_alone() -> None:
    seconds = {"a.py::long": 100.0, **{f"b.py::t[{n}]": 1.0 for n in range(20)}}
    shards = plan(list(seconds), seconds, 3)
    assert ("a.py::long",) in shards
    assert all(shards)


def test_an_unknown_test_counts_as_the_median_of_its_file() -> None:
    known = {**{f"a.py::t[{n}]": 1.0 for n in range(3)}, **{f"b{n}.py::t": 50.0 for n in range(10)}}
    new = [f"a.py::new[{n}]" for n in range(97)]
    shards = plan((*known, *new), known, 4)
    assert len({home(shards)[test] for test in new}) == 1  # 100 seconds, no 5,000: the file stays whole
    assert longest(shards, {**known, **dict.fromkeys(new, 1.0)}) == 150


def test_a_test_of_an_unknown_file_counts_as_the_median_of_all() -> None:
    known = {"a.py::t1": 10.0, "a.py::t2": 90.0, "b.py::t": 30.0}
    ids = [*known, "c.py::t1", "c.py::t2"]
    assert plan(ids, known, 2) == plan(ids, {**known, "c.py::t1": 30.0, "c.py::t2": 30.0}, 2)
    assert plan(ids, known, 2) != plan(ids, {**known, "c.py::t1": 900.0, "c.py::t2": 900.0}, 2)


def test_without_any_history_numbers_are_balanced() -> None:
    ids = [f"a{n}.py::t[{k}]" for n in range(40) for k in range(5)]
    for seconds in ({}, dict.fromkeys(ids, 0.0)):
        assert max(map(len, plan(ids, seconds, 4))) <= 55


def test_fewer_tests_than_shards() -> None:
    assert sorted(map(len, plan(["a.py::t1", "a.py::t2"], {}, 4))) == [0, 0, 1, 1]
    assert plan([], {}, 2) == ((), ())


SECONDS = st.floats(0, 1e5) | st.just(1.0)
TESTS = st.dictionaries(
    st.builds("{}.py::{}".format, st.sampled_from("abcdefgh"), st.integers(0, 30)), SECONDS | st.none(), max_size=60
)


@settings(deadline=None)
@given(TESTS, st.integers(1, 20))
def test_any_plan(tests: dict[str, float | None], count: int) -> None:
    seconds = {test: value for test, value in tests.items() if value is not None}
    ids = list(tests)
    shards = plan(ids, seconds, count)
    assert len(shards) == count
    assert proof(shards, ids, shards) == ()
    assert sum(not shard for shard in shards) == max(0, count - len(ids))
    assert shards == plan(ids, seconds, count)
    if ids and len(seconds) == len(ids):
        at_least = {test: max(0.001, value) for test, value in seconds.items()}
        assert longest(shards, at_least) <= 2 * floor(at_least, count) * 1.001


@settings(deadline=None)
@given(st.lists(st.floats(0.5, 20), min_size=200, max_size=300), st.integers(2, 8))
def test_many_files_of_many_lengths_are_even(lengths: list[float], count: int) -> None:
    seconds = {f"f{n}.py::t": value for n, value in enumerate(lengths)}
    assert longest(plan(list(seconds), seconds, count), seconds) <= 1.02 * floor(seconds, count)


# --- proof ----------------------------------------------------------------------------------

PLANNED = (("a", "b"), ("c",))
COLLECTED = ("a", "b", "c")


@pytest.mark.parametrize(
    ("planned", "collected", "ran", "problems"),
    [
        (PLANNED, COLLECTED, (("b", "a"), ("c",)), ()),
        ((), (), (), ()),
        (PLANNED, (*COLLECTED, "d"), PLANNED, ("the plan lacks d",)),
        ((("a", "b"), ("c", "x")), COLLECTED, (("a", "b"), ("c", "x")), ("the plan has what nobody asked for: x",)),
        ((("a", "b"), ("c", "a")), COLLECTED, (("a", "b"), ("c", "a")), ("the plan has more than once: a",)),
        (PLANNED, COLLECTED, (("a",), ("c",)), ("shard 1 of 2 lacks b",)),
        (PLANNED, COLLECTED, (("a", "b"), ("c", "c")), ("shard 2 of 2 has more than once: c",)),
        (PLANNED, COLLECTED, (("a", "b"), ()), ("shard 2 of 2 lacks c",)),
        (PLANNED, COLLECTED, (("a", "b"),), ("2 shards were planned, 1 came back",)),
        # all of them ran the first shard
        (PLANNED, COLLECTED, (("a", "b"), ("a", "b")),
         ("shard 2 of 2 lacks c", "shard 2 of 2 has what nobody asked for: a, b")),
    ],
)  # fmt: skip
def test_proof(
    planned: Sequence[Sequence[str]],
    collected: Sequence[str],
    ran: Sequence[Sequence[str]],
    problems: tuple[str, ...],
) -> None:
    assert proof(planned, collected, ran) == problems
