"""Several steps at once on one node: each, or each shard of it, is a call of this very tool.

The queue of leases is the scheduler: every call asks for the GPUs it needs and waits its turn,
beside whatever else of this host does the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from ..build.perform import Screen
from ..errors import Interrupted, Outcome
from ..world import files
from ..world.clock import Clock
from ..world.crew import Crew
from ..world.process import Command, Finished
from ..world.sandbox import Limits
from ..world.spans import Spans
from . import exits, records, shard, words
from .plan import RESERVE, Planned
from .results import StepResult
from .traced import Calls

_START = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1));"
    " runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
"""This very package, wherever it lies and wherever we are called: ``-m`` would look in the present folder."""

_OURS = (str(Path(__file__).resolve().parents[2]), __package__.partition(".")[0])


class Unit(NamedTuple):
    """What one call runs: a step, and which part of its tests."""

    planned: Planned
    part: tuple[int, int]

    @property
    def label(self) -> str:
        """``shutdown``, ``kernels 2/4``."""
        number, count = self.part
        return f"{self.planned.name} {number}/{count}" if count > 1 else self.planned.name


def units(steps: Sequence[Planned]) -> tuple[Unit, ...]:
    """The calls of a run: steps that take longest first, so that none of them is left for the end."""
    found = [
        Unit(each, (number, each.step.shards))
        for each in steps
        if not each.skip
        for number in range(1, each.step.shards + 1)
    ]
    return tuple(sorted(found, key=lambda unit: -unit.planned.step.limits.seconds / unit.part[1]))


def width(jobs: int, steps: Sequence[Planned], gpus: int) -> int:
    """How many calls run at once; ``jobs`` 0 is as many as the GPUs allow, and one where none is needed."""
    if jobs:
        return jobs
    needs = [each.step.needs.gpus for each in steps if not each.skip and each.step.needs.gpus]
    return max(1, gpus // min(needs)) if needs else 1


@dataclass
class Crewing:
    """What the calls have in common: the words after the suite, and the image of each tier, by digest.

    All have to be over at ``until`` (0: no limit).  ``so_far`` has, where a signal ends ``run``, the results
    of those that were begun.
    """

    suite: str
    options: tuple[str, ...]
    images: Mapping[str, str]
    jobs: int
    screen: Screen
    clock: Clock
    until: float = 0.0
    program: tuple[str, ...] = (sys.executable, "-c", _START, *_OURS)
    so_far: tuple[StepResult, ...] = field(default=(), init=False)

    def run(self, every: Sequence[Unit], spans: Spans) -> tuple[StepResult, ...]:
        """Run all, at most ``jobs`` at once; gives their results in the order of ``every``, ``spans`` their times."""
        found: dict[int, StepResult] = {}
        told: dict[int, list[str]] = {}
        calls = Calls(spans)

        def heard(place: int, stream: str, line: str) -> None:
            if stream == "stdout":
                told.setdefault(place, []).append(line)
            else:
                self.screen.say(f"[{every[place].label}] {line}")

        def stopped(place: int, outcome: Outcome, why: str) -> StepResult:
            lines = told.get(place, ())
            return calls.over(place, _stopped(every[place], lines, outcome, why), "\n".join(lines))

        waiting = iter(every)
        try:
            with Crew(heard, self.clock) as crew:
                while not self._late:
                    while crew.busy < self.jobs and (unit := next(waiting, None)):
                        crew.begin(self._command(unit))
                        calls.begin()
                    if not crew.busy:
                        break
                    for place, finished, seconds in crew.listen():
                        text = "\n".join(told.pop(place, ()))
                        found[place] = calls.over(place, _result(every[place], finished, text, seconds), text)
                        self.screen.say(f"[{every[place].label}] {found[place].outcome}")
        except Interrupted:
            cut = "stopped with the run"
            self.so_far = tuple(found.get(n) or stopped(n, Outcome.INTERRUPTED, cut) for n in range(calls.begun))
            raise
        late = ["ended"] * calls.begun + ["began"] * (len(every) - calls.begun)
        whys = [f"the run's deadline was reached before it {each}" for each in late]
        return tuple(found.get(n) or stopped(n, Outcome.TIMEOUT, why) for n, why in enumerate(whys))

    @property
    def _late(self) -> bool:
        return bool(self.until) and self.clock.monotonic() >= self.until

    def _command(self, unit: Unit) -> Command:
        number, count = unit.part
        limits = unit.planned.step.limits
        image = self.images[unit.planned.step.tier]
        own = ("--only", unit.planned.name, "--shard", f"{number}/{count}", "--image", image, "--json")
        argv = (*self.program, "test", self.suite, *own, *self.options)
        return Command(argv, patience=Limits(limits.seconds, None, limits.grace).teardown_seconds + RESERVE)


def _empty(unit: Unit) -> StepResult:
    number, count = unit.part
    step = unit.planned.step
    shard = f"{number}/{count}" if count > 1 else ""
    return StepResult(step.name, step.summary, Outcome.INTERNAL, shard=shard, soft=unit.planned.soft)


def _result(unit: Unit, finished: Finished, text: str, seconds: float) -> StepResult:
    """The result a call printed; one that printed none ended in a way nobody planned."""
    if told := _told(unit, text):
        if told.outcome is not Outcome.OK or finished.ok:
            return told
        why = f"its result says ok, but its process {exits.told(finished.code)}"
        return replace(told, outcome=Outcome.INTERNAL, reasons=(why, *told.reasons))
    tail = finished.tail(2)
    why = f"its process {exits.told(finished.code)}; it gave no result" + (f", and said last: {tail}" if tail else "")
    hint = "hint: inv reap removes what it left behind; then run the same command again"
    return replace(_empty(unit), seconds=seconds, reasons=(why, hint))


def _told(unit: Unit, text: str) -> StepResult | None:
    """What the document of a call says of its step, of the run where it did not come to that; None for no document."""
    empty = _empty(unit)
    try:
        document = json.loads(text)
        rows = [StepResult.from_json(row) for row in document.get("steps", ()) if row["name"] == empty.name]
        if rows:
            return rows[0]
        problems = document.get("problems", ())
        reasons = [line for each in problems for line in (each["message"], f"hint: {each.get('hint', '')}")]
        reasons = [line for line in reasons if line != "hint: "]
        return replace(empty, outcome=Outcome(document["outcome"]), reasons=tuple(reasons))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _stopped(unit: Unit, lines: Sequence[str], outcome: Outcome, why: str) -> StepResult:
    """A call that we ended, or never began: what it said of itself is kept, not how it says it ended."""
    told = _told(unit, "\n".join(lines)) or _empty(unit)
    return replace(told, outcome=outcome, reasons=(why, *told.reasons))


def unproven(every: Sequence[Unit], results: Sequence[StepResult]) -> tuple[str, ...]:
    """Per divided step, what keeps us from saying that all its tests ran, each once, in the shard it was given to."""
    problems: list[str] = []
    for name in dict.fromkeys(unit.planned.name for unit in every if unit.part[1] > 1):
        shards = [result for unit, result in zip(every, results, strict=True) if unit.planned.name == name]
        shards.sort(key=lambda each: int(each.shard.partition("/")[0]))
        problems += (f"{name}: {each}" for each in _divided(shards))
    return tuple(problems)


def _divided(shards: Sequence[StepResult]) -> list[str]:
    numbers = {command.number for each in shards for command in each.commands}
    problems: list[str] = []
    for number in sorted(numbers):
        commands = [command for each in shards for command in each.commands if command.number == number]
        plans = [files.read_json(command.folder / words.SHARDS) for command in commands]
        if not any(plans):
            continue  # no set of tests: every shard ran it whole
        if any(plan != plans[0] for plan in plans) or len(plans) != len(shards):
            problems.append(f"command {number}: its shards did not plan from the same tests")
            continue
        ran = [[each.id for each in records.read(command.folder).events.ended] for command in commands]
        problems += (
            f"command {number}: {each}" for each in shard.proof(plans[0]["shards"], plans[0]["collected"], ran)
        )
    return problems
