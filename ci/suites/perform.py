"""Carry a suite out: lease, prove, run, look again, and say how each step ended."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..build.perform import Screen
from ..errors import CiError, Interrupted, Outcome, Problem, worst
from ..world import files
from ..world.clock import Clock
from ..world.gpus import Gpu
from ..world.ledger import Ledger
from ..world.sandbox import Limits
from ..world.slurm import Slurm
from . import durations, ids, verdict
from .catalogue import Health
from .crewing import Crewing, units, unproven
from .health import prove
from .history import History
from .plan import RESERVE, Planned, SuitePlan
from .records import Records
from .replay import WELL, Replay
from .results import RunResult, StepResult, summed
from .runtime import Room, Runtime
from .several import Several
from .stage import Stage, write_versions
from .traced import held, traced

TRIES = 2
"""How often a step is begun, at most: again only after ``infra``, and only when no test had started."""


@dataclass
class Run:
    """A run of a suite on this node. ``seconds_of`` plans its shards: step, test, seconds."""

    plan: SuitePlan
    stack: str
    images: Mapping[str, str]
    runtime: Runtime
    health: Health | None
    ledger: Ledger
    history: History
    clock: Clock
    screen: Screen
    seconds_of: Mapping[str, Mapping[str, float]]
    slurm: Slurm
    begun: float
    replay: Replay
    part: tuple[int, int] = (1, 1)
    deadline: float = 0.0
    require_gpu: bool = False
    crewing: Crewing | None = None
    fallback: str = ""
    results: list[StepResult] = field(default_factory=list)
    unproven: tuple[str, ...] = ()

    def perform(self) -> RunResult:
        """Run every step; one that fails does not keep the next from running, one that is interrupted does."""
        if self.crewing:
            self._at_once(self.crewing)
        else:
            for planned in self.plan.steps:
                self.results.append(self._step(planned))
        files.write_json(self.ledger.folder / "durations.json", durations.of(self.results))
        return self.result()

    def _at_once(self, crewing: Crewing) -> None:
        """Steps that run beside each other, each a call of its own; what does not run here is told first."""
        every = units(self.plan.steps)
        self.results += [self._step(planned) for planned in self.plan.steps if planned.skip]
        try:
            self.results += crewing.run(every, self.ledger.spans)
        except Interrupted:
            self.results += crewing.so_far
            raise
        self.unproven = unproven(every, self.results[-len(every) :] if every else ())

    def result(self, ended: Outcome = Outcome.OK) -> RunResult:
        """What there is to say so far; ``ended`` is what came of the run beside its steps."""
        alone = self.part[1] > 1  # the other shards are other runs
        parts = [
            verdict.Part(each.label, each.outcome, each.reasons, each.unmet, alone and each.idle, each.soft)
            for each in self.results
        ]
        outcome, reasons = verdict.merge_run(parts, require_gpu=self.require_gpu)
        if self.unproven:
            outcome, reasons = worst((outcome, Outcome.FAILED)), (*reasons, *self.unproven)
        if ended is not Outcome.OK:
            outcome, reasons = ended, tuple(self._not_begun())
        seconds = self.clock.monotonic() - self.begun
        folder = self.ledger.folder
        return RunResult(
            self.plan.suite, self.stack, outcome, tuple(self._told()), folder, seconds, reasons, self.fallback
        )

    def _told(self) -> Iterator[StepResult]:
        """The results, those that did not end well with the command that runs them again."""
        steps = {planned.name: planned.step for planned in self.plan.steps}
        for each in self.results:
            step = steps[each.name]
            command = self.replay.command(step, each.shard, self.images.get(step.tier, ""))
            yield each if each.outcome in WELL else replace(each, replay=command)

    def _not_begun(self) -> Iterator[str]:
        """The steps a run that broke off did not come to."""
        names = {each.name for each in self.results}
        left = [planned.name for planned in self.plan.steps if planned.name not in names]
        if left:
            yield f"not begun: {', '.join(left)}"

    def _step(self, planned: Planned) -> StepResult:
        """One step, with its span."""
        number, count = self.part
        with self.ledger.spans.during("step", planned.name) as doing:
            doing.span = doing.span._replace(shard=f"{number}/{count}" if count > 1 else "")
            result = self._tried(planned)
            doing.span = traced(doing.span, result)
            return result

    def _tried(self, planned: Planned) -> StepResult:
        number, count = self.part
        shard = f"{number}/{count}" if count > 1 else ""
        empty = StepResult(planned.name, planned.step.summary, Outcome.SKIPPED, shard=shard, soft=planned.soft)
        if planned.skip:
            return replace(empty, reasons=(planned.skip,), unmet=planned.unmet)
        tries: list[str] = []
        while True:
            begun = self.clock.monotonic()
            attempt = _Attempt(self, planned, replace(empty, tries=tuple(tries)))
            try:
                with self.ledger.spans.during("try", f"try {len(tries) + 1}") as doing:
                    if tries:
                        self.runtime.recover()
                    result = attempt.run()
                    doing.span = doing.span._replace(outcome=result.outcome, why=result.reasons)
            except Interrupted as error:
                attempt.cut_off(error)
                self.results.append(replace(attempt.result, seconds=self.clock.monotonic() - begun))
                raise
            result = replace(result, seconds=self.clock.monotonic() - begun)
            if not verdict.may_retry(result.outcome, attempt.found, len(tries) + 1, TRIES):
                return result
            tries.append("; ".join(result.reasons) or result.outcome)
            self.screen.warn(f"{planned.name}: {tries[-1]}; no test had started, so it is begun once more")

    def until(self, planned: Planned) -> float:
        """The moment a step that begins now has to be over, its teardown not counted."""
        limits = planned.step.limits
        own = self.clock.monotonic() + limits.seconds
        if not self.deadline:
            return own
        teardown = Limits(limits.seconds, None, limits.grace).teardown_seconds
        return min(own, self.begun + self.deadline - RESERVE - teardown)


@dataclass
class _Attempt:
    """One try of a step, from the lease to the look afterwards; ``result`` is what is known so far."""

    run_: Run
    planned: Planned
    result: StepResult
    found: tuple[Records, ...] = ()

    def run(self) -> StepResult:
        """How it ended; raises ``Interrupted``."""
        run, step = self.run_, self.planned.step
        if run.until(self.planned) <= run.clock.monotonic():
            late = "not begun: the run's deadline leaves no time for it"
            return replace(self.result, outcome=Outcome.TIMEOUT, reasons=(late,))
        try:
            if step.needs.nodes > 1:
                self._several()
                return self.result
            begun = run.ledger.spans.now()
            with run.runtime.gpus(step) as gpus:
                self.result = replace(self.result, gpus=tuple(gpu.key for gpu in gpus), where="gpu" if gpus else "cpu")
                with held(run.ledger.spans, self.result.gpus, begun):
                    self._staged(gpus)
        except Interrupted:
            raise
        except CiError as error:
            self._blame(error)
        if run.history.remembers(self.result.outcome) and self.found:
            run.history.record(step.name, self.result.image, self.found)
        return self.result

    def cut_off(self, error: Interrupted) -> None:
        """Say of the step that a signal ended it, wherever it was."""
        if self.result.outcome is not Outcome.INTERRUPTED:
            reason = f"stopped by {signal.Signals(error.signal).name} while none of its commands ran"
            self.result = replace(self.result, outcome=Outcome.INTERRUPTED, reasons=(reason, *self.result.reasons))

    def _blame(self, error: CiError) -> None:
        """Something beside the tests is at fault: that is said first, beside whatever the tests said."""
        reasons = tuple(line for problem in error.problems for line in _lines(problem))
        outcome = worst((error.outcome, self.result.outcome)) if self.found else error.outcome
        self.result = replace(self.result, outcome=outcome, reasons=(*reasons, *self.result.reasons))

    def _several(self) -> None:
        """The step's commands as jobs of the cluster; Slurm gives each rank what its node has."""
        run, step = self.run_, self.planned.step
        folder = self._folder()
        several = Several(step, folder, run.ledger, run.slurm)
        try:
            several.run(run.until(self.planned), run.screen, run.clock)
        finally:
            self.found = tuple(found for _, found in several.done)
            where = f"{step.needs.nodes} nodes"
            self.result = summed(replace(self.result, where=where), several.done)

    def _folder(self) -> Path:
        folder = self.run_.ledger.folder / "steps" / self.planned.name / self._place()
        with files.disk_errors(f"cannot make {folder}"):
            folder.mkdir(parents=True)
        return folder

    def _staged(self, gpus: tuple[Gpu, ...]) -> None:
        run, planned = self.run_, self.planned
        image = run.images.get(planned.step.tier, "")
        folder = self._folder()
        room = run.runtime.room(planned.step, gpus, folder, image)
        thing = run.ledger.will_make(
            room.kind, room.sandbox.name if room.kind == "container" else str(folder / "cache")
        )
        stage = self._stage(room, folder, image)
        try:
            with run.ledger.spans.during("prepare", "sandbox, health, versions"):
                room.sandbox.begin()
                prove(run.health, run.runtime, room, gpus, "before")
                self._versions(room, planned)
            stage.run()
            if not any(result.ended.lost for result, _ in stage.done):
                prove(run.health, run.runtime, room, gpus, "after")
        finally:
            self._summed(stage, image)
            with run.ledger.spans.during("teardown", "sandbox ends"):
                run.ledger.clear(thing, lambda: self._end(room, folder), run.screen.warn)

    def _versions(self, room: Room, planned: Planned) -> None:
        """Once per image: asking takes a second or two."""
        path = self.run_.ledger.folder / f"versions-{planned.step.tier}.json"
        if not path.exists():
            write_versions(room.sandbox, path, self.run_.screen)

    def _place(self) -> str:
        """The name of this try's folder: ``whole-1``, ``2-of-4-1``."""
        return f"{self.result.shard.replace('/', '-of-') or 'whole'}-{len(self.result.tries) + 1}"

    def _stage(self, room: Room, folder: Path, image: str) -> Stage:
        run, planned = self.run_, self.planned
        return Stage(
            planned,
            room.sandbox,
            folder,
            room.inside,
            run.until(planned),
            run.clock,
            run.screen,
            run.ledger.spans,
            quarantined=frozenset(each.test for each in run.plan.quarantine),
            failed_before=run.history.failed_before(planned.name, image),
            part=run.part,
            seconds_of=run.seconds_of.get(planned.name, {}),
        )

    def _summed(self, stage: Stage, image: str) -> None:
        self.found = tuple(found for _, found in stage.done)
        whole = summed(replace(self.result, image=image), stage.done)
        self.result = replace(whole, reasons=(*whole.reasons, *(self._left_out() if stage.done else ())))

    def _left_out(self) -> Iterator[str]:
        """Every exempted test with its reason; one that ran all the same has a name that pytest does not know."""
        ran = [each.id for found in self.found for each in found.events.ended]
        for each in self.planned.excluded:
            if any(ids.covers(each.test, test) for test in ran):
                yield f"left out in vain: {each.test} ran; name it as pytest does ({each})"
            else:
                yield f"left out: {each.test}: {each}"

    def _end(self, room: Room, folder: Path) -> None:
        room.sandbox.end()
        files.remove(folder / "cache")


def _lines(problem: Problem) -> Iterator[str]:
    """A problem as reasons of a step: what happened, the last word of the evidence, what to do."""
    yield problem.message
    if problem.context:
        yield f"it said: {problem.context.strip().splitlines()[-1]}"
    if problem.hint:
        yield f"hint: {problem.hint}"
