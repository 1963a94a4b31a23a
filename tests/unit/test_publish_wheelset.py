"""Wheel sets of the cache: whole or not, kept once, and the first of two runs wins. And what a wheel's key covers."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from ci.errors import ContractError
from ci.publish import wheelset
from ci.publish.cached import SET, WheelSet, cached_path, find
from ci.publish.channel import Channel, Retain
from ci.publish.places import CACHE, Places
from ci.settings import Settings
from ci.wheels.job import Options, Request
from ci.wheels.source import Source
from ci.world.fakes import FakeClock
from ci.world.history import History
from ci.world.store import Folder
from tests import wheels

KEY = "k" * 64
NIGHTLY = Channel(
    "nightly", "s", False, "", "", "r", "", "", "nightly", "commit", "current", MappingProxyType({}), 0, Retain(3, 3)
)


class Counting(Folder):
    """A folder that counts the wheels it takes, and lets somebody else be faster once."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.taken: list[str] = []
        self.written: list[str] = []
        self.rival: bytes | None = None

    def take(self, source: Path, path: str) -> None:
        self.taken.append(path)
        self.written.append(path)
        super().take(source, path)

    def create(self, path: str, data: bytes) -> bool:
        self.written.append(path)
        if self.rival is not None:
            super().create(path, self.rival)
        return super().create(path, data)


@pytest.fixture
def store(tmp_path: Path) -> Counting:
    (tmp_path / "store").mkdir()
    return Counting(tmp_path / "store")


@pytest.fixture
def places(store: Counting, tmp_path: Path) -> Places:
    return Places(
        channel=NIGHTLY,
        registry=None,
        place=None,
        journal=tmp_path,
        clock=FakeClock(),
        say=lambda _text: None,
        store=store.within("nightly"),
        cache=store.within(CACHE),
        whole=store,
    )


def made(folder: Path, *versions: str) -> tuple[WheelSet, dict[str, Path]]:
    paths = [wheels.write(folder, version=version) for version in versions]
    rows = tuple(wheelset.row_of(path, KEY) for path in paths)
    return WheelSet(KEY, rows), {row.sha256: path for row, path in zip(rows, paths, strict=True)}


def test_a_row_says_what_the_wheel_says(tmp_path: Path) -> None:
    path = wheels.write(tmp_path, requires_python=">=3.11")
    row = wheelset.row_of(path, KEY)
    assert row[:3] == ("rocm-probe", "0.1.0+rocm.7.2", path.name)
    assert (row.sha256, row.size) == (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
    assert (row.requires_python, row.part) == (">=3.11", KEY)


def test_a_set_is_kept_whole_and_once(places: Places, store: Counting, tmp_path: Path) -> None:
    assert wheelset.whole(places.cache, KEY) is None
    both, paths = made(tmp_path / "a", "1.0", "1.1")
    assert wheelset.keep(places, both, paths) == both
    assert store.written == [*store.taken, f"{CACHE}/{KEY}/{SET}"], "the manifest is last"
    assert len(store.taken) == 2
    assert wheelset.whole(places.cache, KEY) == find(places.cache, KEY) == both
    for row in both.wheels:
        beside = places.cache.read(f"{cached_path(row)}.metadata")
        assert beside is not None
        assert hashlib.sha256(beside).hexdigest() == row.metadata
    assert wheelset.keep(places, both, paths) == both
    assert len(store.taken) == 2, "nothing is sent twice"


def test_a_set_without_its_manifest_is_none_and_is_continued(places: Places, store: Counting, tmp_path: Path) -> None:
    both, paths = made(tmp_path / "a", "1.0", "1.1")
    wheelset.keep(places, both, paths)
    places.cache.remove(f"{KEY}/{SET}")
    assert wheelset.whole(places.cache, KEY) is None
    wheelset.keep(places, both, paths)
    assert len(store.taken) == 2
    assert wheelset.whole(places.cache, KEY) == both


@pytest.mark.parametrize("harm", ["gone", "short"])
def test_a_set_that_lost_bytes_is_none_and_is_mended(places: Places, tmp_path: Path, harm: str) -> None:
    both, paths = made(tmp_path / "a", "1.0", "1.1")
    wheelset.keep(places, both, paths)
    lost = cached_path(both.wheels[1])
    places.cache.remove(lost)
    if harm == "short":
        places.cache.write(lost, b"half")
    assert wheelset.whole(places.cache, KEY) is None
    assert wheelset.keep(places, both, paths) == both
    assert wheelset.whole(places.cache, KEY) == both


def test_the_first_of_two_runs_wins(places: Places, store: Counting, tmp_path: Path) -> None:
    theirs, their_paths = made(tmp_path / "a", "1.0")
    ours, our_paths = made(tmp_path / "b", "1.1")
    wheelset.keep(places, theirs, their_paths)
    assert wheelset.keep(places, ours, our_paths) == theirs
    assert len(store.taken) == 1, "ours is not sent"

    places.cache.remove(f"{KEY}/{SET}")
    store.rival = theirs.encode()
    assert wheelset.keep(places, ours, our_paths) == theirs, "they came between our look and our manifest"


def test_a_damaged_set_of_other_wheels_is_a_hard_stop(places: Places, tmp_path: Path) -> None:
    theirs, their_paths = made(tmp_path / "a", "1.0")
    wheelset.keep(places, theirs, their_paths)
    places.cache.remove(cached_path(theirs.wheels[0]))
    with pytest.raises(ContractError) as caught:
        wheelset.keep(places, *made(tmp_path / "b", "1.1"))
    assert caught.value.problems[0].reference == "other-set"


# --- the key of a project's wheel -----------------------------------------------------------


@pytest.fixture
def request_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """A project outside of git: what git lists is not asked for."""
    monkeypatch.setattr("ci.wheels.source.listed", lambda _root: None)
    root = tmp_path / "project"
    (root / "tool").mkdir(parents=True)
    (root / "pyproject.toml").write_text('[project]\nname = "tool"\nversion = "0.3.0"\n')
    (root / "tool/__init__.py").write_text("A = 1\n")
    past = History(root, "c" * 40, 7, 0, False, frozenset(), frozenset())
    return Request(Settings({}, {}), Source.read(root), None, None, past, Options(rocm="7.2"), tmp_path)


def test_the_key_is_that_of_equal_inputs(request_of: Request) -> None:
    key = wheelset.project_key(request_of, "t1")
    assert len(key) == 64
    assert wheelset.project_key(replace(request_of, out=Path("/elsewhere")), "t1") == key


def test_every_input_counts(request_of: Request) -> None:
    past = request_of.history
    assert past
    seen = {
        wheelset.project_key(each, compiler)
        for each, compiler in [
            (request_of, "t1"),
            (request_of, "t2"),
            (replace(request_of, options=Options(rocm="7.3")), "t1"),
            (replace(request_of, options=Options(rocm="7.2", torch="2.9.1")), "t1"),
            (replace(request_of, history=replace(past, commit="d" * 40)), "t1"),
            (replace(request_of, history=replace(past, here=frozenset({"tool-v0.3.0"}))), "t1"),
            (replace(request_of, source=replace(request_of.source, release="0.4.0")), "t1"),
        ]
    }
    file = request_of.source.root / "tool/__init__.py"
    file.write_text("A = 2\n")
    seen.add(wheelset.project_key(request_of, "t1"))
    file.chmod(0o755)
    seen.add(wheelset.project_key(request_of, "t1"))
    assert len(seen) == 9
