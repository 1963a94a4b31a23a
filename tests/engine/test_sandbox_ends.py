"""Commands in a container and beside us: what they leave behind, what others do to them, and signals to us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.world.fakes import FakeClock
from ci.world.sandbox import Limits
from tests.engine.conftest import docker
from tests.engine.sandboxes import DETACHED, FOREVER, HELD, KINDS, Box, marked
from tests.faults.stand import asleep, processes, soon

ROOT = Path(__file__).resolve().parents[2]


# --- what is left behind ----------------------------------------------------------------------


@pytest.mark.parametrize("deaf", [False, True])
def test_what_detaches_itself_is_gone_at_the_end(box: Box, deaf: bool) -> None:
    """A session of its own, twice forked, its parent gone: still inside."""
    seconds = marked()
    box.begin()
    assert box.run(DETACHED % ('trap "" INT TERM;' if deaf else "", seconds)).code == 0
    soon(lambda: asleep(seconds), "it never detached itself")
    rungs = box.sandbox.end(0.5 if deaf else 30)
    assert rungs == (("SIGTERM", "SIGKILL") if deaf else ("SIGTERM",))
    assert any("left behind" in line for line in box.said)
    assert any(HELD in line for line in box.said) == deaf
    assert not processes(f"sleep {seconds}")


def test_the_ladder_reaches_what_has_detached_itself(box: Box) -> None:
    """Shells start what is in the background deaf to SIGINT."""
    seconds = marked()
    clock = FakeClock()
    box.clock = clock
    passed = {"ready": 61, "INT": 11}
    box.on_line = lambda line: clock.advance(passed.get(line, 0))
    box.begin()
    ended = box.run(f"trap 'echo INT' INT; {DETACHED % ('', seconds)}; echo ready; {FOREVER}", limits=Limits(60))
    assert ended.rungs == ("SIGINT", "SIGTERM")
    soon(lambda: not processes(f"sleep {seconds}"), "it outlived the ladder")


def test_a_container_at_its_limit_of_processes_can_still_be_ended(container: Box) -> None:
    seconds = marked()
    container.begin(pids=12)
    ended = container.run(f"while :; do sleep {seconds} & done", limits=Limits(60))
    assert ended.code
    assert len(processes(f"sleep {seconds}")) > 2
    assert container.sandbox.end(30) == ("SIGTERM",)
    assert not processes(f"sleep {seconds}")


# --- the world --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [("kill",), ("rm", "--force"), ("stop",), ("restart", "--time", "5")])
def test_a_container_that_somebody_else_ends(container: Box, how: tuple[str, ...]) -> None:
    container.on_line = lambda _line: docker(*how, container.sandbox.name)
    container.begin()
    ended = container.run(f"echo ready; {FOREVER}")
    assert (ended.code, ended.limit, ended.rungs) == (None, "", ())
    assert "from outside" in ended.lost
    again = container.run("true")
    assert how[0] == "restart" or "from outside" in again.lost


def test_a_container_that_somebody_else_pauses(container: Box) -> None:
    """Docker's own exit code is 1 then, as that of a failed test."""
    container.begin()
    docker("pause", container.sandbox.name)
    try:
        ended = container.run("true")
    finally:
        docker("unpause", container.sandbox.name)
    assert ended.code is None
    assert "paused" in ended.lost


def test_a_native_command_whose_parent_is_killed() -> None:
    box = Box("native", "")
    seconds = marked()

    def kill(_line: str) -> None:
        soon(lambda: asleep(seconds), "it never slept")
        (keeper,) = (pid for pid, line in processes(seconds).items() if "keeper.py" in line)
        os.kill(keeper, signal.SIGKILL)

    box.on_line = kill
    box.begin()
    ended = box.run(f"(trap '' HUP; exec sleep {seconds}) & echo ready; wait")
    assert (ended.code, ended.lost) == (None, "the parent of the command was killed from outside")
    assert processes(f"sleep {seconds}")
    assert box.sandbox.end(30) == ("SIGTERM",)
    assert not processes(f"sleep {seconds}")


EATS = "x=0123456789abcdef; while :; do x=$x$x; done"


