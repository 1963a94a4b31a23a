"""A step on several nodes: what each rank is told, and what the ends of all of them mean. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ConfigError, Outcome
from ..world.sandbox import Ended, Limits
from .catalogue import Ready

if TYPE_CHECKING:
    from ..world.slurm import JobSeen, NodeSeen

MOMENT = 60.0
"""Seconds kept between the end of a job's last signal and the end Slurm itself sets to it."""

_PORTS = range(20000, 30000)
"""Below the ports that Linux hands out by itself."""

_TRIES = 8
_WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SUSPENDED"}
_AT_WORK = {"RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "RESIZING", "STOPPED"}
_NEVER = {"PartitionConfig", "PartitionTimeLimit", "BadConstraints"}
_WORLD = {
    "NODE_FAIL": "a node failed", "BOOT_FAIL": "a node did not boot", "PREEMPTED": "another job took the nodes",
    "CANCELLED": "somebody else cancelled the job", "REVOKED": "another cluster took the job",
}  # fmt: skip
_BAD_NODE = {"DOWN", "DRAIN", "DRAINED", "DRAINING", "FAIL", "FAILING", "NOT_RESPONDING", "ERROR", "POWERED_DOWN"}

_TASK = re.compile(r"srun: error: \S+: tasks? \S+: (?P<how>.+)")
_EXITED = re.compile(r"Exited with exit code (\d+)")
_CANCELLED = re.compile(r"slurmstepd\S*: error: \*\*\* (?:JOB|STEP) \S+ ON \S+ CANCELLED (?P<why>.*?)\s*\*\*\*")
_TOLD = re.compile(r"(?:srun|slurmstepd\S*): error: ")
_ABORTED = re.compile(r"srun: (?P<how>Job step aborted: Waiting .*)")
_CUT = re.compile(r"srun: (?:error: Timed out waiting|Job step aborted|Force Terminated)")


@dataclass(frozen=True)
class RankedJob:
    """One command per rank, one rank per node, in one Slurm job.

    ``name`` tells it from all others of its run.  ``limits.seconds`` is the one deadline, from the submission on;
    ``queue`` the part of it that may pass before the job begins.  ``env`` is an allow-list: beside it a rank sees
    its own variables and what Slurm sets.  ``cwd`` is a folder on every node; ``results`` one of this machine.
    ``options`` are arguments of ``sbatch`` (partition, account, GPUs).
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    env: Mapping[str, str]
    cwd: Path
    results: Path
    limits: Limits
    queue: float
    ready: Ready | None = None
    options: tuple[str, ...] = ()


class Node(NamedTuple):
    """Where a rank runs; ``address`` is the one Slurm reaches the node at."""

    rank: int
    name: str
    address: str


class RankEnded(NamedTuple):
    """How a rank ended; ``started`` is in seconds since the submission, None where it never was.

    ``stopped`` are those that were still at work when the job was over: they are no cause.
    """

    rank: int
    node: str
    started: float | None
    ended: Ended
    stopped: bool = False


class Stage(NamedTuple):
    """How far the job had come when it was over: why we ended it, what Slurm said then, who never reached rank 0."""

    limit: str = ""
    job: JobSeen | None = None
    nodes: tuple[NodeSeen, ...] = ()
    unreached: tuple[str, ...] = ()
    reached: tuple[str, ...] = ()


class RanksEnded(NamedTuple):
    """A whole job: ``queued`` and ``seconds`` count from the submission, ``rungs`` are the signals that were needed."""

    outcome: Outcome
    reasons: tuple[str, ...]
    ranks: tuple[RankEnded, ...]
    job: str
    queued: float
    seconds: float
    limit: str = ""
    rungs: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()


# --- before ---------------------------------------------------------------------------------------


def check(job: RankedJob) -> None:
    """Raise ``ConfigError`` where the job cannot be meant."""
    if not job.commands:
        raise ConfigError("no-ranks", f"{job.name} has no command for any rank")
    within = job.queue + (job.ready.seconds if job.ready else 0.0)
    if within >= job.limits.seconds:
        message = f"{job.name} may wait {within:g} s before it works, and all of it may take {job.limits.seconds:g} s"
        raise ConfigError("limits-crossed", message, hint="raise limits.minutes, or lower what it waits")


def minutes(limits: Limits) -> int:
    """The time Slurm allows the job: past everything we do ourselves, so that it counts only when we are gone."""
    return int((limits.seconds + limits.teardown_seconds + MOMENT) // 60) + 1


def placed(nodes: Sequence[NodeSeen]) -> tuple[Node, ...]:
    """Rank by rank, in the order of Slurm's list."""
    return tuple(Node(rank, each.name, each.address) for rank, each in enumerate(nodes))


def ports(job: str) -> tuple[int, ...]:
    """The ports to try for a job's rank 0: jobs with numbers near each other share none of the first ones."""
    first = int(job) * _TRIES
    return tuple(_PORTS[(first + number) % len(_PORTS)] for number in range(_TRIES))


def environment(job: RankedJob, nodes: Sequence[Node], rank: int, port: int) -> dict[str, str]:
    """What rank ``rank`` sees: the names that torch, Ray launchers and MPI-less programs agree on."""
    return dict(job.env) | {
        "MASTER_ADDR": nodes[0].address,
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(len(nodes)),
        "RANK": str(rank),
        "NODE_RANK": str(rank),
        "LOCAL_RANK": "0",
    }


# The two scripts are constants; what differs comes as arguments.  bash opens /dev/tcp/HOST/PORT itself, so a
# node needs nothing else for them.
_FREE = """
address=$0
for port; do
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue
  (exec 3<>"/dev/tcp/$address/$port") 2>/dev/null && continue
  echo "$port"; exit 0
done
exit 1
"""
_REACHED = """
until (
  exec 3<>"/dev/tcp/$0/$1" || exit 1
  [ -z "$2" ] && exit 0
  printf 'GET %s HTTP/1.0\\r\\nHost: %s\\r\\n\\r\\n' "$2" "$0" >&3
  read -r -t 5 version status rest <&3 && [ "${status%$'\\r'}" = 200 ]
) 2>/dev/null; do sleep 0.2; done
"""


def free_port(node: Node, candidates: Sequence[int]) -> tuple[str, ...]:
    """Run on rank 0's node: prints the first of ``candidates`` that nothing listens on there."""
    return ("bash", "-c", _FREE, node.address, *map(str, candidates))


def reach(ready: Ready, node: Node, port: int) -> tuple[str, ...]:
    """Run on another node: ends with 0 once rank 0 on ``node`` answers there, and not before."""
    return ("bash", "-c", _REACHED, node.address, str(ready.port or port), ready.path)


# --- while it waits -------------------------------------------------------------------------------


def still_waits(job: JobSeen) -> bool:
    """Whether the job has yet to begin."""
    return job.state in _WAITING


def hopeless(job: JobSeen) -> bool:
    """Whether the job asks for what its partition can never give, however empty it gets."""
    return job.reason in _NEVER


def begun(job: JobSeen) -> bool:
    """Whether the job has its nodes."""
    return job.state == "RUNNING"


# --- afterwards -----------------------------------------------------------------------------------


def ended(code: int, stderr: Sequence[str], seconds: float) -> Ended:
    """How the one task of an ``srun`` ended, from its exit status and what it wrote.

    ``srun`` ends with 1 both for a program that did and for one it never started, with 143 both for SIGTERM
    and for ``exit 143``, and with 0 for a task that it gave up waiting for after a cancel; only what it says
    tells them apart.
    """
    how = next((match["how"] for line in reversed(stderr) if (match := _TASK.match(line))), "")
    lost = _cut_off(code, stderr, how)
    if lost:
        return Ended(None, seconds, lost=lost)
    if code == 0:
        return Ended(0, seconds)
    exited = _EXITED.match(how)
    if exited:
        return Ended(int(exited[1]), seconds)
    if "Out Of Memory" in how:
        return Ended(-9, seconds, out_of_memory=True)
    if how and code > 128:
        return Ended(128 - code, seconds)
    said = next((line for line in reversed(stderr) if _TOLD.match(line)), f"srun ended with {code}")
    return Ended(None, seconds, lost=said)


def _cut_off(code: int, stderr: Sequence[str], how: str) -> str:
    """What Slurm said where the task did not end by itself; empty where it did, ``how`` it ended."""
    if cancelled := next(filter(None, map(_CANCELLED.match, stderr)), None):
        return f"Slurm ended its step: cancelled {cancelled['why']}"
    # A busy node may lose its own line of a cancel, not that srun was told to give the step up while its task ran.
    if how and (aborted := next(filter(None, map(_ABORTED.match, stderr)), None)):
        return f"Slurm ended its step: {aborted['how']}"
    return "" if code else next(filter(_CUT.match, stderr), "")


def judge(ranks: Sequence[RankEnded], stage: Stage) -> tuple[Outcome, tuple[str, ...]]:
    """What it all means: the outcome, and why, the cause first.

    What Slurm says of the job and its nodes goes before the ranks: when a node is lost, the ranks on the
    others fail as well, and Slurm may learn of it later than they.
    """
    if ranks and all(each.ended.code == 0 for each in ranks) and (stage.job is None or stage.job.state == "RUNNING"):
        return Outcome.OK, ()
    world = tuple(_world(stage))
    if world:
        return Outcome.INFRA, (*world, *_told(ranks))
    if stage.job and stage.job.state in {"TIMEOUT", "DEADLINE"}:
        return Outcome.TIMEOUT, ("Slurm's own limit of time ended the job", *_told(ranks))
    if stage.limit:
        return _limited(ranks, stage)
    return _failed(ranks, stage)


def _world(stage: Stage) -> Iterator[str]:
    if stage.job is None and not stage.limit:
        yield "Slurm does not tell what became of the job"
    elif stage.job and stage.job.state in _WORLD:
        yield f"{_WORLD[stage.job.state]} ({stage.job.state}, reason {stage.job.reason or 'none'})"
    elif stage.job and stage.job.reason == "NodeDown":
        yield f"a node failed ({stage.job.state}, reason NodeDown)"
    elif stage.job and stage.job.state not in _AT_WORK | {
        "TIMEOUT",
        "DEADLINE",
        "OUT_OF_MEMORY",
        "FAILED",
        "COMPLETED",
    }:
        yield f"the job is {stage.job.state}, which none at work can be (reason {stage.job.reason or 'none'})"
    for node in stage.nodes:
        bad = sorted(node.states & _BAD_NODE)
        if bad:
            yield f"node {node.name} is {'+'.join(bad)}" + (f": {node.reason}" if node.reason else "")
    if stage.unreached and stage.reached:
        lost, well = ", ".join(stage.unreached), ", ".join(stage.reached)
        yield f"{lost} cannot reach rank 0, and {well} can: look at the network"


def _limited(ranks: Sequence[RankEnded], stage: Stage) -> tuple[Outcome, tuple[str, ...]]:
    texts = {
        "deadline": "not over at its deadline",
        "inactivity": "no rank wrote anything for too long",
        "ready": "rank 0 was not ready in time",
    }
    return Outcome.TIMEOUT, (texts[stage.limit], *_told(ranks))


def _failed(ranks: Sequence[RankEnded], stage: Stage) -> tuple[Outcome, tuple[str, ...]]:
    own = [each for each in ranks if not each.stopped and each.started is not None and each.ended.code != 0]
    causes = sorted(own, key=lambda each: (each.started or 0.0) + each.ended.seconds)
    if stage.job and stage.job.state == "OUT_OF_MEMORY" and not any(each.ended.out_of_memory for each in own):
        return Outcome.FAILED, ("the job ran out of memory on a node", *_told(causes))
    if not causes and ranks and ranks[0].ended.code == 0 and any(each.started is None for each in ranks):
        return Outcome.FAILED, ("rank 0 ended before the others could reach it", *_told(ranks))
    if not causes or (causes[0].ended.code is None and causes[0].ended.lost):
        return Outcome.INFRA, tuple(_told(causes or ranks)) or ("no rank was started",)
    return Outcome.FAILED, tuple(_told(causes))


def _told(ranks: Iterable[RankEnded]) -> tuple[str, ...]:
    return tuple(describe(each) for each in ranks)


def describe(rank: RankEnded) -> str:
    """One rank in words: ``rank 1 on n2: exit code 3``."""
    how = rank.ended
    if rank.started is None:
        text = "never started"
    elif how.out_of_memory:
        text = "killed, out of memory"
    elif how.code is None:
        text = how.lost or "its end was not learned"
    else:
        text = f"exit code {how.code}" if how.code >= 0 else f"signal {-how.code}"
    return f"rank {rank.rank} on {rank.node}: {text}" + (
        " (ended with the job)" if rank.stopped and rank.started is not None else ""
    )
