"""Commands in a container and beside us: limits, evidence, the ladder, and floods of output."""

from __future__ import annotations

import resource
import signal
import threading
import tracemalloc
from pathlib import Path

import pytest

from ci.errors import InfraError, Interrupted
from ci.world import files
from ci.world.fakes import FakeClock
from ci.world.sandbox import Limits
from tests.engine.sandboxes import FOREVER, HELD, RUNGS, Box, marked
from tests.faults.stand import processes

# --- limits and the ladder --------------------------------------------------------------------


class Hurried(FakeClock):
    """A clock on which a quarter of a minute passes at every look."""

    def monotonic(self) -> float:
        """Fifteen seconds more than before."""
        self.advance(15)
        return super().monotonic()


def until_ready(box: Box) -> None:
    """Let an hour and a second pass with the line ``ready``: a limit of an hour comes once the command has begun."""
    clock = FakeClock()
    box.clock = clock
    box.on_line = lambda line: clock.advance(3601 if line == "ready" else 0)


DEAF = {0: "", 1: "trap 'echo INT' INT;", 2: "trap 'echo INT' INT; trap 'echo TERM' TERM;"}


@pytest.mark.parametrize("deaf", DEAF)
def test_the_ladder_goes_as_far_as_it_must(box: Box, deaf: int) -> None:
    """Hours of patience, on a clock that each answer of the child moves on."""
    clock = FakeClock()
    box.clock = clock
    kinds: list[str] = []
    passed = {"ready": 7201, "INT": 3601, "TERM": 3601}
    box.on_line = lambda line: clock.advance(passed.get(line, 0))
    box.on_limit = kinds.append
    box.begin()
    ended = box.run(f"{DEAF[deaf]} echo ready; {FOREVER}", limits=Limits(7200, grace_seconds=3600))
    assert (ended.limit, ended.lost, kinds) == ("deadline", "", ["deadline"])
    assert ended.rungs == RUNGS[: deaf + 1]
    assert ended.code == (-2, -15, -9)[deaf]
    assert [rung for rung in RUNGS if any(rung in line for line in box.said)] == list(ended.rungs)
    assert any(HELD in line for line in box.said) == (deaf == 2)


def test_its_clean_up_is_waited_for(box: Box) -> None:
    """SIGINT starts a clean-up that writes, takes its time, and leaves with a code of its own."""
    clock = FakeClock()
    box.clock = clock
    passed = {"ready": 3601, "cleaning": 9}
    box.on_line = lambda line: clock.advance(passed.get(line, 0))
    box.begin()
    ended = box.run(
        f"trap 'echo cleaning; sleep 1; echo clean; exit 3' INT; echo ready; {FOREVER}",
        limits=Limits(3600, grace_seconds=30),
    )
    assert (ended.code, ended.limit, ended.rungs) == (3, "deadline", ("SIGINT",))
    assert box.text() == ["ready", "cleaning", "clean"]


def test_hung_and_silent(box: Box) -> None:
    box.clock = Hurried()
    box.begin()
    ended = box.run("sleep 600", limits=Limits(3600, silent_seconds=60))
    assert (ended.limit, ended.rungs[0]) == ("inactivity", "SIGINT")


def test_hung_and_talking(box: Box) -> None:
    clock = FakeClock()
    box.clock = clock
    box.on_line = lambda _line: clock.advance(50)
    box.begin()
    ended = box.run("while :; do echo tick; sleep 0.01; done", limits=Limits(600, silent_seconds=60))
    assert ended.limit == "deadline"


def test_silent_and_well(box: Box) -> None:
    """Fifty quiet seconds between lines are no minute, however many of them there are."""
    clock = FakeClock()
    box.clock = clock
    box.on_line = lambda _line: clock.advance(50)
    box.begin()
    ended = box.run("for n in 1 2 3 4 5; do echo $n; sleep 0.1; done", limits=Limits(600, silent_seconds=60))
    assert (ended.code, ended.limit, ended.rungs) == (0, "", ())


def test_output_is_taken_while_evidence_is(box: Box) -> None:
    """What waits for a full pipe could not even be looked at: the evidence here waits for the flood to go on."""
    late = threading.Event()
    count = 0
    found: list[bool] = []

    def on_line(_line: str) -> None:
        nonlocal count
        count += 1
        if found and count > found_at + 100_000:
            late.set()

    found_at = 0

    def on_limit(_kind: str) -> None:
        nonlocal found_at
        found_at = count
        found.append(True)
        found.append(late.wait(60))

    box.on_line, box.on_limit = on_line, on_limit
    box.begin()
    ended = box.run("exec busybox yes 0123456789", limits=Limits(0.5, grace_seconds=5, evidence_seconds=90))
    assert found == [True, True]
    assert (ended.code, ended.rungs) == (-2, ("SIGINT",))


