"""Spans: what a run did, from when to when, one line of JSON for each as it ends, in the folder of the run.

They are for looking at and decide nothing: a disk that takes no more of them ends the file, never the run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import CiError, Outcome
from .clock import Clock

FILE = "spans.jsonl"

VERSION = 1
"""Version of the file, told in its first line."""

LONGEST = 400
"""Characters of a name or a reason that are kept: the log has the whole of it."""

_REASONS = 6


class Span(NamedTuple):
    """Something a run did. ``start`` and ``end`` are seconds since the run began.

    ``kind`` is a word of the field: tier, stage, instruction, step, command, lease, push and so on.  ``parent`` is the
    number of the span it is a part of, 0 for the run itself.  ``log`` is a path, ``shard`` reads ``1/4``.
    """

    kind: str
    name: str
    start: float
    end: float
    outcome: Outcome = Outcome.OK
    why: tuple[str, ...] = ()
    cached: bool = False
    shard: str = ""
    gpus: tuple[str, ...] = ()
    log: str = ""
    number: int = 0
    parent: int = 0

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults; ``from_json`` reads it."""
        default = Span("", "", 0.0, 0.0)
        found = {key: value for key, value in self._asdict().items() if value != getattr(default, key)}
        return {"kind": self.kind, "name": self.name, **found, "start": self.start, "end": self.end}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Span:
        """The span that ``to_json`` wrote."""
        lists = {key: tuple(data.get(key, ())) for key in ("why", "gpus")}
        return cls(**(data | lists | {"outcome": Outcome(data.get("outcome", Outcome.OK))}))


@dataclass
class Doing:
    """A span that is not over: whoever learns more of it puts that in its place."""

    span: Span


class Spans:
    """The spans of one run, which begins now; ``done`` has those that are over, in the order they ended.

    ``lost`` says why some are missing in the file; empty where none are.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.done: list[Span] = []
        self.lost = ""
        self._file = folder / FILE
        self._clock = clock
        self._began = clock.monotonic()
        self._open: list[int] = []
        self._last = 0

    def now(self) -> float:
        """Seconds since the run began."""
        return self._clock.monotonic() - self._began

    @contextmanager
    def during(self, kind: str, name: str) -> Iterator[Doing]:
        """A span as long as the ``with`` block, a part of the one it is in; an error that leaves it is its outcome."""
        doing = Doing(Span(kind, name, self.now(), 0.0, number=self._next(), parent=self._inside))
        self._open.append(doing.span.number)
        try:
            yield doing
        except CiError as error:
            told = tuple(problem.shown.message for problem in error.problems)
            doing.span = doing.span._replace(outcome=error.outcome, why=(*told, *doing.span.why))
            raise
        except BaseException as error:
            doing.span = doing.span._replace(outcome=Outcome.INTERNAL, why=(repr(error), *doing.span.why))
            raise
        finally:
            self._open.pop()
            self._keep(doing.span._replace(end=self.now()))

    def record(self, span: Span) -> int:
        """Keep a span that somebody else measured, a part of ``span.parent`` or of what goes on; gives its number."""
        number = self._next()
        self._keep(span._replace(number=number, parent=span.parent or self._inside))
        return number

    def adopt(self, folder: Path, under: int, melted: Collection[str] = ()) -> None:
        """Take in the spans of a run of its own on this host, as parts of ``under``.

        Of those that lie outermost, a ``melted`` kind stands for ``under`` itself: only its parts come.
        """
        began, spans = read(folder)
        shift = began - self._began
        numbers = {0: under}
        for span in sorted(spans, key=lambda each: each.number):  # a parent has a lower number than its parts
            parent = numbers.get(span.parent, under)
            numbers[span.number] = under if parent == under and span.kind in melted else self._next()
            if numbers[span.number] != under:
                moved = span._replace(number=numbers[span.number], parent=parent)
                self._keep(moved._replace(start=span.start + shift, end=span.end + shift))

    @property
    def _inside(self) -> int:
        return self._open[-1] if self._open else 0

    def _next(self) -> int:
        self._last += 1
        return self._last

    def _keep(self, span: Span) -> None:
        span = span._replace(
            name=span.name[:LONGEST],
            why=tuple(each[:LONGEST] for each in span.why[:_REASONS]),
            start=round(span.start, 3),
            end=round(max(span.start, span.end), 3),
        )
        rows = [] if self.done else [{"version": VERSION, "began": self._began}]
        self.done.append(span)
        try:
            with self._file.open("a", encoding="ascii") as stream:
                stream.writelines(json.dumps(row) + "\n" for row in (*rows, span.to_json()))
        except OSError as error:
            self.lost = error.strerror or str(error)


def read(folder: Path) -> tuple[float, tuple[Span, ...]]:
    """When the run of ``folder`` began, by the clock of this boot, and its spans; what cannot be read is left out."""
    try:
        lines = (folder / FILE).read_text(encoding="ascii").splitlines()
        head = json.loads(lines[0])
        began = float(head["began"]) if head["version"] <= VERSION else None
    except (OSError, ValueError, LookupError, TypeError):
        began, lines = None, []
    if began is None:
        return 0.0, ()
    return began, tuple(span for line in lines[1:] if (span := _span(line)))


def _span(line: str) -> Span | None:
    """A line that a full disk or a crash cut short is none."""
    try:
        return Span.from_json(json.loads(line))
    except (ValueError, TypeError, AttributeError):
        return None
