"""A build as plain lines: for files, pipes and CI logs, folded where the CI can fold.

Steps run side by side but groups do not nest.  So one step is in front: its log streams
inside its open group, the others are held back until it ends and then follow as one piece.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..build.progress import Event, Progress, StepDone, StepFailed, StepLog, StepStarted
from ..providers.folding import Folding
from ..world.clock import Clock
from . import units
from .terminal import DIM, GREEN, RED, paint

SILENCE = 60.0
"""Seconds without a line after which a heartbeat says that the build still runs."""

_HELD = 2000
_REPEATED = 20
_TITLE = 100
_WORTH_A_LINE = 1.0


@dataclass(slots=True)
class _Step:
    title: str
    began: float
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_HELD))
    dropped: int = 0
    ending: str = ""

    def hold(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.dropped += len(self.lines) == _HELD
            self.lines.append(line)


class PlainBuild:
    """Shows one build; ``write`` takes a line without its end."""

    def __init__(self, tier: str, write: Callable[[str], None], folding: Folding, clock: Clock, colour: bool) -> None:
        self._tier, self._folding, self._clock, self._colour = tier, folding, clock, colour
        self._write_line = write
        self._began = self._wrote = clock.monotonic()
        self._running: dict[tuple[str, str], _Step] = {}
        self._ended: list[_Step] = []
        self._front: tuple[str, str] | None = None
        self._fetched: dict[tuple[str, str], float] = {}

    def show(self, events: Iterable[Event], progress: Progress) -> None:
        """Write what the events say; ``progress`` is not needed here."""
        del progress
        for event in events:
            key = (event.stage, event.step)
            if isinstance(event, StepStarted):
                self._start(key)
            elif isinstance(event, StepLog):
                self._log(key, event.lines)
            elif isinstance(event, StepDone):
                self._done(key, event)
            else:
                self._failed(key, event)

    def tick(self, progress: Progress) -> None:
        """Say that the build still runs, after a minute without any line."""
        del progress
        now = self._clock.monotonic()
        if now - self._wrote < SILENCE:
            return
        busy = [f"{units.clip(s.title, 60)} ({units.seconds(now - s.began)})" for s in self._running.values()]
        what = ", ".join(busy[:3]) + (f" and {len(busy) - 3} more" if len(busy) > 3 else "")
        self._line(f"still running after {units.seconds(now - self._began)}: {what or 'waiting for the builder'}")

    def above(self, text: str) -> None:
        """Write a message that is not part of the build."""
        self._write(text)

    def close(self, progress: Progress, stopped: bool) -> None:
        """Close what is open, show what was held, and say how it ended."""
        if self._front:
            self._end_front(self._folding.end())
        self._flush()
        spent = units.seconds(self._clock.monotonic() - self._began)
        ending = f"[{self._tier}] {verdict(progress, stopped)} {spent}"
        style = RED if progress.failure or stopped else GREEN
        # A CI whose groups end at the next header would swallow all that follows: give it an open one.
        shown = ending if not self._folding.expands else self._folding.failed(ending)
        self._write(paint(shown, style, colour=self._colour and not self._folding.expands))

    def _start(self, key: tuple[str, str]) -> None:
        step = self._running[key] = _Step(_title(key), self._clock.monotonic())
        if not _is_step(key):
            return
        if not self._folding.folds:
            self._line(units.clip(step.title, _TITLE))
        elif self._front is None:
            self._open(key)

    def _log(self, key: tuple[str, str], lines: tuple[str, ...]) -> None:
        step = self._running.setdefault(key, _Step(_title(key), self._clock.monotonic()))
        step.hold(lines)
        if self._folding.folds:
            if key == self._front:
                self._write_log(lines)
        elif key[0]:
            number = key[1].partition(" ")[0]
            for line in lines:
                self._line(f"{key[0]} {number} {paint('|', DIM, colour=self._colour)} {line}")

    def _done(self, key: tuple[str, str], event: StepDone) -> None:
        step = self._running.pop(key, None) or _Step(_title(key), 0.0)
        if event.cached:
            self._end(key, step, paint("cached", DIM, colour=self._colour))
        elif _is_step(key) or event.seconds - self._fetched.get(key, 0.0) >= _WORTH_A_LINE:
            self._fetched[key] = event.seconds
            self._end(key, step, paint(units.seconds(event.seconds), GREEN, colour=self._colour))

    def _failed(self, key: tuple[str, str], event: StepFailed) -> None:
        step = self._running.pop(key, None) or _Step(_title(key), 0.0)
        spent = units.seconds(event.seconds)
        if event.cancelled:
            self._end(key, step, paint(f"cancelled after {spent}", DIM, colour=self._colour))
            return
        ending = paint(f"FAILED after {spent}", RED, colour=self._colour)
        if not self._folding.folds or not key[0]:
            self._line(f"{units.clip(step.title, _TITLE)}  {ending}")
            return
        if key == self._front:
            self._end_front(self._folding.expand())
            shown = [] if self._folding.expands else list(step.lines)[-_REPEATED:]
        else:
            if self._front:
                self._end_front(self._folding.end())
            self._flush()
            self._write(self._folding.failed(f"[{self._tier}] {units.clip(step.title, _TITLE)}"))
            shown = list(step.lines)
        self._write_log(shown)
        self._line(f"{units.clip(step.title, _TITLE)}  {ending}")

    def _end(self, key: tuple[str, str], step: _Step, ending: str) -> None:
        step.ending = ending
        if key == self._front:
            self._end_front(self._folding.end())
            self._line(f"{units.clip(step.title, _TITLE)}  {ending}")
        else:
            self._ended.append(step)
        if self._front:
            return
        self._flush()
        waiting = [other for other in self._running if _is_step(other)]
        if self._folding.folds and waiting:
            self._open(waiting[0])

    def _open(self, key: tuple[str, str]) -> None:
        step = self._running[key]
        self._front = key
        self._write(self._folding.start(f"[{self._tier}] {units.clip(step.title, _TITLE)}"))
        self._write_log(self._kept(step))

    def _end_front(self, marker: str) -> None:
        self._front = None
        if marker:
            self._write(marker)

    def _flush(self) -> None:
        """Show the steps that ended behind the one in front, each with its log in a group."""
        for step in self._ended:
            if self._folding.folds and step.lines:
                self._write(self._folding.start(f"[{self._tier}] {units.clip(step.title, _TITLE)}"))
                self._write_log(self._kept(step))
                if self._folding.end():
                    self._write(self._folding.end())
            self._line(f"{units.clip(step.title, _TITLE)}  {step.ending}")
        self._ended.clear()

    def _kept(self, step: _Step) -> list[str]:
        missing = [f"... {units.counted(step.dropped, 'line')} left out ..."] if step.dropped else []
        return [*missing, *step.lines]

    def _write_log(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._write(self._folding.safe(line))

    def _line(self, text: str) -> None:
        self._write(self._folding.safe(f"[{self._tier}] {text}"))

    def _write(self, line: str) -> None:
        self._wrote = self._clock.monotonic()
        self._write_line(line)


def verdict(progress: Progress, stopped: bool) -> str:
    """How a build ended, ready for a time behind it."""
    if progress.failure:
        return "failed after"
    return "stopped after" if stopped or progress.cancelled else "done in"


def _is_step(key: tuple[str, str]) -> bool:
    """A step of a stage that does work of its own: no FROM, none of BuildKit's housekeeping."""
    stage, step = key
    return bool(stage) and not step.partition(" ")[2].startswith("FROM ")


def _title(key: tuple[str, str]) -> str:
    stage, step = key
    return f"{stage} {units.command(step)}".strip()