def test_evidence_that_hangs_is_left_behind(box: Box) -> None:
    clock = FakeClock()
    box.clock = clock
    asked, gate = threading.Event(), threading.Event()
    ticks = iter((31,))

    def on_line(line: str) -> None:
        if line == "ready":
            clock.advance(3601)
        elif asked.is_set():  # heard while the evidence is waited for
            clock.advance(next(ticks, 0))

    def on_limit(_kind: str) -> None:
        asked.set()
        gate.wait(60)

    box.on_line, box.on_limit = on_line, on_limit
    box.begin()
    ended = box.run("echo ready; while :; do echo tick; sleep 0.05; done", limits=Limits(3600, evidence_seconds=30))
    gate.set()
    assert ended.rungs == ("SIGINT",)
    assert any("no evidence after" in line for line in box.said)


def test_evidence_that_fails_is_said(box: Box) -> None:
    def on_limit(_kind: str) -> None:
        raise RuntimeError("rocm-smi is gone")

    until_ready(box)
    box.on_limit = on_limit
    box.begin()
    assert box.run("echo ready; exec sleep 600", limits=Limits(3600)).rungs == ("SIGINT",)
    assert any("rocm-smi is gone" in line for line in box.said)


def test_evidence_is_taken_inside_before_the_first_signal(box: Box) -> None:
    seconds = marked()
    shown: list[str] = []

    def on_limit(_kind: str) -> None:
        argv = ("sh", "-c", "for one in /proc/[0-9]*; do cat $one/cmdline; echo; done 2>/dev/null")
        shown.append(box.sandbox.probe(argv, 30).stdout)

    until_ready(box)
    box.on_limit = on_limit
    box.begin()
    box.run(f"echo ready; exec sleep {seconds}", limits=Limits(3600))
    assert seconds in shown[0]


def test_a_log_that_cannot_be_written_ends_the_command(box: Box) -> None:
    seconds = marked()

    def on_line(line: str) -> None:
        with files.disk_errors("cannot write log.txt"), Path("/dev/full").open("w") as stream:
            stream.write(line)
            stream.flush()

    box.on_line = on_line
    box.begin()
    with pytest.raises(InfraError) as caught:
        box.run(f"sleep {seconds} & echo line; {FOREVER}")
    assert caught.value.problems[0].reference == "disk"
    assert any("SIGINT" in line for line in box.said)
    box.sandbox.end(30)
    assert not processes(f"sleep {seconds}")


def test_a_log_that_fills_up_on_the_ladder_does_not_stop_it(box: Box) -> None:
    clock = FakeClock()
    box.clock = clock

    def on_line(line: str) -> None:
        clock.advance(7201)
        if line == "INT":
            raise InfraError("disk", "full")

    box.on_line = on_line
    box.begin()
    with pytest.raises(InfraError, match="full"):
        box.run(f"trap 'echo INT' INT; echo ready; {FOREVER}", limits=Limits(7200))
    assert [rung for rung in RUNGS if any(rung in line for line in box.said)] == ["SIGINT", "SIGTERM"]


def test_one_in_another_thread_is_told_to_stop(box: Box) -> None:
    asked = threading.Event()
    box.on_line = lambda _line: asked.set()
    box.stopping = lambda: signal.SIGTERM if asked.is_set() else 0
    kinds: list[str] = []
    box.on_limit = kinds.append
    box.begin()
    caught: list[BaseException] = []

    def work() -> None:
        try:
            box.run(f"echo ready; {FOREVER}")
        except Interrupted as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert [error.exit_code for error in caught if isinstance(error, Interrupted)] == [143]
    assert kinds == ["interrupted"]


# --- floods -----------------------------------------------------------------------------------


def test_a_flood_of_lines_is_whole_and_fills_no_memory(box: Box) -> None:
    box.begin()
    count = 0

    def on_line(_line: str) -> None:
        nonlocal count
        count += 1
        box.lines.clear()

    box.on_line = on_line
    tracemalloc.start()
    try:
        ended = box.run("busybox yes 0123456789 | busybox head -n 400000")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (ended.code, count) == (0, 400_000)
    assert peak < 8 << 20


def test_a_line_that_never_ends_fills_no_memory(box: Box) -> None:
    box.begin()
    taken = 0

    def on_line(line: str) -> None:
        nonlocal taken
        taken += len(line)
        box.lines.clear()

    box.on_line = on_line
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ended = box.run("busybox head -c 300000000 /dev/zero")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert (ended.code, taken) == (0, 300_000_000)
    assert grown < 60_000  # KiB