def test_out_of_memory(container: Box) -> None:
    container.begin(memory_mb=48)
    assert container.run("exit 1").out_of_memory is False
    first = container.run(EATS)
    assert (first.code, first.out_of_memory, first.lost) == (-9, True, "")
    assert container.run("exit 1").out_of_memory is False, "it was the one before"
    assert container.run(f"sh -c '{EATS}' ; exit 1").out_of_memory is True
    assert container.run(f"sh -c '{EATS}' ; exit 0").out_of_memory is False, "it was well all the same"
    assert container.run("exit 1").out_of_memory is False


def test_out_of_memory_beside_us(container: Box, tmp_path: Path) -> None:
    """A driver of ours, in the memory group of a container: as in a pod."""
    container.begin(memory_mb=200)
    pid = docker("inspect", "--format", "{{.State.Pid}}", container.sandbox.name)
    rows = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    (group,) = (
        Path("/sys/fs/cgroup", kind, path.lstrip("/"))
        for _, kind, path in rows
        if kind in {"memory", ""} and Path("/sys/fs/cgroup", kind, path.lstrip("/"), "cgroup.procs").exists()
        and (kind or len(rows) == 1)
    )  # fmt: skip
    join = f'echo $$ > {group}/cgroup.procs; exec "$@"'
    argv = (sys.executable, "-m", "tests.engine.sandboxes", "native", "", str(tmp_path / "state"), EATS)
    done = subprocess.run(["sh", "-c", join, "join", *argv], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "code=-9" in done.stdout, done.stdout + done.stderr
    assert "out_of_memory=True" in done.stdout


# --- signals to us ----------------------------------------------------------------------------


class Driver:
    """A process of ours that attends a command which ignores SIGINT."""

    def __init__(self, kind: str, image: str, state: Path) -> None:
        self.kind = kind
        self.seconds = marked()
        script = f"trap 'echo got INT' INT; {DETACHED % ('', self.seconds)}; echo ready; {FOREVER}"
        argv = (sys.executable, "-m", "tests.engine.sandboxes", kind, image, str(state), script)
        self.process = subprocess.Popen(
            argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.name = f"rocm-ci-20260101T000000Z-{self.process.pid}"
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line == "ready\n":
                break
        soon(lambda: asleep(self.seconds), "it never detached itself")

    def containers(self) -> str:
        """Its container, if there is one still."""
        return docker("ps", "--all", "--quiet", "--filter", f"name={self.name}")

    def clean(self) -> None:
        """Leave nothing."""
        self.process.kill()
        self.process.communicate(timeout=60)
        docker("rm", "--force", self.name, check=False)
        for pid in processes(self.seconds):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(params=KINDS)
def driver(request: pytest.FixtureRequest, sandbox_image: str, tmp_path: Path) -> Iterator[Driver]:
    """The driver at work."""
    made = Driver(request.param, sandbox_image, tmp_path / "state")
    yield made
    made.clean()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_us_goes_down_the_ladder(driver: Driver, number: int, code: int) -> None:
    driver.process.send_signal(number)
    output, _ = driver.process.communicate(timeout=90)
    assert driver.process.returncode == code, output
    order = ("evidence: interrupted", "SIGINT to every process", "got INT", "SIGTERM to every process", "end:")
    places = [output.index(words) for words in order]
    assert places == sorted(places), output
    assert driver.containers() == ""
    assert not processes(driver.seconds)


def test_more_signals_do_not_disturb_the_ladder(driver: Driver) -> None:
    driver.process.send_signal(signal.SIGINT)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        os.killpg(driver.process.pid, number)
    output, _ = driver.process.communicate(timeout=90)
    assert driver.process.returncode == 130, output
    assert driver.containers() == ""
    assert not processes(driver.seconds)


def test_kill_9_of_us(driver: Driver, tmp_path: Path) -> None:
    """A container is found and removed by ``reap``; what runs beside us ends by itself."""
    driver.process.kill()
    driver.process.wait(60)
    if driver.kind == "container":
        assert driver.containers()
        env = {**os.environ, "ROCM_CI_STATE": str(tmp_path / "state")}
        reap = [sys.executable, "-m", "ci", "reap"]
        done = subprocess.run(reap, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120)
        assert (done.returncode, driver.name in done.stdout) == (0, True), done.stdout + done.stderr
        assert driver.containers() == ""
    soon(lambda: not processes(driver.seconds), "it outlived us")
