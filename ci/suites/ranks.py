"""Perform a job on several nodes: wait for them, start the ranks in order, attend to all, and leave nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import NamedTuple

from ..errors import InfraError
from ..world.clock import Clock, SystemClock
from ..world.crew import Crew, MemberEnded
from ..world.files import LineLog, write_whole
from ..world.ledger import Ledger
from ..world.sandbox import PATIENCE, Ended, Say
from ..world.slurm import JobSeen, Slurm, job_name, never_given
from . import nodes as plan
from .nodes import Node, RankedJob, RankEnded, RanksEnded, Stage

THING = "slurm-job"
"""The kind under which a job stands in the ledger."""

OnRank = Callable[[int, str, str], None]
"""Called with a rank, ``stdout`` or ``stderr``, and one line."""

_UNANSWERED = 120.0
"""Seconds that a controller may be away while a job waits: it is restarted now and then."""

_ECHO = 5.0
"""Seconds the other ranks have to fail by themselves after the first, so that each says what it saw."""

_SETTLE = 15.0
"""Seconds a job may take from COMPLETING to the state that says why."""

_AFTER_KILL = 60.0
"""Seconds for the end of a job: to kill it, Slurm sends SIGTERM and waits its KillWait first, as shipped 30."""


class Around(NamedTuple):
    """What a job works with: the cluster, the run's ledger, who hears the ranks and us, and the time."""

    slurm: Slurm
    ledger: Ledger
    on_line: OnRank
    say: Say
    clock: Clock = SystemClock()


class _Held(NamedTuple):
    """A job that has its nodes."""

    name: str
    number: str
    written: str
    nodes: tuple[Node, ...]
    port: int


def run_ranks(job: RankedJob, around: Around) -> RanksEnded:
    """Run ``job`` to its end and give all exit statuses; its Slurm job is gone afterwards, whatever happened.

    Writes ``rank-N.log`` and, unless all went well, ``slurm.txt`` into ``job.results``.  Raises ``ConfigError``
    for what can never be given and ``InfraError`` where the job does not begin: the queue is too long, Slurm
    does not answer.  Once ranks were started, whatever happens to them is the result.
    """
    plan.check(job)
    begun = around.clock.monotonic()
    with _held(job, begun, around) as held:
        queued = around.clock.monotonic() - begun
        around.say(f"Slurm job {held.number} has {held.written} after {queued:.0f} s")
        work = _Work(job, held, begun, around)
        stage = work.perform()
        ranks = work.ranks()
        outcome, reasons = plan.judge(ranks, stage)
        seconds = around.clock.monotonic() - begun
        return RanksEnded(
            outcome, reasons, ranks, held.number, queued, seconds, stage.limit, tuple(work.rungs), work.evidence
        )


# --- the job --------------------------------------------------------------------------------------


@contextmanager
def _held(job: RankedJob, begun: float, around: Around) -> Iterator[_Held]:
    """A job with its nodes.

    Its name is written down first: a crash in the middle of the submission hides the job's number, not its name.
    """
    slurm = around.slurm
    slurm.version()
    name = job_name(around.ledger.folder.name, job.name)
    thing = around.ledger.will_make(THING, name)
    try:
        expires = int(job.queue + plan.MOMENT)
        number = slurm.submit(name, len(job.commands), plan.minutes(job.limits), expires, job.options)
        seen = _await(job, _Wanted(name, number), begun, around)
        nodes = plan.placed(slurm.nodes(seen.nodes))
        port = slurm.once(number, nodes[0].name, plan.free_port(nodes[0], plan.ports(number)))
        yield _Held(name, number, seen.nodes, nodes, int(port))
    finally:
        around.ledger.clear(thing, partial(slurm.cancel, name), around.say)


class _Wanted(NamedTuple):
    """A job in the queue."""

    name: str
    number: str


