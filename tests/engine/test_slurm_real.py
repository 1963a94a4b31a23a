"""Steps on several nodes, on a real Slurm: how all ranks end, what it means, and that no job is left."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ci.errors import ConfigError, InfraError, Outcome
from ci.suites import nodes as plan
from ci.suites.catalogue import Ready
from ci.suites.nodes import Node
from ci.suites.ranks import run_ranks
from ci.world.clock import SystemClock
from ci.world.ledger import Ledger
from ci.world.sandbox import Limits

from .conftest import Cli
from .slurm import NODES, Cluster, running, until
from .slurm_desk import FOREVER, Desk, at, codes, job, python, shell

pytestmark = pytest.mark.without_engine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with running() as cluster:
        yield cluster


@pytest.fixture
def desk(slurm: Cluster, tmp_path: Path) -> Desk:
    return at(slurm, tmp_path)


# --- what a rank is told --------------------------------------------------------------------------


def test_every_rank_runs_on_a_node_of_its_own_and_knows_its_place(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "of the caller")
    odd = ("", "a b", "$HOME", "`id`", "'\"\\", "a\nb", "é,x=y", "--jobid=7", "; exit 1")
    tell = python("import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]))")
    result = desk.run(*[(*tell, *odd)] * 3, env={"VALUE": "a,b=c 'd'\ne"}, cwd=desk.folder)
    assert (result.outcome, result.reasons, codes(result)) == (Outcome.OK, (), [0, 0, 0])
    assert [each.node for each in result.ranks] == list(NODES)
    told = [json.loads(next(line for rank, _, line in desk.lines if rank == number)) for number in range(3)]
    for rank, (arguments, environ, cwd) in enumerate(told):
        assert arguments == list(odd)
        assert cwd == str(desk.folder)
        assert environ["SLURMD_NODENAME"] == NODES[rank]
        assert environ["VALUE"] == "a,b=c 'd'\ne"
        assert "A_SECRET" not in environ
        ours = {name: environ[name] for name in ("RANK", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR")}
        assert ours == {
            "RANK": str(rank), "NODE_RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1",
        }  # fmt: skip
    assert len({environ["MASTER_PORT"] for _, environ, _ in told}) == 1
    assert [(desk.folder / "results" / f"rank-{rank}.log").read_text().count("\n") for rank in range(3)] == [1, 1, 1]
    desk.nothing_is_left()


def test_a_rank_waits_until_rank_0_can_be_reached(desk: Desk) -> None:
    """Rank 0 is late, and the others try to connect once only."""
    late = python(
        "import os, socket, time\n"
        "time.sleep(3)\n"
        "with socket.create_server(('', int(os.environ['MASTER_PORT']))) as server:\n"
        "    greeted = set()\n"
        "    while len(greeted) < 2:\n"
        "        with server.accept()[0] as other:\n"
        "            greeted |= {other.recv(10)} - {b''}\n"
        "    print(sorted(greeted))\n"
    )
    once = python(
        "import os, socket\n"
        "with socket.create_connection((os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']))) as server:\n"
        "    server.sendall(os.environ['RANK'].encode())\n"
    )
    early = desk.run(late, once, once)
    assert early.outcome is Outcome.FAILED, "without the wait they come too early: else this test proves nothing"
    result = desk.run(late, once, once, name="patient", ready=Ready(60.0))
    assert (result.outcome, codes(result)) == (Outcome.OK, [0, 0, 0])
    assert (0, "stdout", "[b'1', b'2']") in desk.lines
    desk.nothing_is_left()


def test_a_rank_0_that_is_never_ready(desk: Desk) -> None:
    result = desk.run(FOREVER, shell("echo came; false"), ready=Ready(3.0))
    assert (result.outcome, result.limit) == (Outcome.TIMEOUT, "ready")
    assert result.reasons == (
        "rank 0 was not ready in time", "rank 0 on n1: signal 2 (ended with the job)", "rank 1 on n2: never started",
    )  # fmt: skip
    assert not [line for rank, _, line in desk.lines if rank == 1]
    desk.nothing_is_left()


# --- how ranks end --------------------------------------------------------------------------------


def test_the_rank_that_failed_is_told_from_those_that_hung(desk: Desk) -> None:
    result = desk.run(FOREVER, shell("echo no >&2; exit 3"), ("true",))
    assert (result.outcome, result.reasons) == (Outcome.FAILED, ("rank 1 on n2: exit code 3",))
    assert codes(result) == [-signal.SIGINT, 3, 0]
    assert [each.stopped for each in result.ranks] == [True, False, False]
    assert result.rungs == ("SIGINT",)
    assert (1, "stderr", "no") in desk.lines
    assert any("JobState=RUNNING" in line for line in result.evidence), "evidence is of before the end"
    assert (desk.folder / "results" / "slurm.txt").read_text().splitlines() == list(result.evidence)
    desk.nothing_is_left()


def test_exit_statuses_are_told_from_signals_and_from_what_never_ran(desk: Desk) -> None:
    result = desk.run(shell("exit 143"), shell("kill -TERM $$"), shell("kill -SEGV $$"))
    assert codes(result) == [143, -15, -11]
    assert result.outcome is Outcome.FAILED
    nowhere = desk.run(("/no/such/program",), ("true",), name="nowhere")
    assert (nowhere.outcome, codes(nowhere)) == (Outcome.FAILED, [2, 0])
    desk.nothing_is_left()


class Leaping(SystemClock):
    """Real time, and what a test adds to it."""

    added = 0.0

    def monotonic(self) -> float:
        """Seconds since some fixed moment, the added ones among them."""
        return super().monotonic() + self.added

    def leap(self, seconds: float) -> None:
        """Let time pass without anybody having waited."""
        self.added += seconds


def test_silence_of_all_ranks_is_a_limit(desk: Desk) -> None:
    """Each line gives them its time anew; once they are silent, nothing but the time has to come for the end."""
    clock, up = Leaping(), (1, "stdout", "up")
    silence = threading.Timer(1.0, clock.leap, (100.0,))

    def on_up() -> None:
        if desk.lines.count(up) < 6:
            clock.leap(60.0)
        else:
            silence.start()

    chatty = shell("for each in 1 2 3 4 5 6; do echo up; sleep 0.2; done; exec sleep 100000")
    desk.on_up = on_up
    wanted = job(desk.folder, (FOREVER, chatty), limits=Limits(1000.0, 100.0, grace_seconds=1.0))
    result = run_ranks(wanted, desk.around()._replace(clock=clock))
    assert (result.outcome, result.limit) == (Outcome.TIMEOUT, "inactivity")
    assert desk.lines.count(up) == 6
    desk.nothing_is_left()


# --- what is not the ranks' fault -----------------------------------------------------------------


def test_somebody_else_cancels_the_job(desk: Desk) -> None:
    desk.on_up = lambda: desk.cluster.ask("scancel", "--name=rocm-ci-20260101T000000Z-abcdef01-step")
    result = desk.run(FOREVER, shell("echo up; exec sleep 100000"))
    assert result.outcome is Outcome.INFRA
    assert result.reasons[0].startswith("somebody else cancelled the job (CANCELLED")
    desk.nothing_is_left()


def test_somebody_else_cancels_one_step(desk: Desk) -> None:
    # step 0 looked for a port, step 1 is rank 0
    desk.on_up = lambda: desk.cluster.ask("scancel", f"{desk.said[-1].split()[2]}.1")
    result = desk.run(shell("echo up; exec sleep 100000"), ("true",))
    assert result.outcome is Outcome.INFRA
    assert re.match("rank 0 on n1: Slurm ended its step: (cancelled AT|Job step aborted)", result.reasons[0])
    desk.nothing_is_left()


def test_a_node_that_is_drained_is_waited_for_in_vain(desk: Desk) -> None:
    desk.cluster.ask("scontrol", "update", "nodename=n3", "state=drain", "reason=bad fan")
    try:
        with pytest.raises(InfraError, match=r"had no nodes after \d+ s: \S+") as raised:
            desk.run(("true",), ("true",), ("true",), queue=3.0)
    finally:
        desk.cluster.ask("scontrol", "update", "nodename=n3", "state=resume")
    assert raised.value.problems[0].reference == "slurm-queue"
    desk.nothing_is_left()


def test_a_full_queue_is_waited_for_and_not_for_ever(full: Cluster, desk: Desk) -> None:
    with pytest.raises(InfraError, match="had no nodes"):
        desk.run(("true",), queue=3.0)
    assert desk.ledger.open_things() == ()
    assert full.jobs() == ["another"], "it is left alone"
    assert any("waits: Resources" in said for said in desk.said), desk.said
    later = threading.Timer(3.0, full.ask, ("scancel", "--name=another"))
    later.start()
    result = desk.run(("true",), name="again")
    later.join()
    assert result.outcome is Outcome.OK
    desk.nothing_is_left()


def test_more_nodes_than_there_are(desk: Desk) -> None:
    with pytest.raises(ConfigError, match="Slurm cannot give such a job") as raised:
        desk.run(*[("true",)] * 4)
    assert "PartitionConfig" in raised.value.problems[0].context
    with pytest.raises(ConfigError):
        desk.run(("true",), options=("--partition=nowhere",))
    desk.nothing_is_left()


# --- our own end ----------------------------------------------------------------------------------

RUNNER = """
import sys
from pathlib import Path
from ci.settings import capture
from ci.suites.nodes import RankedJob
from ci.suites.ranks import Around, run_ranks
from ci.world.ledger import Ledger
from ci.world.process import listen
from ci.world.sandbox import Limits
from ci.world.slurm import Slurm, client_environment

