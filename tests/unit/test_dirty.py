"""Dirty marks: what counts as given back, what is waited for, what takes a mark away."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from ci.world import dirty
from ci.world.dirty import Leak, mark, marks, recheck, returned, settle
from ci.world.fakes import FakeClock
from ci.world.gpus import Holder, Node
from tests.nodes import eight

GPUS = eight(2)
KEY = GPUS[0].key
BEFORE = Node(GPUS, None, (), "amd-smi", (), ())
HOLDER = Holder(4711, "python3", KEY, 1792)


def using(mb: int | None, *holders: Holder) -> Node:
    """The node with so much memory in use on its first device."""
    return BEFORE._replace(gpus=(replace(GPUS[0], used_mb=mb), GPUS[1]), holders=holders)


@pytest.mark.parametrize(("mb", "back"), [(283, True), (0, True), (383, True), (384, False), (196000, False)])
def test_memory_is_back_within_the_tolerance(mb: int, back: bool) -> None:
    assert (returned(BEFORE, using(mb), 100) == ()) is back


def test_what_nobody_can_measure_is_not_back() -> None:
    assert [leak.gpu for leak in returned(BEFORE, using(None))] == [KEY]
    gone = BEFORE._replace(gpus=GPUS[1:])
    assert returned(BEFORE, gone) == (Leak(KEY, 283, None, ()),)


def test_a_leak_names_its_holder() -> None:
    (leak,) = returned(BEFORE, using(9000, HOLDER))
    assert str(leak) == f"{KEY} uses 9000 MiB after 283 MiB before; held by process 4711 python3"
    assert str(returned(BEFORE, using(None))[0]).endswith("an unknown amount after 283 MiB before; held by nobody")


def test_memory_that_comes_back_late_is_waited_for() -> None:
    said = [using(90000), using(9000), using(300), using(9)]
    clock = FakeClock()
    assert settle(lambda: said.pop(0), BEFORE, 60, clock) == ()
    assert (len(clock.sleeps), len(said)) == (2, 1)


def test_the_wait_has_an_end() -> None:
    clock = FakeClock()
    assert [leak.now_mb for leak in settle(lambda: using(9000), BEFORE, 60, clock)] == [9000]
    assert clock.passed == 60


def test_a_process_that_ends_late_is_waited_for() -> None:
    """The driver lists it a moment longer than the kernel does."""
    said = [using(9000, HOLDER), using(9000, HOLDER), using(300)]
    assert settle(lambda: said.pop(0), BEFORE, 60, FakeClock()) == ()
    assert said == []


# --- what nobody can tell, and what is somebody else's --------------------------------------------

UNKNOWN = using(None)


def test_memory_that_was_and_is_unknown_tells_nothing_and_is_not_waited_for() -> None:
    clock = FakeClock()
    (leak,) = settle(lambda: UNKNOWN, UNKNOWN, 60, clock)
    assert (leak.sure, clock.sleeps) == (False, [])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (BEFORE, UNKNOWN),  # it was known
        (UNKNOWN, using(9000)),  # it is known now
        (UNKNOWN, using(None, HOLDER)),  # somebody came and stayed
        (UNKNOWN, BEFORE._replace(gpus=GPUS[1:])),  # it has gone
    ],
)
def test_anything_else_tells(before: Node, after: Node) -> None:
    assert [(leak.gpu, leak.sure) for leak in returned(before, after)] == [(KEY, True)]


def test_what_is_sure_is_waited_for_beside_what_is_not() -> None:
    before = BEFORE._replace(gpus=(UNKNOWN.gpus[0], GPUS[1]))
    after = before._replace(gpus=(UNKNOWN.gpus[0], replace(GPUS[1], used_mb=9000)))
    clock = FakeClock()
    assert [leak.sure for leak in settle(lambda: after, before, 60, clock)] == [False, True]
    assert clock.passed == 60


def test_what_a_stranger_takes_meanwhile_is_its_own_affair() -> None:
    before = using(2283, HOLDER._replace(vram_mb=2000))
    assert returned(before, using(90283, HOLDER._replace(vram_mb=90000))) == ()
    assert [leak.now_mb for leak in returned(before, using(99000, HOLDER._replace(vram_mb=90000)))] == [99000]
    assert returned(before, using(283)) == (), "it left"
    assert returned(using(2283, HOLDER._replace(vram_mb=None)), using(90283, HOLDER._replace(vram_mb=None)))


def quiet(_message: str) -> None:
    """Nobody listens."""


def soil(state: Path, leak: Leak | None = None, unwell: str = "") -> dirty.Mark:
    leak = leak or Leak(KEY, 283, 9000, (HOLDER,))
    return mark(state, leak, run="run-1", who="ann", clock=FakeClock(), unwell=unwell)


def test_a_mark_carries_its_evidence(tmp_path: Path) -> None:
    assert marks(tmp_path) == ()
    made = soil(tmp_path)
    assert marks(tmp_path) == (made,)
    assert str(made) == (
        f"{KEY} is dirty since 2026-01-01 00:00Z, left by ann, run run-1: "
        f"{KEY} uses 9000 MiB after 283 MiB before; held by process 4711 python3"
    )


def test_a_clean_device_loses_its_mark_and_that_is_said(tmp_path: Path) -> None:
    soil(tmp_path)
    said: list[str] = []
    assert recheck(tmp_path, BEFORE, said.append) == ()
    assert marks(tmp_path) == ()
    assert [line.startswith(f"{KEY} is clean again (283 MiB in use)") for line in said] == [True]


@pytest.mark.parametrize("node", [using(9000), using(None), using(283, HOLDER), BEFORE._replace(gpus=GPUS[1:])])
def test_a_mark_stays_while_the_device_is_not_clean(tmp_path: Path, node: Node) -> None:
    made = soil(tmp_path)
    assert recheck(tmp_path, node, pytest.fail) == (made,)
    assert marks(tmp_path) == (made,)


def test_without_a_baseline_the_tolerance_is_all_it_may_use(tmp_path: Path) -> None:
    made = soil(tmp_path, Leak(KEY, None, 9000, ()))
    assert recheck(tmp_path, using(dirty.TOLERANCE_MB + 1), pytest.fail) == (made,)
    assert recheck(tmp_path, using(dirty.TOLERANCE_MB), quiet) == ()


def test_memory_that_was_never_known_is_clean_without_a_holder(tmp_path: Path) -> None:
    made = soil(tmp_path, Leak(KEY, None, None, (HOLDER,)))
    assert recheck(tmp_path, using(None, HOLDER), pytest.fail) == (made,)
    assert recheck(tmp_path, UNKNOWN, quiet) == ()


def test_a_mark_for_what_is_unwell_outlasts_a_milder_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = soil(tmp_path, unwell="it computes wrongly")
    assert soil(tmp_path) == made
    assert marks(tmp_path) == (made,)
    worse = soil(tmp_path, unwell="it hangs")
    assert marks(tmp_path) == (worse,)
    monkeypatch.setattr(dirty, "boot_id", lambda: "another")
    assert not soil(tmp_path).lasting


def test_an_unwell_device_is_trusted_after_a_reboot_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory may be clean all the while."""
    made = soil(tmp_path, unwell="it hangs")
    assert made.reason.startswith("it hangs; ")
    assert f"remove {tmp_path / 'dirty' / KEY}.json" in made.reason
    assert recheck(tmp_path, BEFORE, pytest.fail) == (made,)
    monkeypatch.setattr(dirty, "boot_id", lambda: "another")
    assert recheck(tmp_path, using(9000), pytest.fail) == (made,)
    assert recheck(tmp_path, BEFORE, quiet) == ()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "gpu": "x"}'])
def test_a_mark_that_cannot_be_read_is_a_mark(tmp_path: Path, text: str) -> None:
    soil(tmp_path)
    (tmp_path / "dirty" / f"{KEY}.json").write_text(text)
    (found,) = marks(tmp_path)
    assert (found.gpu, "cannot be read" in found.reason) == (KEY, True)
    assert recheck(tmp_path, BEFORE, pytest.fail) == (found,)


def test_other_users_see_the_mark(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        soil(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "dirty" / f"{KEY}.json").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "dirty").stat().st_mode) == 0o1777


def test_a_mark_of_another_user_stays_and_says_whom_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = soil(tmp_path)
    said: list[str] = []

    def refuse(_path: Path, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert recheck(tmp_path, BEFORE, said.append) == (made,)
    assert "ask ann" in said[0]
