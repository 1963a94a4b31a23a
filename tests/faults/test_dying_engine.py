"""An engine that dies, falls silent or runs out of disk in mid-build; always one of the test's own."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.daemon import Daemon
from tests.faults.stand import DOCKERFILE, Stand, processes, soon

FILL = DOCKERFILE.replace("sleep PAUSE;", "dd if=/dev/zero of=/opt/large bs=1M count=400 &&")


def check_finishes(stand: Stand, *rest: str) -> None:
    """The same command again finishes, without redoing what was there; ``rest`` are the decisions for ci-base."""
    reaped = stand.json("reap")
    assert reaped.code == 0, reaped.out
    assert stand.building() == []
    again = stand.json("build-ci-base")
    assert again.code == 0, again.err
    assert again.decisions.get("base", "reuse") == "reuse"
    assert again.decisions["ci-base"] in (rest or ("build",))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "told to stop"])
def test_an_engine_that_dies_in_mid_build(doomed: Callable[[], Stand], daemon: Daemon, number: signal.Signals) -> None:
    stand = doomed()
    stand.write(pause=3)
    running = stand.start("build-ci-base", "--json")
    running.until("| the step begins")
    daemon.kill(number)
    ended = running.end()
    assert ended.code == 4, ended.err
    assert ended.references in (["no-engine"], ["build-world"], ["build-broke-off"]), ended.err
    assert ended.document["problems"][0]["hint"]
    assert "left behind for inv reap" in ended.err
    assert "Traceback" not in ended.err
    assert stand.result()["outcome"] == "infra"
    soon(lambda: not processes(str(stand.folder)), "buildx outlived its engine")
    dead = stand.json("build-ci-base")
    assert (dead.code, dead.references) == (4, ["no-engine"])
    assert stand.json("reap").code == 4, "what cannot be removed now is no success"
    daemon.start()
    check_finishes(stand)


@pytest.mark.slow
def test_an_engine_that_falls_silent(doomed: Callable[[], Stand], daemon: Daemon) -> None:
    """Before a build it is said; in mid-build the run can still be stopped, and says what it leaves behind."""
    stand = doomed()
    stand.write(pause=3)
    running = stand.start("build-ci-base", "--json")
    running.until("| the step begins")
    daemon.kill(signal.SIGSTOP)
    asked = stand.json("plan")
    assert (asked.code, asked.references) == (4, ["no-engine"]), asked.err
    assert "silent" in asked.document["problems"][0]["message"]
    running.process.send_signal(signal.SIGTERM)
    ended = running.end()
    assert ended.code == 143, ended.err
    assert "left behind for inv reap" in ended.err
    soon(lambda: not processes(str(stand.folder)), "buildx outlived the run")
    daemon.kill(signal.SIGCONT)
    check_finishes(stand)


def test_an_engine_whose_disk_is_full(doomed: Callable[[], Stand], daemon: Daemon) -> None:
    daemon.small_disk(260)
    stand = doomed()
    stand.write(FILL)
    ended = stand.json("build-ci-base")
    assert (ended.code, ended.references) == (4, ["disk"]), ended.err
    assert "docker" in ended.document["problems"][0]["hint"]
    assert stand.building() == []
    assert len(stand.tags()) == 1
    stand.docker("builder", "prune", "--all", "--force")  # as the hint says
    stand.write(FILL.replace("count=400", "count=1"))
    check_finishes(stand)


ENOUGH = 100
"""KiB of the state folder with which a small build may come to its end; below that it never does."""


@contextmanager
def small_state(stand: Stand) -> Iterator[Path]:
    """The state folder on a disk of its own, of one megabyte."""
    stand.state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=1777", "rocm-ci-faults", str(stand.state)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        yield stand.state
    finally:
        subprocess.run(["umount", str(stand.state)], check=True)


@pytest.mark.parametrize("free", [0, 8, 40, 120, 260], ids=lambda free: f"{free} KiB free")
def test_a_state_folder_that_is_full(stand: Stand, free: int) -> None:
    """Wherever the space ends, nothing half-written stays, and with space again the build is made."""
    with small_state(stand) as state:
        assert stand.run("build-base").code == 0
        ballast = state / "ballast"
        with ballast.open("wb", buffering=0) as stream:
            while _written(stream.write, b"x" * 4096):
                pass
            stream.truncate(max(0, stream.tell() - (free << 10)))
        ended = stand.json("build-ci-base")
        assert ended.code == 4 or (ended.code == 0 and free > ENOUGH), ended.err
        if ended.code:
            assert ended.references == ["disk"], ended.err
            assert "ROCM_CI_STATE" in ended.document["problems"][0]["hint"]
        assert "Traceback" not in ended.err
        assert list(state.rglob(".new-*")) == []
        assert stand.building() == []
        ballast.unlink()
        check_finishes(stand, "build", "reuse")


def _written(write: Callable[[bytes], int | None], data: bytes) -> bool:
    try:
        return bool(write(data))
    except OSError:
        return False
