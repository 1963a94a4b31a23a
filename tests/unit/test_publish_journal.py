"""The journal: written once, here and in the store; what never came true, or was put back, is no history."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ci.errors import ConfigError, ContractError, InfraError
from ci.publish import journal
from ci.publish.journal import Entry, Move, Removed
from ci.publish.manifest import Standing
from ci.world.versioned import VERSION
from tests.publishing import Recorder, World, commit, run_id


def entry(sequence: int, run: int, letter: str, after: int = 0, kind: str = "release") -> Entry:
    moves = (Move("index:nightly", None, "1" * 64, commit(letter)),)
    return Entry(sequence, run_id(run), kind, "at", commit(letter), moves, after=run_id(after) if after else "")


def standing(sequence: int, run: int) -> Standing:
    return Standing(sequence, run_id(run), "release", "at", "", "")


def test_an_entry_is_read_as_it_was_written() -> None:
    made = Entry(7, run_id(1), "retain", "at", commit("a"), (), (Removed("tag", "sha256:1", "old"),), run_id(2))
    assert Entry.decode(made.encode(), "here") == made
    assert Entry.decode(entry(1, 1, "a").encode(), "here") == entry(1, 1, "a")


def test_it_is_created_in_the_store_and_kept_here(tmp_path: Path) -> None:
    world, made = World(tmp_path), entry(17, 1, "a")
    places = world.places(recorder := Recorder())
    journal.write(places, made)
    name = f"00000017-{run_id(1)}.json"
    assert recorder.writes == [f"create journal/{name}"]
    assert (places.journal / name).read_bytes() == (world.folder / "journal" / name).read_bytes() == made.encode()
    assert journal.entry(places, 17, run_id(1)) == made
    assert journal.entry(places, 18, run_id(1)) is None


def test_an_entry_is_never_overwritten(tmp_path: Path) -> None:
    places = World(tmp_path).places()
    journal.write(places, entry(1, 1, "a"))
    journal.write(places, entry(1, 1, "a"))
    with pytest.raises(ContractError) as raised:
        journal.write(places, entry(1, 1, "b"))
    assert raised.value.problems[0].reference == "journal-taken"
    assert journal.entries(places) == (entry(1, 1, "a"),)


def test_a_disk_of_this_host_that_takes_nothing_ends_it_before_the_store(tmp_path: Path) -> None:
    world = World(tmp_path)
    places = world.places(recorder := Recorder())
    places.journal.write_text("in the way")
    with pytest.raises(InfraError):
        journal.write(places, entry(1, 1, "a"))
    assert recorder.writes == []


def test_entries_come_in_order_and_other_files_are_none(tmp_path: Path) -> None:
    world = World(tmp_path)
    places = world.places()
    made = [entry(10, 1, "c"), entry(2, 2, "b"), entry(2, 1, "a")]
    for each in made:
        journal.write(places, each)
    (world.folder / "journal" / "notes.txt").write_text("by hand")
    assert journal.entries(places) == tuple(reversed(made))


def test_a_newer_entry_is_refused_and_left_alone(tmp_path: Path) -> None:
    world = World(tmp_path)
    places = world.places()
    journal.write(places, entry(1, 1, "a"))
    path = world.folder / "journal" / f"00000001-{run_id(1)}.json"
    document = {**json.loads(path.read_text()), "schema": VERSION + 1, "words": "we do not know"}
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError) as raised:
        journal.entries(places)
    assert raised.value.problems[0].reference == "newer-document"
    assert json.loads(path.read_text()) == document


def test_the_version_before_is_read(tmp_path: Path) -> None:
    world = World(tmp_path)
    path = world.folder / "journal" / f"00000001-{run_id(1)}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**json.loads(entry(1, 1, "a").encode()), "schema": VERSION - 1}))
    assert journal.entries(world.places()) == (entry(1, 1, "a"),)


@pytest.mark.parametrize("data", [b"", b"{", b'{"schema": 1}', b'{"schema": 1, "moves": [{"x": 1}], "removed": []}'])
def test_what_is_no_entry_is_named(tmp_path: Path, data: bytes) -> None:
    world = World(tmp_path)
    path = world.folder / "journal" / f"00000001-{run_id(1)}.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with pytest.raises(ContractError, match=path.name) as raised:
        journal.entries(world.places())
    assert raised.value.problems[0].reference == "broken-document"


def test_history_follows_what_stood_and_nothing_else(tmp_path: Path) -> None:
    places = World(tmp_path).places()
    stood = [entry(1, 1, "a"), entry(2, 3, "b", after=1), entry(3, 5, "d", after=3)]
    never = [entry(2, 2, "x", after=1), entry(3, 4, "y", after=3), entry(4, 6, "z", after=5)]
    repair = entry(2, 9, "b", after=3, kind="repair")
    for each in (*stood, *never, repair):
        journal.write(places, each)
    assert journal.history(places, standing(3, 5)) == tuple(stood)
    assert journal.history(places, standing(2, 3)) == tuple(stood[:2])


def test_a_switch_that_was_put_back_is_no_history(tmp_path: Path) -> None:
    places = World(tmp_path).places()
    for each in (
        entry(1, 1, "a"),
        entry(2, 2, "b", after=1),
        entry(3, 2, "a", after=2, kind="undone"),
        entry(4, 3, "c", after=2),
    ):
        journal.write(places, each)
    assert [each.commit for each in journal.history(places, standing(4, 3))] == [commit("a"), commit("c")]
    assert [each.commit for each in journal.history(places, standing(3, 2))] == [commit("a")]
