"""Steps on several nodes: Slurm's texts read, ranks planned, ends judged, and the wait for nodes; no Slurm needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ci.errors import ConfigError, DeadlineError, InfraError, Outcome
from ci.settings import capture
from ci.suites import nodes as plan
from ci.suites.catalogue import Ready
from ci.suites.nodes import Node, RankedJob, RankEnded, Stage
from ci.suites.ranks import Around, run_ranks
from ci.world.fakes import Ending, FakeClock, FakeRun
from ci.world.ledger import Ledger
from ci.world.process import Command, Finished
from ci.world.sandbox import Ended, Limits
from ci.world.slurm import JobSeen, NodeSeen, Slurm, client_environment, is_job_of, job_name, jobs, node_records

# --- Slurm's texts --------------------------------------------------------------------------------


def test_rows_of_the_queue() -> None:
    text = (
        "7|RUNNING|n[1-3]|None\n"
        "8|PENDING||ReqNodeNotAvail, UnavailableNodes:n[2|4]\n"
        "9|COMPLETING|n3|NodeDown\n"
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n\n"
    )
    assert jobs(text) == (
        JobSeen("7", "RUNNING", "n[1-3]", "None"),
        JobSeen("8", "PENDING", "", "ReqNodeNotAvail, UnavailableNodes:n[2|4]"),
        JobSeen("9", "COMPLETING", "n3", "NodeDown"),
    )


NODE = (
    "NodeName={name} Arch=x86_64 CoresPerSocket=1  CPUAlloc=0 Gres=(null) NodeAddr={address} NodeHostName=vm Port=1 "
    "OS=Linux 6.1 #1 SMP PREEMPT_DYNAMIC @0  RealMemory=100 Boards=1 State={state} ThreadsPerCore=1 Partitions=main "
    "CfgTRES=cpu=1,mem=100M ExtSensorsTemp=n/s{reason}\n"
)


@pytest.mark.parametrize(
    ("state", "states"),
    [
        ("IDLE", {"IDLE"}),
        ("DOWN+NOT_RESPONDING", {"DOWN", "NOT_RESPONDING"}),
        ("DOWN*+DRAIN", {"DOWN", "DRAIN", "NOT_RESPONDING"}),
        ("IDLE~", {"IDLE"}),
        ("MIXED+CLOUD+POWERED_DOWN", {"MIXED", "CLOUD", "POWERED_DOWN"}),
    ],
)
def test_states_of_a_node(state: str, states: set[str]) -> None:
    text = NODE.format(name="n2", address="10.0.0.2", state=state, reason="")
    assert node_records(text) == (NodeSeen("n2", "10.0.0.2", frozenset(states), ""),)


def test_the_reason_of_a_node_may_be_a_sentence() -> None:
    text = NODE.format(
        name="n2", address="a", state="DOWN", reason=" Reason=Not responding [root@2026-11-21T15:24:32] Comment=x y"
    )
    assert node_records(text + "\nNode n9 not found\n")[0].reason == "Not responding [root@2026-11-21T15:24:32]"


EXITS: list[tuple[int, str, tuple[int | None, str, bool]]] = [
    (0, "", (0, "", False)),
    (0, "a line of the program", (0, "", False)),
    (3, "srun: error: n1: task 0: Exited with exit code 3", (3, "", False)),
    (143, "srun: error: n1: task 0: Exited with exit code 143", (143, "", False)),
    (143, "srun: error: n3: task 0: Terminated\nsrun: Force Terminated StepId=1.3", (-15, "", False)),
    (139, "srun: error: n3: task 0: Segmentation fault (core dumped)", (-11, "", False)),
    (137, "srun: error: n3: task 0: Killed", (-9, "", False)),
    (1, "srun: error: n3: task 0: Out Of Memory", (-9, "", True)),
    (
        2,
        ("slurmstepd-n3: error: execve(): nosuch: No such file or directory\n"
        "srun: error: n3: task 0: Exited with exit code 2"),
        (2, "", False),
    ),
    (
        1,
        ("srun: error: Task launch for StepId=3.1 failed on node n2: Communication connection failure\n"
        "srun: error: Application launch failed: Communication connection failure\n"
        "srun: Job step aborted"),
        (None, "srun: error: Application launch failed: Communication connection failure", False),
    ),
    (1, "", (None, "srun ended with 1", False)),
    (-9, "", (None, "srun ended with -9", False)),
    # the node's own line was lost
    (
        137,
        ("srun: Job step aborted: Waiting up to 4 seconds for job step to finish.\n"
        "srun: error: n1: task 0: Killed"),
        (None, "Slurm ended its step: Job step aborted: Waiting up to 4 seconds for job step to finish.", False),
    ),
    # it ended by itself, and then its step was given up
    (137, "srun: error: n1: task 0: Killed\nsrun: Job step aborted", (-9, "", False)),
    # srun gives up on a task that outlives the cancel of its step, and ends with 0
    (
        0,
        ("srun: Job step aborted: Waiting up to 4 seconds for job step to finish.\n"
        "slurmstepd-n2: error: *** STEP 1.1 ON n2 CANCELLED AT 2026-11-21T16:02:31 ***\n"
        "srun: error: Timed out waiting for job step to complete"),
        (None, "Slurm ended its step: cancelled AT 2026-11-21T16:02:31", False),
    ),
    (
        0,
        "srun: error: Timed out waiting for job step to complete",
        (None, "srun: error: Timed out waiting for job step to complete", False),
    ),
    (
        143,
        ("slurmstepd: error: *** JOB 8 ON n1 CANCELLED AT 2026-11-21T16:02:31 DUE TO TIME LIMIT ***\n"
        "srun: error: n1: task 0: Terminated"),
        (None, "Slurm ended its step: cancelled AT 2026-11-21T16:02:31 DUE TO TIME LIMIT", False),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("code", "stderr", "expected"), EXITS)
def test_how_a_rank_ended(code: int, stderr: str, expected: tuple[int | None, str, bool]) -> None:
    how = plan.ended(code, stderr.splitlines(), 1.5)
    assert (how.code, how.lost, how.out_of_memory) == expected
    assert how.seconds == 1.5


@given(some.integers(-64, 255), some.lists(some.text()))
def test_success_takes_an_exit_status_of_0(code: int, stderr: list[str]) -> None:
    assert plan.ended(code, stderr, 0.0).code != 0 or code == 0 or any("exit code 0" in line for line in stderr)


# --- what ranks are told --------------------------------------------------------------------------

NODES = (Node(0, "n1", "10.0.0.1"), Node(1, "n2", "10.0.0.2"))


def job(**changes: Any) -> RankedJob:
    plain: dict[str, Any] = {
        "name": "step", "commands": (("a",), ("b",)), "env": {"X": "1", "RANK": "9"}, "cwd": Path("/"),
        "results": Path("/nowhere"), "limits": Limits(600.0), "queue": 100.0,
    }  # fmt: skip
    return RankedJob(**plain | changes)


def test_the_environment_of_a_rank() -> None:
    assert plan.environment(job(), NODES, 1, 20008) == {
        "X": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "20008", "WORLD_SIZE": "2", "RANK": "1", "NODE_RANK": "1",
        "LOCAL_RANK": "0",
    }  # fmt: skip


@given(some.integers(1, 2**31))
def test_ports_of_neighbours_are_different(number: int) -> None:
    mine, others = plan.ports(str(number)), plan.ports(str(number + 1))
    assert len(set(mine)) == len(mine)
    assert not set(mine) & set(others)
    assert all(20000 <= port < 30000 for port in mine)


@pytest.mark.parametrize(
    "changes", [{"commands": ()}, {"queue": 600.0}, {"queue": 500.0, "ready": Ready(100.0)}, {"limits": Limits(50.0)}]
)
def test_jobs_that_cannot_be_meant(changes: dict[str, Any]) -> None:
    plan.check(job())
    with pytest.raises(ConfigError):
        plan.check(job(**changes))


def test_slurms_own_limit_is_past_all_of_ours() -> None:
    limits = Limits(600.0, grace_seconds=60.0)
    assert plan.minutes(limits) * 60 > limits.seconds + limits.teardown_seconds


# --- what it all means ----------------------------------------------------------------------------

RUNNING = JobSeen("7", "RUNNING", "n[1-2]", "None")
WELL = (NodeSeen("n1", "a", frozenset({"ALLOCATED"}), ""), NodeSeen("n2", "b", frozenset({"MIXED"}), ""))


def rank(number: int, code: int | None, *, seconds: float = 1.0, stopped: bool = False, **how: Any) -> RankEnded:
    return RankEnded(number, f"n{number + 1}", 10.0, Ended(code, seconds, **how), stopped)


def seen(state: str, reason: str = "None") -> JobSeen:
    return RUNNING._replace(state=state, reason=reason)


DOWN = (WELL[0], NodeSeen("n2", "b", frozenset({"DOWN", "NOT_RESPONDING"}), "Not responding"))
BOTH = (rank(0, 0), rank(1, 0))
THIRD = (rank(0, -2, stopped=True), rank(1, 3))
NEVER = RankEnded(1, "n2", None, Ended(None, 0.0), stopped=True)

JUDGED = [
    (BOTH, Stage(job=RUNNING), Outcome.OK, ""),
    (BOTH, Stage(job=None), Outcome.OK, ""),
    (BOTH, Stage(job=seen("CANCELLED")), Outcome.INFRA, "somebody else cancelled the job (CANCELLED, reason None)"),
    (BOTH, Stage(job=seen("NODE_FAIL")), Outcome.INFRA, "a node failed (NODE_FAIL, reason None)"),
    ((), Stage(job=RUNNING), Outcome.INFRA, "no rank was started"),
    (THIRD, Stage(job=RUNNING, nodes=WELL), Outcome.FAILED, "rank 1 on n2: exit code 3"),
    ((rank(0, 1, seconds=9.0), rank(1, -11, seconds=8.0)), Stage(job=RUNNING), Outcome.FAILED,
     "rank 1 on n2: signal 11"),
    (THIRD, Stage(job=seen("NODE_FAIL", "NodeDown")), Outcome.INFRA, "a node failed (NODE_FAIL, reason NodeDown)"),
    (THIRD, Stage(job=seen("COMPLETING", "NodeDown")), Outcome.INFRA, "a node failed (COMPLETING, reason NodeDown)"),
    (THIRD, Stage(job=seen("BOOT_FAIL")), Outcome.INFRA, "a node did not boot (BOOT_FAIL, reason None)"),
    (THIRD, Stage(job=seen("PREEMPTED")), Outcome.INFRA, "another job took the nodes (PREEMPTED, reason None)"),
    (THIRD, Stage(job=seen("PENDING", "BeginTime")), Outcome.INFRA,
     "the job is PENDING, which none at work can be (reason BeginTime)"),
    (THIRD, Stage(job=seen("LAUNCH_FAILED")), Outcome.INFRA,
     "the job is LAUNCH_FAILED, which none at work can be (reason None)"),
    (THIRD, Stage(job=None), Outcome.INFRA, "Slurm does not tell what became of the job"),
    (THIRD, Stage(job=RUNNING, nodes=DOWN), Outcome.INFRA, "node n2 is DOWN+NOT_RESPONDING: Not responding"),
    (THIRD, Stage(job=seen("TIMEOUT", "TimeLimit")), Outcome.TIMEOUT, "Slurm's own limit of time ended the job"),
    (THIRD, Stage(job=seen("OUT_OF_MEMORY")), Outcome.FAILED, "the job ran out of memory on a node"),
    ((rank(0, 0), rank(1, -9, out_of_memory=True)), Stage(job=RUNNING), Outcome.FAILED,
     "rank 1 on n2: killed, out of memory"),
    ((rank(0, None, lost="srun: error: no"), rank(1, 0)), Stage(job=RUNNING), Outcome.INFRA,
     "rank 0 on n1: srun: error: no"),
    ((rank(0, 3), rank(1, None, seconds=2.0, lost="x")), Stage(job=RUNNING), Outcome.FAILED,
     "rank 0 on n1: exit code 3"),
    (BOTH, Stage(job=seen("COMPLETED")), Outcome.INFRA, "rank 0 on n1: exit code 0"),
    ((rank(0, -15, stopped=True), rank(1, 0)), Stage("deadline", RUNNING), Outcome.TIMEOUT, "not over at its deadline"),
    ((rank(0, None, stopped=True),), Stage("deadline"), Outcome.TIMEOUT, "not over at its deadline"),
    (THIRD, Stage("inactivity", RUNNING), Outcome.TIMEOUT, "no rank wrote anything for too long"),
    ((rank(0, -2, stopped=True), NEVER), Stage("ready", RUNNING, unreached=("n2",)), Outcome.TIMEOUT,
     "rank 0 was not ready in time"),
    ((rank(0, -2, stopped=True), NEVER), Stage("ready", RUNNING, unreached=("n2",), reached=("n3",)), Outcome.INFRA,
     "n2 cannot reach rank 0, and n3 can: look at the network"),
    ((rank(0, 0), NEVER), Stage(job=RUNNING, unreached=("n2",)), Outcome.FAILED,
     "rank 0 ended before the others could reach it"),
]  # fmt: skip


@pytest.mark.parametrize(("ranks", "stage", "outcome", "reason"), JUDGED)
def test_the_outcome_of_a_job(ranks: tuple[RankEnded, ...], stage: Stage, outcome: Outcome, reason: str) -> None:
    found, reasons = plan.judge(ranks, stage)
    assert (found, (*reasons, "")[0]) == (outcome, reason)


@given(
    some.lists(some.sampled_from([0, 1, -9, None]), min_size=1),
    some.sampled_from(["", "deadline", "inactivity", "ready"]),
    some.sampled_from(["RUNNING", "CANCELLED", "COMPLETED", "FAILED", "NODE_FAIL", "TIMEOUT", "WHATEVER"]),
)
def test_it_is_well_only_where_every_rank_ended_with_0(codes: list[int | None], limit: str, state: str) -> None:
    outcome, reasons = plan.judge([rank(number, code) for number, code in enumerate(codes)], Stage(limit, seen(state)))
    assert (outcome is Outcome.OK) == (set(codes) == {0} and state == "RUNNING")
    assert bool(reasons) == (outcome is not Outcome.OK)


# --- the wait for nodes ---------------------------------------------------------------------------

NAME = "rocm-ci-run-step"
VERSION: dict[tuple[str, ...], Ending | list[Ending]] = {("sbatch", "--version"): (0, "slurm-wlm 22.05.8\n", "")}
SUBMIT = (
    "sbatch", "--parsable", "--partition=big", f"--job-name={NAME}", "--nodes=2", "--ntasks-per-node=1", "--no-requeue",
    "--time=15", "--deadline=now+1060", "--chdir=/", "--output=/dev/null", "--wrap=sleep infinity",
)  # fmt: skip
LOOK = ("squeue", "--noheader", "--states=all", f"--name={NAME}", "--format=%i|%T|%N|%r")
CANCEL = ("scancel", f"--name={NAME}")
PENDING = (0, "7|PENDING||Resources\n", "")
AWAY = (1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n")


class Wait:
    """A job that never gets as far as its ranks."""

    def __init__(
        self, folder: Path, script: dict[tuple[str, ...], Ending | list[Ending]], queue: float = 100.0
    ) -> None:
        deadline = f"--deadline=now+{queue + 60 + 60 * 15:.0f}"
        submit = tuple(deadline if word.startswith("--deadline") else word for word in SUBMIT)
        self.queue = queue
        self.run = FakeRun(VERSION | {submit: (0, "7\n", "")} | script)
        self.clock = FakeClock()
        self.ledger = Ledger.begin(folder, "run", "test")
        self.said: list[str] = []

    def __call__(self, command: Command, *_more: object) -> Finished:
        assert self.ledger.open_things() or command.argv[1] == "--version", "the job is written down before it is made"
        return self.run(command)

    def perform(self) -> None:
        around = Around(Slurm({}, self), self.ledger, lambda *_: None, self.said.append, self.clock)
        run_ranks(job(options=("--partition=big",), limits=Limits(600.0), queue=self.queue), around)


def test_a_queue_that_is_too_long(tmp_path: Path) -> None:
    wait = Wait(tmp_path, {SUBMIT: (0, "7;cluster\n", ""), LOOK: PENDING, CANCEL: (0, "", "")})
    with pytest.raises(InfraError, match="Slurm job 7 had no nodes after 100 s: Resources"):
        wait.perform()
    assert wait.clock.passed == 100.0
    assert wait.said == ["Slurm job 7 waits: Resources"]
    assert wait.ledger.open_things() == ()


@pytest.mark.parametrize(
    ("row", "reference", "kind"),
    [
        ("7|CANCELLED||None", "slurm-job-ended", InfraError),
        ("7|BOOT_FAIL|n1|None", "slurm-job-ended", InfraError),
        ("7|DEADLINE||DeadLine", "slurm-job-ended", InfraError),
        ("6|RUNNING|n1|None", "slurm-job-ended", InfraError),
        ("", "slurm-job-ended", InfraError),
        ("7|PENDING||PartitionConfig", "slurm-refused", ConfigError),
    ],
)
def test_a_job_that_never_begins(
    tmp_path: Path, row: str, reference: str, kind: type[InfraError] | type[ConfigError]
) -> None:
    wait = Wait(tmp_path, {SUBMIT: (0, "7\n", ""), LOOK: (0, row + "\n", ""), CANCEL: (0, "", "")})
    with pytest.raises(kind) as raised:
        wait.perform()
    assert raised.value.problems[0].reference == reference
    assert wait.ledger.open_things() == ()


def test_a_controller_may_be_away_for_a_while(tmp_path: Path) -> None:
    looks: list[Ending] = [PENDING, AWAY, AWAY, PENDING, (0, "7|CANCELLED||None\n", "")]
    wait = Wait(tmp_path, {SUBMIT: (0, "7\n", ""), LOOK: looks, CANCEL: (0, "", "")})
    with pytest.raises(InfraError, match="is CANCELLED"):
        wait.perform()


@pytest.mark.parametrize(("queue", "reference"), [(60.0, "slurm-queue"), (400.0, "slurm-unreachable")])
def test_a_controller_that_stays_away(tmp_path: Path, queue: float, reference: str) -> None:
    """And does not answer the cancel either: the job stays in the ledger."""
    wait = Wait(tmp_path, {LOOK: AWAY, CANCEL: DeadlineError("deadline", "too long")}, queue)
    with pytest.raises(InfraError) as raised:
        wait.perform()
    assert raised.value.problems[0].reference == reference
    assert [thing.name for thing in wait.ledger.open_things()] == [NAME]


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        ((1, "", "sbatch: error: invalid partition specified: big"), ConfigError),
        (
            (1, "", "sbatch: error: Batch job submission failed: Requested node configuration is not available"),
            ConfigError,
        ),
        ((1, "", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"), InfraError),
        ((1, "", "sbatch: error: Batch job submission failed: Unable to contact slurm controller"), InfraError),
        ((0, "no number", ""), InfraError),
        (DeadlineError("deadline", "too long"), InfraError),
    ],
)
def test_a_submission_without_an_answer_may_have_made_a_job(
    tmp_path: Path, end: Ending, kind: type[InfraError] | type[ConfigError]
) -> None:
    wait = Wait(tmp_path, {SUBMIT: end, CANCEL: (0, "", "")})
    with pytest.raises(kind):
        wait.perform()
    assert wait.run.commands[-1].argv == CANCEL
    assert wait.ledger.open_things() == ()


def test_without_slurm_nothing_is_written_down(tmp_path: Path) -> None:
    wait = Wait(tmp_path, {("sbatch", "--version"): InfraError("no-program", "sbatch is not installed")})
    with pytest.raises(InfraError, match="not installed"):
        wait.perform()
    assert not (wait.ledger.folder / "ledger.jsonl").exists()


# --- names ----------------------------------------------------------------------------------------


def test_the_name_of_a_job_belongs_to_its_run() -> None:
    name = job_name("20260101T000000Z-0a", "all-to-all.1")
    assert name == "rocm-ci-20260101T000000Z-0a-all-to-all.1"
    assert is_job_of(name, "20260101T000000Z-0a")
    assert not is_job_of(name, "20260101T000000Z-0b")
    assert not is_job_of("training", "run")
    assert not is_job_of("rocm-ci-run-a,training", "run")
    with pytest.raises(ConfigError):
        job_name("run", "a,b")


def test_slurms_programs_see_little_of_the_caller() -> None:
    settings = capture({}, {"PATH": "/bin", "SLURM_CONF": "/c", "HF_TOKEN": "x", "DOCKER_HOST": "y"})
    assert client_environment(settings) == {"PATH": "/bin", "SLURM_CONF": "/c"}
