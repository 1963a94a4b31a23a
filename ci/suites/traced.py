"""The spans of a suite: its steps, the GPUs they hold, and what calls of their own did."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..world.spans import Span, Spans
from .results import StepResult

STEP, GPUS = "step", "gpus"
_MELTED = ("run", STEP, "try")


def traced(span: Span, result: StepResult) -> Span:
    """``span`` with what became of its step."""
    why = (*(f"earlier try: {each}" for each in result.tries), *result.reasons)
    log = str(result.commands[0].folder.parent) if result.commands else ""
    return span._replace(outcome=result.outcome, why=why, shard=result.shard, gpus=result.gpus, log=log)


@contextmanager
def held(spans: Spans, gpus: Sequence[str], begun: float) -> Iterator[None]:
    """The wait for ``gpus``, asked for at ``begun``, and then the time they are held; none for a step on the CPU."""
    if not gpus:
        yield
        return
    spans.record(Span("lease", f"wait for {len(gpus)} GPU(s)", begun, spans.now()))
    with spans.during(GPUS, ", ".join(gpus)) as doing:
        doing.span = doing.span._replace(gpus=tuple(gpus))
        yield


class Calls:
    """The spans of steps that run as calls of their own, each with a run folder of its own; places count from 0."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans
        self._begun: list[float] = []

    @property
    def begun(self) -> int:
        """How many have begun."""
        return len(self._begun)

    def begin(self) -> None:
        """The next one begins."""
        self._begun.append(self._spans.now())

    def over(self, place: int, result: StepResult, said: str) -> StepResult:
        """Keep one that is over and what it did, which lies in the folder that it ``said``; gives its result."""
        now = self._spans.now()
        span = Span(STEP, result.name, self._begun[place] if place < self.begun else now, now)
        number = self._spans.record(traced(span, result))
        with suppress(ValueError, LookupError, TypeError):
            self._spans.adopt(Path(json.loads(said)["run_folder"]), number, _MELTED)
        return result
