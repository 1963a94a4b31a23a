"""Leases: turns, deaths, limits, on a clock that nobody waits for. Real processes: tests/engine/test_leases_real.py."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ci.errors import ConfigError, InfraError
from ci.world import dirty, leases
from ci.world.fakes import FakeClock
from ci.world.gpus import Gpu
from ci.world.leases import VERSION, Lease, held, leased
from ci.world.ledger import Ledger
from tests.nodes import eight

GPUS = eight()


class Waiting(FakeClock):
    """A clock on which something happens at the n-th wait."""

    def __init__(self, happens: Callable[[], object], wait: int = 1) -> None:
        super().__init__()
        self._happens, self._wait = happens, wait

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if len(self.sleeps) == self._wait:
            self._happens()


@contextmanager
def take(state: Path, count: int, gpus: Sequence[Gpu] = GPUS, **more: Any) -> Iterator[tuple[Gpu, ...]]:
    values = {"run": "run-1", "verb": "test unit", "lasts": 3600, "patience": 60, "say": pytest.fail, **more}
    with leased(state, gpus, count, **{"clock": FakeClock(), **values}) as granted:
        yield granted


def waits(state: Path, count: int, gpus: Sequence[Gpu] = GPUS) -> leases._Ticket:
    """A ticket that waits, of a live owner."""
    now = FakeClock().now()
    keys = tuple(gpu.key for gpu in gpus)
    return leases._Ticket(state, Lease(0, "bob", 7, "run-b", "test", count, keys, now, now + timedelta(hours=1)))


def indices(gpus: Sequence[Gpu]) -> list[int]:
    return [gpu.index for gpu in gpus]


def files(state: Path) -> list[str]:
    return sorted(path.name for path in (state / "leases").iterdir())


# --- giving and taking --------------------------------------------------------------------------


def test_nobody_shares_a_device(tmp_path: Path) -> None:
    with take(tmp_path, 3) as one, take(tmp_path, 4) as two, take(tmp_path, 1) as three:
        assert (indices(one), indices(two), indices(three)) == ([0, 1, 2], [3, 4, 5, 6], [7])
        assert [lease.gpus for lease in held(tmp_path)] == [tuple(g.key for g in each) for each in (one, two, three)]
    assert held(tmp_path) == ()
    assert files(tmp_path) == []


def test_who_holds_what_is_told(tmp_path: Path) -> None:
    with take(tmp_path, 2, run="run-7", verb="test shutdown", lasts=600):
        (lease,) = held(tmp_path)
    now = FakeClock().now()
    assert (lease.run, lease.verb, lease.pid, lease.wanted) == ("run-7", "test shutdown", os.getpid(), 2)
    assert (lease.begun, lease.until, lease.overdue(now)) == (now, now + timedelta(minutes=10), False)
    assert "test shutdown (run run-7" in str(lease)


def test_an_error_gives_them_back(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="oops"), take(tmp_path, 8):
        raise ValueError("oops")
    with take(tmp_path, 8) as granted:
        assert len(granted) == 8


def test_none_and_too_many(tmp_path: Path) -> None:
    with take(tmp_path, 0) as granted:
        assert granted == ()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError) as caught, take(tmp_path, 3, GPUS[:2]):
        pytest.fail("two are not three")
    assert caught.value.problems[0].reference == "too-few-gpus"


def test_partitions_of_one_card_are_different_devices(tmp_path: Path) -> None:
    from dataclasses import replace

    parts = [replace(GPUS[0], partition=number, index=number) for number in range(8)]
    with take(tmp_path, 5, parts) as one, take(tmp_path, 3, parts) as two:
        assert indices(one) + indices(two) == list(range(8))


# --- waiting ------------------------------------------------------------------------------------


def test_waiting_ends_when_they_are_given_back(tmp_path: Path) -> None:
    said: list[str] = []
    with ExitStack() as other:
        other.enter_context(take(tmp_path, 6, run="run-a"))
        clock = Waiting(other.close, wait=3)
        with take(tmp_path, 4, say=said.append, clock=clock) as granted:
            assert indices(granted) == [0, 1, 2, 3]
    assert len(clock.sleeps) == 3
    assert len(said) == 1
    assert all(word in said[0] for word in ("run run-a", "0000:06:00.0", "waiting for 4 of 8", "01:00Z"))


def test_patience_ends(tmp_path: Path) -> None:
    clock = FakeClock()
    with take(tmp_path, 6), pytest.raises(InfraError) as caught, take(tmp_path, 3, say=str, clock=clock, patience=90):
        pytest.fail("only two were free")
    assert caught.value.problems[0].reference == "gpus-busy"
    assert clock.passed == 90
    assert files(tmp_path) == []


def test_only_what_changes_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(take(tmp_path, 4, run="run-a"))
        second.enter_context(take(tmp_path, 4, run="run-b"))
        clock = Waiting(first.close, wait=5)
        with pytest.raises(InfraError), take(tmp_path, 8, say=said.append, clock=clock, patience=10):
            pytest.fail("run-b holds four")
    assert ["run run-a" in each for each in said] == [True, False]
    assert len(clock.sleeps) == 10


def test_a_large_request_is_not_starved_by_small_ones(tmp_path: Path) -> None:
    with take(tmp_path, 1):
        large = waits(tmp_path, 8)
        said: list[str] = []
        with pytest.raises(InfraError), take(tmp_path, 1, say=said.append):
            pytest.fail("seven are free, but not for whoever came later")
        assert "before us waits bob's" in said[0]
        large.give_back()
        with take(tmp_path, 1) as granted:
            assert indices(granted) == [1]


def test_who_cannot_delay_the_first_goes_ahead(tmp_path: Path) -> None:
    with take(tmp_path, 4, GPUS[:4]):
        first = waits(tmp_path, 2, GPUS[:4])
        with take(tmp_path, 4, GPUS[4:]) as granted:
            assert indices(granted) == [4, 5, 6, 7]
        first.give_back()


def test_turns_are_in_the_order_of_asking(tmp_path: Path) -> None:
    tickets = [waits(tmp_path, 1) for _ in range(12)]
    assert [lease.number for lease in held(tmp_path)] == list(range(1, 13))
    assert [ticket.take(held(tmp_path), set()) for ticket in reversed(tickets)] == [False] * 11 + [True]
    for ticket in tickets:
        ticket.give_back()


# --- deaths -------------------------------------------------------------------------------------


def die(ticket: leases._Ticket) -> None:
    """As kill -9 does: the file stays, its lock goes."""
    os.close(ticket._handle)


def test_a_dead_owner_holds_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        ticket = waits(tmp_path, 8)
        assert ticket.take(held(tmp_path), set())
        assert len(held(tmp_path)) == 1
        die(ticket)
    assert held(tmp_path) == ()
    assert len(files(tmp_path)) == 2
    with take(tmp_path, 8) as granted:
        assert len(granted) == 8
    assert files(tmp_path) == []


def test_a_dead_one_that_waited_stops_nobody(tmp_path: Path) -> None:
    die(waits(tmp_path, 8))
    with take(tmp_path, 1) as granted:
        assert indices(granted) == [0]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"version": 1}', '{"version": "x"}', "\0\0"])
def test_a_ticket_cut_short_by_a_crash_counts_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases/00000001.json").write_text(text)
    assert held(tmp_path) == ()
    with take(tmp_path, 8) as granted:
        assert len(granted) == 8


def test_what_a_dead_run_left_keeps_its_devices(tmp_path: Path) -> None:
    """Its container runs on, on devices that nobody else may get before ``inv reap`` removed it."""
    ledger = Ledger.begin(tmp_path, "run-b", "test")
    thing = ledger.will_make("container", "rocm-ci-run-b-1")
    ledger.will_make("folder", "x")
    ticket = waits(tmp_path, 2)
    assert ticket.take(held(tmp_path), set())
    die(ticket)
    ledger.end()
    (lease,) = held(tmp_path)
    assert lease.left == "container rocm-ci-run-b-1 is left: inv reap"
    said: list[str] = []
    with take(tmp_path, 6) as granted:
        assert indices(granted) == [2, 3, 4, 5, 6, 7]
    with pytest.raises(InfraError), take(tmp_path, 7, say=said.append):
        pytest.fail("two are not free")
    assert "inv reap" in said[0]
    ledger.gone(thing)
    with take(tmp_path, 8) as granted:
        assert len(granted) == 8


def test_the_live_owner_of_an_overdue_lease_keeps_it(tmp_path: Path) -> None:
    late = FakeClock()
    late.advance(7200)
    said: list[str] = []
    with take(tmp_path, 8, lasts=3600), pytest.raises(InfraError), take(tmp_path, 1, say=said.append, clock=late):
        pytest.fail("it is somebody's")
    assert "overdue" in said[0]


def test_a_newer_ticket_is_refused_and_left_alone(tmp_path: Path) -> None:
    ticket = waits(tmp_path, 1)
    path = tmp_path / "leases" / files(tmp_path)[0]
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "version": VERSION + 1, "more": 1}))
    with pytest.raises(ConfigError) as caught, take(tmp_path, 1):
        pytest.fail("nobody knows what it means")
    assert caught.value.problems[0].reference == "newer-lease"
    assert path.exists()
    ticket.give_back()


def test_links_that_somebody_laid_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases/00000007.json").symlink_to(tmp_path / "victim")
    (tmp_path / "victim").write_text("{}")
    with take(tmp_path, 8) as granted:
        assert len(granted) == 8
    assert (tmp_path / "victim").read_text() == "{}"


def test_other_users_can_take_their_turn(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with take(tmp_path, 1):
            modes = [stat.S_IMODE((tmp_path / "leases" / name).stat().st_mode) for name in files(tmp_path)]
    finally:
        os.umask(before)
    assert modes == [0o644]
    assert stat.S_IMODE((tmp_path / "leases").stat().st_mode) == 0o1777


def test_looking_writes_nothing(tmp_path: Path) -> None:
    assert held(tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_shares_no_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int, text: bytes, _offset: int) -> int:
        return len(text) - 1

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(InfraError) as caught, take(tmp_path, 1):
        pytest.fail("its ticket says nothing")
    assert caught.value.problems[0].reference == "disk"
    assert files(tmp_path) == []


# --- dirty devices ------------------------------------------------------------------------------


def soil(state: Path, *gpus: Gpu) -> None:
    for gpu in gpus:
        dirty.mark(state, dirty.Leak(gpu.key, 283, 9000, ()), run="run-0", who="ann", clock=FakeClock())


def test_a_dirty_device_is_not_leased(tmp_path: Path) -> None:
    soil(tmp_path, GPUS[0], GPUS[2])
    with take(tmp_path, 3) as granted:
        assert indices(granted) == [1, 3, 4]


def test_nobody_waits_for_what_is_dirty(tmp_path: Path) -> None:
    soil(tmp_path, GPUS[0])
    with pytest.raises(InfraError) as caught, take(tmp_path, 8):
        pytest.fail("seven are clean")
    (problem,) = caught.value.problems
    assert (problem.reference, "reset" in problem.hint) == ("dirty-gpus", True)
    assert "0000:01:00.0 is dirty" in problem.context
    with take(tmp_path, 1, GPUS[1:2]) as granted:
        assert indices(granted) == [1]
