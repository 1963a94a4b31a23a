"""A release that is stopped, whose disk is full or whose clock is wrong: typed end, nothing left, a rerun finishes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ci.world.ledger import Ledger
from ci.world.store import Folder
from tests.faults.stand import processes, soon
from tests.release_doors import Asked
from tests.release_scene import SAYS_HALF, Scene, alone
from tests.release_stand import ROOT, Stand
from tests.release_world import CHANNEL, TAGS, World
from tests.unit.registry_replies import Reply

WHEEL = r"store PUT COPY nightly/COMMIT/[^ ]*\.whl$"
TAG = r"registry PUT manifests/nightly$"
PAGE = r"store PUT nightly/simple/"
STANDING = r"store PUT nightly/standing\.json"
READ_BACK = r"store GET nightly/COMMIT/simple/"
SHIFTED = """\
import os
from datetime import timedelta
from pathlib import Path
from ci.world import clock

def now(self, real=clock.SystemClock.now):
    return real(self) + timedelta(seconds=float(Path(os.environ["SHIFT"]).read_text()))

clock.SystemClock.now = now
"""


def left_behind(stand: Stand) -> list[str]:
    """Open things of its ledgers, and processes that know its state folder."""
    opened = [str(thing) for path in (stand.state / "runs").iterdir() for thing in Ledger(path).open_things()]
    return opened + list(processes(str(stand.state)).values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    "pattern", [WHEEL, READ_BACK, STANDING, TAG, PAGE], ids=["stage", "prove", "truth", "tag", "page"]
)
def test_a_release_that_is_stopped(scene: Scene, pattern: str, number: signal.Signals) -> None:
    stand = scene.stand
    scene.begin(scene.before if pattern == WHEEL else scene.staged)
    stand.run("reap")
    ended = stand.struck(pattern, number)
    assert ended.code == 128 + number, ended.err
    assert "Traceback" not in ended.err
    assert ended.document["outcome"] == "interrupted"
    scene.world.whole(scene.first)
    soon(lambda: left_behind(stand) == [], "something is left")
    assert json.loads(stand.run("reap").out)["removed"] == []
    scene.finish()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[int], Path]]:
    """A disk of its own at ``folder``; gives what fills it but for some KiB, and returns the file that does."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "rocm-ci-faults", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("cannot mount a small disk here")

    def fill(free: int) -> Path:
        ballast = folder / ".ballast"
        with ballast.open("wb", buffering=0) as stream:
            try:
                while stream.write(b"x" * 4096):
                    pass
            except OSError:
                stream.truncate(max(0, stream.tell() // 4096 * 4096 - (free << 10)))
        return ballast

    try:
        yield fill
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("free", [0, 40, 400, 4000, 20000], ids=lambda free: f"{free} KiB free")
def test_the_disk_of_the_state_folder_is_full(scene: Scene, tmp_path: Path, free: int) -> None:
    scene.begin(scene.before)
    state = tmp_path / "state"
    with small_disk(state, "80m") as fill:
        ballast = fill(free)
        ended = scene.stand.run(check=None, ROCM_CI_STATE=str(state))
        assert ended.code == 4, ended.out
        assert re.search("disk|make room", ended.out), ended.out
        scene.world.whole(scene.first)
        ballast.unlink()
        scene.stand.run(ROCM_CI_STATE=str(state))
    scene.done()


@pytest.mark.slow
@pytest.mark.parametrize("free", [0, 20, 40, 60, 80, 100, 120, 140], ids=lambda free: f"{free} KiB free")
def test_the_disk_of_a_folder_store_is_full(scene: Scene, tmp_path: Path, free: int) -> None:
    """From the first wheel to the last page: where there is no room, all is as before, or told and made up for."""
    scene.begin(scene.before)
    store = tmp_path / "store"
    options = ("--store", str(store))
    tags = scene.world.tags()
    with small_disk(store, "2m") as fill:
        world = World(scene.world.url, scene.world.data, Folder(store))
        ballast = fill(free)
        ended = scene.stand.run("release-nightly", *options, check=4)
        assert "disk" in ended.references, ended.out
        if SAYS_HALF.search(ended.out):
            world.consistent()
        else:
            assert world.standing is None
            assert {tag: world.tags().get(tag) for tag in TAGS.values()} == {tag: tags[tag] for tag in TAGS.values()}
        assert list(store.rglob(".new-*")) == []
        ballast.unlink()
        scene.stand.run("release-nightly", *options)
        world.whole(scene.second)


@pytest.fixture
def shift(scene: Scene, tmp_path: Path) -> Iterator[Callable[[timedelta], None]]:
    """Set the clock of every run off by this much."""
    path = tmp_path / "shift"
    path.write_text("0")
    (tmp_path / "sitecustomize.py").write_text(SHIFTED)
    scene.stand.env |= {"SHIFT": str(path), "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    yield lambda by: (path.write_text(str(by.total_seconds())), None)[1]
    del scene.stand.env["SHIFT"], scene.stand.env["PYTHONPATH"]


@pytest.mark.parametrize("hours", [8, -8])
def test_a_clock_that_is_hours_off_between_two_runs(
    scene: Scene, shift: Callable[[timedelta], None], hours: int
) -> None:
    scene.begin(scene.staged)
    shift(timedelta(hours=hours))
    scene.kill(TAG)
    stands = scene.world.standing
    assert stands is not None
    off = datetime.fromisoformat(stands.at) - datetime.now(UTC)
    assert abs(off - timedelta(hours=hours)) < timedelta(minutes=10), "the clock was not shifted"
    shift(timedelta(hours=-hours))
    alone(scene.stand.run())
    scene.done()


def test_midnight_in_mid_run(scene: Scene, shift: Callable[[timedelta], None]) -> None:
    """The day of a release is the one its run began on."""
    scene.begin(scene.before)
    now = datetime.now(UTC)
    eve = now.replace(hour=23, minute=59, second=0) - timedelta(days=3)
    shift(eve - now)

    def midnight(_asked: Asked, perform: Callable[[], Reply]) -> Reply:
        shift(eve - now + timedelta(minutes=2))
        return perform()

    scene.stand.at(r"store PUT cache/SHA/manifest\.json", midnight)
    scene.stand.run()
    scene.stand.around()
    scene.world.whole(scene.second)
    assert scene.world.release(scene.second).date == f"{eve:%Y-%m-%d}"
    stands = scene.world.standing
    assert stands is not None
    assert stands.at.startswith(f"{eve + timedelta(days=1):%Y-%m-%d}")
    assert any(path.startswith(f"{CHANNEL}/journal/00000002-{eve:%Y%m%d}T") for path in scene.world.objects())
