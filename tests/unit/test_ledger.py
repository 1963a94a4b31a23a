"""The ledger: whatever a crash leaves, what was made is still known, and a live run is left alone."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from ci.errors import ConfigError, InfraError
from ci.world import files
from ci.world import ledger as ledgers
from ci.world.ledger import VERSION, Ledger, Owner, Thing, abandoned
from ci.world.locks import exclusive

DEAD = Owner(pid=1, started=1, boot="another boot")


def begin(state: Path, run: str = "run-1", owner: Owner | None = DEAD) -> Ledger:
    ledger = Ledger.begin(state, run, "build-base")
    if owner:
        set_owner(ledger, owner)
    return ledger


def set_owner(ledger: Ledger, owner: Owner, version: int = VERSION) -> None:
    data = {"version": version, "pid": owner.pid, "started": owner.started, "boot": owner.boot}
    files.write_json(ledger.folder / "owner.json", data)


def text(ledger: Ledger) -> str:
    return (ledger.folder / "ledger.jsonl").read_text()


def write(ledger: Ledger, what: str) -> None:
    (ledger.folder / "ledger.jsonl").write_text(what)


def test_what_was_made_and_not_removed_is_open(tmp_path: Path) -> None:
    ledger = begin(tmp_path)
    assert ledger.open_things() == ()
    one, two = ledger.will_make("image", "a:b"), ledger.will_make("folder", "/x y\n")
    ledger.will_make("image", "a:b")
    assert ledger.open_things() == (one, two)
    ledger.gone(one)
    ledger.gone(Thing("image", "never made"))
    assert Ledger(ledger.folder).open_things() == (two,)


def test_a_line_cut_short_was_never_acted_on(tmp_path: Path) -> None:
    ledger = begin(tmp_path)
    kept = ledger.will_make("image", "kept:1")
    whole = text(ledger)
    ledger.will_make("image", "half:1")
    for length in range(len(whole), len(text(ledger)) - 1):
        write(ledger, text(ledger)[:length])
        assert ledger.open_things() == (kept,), length
        write(ledger, whole)
        ledger.will_make("image", "half:1")


def test_reaping_after_a_line_cut_short_is_written_down(tmp_path: Path) -> None:
    """The line after the cut one must not become part of it: the thing would be reaped for ever."""
    ledger = begin(tmp_path)
    kept = ledger.will_make("image", "kept:1")
    write(ledger, text(ledger) + '{"v": 1, "will": {"ki')
    ledger.gone(kept)
    assert ledger.open_things() == ()
    assert list(abandoned(tmp_path)) == []


@pytest.mark.parametrize("rubbish", ["\n", "\0\0\0\n", "{\n", "nonsense\n"])
def test_rubbish_lines_are_passed_over(tmp_path: Path, rubbish: str) -> None:
    ledger = begin(tmp_path)
    thing = ledger.will_make("image", "a:b")
    write(ledger, rubbish + text(ledger) + rubbish)
    assert ledger.open_things() == (thing,)


# --- who owns a run -------------------------------------------------------------------------


def test_this_process_is_alive() -> None:
    assert Owner.me().alive


OTHERS = {
    "dead": replace(Owner.me(), pid=2**22 + 1),
    "number reused": replace(Owner.me(), started=Owner.me().started + 1),
    "other boot": replace(Owner.me(), boot="0" * 36),
    "never started": Owner(2**22 + 1, 0, Owner.me().boot),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_process_that_is_gone_is_not_mistaken(tmp_path: Path, name: str) -> None:
    assert not OTHERS[name].alive
    ledger = begin(tmp_path, owner=OTHERS[name])
    assert list(abandoned(tmp_path)) == []
    ledger.will_make("image", "a:b")
    assert [found.folder for found in abandoned(tmp_path)] == [ledger.folder]


def test_a_live_run_is_left_alone(tmp_path: Path) -> None:
    begin(tmp_path, owner=None).will_make("image", "a:b")
    assert list(abandoned(tmp_path)) == []


def seen_elsewhere(ledger: Ledger) -> None:
    """Name a process that nobody here has, in the very file: as a container that shares the folder sees it."""
    path = ledger.folder / "owner.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": 2**22 + 1, "started": 1}))


def test_a_run_of_another_container_is_left_alone(tmp_path: Path) -> None:
    ledger = begin(tmp_path, owner=None)
    ledger.will_make("image", "a:b")
    seen_elsewhere(ledger)
    assert ledger.alive
    assert list(abandoned(tmp_path)) == []


def test_a_run_whose_lock_is_gone_is_over_whatever_process_has_its_number(tmp_path: Path) -> None:
    ledger = begin(tmp_path, owner=None)
    ledger.will_make("image", "a:b")
    os.close(ledger._lock)  # as kill -9 does; the number it names is that of this live process
    assert not ledger.alive
    assert [found.folder for found in abandoned(tmp_path)] == [ledger.folder]


def test_looking_at_a_run_does_not_end_it(tmp_path: Path) -> None:
    ledger = begin(tmp_path, owner=None)
    for _ in range(2):
        assert Ledger(ledger.folder).alive
    ledger.end()
    assert not Ledger(ledger.folder).alive


def test_a_run_of_a_version_without_locks_is_known_by_its_process(tmp_path: Path) -> None:
    ledger = begin(tmp_path, owner=Owner.me())
    assert ledger.alive
    set_owner(ledger, DEAD)
    assert not ledger.alive


def test_a_zombie_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    me = Owner.me()
    monkeypatch.setattr(ledgers, "_start_time", lambda _pid: 0)
    assert not me.alive
    assert not replace(me, started=0).alive
    assert tmp_path.is_dir()


def test_a_process_name_may_hold_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name in /proc/PID/stat stands in parentheses and may hold parentheses itself."""
    fields = " ".join(["S", *map(str, range(4, 22)), "4711", "0"])
    monkeypatch.setattr(Path, "read_text", lambda _path: f"7 (a ) Z 1 (b) {fields}")
    assert ledgers._start_time(7) == 4711


