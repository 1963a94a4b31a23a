"""Single flight: whoever builds is waited for, whoever is gone is not, and no lease keeps an image from being built."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ci.build import flight
from ci.errors import FailedError, InfraError
from ci.names import Place
from ci.settings import capture
from ci.world.fakes import FakeClock
from ci.world.store import Folder
from ci.world.store_lease import LASTS, Holder, Matter, held
from ci.world.versioned import VERSION
from tests.publishing import run_id

IDENTITY = "5" * 64
PLACE = Place("localhost:5000", "team")
TIER: Any = SimpleNamespace(name="ci-base", identity=IDENTITY)
ELSEWHERE = Holder(run_id(50), 4, LASTS, 1, 1, "another boot", "another boot pid:[1]")


class Host:
    """A host with a store, a registry and a clock of its own; ``said`` is what it told."""

    def __init__(self, store: Path | None, *, reads: Place | None = PLACE, writes: Place | None = PLACE) -> None:
        self.clock = FakeClock()
        self.said: list[str] = []
        environ = {"ROCM_CI_STORE": str(store)} if store else {}
        self.work: Any = SimpleNamespace(settings=capture({}, environ), clock=self.clock, place=reads, writes=writes)

    @contextmanager
    def alone(self, number: int = 1) -> Iterator[bool]:
        with flight.alone(self.work, TIER, run_id(number), self.said.append) as shared:
            yield shared


@pytest.fixture
def store(tmp_path: Path) -> Path:
    made = tmp_path / "store"
    made.mkdir()
    return made


def document(store: Path) -> Path:
    return store / "in-flight" / f"{IDENTITY}.json"


def put(store: Path, who: Holder) -> Path:
    path = document(store)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(who.encode())
    return path


def test_it_is_held_meanwhile_and_gone_afterwards(store: Path) -> None:
    host = Host(store)
    with host.alone() as shared:
        assert shared, "what others built meanwhile has to be looked for"
        assert Holder.decode(document(store).read_bytes(), "").run == run_id(1)
    assert not document(store).exists()
    assert (host.said, host.clock.sleeps) == ([], [])


@pytest.mark.parametrize("case", ["no store", "no registry", "a scope of its own", "nowhere to write"])
def test_it_needs_a_store_and_a_place_that_others_read(store: Path, case: str) -> None:
    host = Host(None if case == "no store" else store)
    host.work.place = None if case == "no registry" else PLACE
    host.work.writes = {"a scope of its own": Place("localhost:5000", "scopes"), "nowhere to write": None}.get(
        case, PLACE
    )
    with host.alone() as shared:
        assert not shared
        assert list(store.iterdir()) == []
    assert host.said == []


def test_a_build_that_fails_lets_the_next_one_begin_at_once(store: Path) -> None:
    with pytest.raises(FailedError), Host(store).alone():
        raise FailedError("x", "the step failed")
    assert Holder.decode(document(store).read_bytes(), "").released
    other = Host(store)
    with other.alone(2):
        pass
    assert (other.clock.sleeps, other.said) == ([], [])


def test_whoever_builds_elsewhere_is_waited_for_and_named(store: Path) -> None:
    path = put(store, replace(ELSEWHERE, run="20261121T160500Z-0a1b2c3d"))
    host = Host(store)

    class Clock(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if len(self.sleeps) == 3:
                path.unlink()  # built and published

    host.work.clock = Clock()
    with host.alone() as shared:
        assert shared
    assert len(host.work.clock.sleeps) == 3
    assert host.said == [
        "run 20261121T160500Z-0a1b2c3d, begun 2026-11-21 16:05 UTC, is at work on ci-base 555555555555; waiting for it"
    ]


def test_whoever_fell_silent_elsewhere_is_overtaken_after_the_whole_time(store: Path) -> None:
    put(store, ELSEWHERE)
    host = Host(store)
    with host.alone():
        assert LASTS <= host.clock.passed <= LASTS + 5
        assert Holder.decode(document(store).read_bytes(), "").run == run_id(1)


def test_whoever_died_on_this_host_is_overtaken_at_once(store: Path) -> None:
    put(store, replace(Holder.me(run_id(50)), started=1))
    host = Host(store)
    with host.alone():
        pass
    assert host.clock.sleeps == []


def test_a_lost_lease_ends_nothing_and_is_left_to_the_other(store: Path) -> None:
    host = Host(store)
    with host.alone():
        path = put(store, ELSEWHERE)
    assert Holder.decode(path.read_bytes(), "") == ELSEWHERE


@pytest.mark.parametrize("case", ["no folder", "newer", "broken", "denied"])
def test_a_store_that_cannot_be_used_keeps_nobody_from_building(
    store: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = b""
    if case == "no folder":
        store.rmdir()
    elif case == "denied":

        def refuse(*_: object) -> bool:
            raise InfraError("store", "access denied")

        monkeypatch.setattr(Folder, "create", refuse)
    else:
        path = put(store, ELSEWHERE)
        text = path.read_text() if case == "newer" else "{"
        before = text.replace(f'"schema": {VERSION}', f'"schema": {VERSION + 1}').encode()
        path.write_bytes(before)
    host = Host(store)
    with host.alone() as shared:
        assert shared
    (said,) = host.said
    assert said.startswith("ci-base: nobody can tell whether another host builds it, so this one does: ")
    assert not before or document(store).read_bytes() == before


def test_signs_of_life_come_while_the_holder_works_and_end_with_it(store: Path) -> None:
    import threading

    from ci.world.clock import SystemClock

    seen = threading.Semaphore(0)

    class Seen(Folder):
        def swap(self, path: str, data: bytes, mark: str) -> bool:
            done = super().swap(path, data, mark)
            seen.release()
            return done

    said: list[str] = []
    with held(Matter(Seen(store), SystemClock(), said.append, "it"), run_id(1), 0.06) as lease, lease.kept():
        for _ in range(3):
            assert seen.acquire(timeout=30), said
    assert "lease" not in {thread.name for thread in threading.enumerate()}
    assert said == []


def test_signs_of_life_that_fail_are_said_once_and_end_no_work(store: Path) -> None:
    import threading

    from ci.world.clock import SystemClock

    heard = threading.Event()
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        heard.set()

    matter = Matter(Folder(store), SystemClock(), say, "it")
    with held(matter, run_id(1), 0.06) as lease, lease.kept():
        there = matter.store.fetch(matter.document)
        while there and not matter.store.swap(matter.document, ELSEWHERE.encode(), there[1]):  # it was just renewed
            there = matter.store.fetch(matter.document)
        assert heard.wait(30)
    assert len(said) == 1
    assert f"lost the lease of it to run {ELSEWHERE.run}" in said[0]
