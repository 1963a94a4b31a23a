"""A switch that is killed, refused, interrupted or wrong at any of its writes, and what is there afterwards."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ci.errors import CiError, InfraError, Interrupted
from ci.publish import journal
from ci.publish.manifest import STANDING, Release, Standing
from ci.publish.switch import switch
from ci.world.http import Request, Response, Unreachable
from tests.publishing import (
    NAME,
    REPOSITORY,
    Killed,
    Recorder,
    Rule,
    Watched,
    World,
    by_letter,
    commit,
    killed_at,
    run_id,
)
from tests.switching import MAIN, before, released, staged


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of small writes: that each waits for the disk is for the tests of the store."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


def test_a_repair_that_fails_says_what_does_not_follow(tmp_path: Path) -> None:
    world = World(tmp_path)
    release = world.staged("a")
    released(world, release, 1)
    world.registry.image(REPOSITORY, "nightly", {"by": "hand"})
    world.registry.hook = lambda request: Response(403) if request.method == "PUT" else None
    with pytest.raises(InfraError) as raised:
        released(world, release, 2)
    last = raised.value.problems[-1]
    assert (
        last.message == f"channel nightly stands at release {commit('a')[:12]}, and 1 of its pointers do not follow it"
    )
    assert MAIN in last.context


def test_a_full_disk_of_this_host_stops_it_before_anything_moves(tmp_path: Path) -> None:
    world = World(tmp_path)
    before(world, "a")
    places = replace(world.places(), journal=tmp_path / NAME / "standing.json")
    kept, stood = world.end(), world.standing()
    with pytest.raises(InfraError) as raised:
        switch(places, staged(world, "b"), run_id(1), "release", by_letter)
    assert raised.value.problems[-1].message.endswith("as before")
    assert (world.standing(), world.end()["journal"]) == (stood, kept["journal"])
    world.settled()


def test_a_store_that_refuses_every_conditional_write_ends_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    release = world.staged("a")

    class Stubborn(Watched):
        def create(self, path: str, data: bytes) -> bool:
            return super().create(path, data) if path != STANDING else False

    places = replace(world.places(), store=Stubborn(world.folder, Recorder()))
    with pytest.raises(InfraError) as raised:
        switch(places, release, run_id(1), "release", by_letter)
    assert [each.reference for each in raised.value.problems] == ["store-refuses", "switch-undone"]


@pytest.mark.parametrize("paged", [False, True], ids=["folder", "bucket"])
@pytest.mark.parametrize("start", ["", "a"], ids=["first", "second"])
def test_killed_after_every_write_and_run_again(tmp_path: Path, start: str, *, paged: bool) -> None:
    def world(name: str) -> tuple[World, Release]:
        made = World(tmp_path / name, paged=paged)
        before(made, start)
        return made, staged(made, "b" if start else "a")

    calm, release = world("calm")
    recorder = Recorder(after=Rule(calm))
    released(calm, release, 1, recorder)
    wanted = calm.end()
    assert len(recorder.writes) > (12 if paged else 6)
    for number, what in enumerate(recorder.writes, 1):
        torn, release = world(str(number))
        rule = Rule(torn)
        with pytest.raises(Killed):
            released(torn, release, 1, killed_at(number, around=rule))
        right = torn.moving()
        again = Recorder(after=rule)
        released(torn, release, 2, again)
        assert torn.end() == wanted, what
        assert not [tag for tag, digest in again.tags if right.get(tag) == digest], f"{what}: done twice"
        assert rule.found >= number
        torn.settled()


def test_a_release_after_one_that_was_cut_off_mixes_two_releases_at_most(tmp_path: Path) -> None:
    """Killed in the switch to B, then C: what still shows A comes to B first, so that no pointer skips one."""
    for number in range(1, 9):
        world = World(tmp_path / str(number))
        before(world, "a")
        second, third = staged(world, "b"), world.staged("c")
        rule = Rule(world)
        with pytest.raises(Killed):
            released(world, second, 1, killed_at(number, around=rule))
        recorder = Recorder(after=rule)
        done = released(world, third, 2, recorder)
        assert done.standing.commit == commit("c")
        world.settled()
        stood = [each.commit for each in journal.history(world.places(), done.standing)]
        assert stood == [commit(letter) for letter in ("abc" if number > 2 else "ac")]


def faults(tmp_path: Path, start: str, permanent: bool) -> list[tuple[World, CiError, str]]:
    """A release in which the n-th write is refused, for every n of a pointer or the truth; every n at once."""
    found: list[tuple[World, CiError, str]] = []
    number = 3
    while True:
        world = World(tmp_path / str(number))
        before(world, start)
        release, at = staged(world, "b" if start else "a"), number

        def refused(now: int, at: int = at) -> bool:
            return now >= at if permanent else now == at

        recorder = Recorder(refused=refused, after=Rule(world))
        try:
            released(world, release, 1, recorder)
        except CiError as error:
            found.append((world, error, recorder.writes[number - 1]))
        else:
            assert recorder.writes[number - 1] == "swap lease.json"
            return found
        number += 1


@pytest.mark.parametrize("start", ["", "a"], ids=["first", "second"])
def test_killed_while_it_puts_back_and_run_again(tmp_path: Path, start: str) -> None:
    """The index is refused; every write after that, of the way back, is the last one."""
    killed = 0
    while True:
        world = World(tmp_path / str(killed))
        before(world, start)
        release, rule = staged(world, "b" if start else "a"), Rule(world)
        recorder = killed_at((10 if start else 7) + killed, around=rule)
        recorder.refused = lambda number: number == (9 if start else 6)
        try:
            released(world, release, 1, recorder)
        except CiError:
            break
        except Killed:
            killed += 1
        assert world.standing() or not world.moving(), "a pointer that nothing tells of"
        released(world, release, 2, Recorder(after=rule))
        world.settled()
    assert killed == (8 if start else 9)


@pytest.mark.parametrize("start", ["", "a"], ids=["first", "second"])
def test_a_refused_write_puts_everything_back(tmp_path: Path, start: str) -> None:
    found = faults(tmp_path, start, permanent=False)
    assert [what for _, _, what in found][:1] == [f"{'swap' if start else 'create'} standing.json"]
    assert [what for _, _, what in found][-1] == "publish"
    assert len(found) == (7 if start else 4)
    for world, error, what in found:
        assert error.exit_code == 4, what
        last = error.problems[-1]
        assert last.reference == "switch-undone", what
        stood = f"release {commit('a')[:12]}" if start else "no release"
        assert last.message == f"channel nightly stands at {stood}, as before"
        standing = world.standing()
        assert (standing.commit if standing else "") == (commit("a") if start else "")
        world.settled()
        release = staged(world, "b" if start else "a")
        assert not released(world, release, 2, Recorder(after=Rule(world))).already
        world.settled()
        stood_at = [each.commit for each in journal.history(world.places(), world.standing() or nobody())]
        assert stood_at == [commit(each) for each in (*start, "b" if start else "a")], "an undone switch is no history"


def test_a_registry_that_refuses_everything_from_then_on_leaves_what_a_rerun_repairs(tmp_path: Path) -> None:
    found = faults(tmp_path, "a", permanent=True)
    seen = set()
    for world, error, what in found:
        last = error.problems[-1]
        seen.add(last.reference)
        if last.reference == "switch-half":
            now = world.registry.tags[REPOSITORY]
            old, new = (world.aims(replace(nobody(), commit=commit(each)))[0] for each in "ab")
            stands = world.standing()
            assert stands is not None
            aim = old if stands.commit == commit("a") else new
            assert f"stands at release {stands.commit[:12]}" in last.message, what
            for tag in {*old, *new}:
                named = f"{REPOSITORY}:{tag} shows" in last.context
                assert named == (now.get(tag) != aim.get(tag)), f"{tag} after {what}"
        released(world, staged(world, "b"), 2)
        world.settled()
    assert seen == {"switch-undone", "switch-half"}


def test_a_signal_in_the_middle_puts_back_and_stays_a_signal(tmp_path: Path) -> None:
    world = World(tmp_path)
    before(world, "a")

    def signal(number: int, _what: str) -> None:
        if number == 5:
            raise Interrupted(15)

    with pytest.raises(Interrupted) as raised:
        released(world, staged(world, "b"), 1, Recorder(after=signal))
    assert raised.value.exit_code == 143
    assert raised.value.problems[-1].reference == "switch-undone"
    world.settled()


def test_a_bug_in_the_middle_puts_back_and_says_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    before(world, "a")

    def bug(number: int, _what: str) -> None:
        if number == 8:
            raise KeyError("a bug")

    with pytest.raises(KeyError) as raised:
        released(world, staged(world, "b"), 1, Recorder(before=bug))
    assert "as before" in raised.value.__notes__[0]
    world.settled()


def test_a_pointer_that_shows_something_else_afterwards_is_no_success(tmp_path: Path) -> None:
    world = World(tmp_path)
    before(world, "a")

    def meddle(_number: int, what: str) -> None:
        if what == "publish":
            world.registry.image(REPOSITORY, "nightly", {"by": "hand"})

    recorder = Recorder(after=meddle)
    with pytest.raises(InfraError, match="do not show") as raised:
        released(world, staged(world, "b"), 1, recorder)
    assert MAIN in raised.value.problems[0].context


def test_a_write_whose_answer_was_lost_counts(tmp_path: Path) -> None:
    world = World(tmp_path)
    release = world.staged("a")
    lost: list[str] = []

    def lose(request: Request) -> Response | Unreachable | None:
        if request.method == "PUT" and request.url not in lost:
            lost.append(request.url)
            world.registry.answer(request)
            return Unreachable("closed", "the connection was closed without a whole answer")
        return None

    world.registry.hook = lose
    switch(world.places(Recorder(after=Rule(world))), release, run_id(1), "release", by_letter)
    assert len(lost) == 2
    world.settled()


def nobody() -> Standing:
    """A standing to fill in."""
    return Standing(0, "", "", "", "", "")
