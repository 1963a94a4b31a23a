"""The spans of a build: its stages, their instructions, and BuildKit's own work, from what BuildKit told."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import Outcome
from ..world.spans import Span, Spans
from .progress import Progress
from .vertex import Vertex

STAGE, INSTRUCTION = "stage", "instruction"
_SEEN = 0.05
"""Seconds that a piece of BuildKit's own work must take to be worth a span: it has dozens that take none."""

_STATES = {"failed": Outcome.FAILED, "cancelled": Outcome.INTERRUPTED, "running": Outcome.INTERRUPTED}
_CANCELLED = "context canceled"


def record(spans: Spans, progress: Progress) -> None:
    """Keep what ``progress`` saw of a build that is over now, as parts of what goes on.

    The builder may be another host with another clock: its last record counts as now.
    """
    shift = spans.now() - progress.now
    for stage in progress.stages:
        own = [each for each in progress.vertices if each.stage == stage.name and each.spans]
        if not own:
            continue
        begun = min(start for each in own for start in each.spans)
        ended = max(progress.now if end is None else end for each in own for end in each.spans.values())
        outcome = _STATES.get(stage.state, Outcome.OK)
        why = tuple(f"{each.step}: {each.error}" for each in own if each.error)
        whole = Span(STAGE, stage.name, begun + shift, ended + shift, outcome, why, cached=stage.state == "cached")
        number = spans.record(whole)
        for each in own:
            for span in _runs(each, INSTRUCTION, progress.now, shift):
                spans.record(span._replace(parent=number))
    for each in progress.vertices:
        for span in _runs(each, each.kind, progress.now, shift):
            if not each.stage and (span.end - span.start >= _SEEN or span.outcome is not Outcome.OK):
                spans.record(span)


def _runs(vertex: Vertex, kind: str, now: float, shift: float) -> Iterator[Span]:
    """A node's intervals: BuildKit runs some nodes twice; an open one was cut off now."""
    for start, end in vertex.spans.items():
        outcome = Outcome.OK
        if end is None or _CANCELLED in vertex.error:
            outcome = Outcome.INTERRUPTED
        elif vertex.error:
            outcome = Outcome.FAILED
        why = (vertex.error,) if vertex.error else ()
        ended = now if end is None else end
        yield Span(kind, vertex.step, start + shift, ended + shift, outcome, why, cached=vertex.cached)