def _await(job: RankedJob, wanted: _Wanted, begun: float, around: Around) -> JobSeen:
    """Wait until the job has its nodes, saying why whenever that changes."""
    clock = around.clock
    pause, heard, reason = 0.5, clock.monotonic(), ""
    while True:
        try:
            seen = around.slurm.look(*wanted)
            heard = clock.monotonic()
        except InfraError:
            if clock.monotonic() - heard > _UNANSWERED:
                raise
        else:
            if seen and plan.begun(seen):
                return seen
            if seen and plan.hopeless(seen):
                raise never_given(f"job {wanted.number} waits for ever: {seen.reason}")
            if seen is None or not plan.still_waits(seen):
                state = f"is {seen.state} (reason {seen.reason})" if seen else "is not known to Slurm any more"
                raise InfraError("slurm-job-ended", f"job {wanted.number} {state}, and never began")
            if seen.reason not in {reason, "None"}:
                reason = seen.reason
                around.say(f"Slurm job {wanted.number} waits: {reason}")
        waited = clock.monotonic() - begun
        if waited >= job.queue:
            hint = "free nodes (sinfo), or raise how long it may wait"
            message = f"Slurm job {wanted.number} had no nodes after {waited:.0f} s: {reason or 'no answer'}"
            raise InfraError("slurm-queue", message, hint=hint)
        clock.sleep(min(pause, job.queue - waited))
        pause = min(2 * pause, 5.0)


# --- the ranks ------------------------------------------------------------------------------------


def _deaf(_rank: int, _stream: str, _line: str) -> None:
    return


