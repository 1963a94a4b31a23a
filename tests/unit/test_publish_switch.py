"""The switch: what it writes and in which order, what stops it, and twice in a row."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ci.errors import ContractError, InfraError, SupersededError
from ci.publish import journal
from ci.publish.manifest import MANIFEST, Standing
from ci.publish.switch import outstanding, switch
from ci.world.http import Response
from tests.publishing import (
    REPOSITORY,
    Killed,
    Recorder,
    Rule,
    World,
    by_letter,
    commit,
    killed_at,
    run_id,
)
from tests.switching import BASE, INDEX, MAIN, before, released


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of small writes: that each waits for the disk is for the tests of the store."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


def test_a_first_release_moves_truth_then_images_then_index(tmp_path: Path) -> None:
    world = World(tmp_path)
    release, recorder = world.staged("a"), Recorder(after=Rule(world))
    done = released(world, release, 1, recorder)
    entry = f"journal/00000001-{run_id(1)}.json"
    assert recorder.writes == [
        "create lease.json",
        f"create {entry}",
        "create standing.json",
        "PUT base-nightly",
        "PUT nightly",
        "publish",
        "swap lease.json",
    ]
    assert (done.already, done.standing.sequence, done.standing.before) == (False, 1, "")
    assert [(move.pointer, move.old) for move in done.moves] == [(BASE, None), (MAIN, None), (INDEX, None)]
    assert done.moves[1].new == release.images[0].digest
    world.settled()
    assert (tmp_path / ".journal" / entry.rpartition("/")[2]).read_bytes() == (world.folder / entry).read_bytes()


def test_a_second_release_drops_and_adds_pointers_and_notes_those_that_stay(tmp_path: Path) -> None:
    world = World(tmp_path)
    first = world.staged("a", ("main", "base", "old"))
    released(world, first, 1)
    second = world.staged("b", ("main", "base", "tools"), base=first.images[1])
    recorder = Recorder(after=Rule(world))
    done = released(world, second, 2, recorder)
    base = first.images[1].digest
    assert done.moves[0] == journal.Move(BASE, base, base, commit("b"))
    assert "PUT base-nightly" not in recorder.writes
    assert [move.new for move in done.moves if "old-nightly" in move.pointer] == [None]
    assert (done.standing.sequence, done.standing.before, done.standing.listed) == (2, commit("a"), (commit("b"),))
    world.settled()


def test_an_index_of_every_release_keeps_the_older_ones(tmp_path: Path) -> None:
    world = World(tmp_path, listing="every")
    before(world, "a")
    done = released(world, world.staged("b"), 2, Recorder(after=Rule(world)))
    assert done.standing.listed == (commit("a"), commit("b"))
    world.settled()
    assert b"dev97" in world.pages()["rocm-probe/index.html"]


def test_the_same_release_again_writes_nothing_but_the_lease(tmp_path: Path) -> None:
    world = World(tmp_path)
    release = world.staged("a")
    first = released(world, release, 1)
    kept = world.end()
    recorder = Recorder()
    done = released(world, release, 2, recorder)
    assert recorder.writes == ["swap lease.json"] * 2
    assert (done.already, done.standing) == (True, first.standing)
    assert world.end() == kept


def test_the_same_release_again_repairs_what_somebody_moved(tmp_path: Path) -> None:
    world = World(tmp_path)
    release = world.staged("a")
    released(world, release, 1)
    foreign = world.registry.image(REPOSITORY, "nightly", {"by": "hand"})
    recorder = Recorder()
    done = released(world, release, 2, recorder)
    assert done.already
    assert [move.old for move in done.moves] == [release.images[1].digest, foreign, done.moves[2].new]
    assert "PUT base-nightly" not in recorder.writes
    world.settled()
    entry = journal.entry(world.places(), 1, run_id(2))
    assert entry is not None
    assert (entry.kind, entry.moves) == ("repair", done.moves)


def test_a_commit_is_released_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    released(world, world.staged("a"), 1)
    (world.folder / commit("a") / MANIFEST).unlink()
    other = world.staged("a", ("main",))
    recorder = Recorder()
    with pytest.raises(ContractError, match="stands at another release") as raised:
        released(world, other, 2, recorder)
    assert raised.value.problems[0].reference == "other-release"
    assert recorder.writes == ["swap lease.json"] * 2


def test_a_manifest_that_differs_from_the_stored_one_stops_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    release = world.staged("a")
    path = world.folder / commit("a") / MANIFEST
    path.write_bytes(path.read_bytes().replace(b"2026-01-01", b"2026-01-02"))
    with pytest.raises(ContractError, match="another release"):
        released(world, release, 1)
    assert world.standing() is None


def test_everything_that_is_gone_is_named_and_nothing_moves(tmp_path: Path) -> None:
    world = World(tmp_path)
    release = world.staged("a")
    wheel = release.wheels[0]
    path = world.folder / commit("a") / wheel.sha256 / wheel.filename
    path.write_bytes(b"short")
    second = world.folder / commit("a") / release.wheels[1].sha256 / f"{release.wheels[1].filename}.metadata"
    second.unlink()
    del world.registry.manifests[REPOSITORY][release.images[1].digest]
    recorder = Recorder()
    with pytest.raises(ContractError) as raised:
        released(world, release, 1, recorder)
    (problem,) = raised.value.problems
    assert problem.reference == "release-gone"
    for name in (release.images[1].digest, wheel.filename, f"metadata of {release.wheels[1].filename}"):
        assert name in problem.context
    assert recorder.writes == ["create lease.json", "swap lease.json"]


def test_what_cannot_be_seen_is_not_moved(tmp_path: Path) -> None:
    world = World(tmp_path)
    release, recorder = world.staged("a"), Recorder()
    world.registry.hook = lambda request: Response(500) if request.url.endswith("/base-nightly") else None
    with pytest.raises(InfraError) as raised:
        switch(world.places(recorder), release, run_id(1), "release", by_letter)
    assert raised.value.exit_code == 4
    assert recorder.writes == ["create lease.json", "swap lease.json"]
    assert world.standing() is None


def test_an_older_release_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    late = world.staged("a")
    before(world, "b")
    kept, recorder = world.end(), Recorder()
    with pytest.raises(SupersededError) as raised:
        released(world, late, 2, recorder)
    assert raised.value.exit_code == 5
    assert recorder.writes == ["swap lease.json"] * 2
    assert world.end() == kept


def test_an_older_release_finishes_what_a_newer_one_was_cut_off_from(tmp_path: Path) -> None:
    world = World(tmp_path)
    before(world, "a")
    late, newer, rule = world.staged("b"), world.staged("c"), Rule(world)
    with pytest.raises(Killed):
        released(world, newer, 1, killed_at(4, around=rule))
    with pytest.raises(SupersededError):
        released(world, late, 2, Recorder(after=rule))
    assert (world.standing() or nobody()).commit == commit("c")
    world.settled()


def test_an_older_release_is_late_also_where_the_newer_one_cannot_be_finished(tmp_path: Path) -> None:
    world = World(tmp_path)
    late, newer = world.staged("a"), world.staged("b")
    released(world, newer, 1)
    world.registry.image(REPOSITORY, "nightly", {"by": "hand"})
    world.registry.hook = lambda request: Response(403) if request.method == "PUT" else None
    with pytest.raises(SupersededError):
        released(world, late, 2)
    assert any("not every pointer follows" in line for line in world.said)


def test_a_release_that_was_removed_by_hand_does_not_hold_the_channel(tmp_path: Path) -> None:
    world = World(tmp_path)
    before(world, "a")
    (world.folder / commit("a") / MANIFEST).unlink()
    released(world, world.staged("b"), 1)
    world.settled()
    assert any("no release of" in line for line in world.said)


def test_a_plain_channel_without_images_asks_no_registry(tmp_path: Path) -> None:
    world = World(tmp_path)
    places = replace(world.places(), registry=None, place=None)
    done = switch(places, world.staged("a", ()), run_id(1), "release", by_letter)
    assert [move.pointer for move in done.moves] == [INDEX]
    assert outstanding(places, done.standing) == tuple(move._replace(old=move.new) for move in done.moves)


def nobody() -> Standing:
    """A standing to fill in."""
    return Standing(0, "", "", "", "", "")
