"""The lease of a channel: taken in turn, renewed, given back, and lost to nobody but the dead and the silent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ci.errors import CiError, ConfigError, ContractError, InfraError, SupersededError
from ci.publish.lease import held, holder
from ci.publish.manifest import Release
from ci.publish.switch import outstanding, switch
from ci.world.fakes import FakeClock
from ci.world.store_lease import LASTS, LEASE, Holder
from ci.world.versioned import VERSION
from tests.publishing import Recorder, World, by_letter, commit, run_id

ELSEWHERE = Holder(run_id(50), 4, LASTS, 1, 1, "another boot", "another boot pid:[1]")


def put(world: World, who: Holder) -> Path:
    path = world.folder / LEASE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(who.encode())
    return path


def test_it_is_created_swapped_and_given_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in (1, 2):
        recorder = Recorder()
        places = world.places(recorder)
        with held(places, run_id(number)) as lease:
            lease.check()
            now = holder(places)
            assert now is not None
            assert (now.run, now.released, now.dead, lease.run) == (run_id(number), False, False, run_id(number))
        assert recorder.writes == [f"{'create' if number == 1 else 'swap'} {LEASE}", f"swap {LEASE}"]
        after = holder(places)
        assert after is not None
        assert after.released
    assert world.said == []


def test_it_is_given_back_when_the_work_fails(tmp_path: Path) -> None:
    places = World(tmp_path).places()
    with pytest.raises(KeyError), held(places, run_id(1)):
        raise KeyError
    found = holder(places)
    assert found is not None
    assert found.released


def test_a_silent_holder_elsewhere_loses_it_after_its_whole_time_and_not_before(tmp_path: Path) -> None:
    world, clock = World(tmp_path), FakeClock()
    put(world, ELSEWHERE)
    with held(world.places(clock=clock), run_id(1)):
        pass
    assert LASTS <= clock.passed <= LASTS + 5
    assert len(world.said) == 1
    assert ELSEWHERE.run in world.said[0]


def test_its_own_time_counts_not_ours(tmp_path: Path) -> None:
    world, clock = World(tmp_path), FakeClock()
    put(world, replace(ELSEWHERE, lasts=3 * LASTS))
    with held(world.places(clock=clock), run_id(1)):
        pass
    assert 3 * LASTS <= clock.passed <= 3 * LASTS + 5


def test_a_sign_of_life_begins_the_time_anew(tmp_path: Path) -> None:
    world = World(tmp_path)
    put(world, ELSEWHERE)

    class Clock(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if len(self.sleeps) == 100:
                put(world, replace(ELSEWHERE, count=5))

    clock = Clock()
    with held(world.places(clock=clock), run_id(1)):
        pass
    assert 200 + LASTS <= clock.passed <= 205 + LASTS


def test_the_wall_clock_means_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    put(world, ELSEWHERE)
    ahead = FakeClock()
    ahead.start = ahead.start.replace(year=2036)
    with held(world.places(clock=ahead), run_id(1)):
        pass
    assert ahead.passed >= LASTS


def test_a_process_of_this_host_that_has_ended_loses_it_at_once(tmp_path: Path) -> None:
    world, clock = World(tmp_path), FakeClock()
    put(world, replace(Holder.me(run_id(50)), started=1))
    with held(world.places(clock=clock), run_id(1)):
        pass
    assert clock.sleeps == []


def test_a_process_number_of_another_container_proves_nothing(tmp_path: Path) -> None:
    """The same boot, so the same host; but the number means another process there."""
    world, clock = World(tmp_path), FakeClock()
    me = Holder.me(run_id(50))
    assert str(Path("/proc/self/ns/pid").readlink()) in me.space
    put(world, replace(me, started=1, space=f"{me.boot} pid:[1]"))
    with held(world.places(clock=clock), run_id(1)):
        pass
    assert clock.passed >= LASTS


def test_a_third_of_its_time_renews_it(tmp_path: Path) -> None:
    world, clock = World(tmp_path), FakeClock()
    places = world.places(recorder := Recorder(), clock)
    with held(places, run_id(1)) as lease:
        for _ in range(9):
            clock.advance(LASTS / 6)
            lease.check()
        found = holder(places)
    assert found is not None
    assert found.count == 5
    assert recorder.writes == [f"create {LEASE}", *[f"swap {LEASE}"] * 5]


def test_a_holder_that_was_late_keeps_what_nobody_took(tmp_path: Path) -> None:
    clock = FakeClock()
    with held(World(tmp_path).places(clock=clock), run_id(1)) as lease:
        clock.advance(10 * LASTS)
        lease.check()


@pytest.mark.parametrize("passed", [0.0, LASTS])
def test_a_lease_that_somebody_took_is_lost_and_left_to_them(tmp_path: Path, passed: float) -> None:
    world, clock = World(tmp_path), FakeClock()
    places = world.places(clock=clock)
    with held(places, run_id(1)) as lease:
        put(world, ELSEWHERE)
        clock.advance(passed)
        with pytest.raises(InfraError) as raised:
            lease.check()
    (problem,) = raised.value.problems
    assert problem.reference == "lease-lost"
    assert ELSEWHERE.run in problem.message
    assert "inv release-status" in problem.hint
    assert holder(places) == ELSEWHERE


def test_a_lease_whose_document_is_gone_is_lost(tmp_path: Path) -> None:
    world = World(tmp_path)
    with held(world.places(), run_id(1)) as lease:
        (world.folder / LEASE).unlink()
        with pytest.raises(InfraError, match="is gone"):
            lease.check()
    assert not (world.folder / LEASE).exists()


def test_the_document_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    world = World(tmp_path)
    path = put(world, replace(ELSEWHERE, released=True))
    data = json.dumps({**json.loads(path.read_text()), "schema": VERSION + 1}).encode()
    path.write_bytes(data)
    places = world.places(recorder := Recorder())
    with pytest.raises(ConfigError) as raised, held(places, run_id(1)):
        pass
    assert raised.value.problems[0].reference == "newer-document"
    assert (recorder.writes, path.read_bytes()) == ([], data)


def test_what_is_no_lease_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    put(world, ELSEWHERE).write_text('{"schema": 1, "who": "knows"}')
    with pytest.raises(ContractError), held(world.places(), run_id(1)):
        pass


def test_a_store_that_does_not_take_it_back_does_not_hide_the_end(tmp_path: Path) -> None:
    world = World(tmp_path)
    with held(world.places(Recorder(refused=lambda number: number == 2)), run_id(1)):
        pass
    assert len(world.said) == 1
    assert "was not given back" in world.said[0]


def paused(tmp_path: Path, number: int, *, after: bool, other: str) -> tuple[World, CiError | None, int]:
    """C is being released and paused around its write ``number``; meanwhile ``other`` takes over and ends."""
    world = World(tmp_path)
    switch(world.places(), world.staged("a"), run_id(90), "release", by_letter)
    first, second = world.staged("c"), world.staged(other)
    ends: list[CiError | None] = []

    def released(release: Release, run: int, recorder: Recorder) -> None:
        try:
            switch(world.places(recorder), release, run_id(run), "release", by_letter)
            ends.append(None)
        except CiError as error:
            ends.append(error)

    def pause(now: int, _what: str) -> None:
        if now == number:
            released(second, 2, Recorder())

    recorder = Recorder(after=pause) if after else Recorder(before=pause)
    released(first, 1, recorder)
    overtaker, holder_of_before = ends
    assert overtaker is None or isinstance(overtaker, SupersededError)
    return world, holder_of_before, len(recorder.writes)


def told(error: CiError | None) -> str:
    return "\n".join(f"{each.message} {each.context}" for each in error.problems) if error else ""


@pytest.mark.parametrize("other", ["b", "d"], ids=["older", "newer"])
def test_a_holder_paused_before_it_knows_that_it_is_one_begins_again(tmp_path: Path, other: str) -> None:
    world, error, _ = paused(tmp_path, 1, after=True, other=other)
    assert isinstance(error, SupersededError) if other == "d" else error is None
    stands = world.standing()
    assert stands is not None
    assert stands.commit == commit("d" if other == "d" else "c")
    world.settled()


@pytest.mark.parametrize("other", ["b", "d"], ids=["older", "newer"])
@pytest.mark.parametrize("number", range(2, 7))
def test_a_holder_paused_after_any_write_writes_nothing_more(tmp_path: Path, number: int, other: str) -> None:
    world, error, writes = paused(tmp_path, number, after=True, other=other)
    if (number, other) == (6, "b"):
        assert error is None, "all was done, and the older one left it so"
    else:
        assert isinstance(error, InfraError)
        assert f"run {run_id(1)} lost the lease of channel nightly to run {run_id(2)}" in told(error)
    assert writes == number
    stands = world.standing()
    assert stands is not None
    assert stands.commit == commit("d" if other == "d" else "c" if number >= 3 else "b")
    world.settled()


@pytest.mark.parametrize("other", ["b", "d"], ids=["older", "newer"])
@pytest.mark.parametrize("number", range(2, 7))
def test_a_write_that_arrives_late_is_the_last_and_is_found(tmp_path: Path, number: int, other: str) -> None:
    """Paused between the look at its lease and the write: no look can prevent that, but it can be seen."""
    world, error, writes = paused(tmp_path, number, after=False, other=other)
    assert (error is None) == ((number, other) == (6, "b"))
    assert writes == number
    stands = world.standing()
    assert stands is not None
    assert stands.commit == commit("d" if other == "d" else "c" if number > 3 else "b")
    late = {4: "base-nightly", 5: "nightly", 6: "nightly"}.get(number) if other == "d" else None
    wrong = [move.pointer for move in outstanding(world.places(), stands) if move.old != move.new]
    assert [name.rpartition(":")[2] for name in wrong] == ([late] if late else [])
    for name in wrong:
        assert number == 3 or name in told(error)
    release = world.release(stands.commit)
    assert switch(world.places(), release, run_id(3), "release", by_letter).already
    world.settled()
