"""A step on several nodes: each of its commands is one Slurm job, a rank on every node."""

from __future__ import annotations

from pathlib import Path

from ..build.perform import Screen
from ..errors import Outcome
from ..world.clock import Clock
from ..world.ledger import Ledger
from ..world.sandbox import Ended, Limits
from ..world.slurm import Slurm
from .catalogue import Command, Step
from .nodes import RankedJob, RanksEnded
from .ranks import Around, run_ranks
from .records import NOTHING, Records
from .results import CommandResult
from .runtime import SUITE
from .verdict import Verdict
from .words import Folders, environment, mask

_QUEUE = 0.5
"""The part of a step's time that its job may wait for nodes."""


class Several:
    """What the commands of one step on several nodes have in common. ``folder`` is one that every node sees."""

    def __init__(self, step: Step, folder: Path, ledger: Ledger, slurm: Slurm) -> None:
        self._step, self._folder, self._ledger, self._slurm = step, folder, ledger, slurm
        self.done: list[tuple[CommandResult, Records]] = []

    def run(self, until: float, screen: Screen, clock: Clock) -> None:
        """Run the commands one after the other; how each went is in ``done``, also when this raises."""
        for number, command in enumerate(self._step.commands, 1):
            job = self._job(number, command, until - clock.monotonic())
            around = Around(
                self._slurm, self._ledger, lambda rank, _stream, line: screen.say(f"[{rank}] {line}"), screen.say, clock
            )
            with self._ledger.spans.during("command", job.name) as doing:
                ended = run_ranks(job, around)
                doing.span = doing.span._replace(outcome=ended.outcome, why=ended.reasons, log=str(job.results))
            self.done.append((_result(number, job, ended), NOTHING))
            if ended.outcome is not Outcome.OK:
                return  # the ranks of the next command would meet what this one left

    def _job(self, number: int, command: Command, left: float) -> RankedJob:
        step, results = self._step, self._folder / str(number)
        inside = Folders(str(SUITE), str(results), str(self._folder / "cache"))
        gpus = step.needs.gpus
        words = command.ranks or (command.words,) * step.needs.nodes
        return RankedJob(
            f"{step.name}-{number}",
            tuple(tuple(map(inside.fill, each)) for each in words),
            environment(step, inside, mask(range(gpus))),
            Path(inside.fill(step.workdir)),
            results,
            Limits(max(left, 1.0), min(step.limits.silent, max(left, 1.0)), step.limits.grace),
            queue=left * _QUEUE,
            ready=step.ready,
            options=(f"--gres=gpu:{gpus}",) if gpus else (),
        )


def _result(number: int, job: RankedJob, ended: RanksEnded) -> CommandResult:
    """All ranks as one command: the first that failed gives its status."""
    bad = next((rank.ended for rank in ended.ranks if rank.ended.code != 0 and not rank.stopped), None)
    code = 0 if ended.outcome is Outcome.OK else bad.code if bad else None
    whole = Ended(code, ended.seconds, ended.limit, rungs=ended.rungs)
    ranks = tuple(f"{rank.rank}@{rank.node}" for rank in ended.ranks)
    words = (f"srun job {ended.job}, ranks {' '.join(ranks)}:", *job.commands[0])
    return CommandResult(number, words, Verdict(ended.outcome, ended.reasons), whole, job.results)
