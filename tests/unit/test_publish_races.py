"""Two releases of one channel at once, a newer and an older commit, in every order of their writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from ci.errors import CiError, InfraError, SupersededError
from ci.publish.rollback import rollback
from ci.publish.switch import outstanding, switch
from ci.world.store_lease import LASTS, LEASE
from tests.lockstep import Lockstep, every_order
from tests.publishing import Recorder, Rule, World, by_letter, commit, run_id

OLD, NEW = "older", "newer"
PROJECTS = ("rocm-probe",)


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of small writes: that each waits for the disk is for the tests of the store."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


def world(root: Path) -> World:
    made = World(root)
    switch(made.places(), made.staged("a", projects=PROJECTS), run_id(90), "release", by_letter)
    return made


def watched(step: Lockstep, name: str, rule: Rule | None) -> Recorder:
    """The recorder of a run that waits for its turn; with ``rule`` each of its writes is looked at."""
    recorder = step.recorder(name)
    heard = recorder.after

    def after(number: int, what: str) -> None:
        heard(number, what)
        if rule:
            rule(number, what)

    recorder.after = after
    return recorder


def at_once(made: World, step: Lockstep, rule: Rule | None, passes: float = 0.0) -> dict[str, BaseException | None]:
    """Release B and C at once; the ends of both."""
    releases = {OLD: made.staged("b", projects=PROJECTS), NEW: made.staged("c", ("main", "tools"), PROJECTS)}

    def act(name: str, number: int) -> Callable[[], object]:
        places = made.places(watched(step, name, rule), step.clock(name, passes))
        return lambda: switch(places, releases[name], run_id(number), "release", by_letter)

    step.run({OLD: act(OLD, 1), NEW: act(NEW, 2)})
    return step.ends


def test_in_every_order_the_newer_stands_and_all_pointers_agree(tmp_path: Path) -> None:
    ends: list[str] = []
    orders: set[tuple[tuple[str, str], ...]] = set()

    def attempt(choose: Callable[[Sequence[str]], str]) -> None:
        made = world(tmp_path / str(len(ends)))
        step = Lockstep(choose)
        done = at_once(made, step, Rule(made))
        assert done[NEW] is None, done[NEW]
        assert done[OLD] is None or isinstance(done[OLD], SupersededError)
        stands = made.standing()
        assert stands is not None
        assert stands.commit == commit("c")
        made.settled()
        moved = [name for name, what in step.order if LEASE not in what]
        assert sum(a != b for a, b in pairwise(moved)) <= 1, "the lease keeps them apart"
        ends.append("superseded" if done[OLD] else "overtaken")
        orders.add(tuple(step.order))

    tried = every_order(attempt)
    assert tried == len(ends) == len(orders), "an order was tried twice"
    assert tried >= 15
    assert set(ends) == {"superseded", "overtaken"}


def test_a_lease_taken_from_a_paused_holder_at_any_write_ends_in_a_channel_that_a_rerun_repairs(tmp_path: Path) -> None:
    """Whoever waits takes the lease at once, as from a holder that is paused: the worst the world can do."""
    late, lost, tried = 0, 0, 0

    def attempt(choose: Callable[[Sequence[str]], str]) -> None:
        nonlocal late, lost, tried
        made = world(tmp_path / str(tried))
        tried += 1
        done = at_once(made, Lockstep(choose, impatient=True), None, LASTS)
        stood = [each for each in done.values() if each is not None]
        assert all(isinstance(each, SupersededError | InfraError) for each in stood), stood
        assert len([each for each in stood if isinstance(each, InfraError)]) < 2 or made.standing() is not None
        lost += any("lost the lease" in _told(each) for each in stood)
        stands = made.standing()
        assert stands is not None
        assert stands.commit == commit("c") or done[NEW] is not None, "the newer one said it stands"
        off = [move for move in outstanding(made.places(), stands) if move.old != move.new]
        late += bool(off)
        assert len(off) <= 1, "a paused run has one write on its way"
        switch(made.places(), made.release(commit("c")), run_id(3), "release", by_letter)
        made.settled()

    assert every_order(attempt, switches=2) == tried
    assert tried >= 150
    assert late > 3
    assert lost > 50


def test_a_rollback_and_a_release_at_once_agree_in_every_order(tmp_path: Path) -> None:
    ends: set[str] = set()
    tried = 0

    def attempt(choose: Callable[[Sequence[str]], str]) -> None:
        nonlocal tried
        made = world(tmp_path / str(tried))
        tried += 1
        switch(made.places(), made.staged("b", projects=PROJECTS), run_id(91), "release", by_letter)
        release, step, rule = made.staged("c", ("main", "tools"), PROJECTS), Lockstep(choose), Rule(made)

        back = made.places(watched(step, "back", rule), step.clock("back"))
        forth = made.places(watched(step, "forth", rule), step.clock("forth"))
        step.run(
            {
                "back": lambda: rollback(back, commit("a"), run_id(1)),
                "forth": lambda: switch(forth, release, run_id(2), "release", by_letter),
            }
        )
        assert step.ends["back"] is None
        stands = made.standing()
        assert stands is not None
        late = step.ends["forth"]
        assert late is None
        ends.add(stands.commit)
        made.settled()

    assert every_order(attempt) == tried > 10
    assert ends == {commit("a"), commit("c")}


def _told(error: BaseException) -> str:
    problems = error.problems if isinstance(error, CiError) else ()
    return "\n".join(f"{each.message} {each.context}" for each in problems)