def test_the_end_of_a_run_leaves_what_is_open(tmp_path: Path) -> None:
    ledger = begin(tmp_path, owner=None)
    ledger.end()
    ledger.end()
    assert list(abandoned(tmp_path)) == []
    thing = ledger.will_make("image", "a:b")
    assert [found.open_things() for found in abandoned(tmp_path)] == [(thing,)]


def test_the_oldest_run_comes_first(tmp_path: Path) -> None:
    for run in ("20260102T000000Z-b", "20260101T000000Z-c", "20260102T000000Z-a"):
        begin(tmp_path, run).will_make("image", run)
    assert [found.folder.name for found in abandoned(tmp_path)] == sorted(
        ["20260102T000000Z-b", "20260101T000000Z-c", "20260102T000000Z-a"]
    )


def test_other_users_can_see_that_a_run_lives(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        ledger = begin(tmp_path, owner=None)
    finally:
        os.umask(before)
    assert stat.S_IMODE((ledger.folder / "owner.json").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "runs").stat().st_mode) == 0o1777


def test_a_run_that_may_not_be_read_is_its_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path, "a").will_make("image", "a:b")
    readable = begin(tmp_path, "b")
    readable.will_make("image", "a:b")
    real = files.read_json

    def read(path: Path) -> object:
        if path.parent.name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(files, "read_json", read)
    assert [found.folder for found in abandoned(tmp_path)] == [readable.folder]


def test_two_runs_of_one_name_do_not_mix(tmp_path: Path) -> None:
    begin(tmp_path)
    with pytest.raises(InfraError):
        begin(tmp_path)


# --- versions -------------------------------------------------------------------------------


def test_a_newer_owner_is_refused_and_left_alone(tmp_path: Path) -> None:
    ledger = begin(tmp_path)
    ledger.will_make("image", "a:b")
    set_owner(ledger, DEAD, VERSION + 1)
    before = {path: path.read_bytes() for path in ledger.folder.iterdir()}
    with pytest.raises(ConfigError) as caught:
        list(abandoned(tmp_path))
    assert caught.value.problems[0].reference == "newer-ledger"
    assert {path: path.read_bytes() for path in ledger.folder.iterdir()} == before


def test_newer_lines_are_refused_after_the_run_has_ended(tmp_path: Path) -> None:
    ledger = begin(tmp_path)
    write(ledger, json.dumps({"v": VERSION + 1, "will": {"kind": "image", "name": "a:b", "more": 1}}) + "\n")
    ledger.end()
    with pytest.raises(ConfigError) as caught:
        list(abandoned(tmp_path))
    assert caught.value.problems[0].reference == "newer-ledger"


def test_the_version_before_is_read(tmp_path: Path) -> None:
    ledger = begin(tmp_path)
    write(ledger, json.dumps({"will": {"kind": "image", "name": "a:b"}}) + "\n")
    set_owner(ledger, DEAD, VERSION - 1)
    assert [found.open_things() for found in abandoned(tmp_path)] == [(Thing("image", "a:b"),)]


# --- the end of a run ------------------------------------------------------------------------


def test_clear_writes_down_what_is_gone(tmp_path: Path) -> None:
    ledger = begin(tmp_path)
    thing = ledger.will_make("image", "a:b")
    ledger.clear(thing, lambda: None, pytest.fail)
    assert ledger.open_things() == ()


def test_clear_never_hides_the_error_before_it(tmp_path: Path) -> None:
    ledger = begin(tmp_path)
    thing = ledger.will_make("image", "a:b")
    said: list[str] = []

    def remove() -> None:
        raise OSError(28, "No space left on device")

    ledger.clear(thing, remove, said.append)
    assert ledger.open_things() == (thing,)
    assert "inv reap" in said[0]


@pytest.mark.parametrize(
    ("name", "inside"),
    [("context", True), ("context/deep", True), ("..", False), ("../other/x", False), ("context/../../x", False)],
)
def test_only_the_runs_own_folder_is_its_own(tmp_path: Path, name: str, inside: bool) -> None:
    ledger = begin(tmp_path)
    assert ledger.holds(Thing("folder", f"{ledger.folder}/{name}")) is inside


# --- locks ----------------------------------------------------------------------------------


def test_a_lock_is_free_again_and_readable_by_others(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        for _ in range(2):
            with exclusive(tmp_path, "x", pytest.fail) as waited:
                assert not waited
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "locks/x").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "locks").stat().st_mode) == 0o1777


def test_a_lock_is_freed_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="oops"), exclusive(tmp_path, "x", pytest.fail):
        raise ValueError("oops")
    with exclusive(tmp_path, "x", pytest.fail) as waited:
        assert not waited


def test_a_lock_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/x").symlink_to(tmp_path / "victim")
    with pytest.raises(InfraError), exclusive(tmp_path, "x", pytest.fail):
        pytest.fail("it was opened")
    assert not (tmp_path / "victim").exists()