state = Path(sys.argv[1])
ledger = Ledger.begin(state, "20260101T000000Z-00000002", "test")
job = RankedJob("step", (("sh", "-c", "echo up; exec sleep 100000"),) * int(sys.argv[2]), {}, Path("/"),
                ledger.folder, Limits(300.0, grace_seconds=1.0), 200.0)
said = lambda *words: print(*words, flush=True)
with listen():
    run_ranks(job, Around(Slurm(client_environment(capture())), ledger, said, said))
"""


@dataclass
class Runner:
    """Another process that runs a job."""

    process: subprocess.Popen[str]
    lines: list[str]

    def until_said(self, text: str) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return
        pytest.fail(f"it never said {text!r}: {self.lines}")

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=90)
        return self.process.returncode


@pytest.fixture
def full(slurm: Cluster) -> Cluster:
    """The cluster with a job of somebody else on all of its nodes."""
    slurm.until_idle()
    slurm.ask("sbatch", "--nodes=3", "--job-name=another", "--output=/dev/null", "--wrap=sleep 100000")
    until(lambda: slurm.ask("squeue", "--noheader", "--name=another", "--format=%T") == "RUNNING", "the other job")
    return slurm


@pytest.fixture
def other(desk: Desk) -> Iterator[Runner]:
    environ = {**desk.cluster.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", RUNNER, str(desk.folder / "state"), "3"]
    with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        yield Runner(process, [])
        process.kill()


def test_a_signal_takes_the_ranks_and_the_job_along(desk: Desk, other: Runner) -> None:
    for _ in range(3):
        other.until_said("stdout up")
    assert other.end(signal.SIGTERM) != 0
    assert Ledger(desk.folder / "state/runs/20260101T000000Z-00000002").open_things() == ()
    desk.nothing_is_left()


def test_a_signal_while_the_job_waits(full: Cluster, desk: Desk, other: Runner) -> None:
    other.until_said("waits: ")
    other.end(signal.SIGINT)
    assert full.jobs() == ["another"]
    full.ask("scancel", "--name=another")
    desk.nothing_is_left()


def steps(cluster: Cluster) -> str:
    return cluster.ask("squeue", "--steps", "--noheader", "--format= %j ")


def test_after_a_kill_the_ranks_end_and_reap_cancels_the_job(desk: Desk, other: Runner, cli: Cli) -> None:
    for _ in range(3):
        other.until_said("stdout up")
    other.end(signal.SIGKILL)
    name = "rocm-ci-20260101T000000Z-00000002-step"
    assert desk.cluster.jobs() == [name]
    until(lambda: " sh " not in steps(desk.cluster), "the end of the steps")
    conf = desk.cluster.environ["SLURM_CONF"]
    plain = cli("reap", "--plan", SLURM_CONF=conf)
    assert name in plain.stdout
    assert desk.cluster.jobs() == [name]
    assert f"removed slurm-job {name}" in cli("reap", SLURM_CONF=conf).stdout
    desk.nothing_is_left()


# --- the two programs that run on a node ----------------------------------------------------------


def test_the_first_port_that_nothing_listens_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.2", 0)) as other:
        taken = [one.getsockname()[1], other.getsockname()[1]]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            free = probe.getsockname()[1]
        argv = plan.free_port(Node(0, "n1", "127.0.0.2"), [*taken, free])
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (0, f"{free}\n")
        argv = plan.free_port(Node(0, "n1", "127.0.0.2"), taken)
        assert subprocess.run(argv, timeout=60, check=False).returncode == 1


def test_rank_0_has_to_answer_with_200() -> None:
    asked: list[str] = []

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if len(asked) > 2 else 503)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        argv = plan.reach(Ready(1.0, server.server_port, "/health?a=1"), Node(0, "n1", "127.0.0.1"), 1)
        done = subprocess.run(argv, timeout=60, check=False, env={"PATH": os.environ["PATH"]})
        server.shutdown()
    assert done.returncode == 0
    assert asked == ["/health?a=1"] * 3