class _Work:
    """The ranks of one job from the first start to the last end."""

    def __init__(self, job: RankedJob, held: _Held, begun: float, around: Around) -> None:
        self._job, self._held, self._begun = job, held, begun
        self._slurm, _, self._on_line, self._say, self._clock = around
        self._heard_at = self._clock.monotonic()
        self._logs: list[LineLog] = []
        self._started: dict[int, float] = {}
        self._ended: dict[int, RankEnded] = {}
        self._at_work: dict[int, int] = {}
        self._gates: dict[int, int] = {}
        self._reached: list[str] = []
        self._failed_at: float | None = None
        self._limit = ""
        self._stopping = False
        self._carrier_failed = False
        self.rungs: list[str] = []
        self.evidence: tuple[str, ...] = ()

    def perform(self) -> Stage:
        """Run all; gives what was known when it was over, before we ended what was left."""
        self._job.results.mkdir(parents=True, exist_ok=True)
        with ExitStack() as open_logs, Crew(self._heard, self._clock) as crew:
            for node in self._held.nodes:
                self._logs.append(open_logs.enter_context(LineLog(self._job.results / f"rank-{node.rank}.log")))
            try:
                self._start(crew)
                while not self._over():
                    for each in crew.listen():
                        self._take(each, crew)
            except BaseException:
                self._on_line = _deaf  # it may be what raised; the logs go on
                self._take_evidence()
                self._end_all(crew)
                raise
            stage = self._look()
            if not self._well():
                self._take_evidence()
                self._end_all(crew, over=stage.job is not None and not plan.begun(stage.job))
            return stage

    def ranks(self) -> tuple[RankEnded, ...]:
        """Every rank, those without an end too."""
        return tuple(self._ended.get(node.rank) or self._endless(node) for node in self._held.nodes)

    def _endless(self, node: Node) -> RankEnded:
        started = self._started.get(node.rank)
        lost = "" if started is None else "its end was not heard of"
        how = Ended(None, 0.0, self._limit, lost, rungs=tuple(self.rungs))
        return RankEnded(node.rank, node.name, started, how, stopped=True)

    # starting

    def _start(self, crew: Crew) -> None:
        """Rank 0, and the others at once unless they have to wait for it."""
        first, *others = self._held.nodes
        self._start_rank(first, crew)
        ready = self._job.ready
        for node in others:
            if ready is None:
                self._start_rank(node, crew)
            else:
                argv = plan.reach(ready, first, self._held.port)
                place = crew.begin(self._slurm.step(self._held.number, node.name, argv, {}, self._job.cwd))
                self._gates[place] = node.rank

    def _start_rank(self, node: Node, crew: Crew) -> None:
        env = plan.environment(self._job, self._held.nodes, node.rank, self._held.port)
        argv = self._job.commands[node.rank]
        self._started[node.rank] = self._now
        self._at_work[crew.begin(self._slurm.step(self._held.number, node.name, argv, env, self._job.cwd))] = node.rank

    # hearing

    @property
    def _now(self) -> float:
        return self._clock.monotonic() - self._begun

    def _heard(self, place: int, stream: str, line: str) -> None:
        rank = self._at_work.get(place)
        if rank is not None:
            self._heard_at = self._clock.monotonic()
            self._logs[rank].add(line)
            self._on_line(rank, stream, line)

    def _take(self, member: MemberEnded, crew: Crew) -> None:
        """One program is over: a rank, one that waited for rank 0, or one that carried a signal."""
        place, finished, seconds = member
        if place in self._gates:
            self._gate_ended(self._gates.pop(place), crew, well=finished.ok)
        elif place in self._at_work:
            rank = self._at_work.pop(place)
            how = plan.ended(finished.code, finished.stderr.splitlines(), seconds)
            if self._stopping:
                how = how._replace(limit=self._limit, rungs=tuple(self.rungs))
            stopped = self._stopping and how.code != 0
            self._ended[rank] = RankEnded(rank, self._held.nodes[rank].name, self._started[rank], how, stopped)
            if how.code != 0 and self._failed_at is None:
                self._failed_at = self._clock.monotonic()
        else:
            self._carrier_failed = not finished.ok

    def _gate_ended(self, rank: int, crew: Crew, *, well: bool) -> None:
        if self._stopping:
            return
        if not well:
            self._failed_at = self._failed_at or self._clock.monotonic()
            return
        self._reached.append(self._held.nodes[rank].name)
        if len(self._reached) == len(self._held.nodes) - 1:
            for node in self._held.nodes[1:]:
                self._start_rank(node, crew)

    def _over(self) -> bool:
        """Whether there is nothing more to wait for, or no more time."""
        now = self._clock.monotonic()
        if not self._at_work and (self._gates or self._failed_at is not None or len(self._ended) == self._size):
            return True
        if self._failed_at is not None and now - self._failed_at >= _ECHO:
            return True
        limits, ready = self._job.limits, self._job.ready
        if self._now >= limits.seconds:
            self._limit = "deadline"
        elif limits.silent_seconds is not None and now - self._heard_at >= limits.silent_seconds:
            self._limit = "inactivity"
        elif ready and self._gates and self._now - self._started[0] >= ready.seconds:
            self._limit = "ready"
        return bool(self._limit)

    @property
    def _size(self) -> int:
        return len(self._held.nodes)

    def _well(self) -> bool:
        return len(self._ended) == self._size and all(each.ended.code == 0 for each in self._ended.values())

    # ending

    def _look(self) -> Stage:
        """What Slurm says now, before we end anything: afterwards its words would be about our own doing."""
        unreached = tuple(node.name for node in self._held.nodes[1:] if node.name not in self._reached)
        stage = Stage(self._limit, unreached=unreached if self._job.ready else (), reached=tuple(self._reached))
        with suppress(InfraError):
            nodes = self._slurm.nodes(self._held.written)
            end = self._clock.monotonic() + _SETTLE
            while (job := self._slurm.look(self._held.name, self._held.number)) and job.state == "COMPLETING":
                if self._clock.monotonic() >= end:
                    break
                self._clock.sleep(1.0)
            return stage._replace(job=job, nodes=nodes)
        return stage

    def _take_evidence(self) -> None:
        held = self._held
        seconds = self._job.limits.evidence_seconds
        self.evidence = self._slurm.evidence(held.name, held.number, held.written, seconds)
        with suppress(InfraError):  # a full disk must not keep the ranks at work
            write_whole(self._job.results / "slurm.txt", ("\n".join(self.evidence) + "\n").encode())

    def _end_all(self, crew: Crew, *, over: bool = False) -> None:
        """The ladder, through Slurm: it reaches every process of every rank, on all nodes.

        Where Slurm ended the job itself (``over``), or does not carry signals, there is no rung to take.  What is
        still at work after all is ended with its ``srun`` as the crew is left.
        """
        self._stopping = True
        if over:
            self._hear_the_rest(crew, PATIENCE)
            return
        rungs = (("INT", PATIENCE), ("TERM", self._job.limits.grace_seconds), ("KILL", _AFTER_KILL))
        for signal, patience in rungs:
            if self._carrier_failed or not (self._at_work or self._gates):
                return
            self.rungs.append(f"SIG{signal}")
            left = " ".join(self._held.nodes[rank].name for rank in sorted(self._at_work.values()))
            held_back = ", which may leave VRAM held" if signal == "KILL" else ""
            self._say(f"SIG{signal} to Slurm job {self._held.number} on {left}{held_back}")
            crew.begin(self._slurm.signal(self._held.number, signal))
            self._hear_the_rest(crew, patience)

    def _hear_the_rest(self, crew: Crew, patience: float) -> None:
        end = self._clock.monotonic() + patience
        while (self._at_work or self._gates) and not self._carrier_failed and self._clock.monotonic() < end:
            for each in crew.listen():
                self._take(each, crew)
