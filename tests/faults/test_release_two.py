"""Two releases of one channel at once, of an older and a newer commit: the newer one stands, whole."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.stand import PATIENCE, Ended, Running
from tests.release_doors import Asked
from tests.release_scene import LEASE, Scene
from tests.release_world import Kept
from tests.unit.registry_replies import Reply

WAITING = "waiting for it"
HELD = {
    "journal": r"store PUT nightly/journal/",
    "truth": r"store PUT nightly/standing\.json",
    "tag": r"registry PUT manifests/nightly$",
}


class Pair:
    """Both are staged; ``older`` has a clone of its own, and each a state folder, as on two hosts."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.scene = scene
        self.folder = folder
        scene.begin(scene.staged)
        self.older = scene.second
        self.newer = scene.stand.change(2)
        scene.stand.struck(LEASE, signal.SIGKILL, before=True)
        self.clone = folder / "clone"
        subprocess.run(["git", "clone", "-q", str(scene.stand.repo), str(self.clone)], check=True)
        subprocess.run(["git", "-C", str(self.clone), "checkout", "-q", self.older], check=True)
        self.staged = scene.world.keep(folder / "both")

    def start(self, commit: str) -> Running:
        tree = self.clone if commit == self.older else self.scene.stand.repo
        stack = str(tree / "recipe" / "plant.yaml")
        state = str(self.folder / f"state-{commit[:8]}")
        return self.scene.stand.start("release-nightly", "--stack", stack, ROCM_CI_STATE=state)

    def check(self, older: Ended, newer: Ended, *codes: int) -> None:
        assert newer.code == 0, newer.out
        assert older.code in codes, older.out
        self.scene.world.whole(self.newer)
        for ended in (older, newer):
            assert "Traceback" not in ended.err
        if older.code == 5:
            assert older.document["outcome"] == "superseded"


@pytest.fixture(scope="module")
def pair(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = Pair(scene, tmp_path_factory.mktemp("two"))
    yield made
    scene.begin(scene.before)


def begin(pair: Pair, kept: Kept | None = None) -> None:
    pair.scene.stand.around()
    pair.scene.world.come_back(kept or pair.staged)
    pair.scene.stand.forget()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_both_at_once(pair: Pair, number: int) -> None:
    begin(pair)
    order = [pair.older, pair.newer] if number % 2 else [pair.newer, pair.older]
    running = {commit: pair.start(commit) for commit in order}
    ended = {commit: each.end() for commit, each in running.items()}
    pair.check(ended[pair.older], ended[pair.newer], 0, 5)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["older", "newer"])
@pytest.mark.parametrize("held", HELD)
def test_one_comes_while_the_other_moves_pointers(pair: Pair, first: str, held: str) -> None:
    """Whoever holds the channel is held up at a write until the other one waits, or has seen that it is too late."""
    begin(pair)
    commits = {"older": pair.older, "newer": pair.newer}
    second = "newer" if first == "older" else "older"
    there, go_on = threading.Event(), threading.Event()

    def hold(_asked: Asked, perform: Callable[[], Reply]) -> Reply:
        there.set()
        assert go_on.wait(PATIENCE)
        return perform()

    pair.scene.stand.at(HELD[held], hold)
    one = pair.start(commits[first])
    assert there.wait(PATIENCE), one.err
    other = pair.start(commits[second])
    try:
        if (first, held) == ("newer", "tag"):
            other.process.wait(PATIENCE)
        else:
            other.until(WAITING)
    finally:
        go_on.set()
    ended = {first: one.end(), second: other.end()}
    pair.check(ended["older"], ended["newer"], 0 if first == "older" else 5)


def test_an_older_one_that_finishes_late_changes_nothing(pair: Pair) -> None:
    begin(pair)
    assert pair.start(pair.newer).end().code == 0
    before = pair.scene.world.outcome()
    ended = pair.start(pair.older).end()
    assert ended.code == 5, ended.out
    assert pair.scene.world.outcome() == before
