"""The one place that writes to the terminal: messages, problems, and builds as they run.

Everything goes to the stream that is given, which is stderr; results on stdout are
others' business.  rich is imported only when a live tree is drawn: a run that has nothing
to do must not wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from ..errors import Outcome, Problem, masked
from ..printable import printable
from ..providers.folding import Folding
from ..world.clock import Clock
from .terminal import BOLD, CYAN, RED, YELLOW, Capabilities, QuietStream, capabilities, paint

if TYPE_CHECKING:
    from ..build.progress import Progress
    from .live import LiveBuild
    from .plain import PlainBuild

__all__ = ["Build", "Capabilities", "Console", "capabilities", "render_problems"]

_FRAME = 0.25


class Console:
    """Renders for a person.  A reader that goes away, or a full disk, silences it and breaks nothing."""

    def __init__(
        self,
        stream: TextIO | None,
        *,
        interactive: bool,
        colour: bool,
        unicode: bool,
        folding: Folding,
        clock: Clock,
        ticking: bool = True,
    ) -> None:
        """``stream`` None: a process started without stderr.

        ``ticking`` False: no thread draws or beats, the caller calls ``Build.tick`` (tests do).
        """
        self._stream = QuietStream(stream, unicode)
        self._interactive, self._colour, self._unicode = interactive, colour, unicode
        self._folding, self._clock, self._ticking = folding, clock, ticking
        self._build: Build | None = None

    def say(self, text: str) -> None:
        """A message, of several lines perhaps, as it is but for logins."""
        self._write("\n".join(map(self._folding.safe, masked(text).split("\n"))))

    def notice(self, text: str) -> None:
        """Something the caller wrote was taken in another way, or is worth knowing."""
        self._labelled("notice", CYAN, text)

    def warn(self, text: str) -> None:
        """Something that went wrong and does not decide the outcome."""
        self._labelled("warning", YELLOW, text)

    def problem(self, problems: Sequence[Problem], outcome: Outcome) -> None:
        """Why the run ends as it does; on a CI that has annotations, each problem is one as well."""
        self.say(render_problems(problems, outcome, colour=self._colour))
        for each in problems:
            text = each.message + (f"\nhint: {each.hint}" if each.hint else "")
            self._annotate("error", each, text)

    @contextmanager
    def build(self, tier: str, progress: Progress | None = None) -> Iterator[Build]:
        """Show one build: feed buildx's stderr to what this yields.  Builds do not nest."""
        from ..build.progress import Progress

        build = Build(self._view(tier), progress or Progress())
        self._build = build
        stopped = True
        try:
            if self._ticking:
                build.begin_ticking()
            yield build
            stopped = False
        finally:
            self._build = None
            build.close(stopped)

    def _view(self, tier: str) -> PlainBuild | LiveBuild:
        if not self._interactive:
            from .plain import PlainBuild

            return PlainBuild(tier, self._raw, self._folding, self._clock, self._colour)
        from .live import LiveBuild

        return LiveBuild(tier, self._stream, self._clock, colour=self._colour, unicode=self._unicode)

    def _labelled(self, label: str, style: str, text: str) -> None:
        self.say(f"{paint(f'{label}:', style, colour=self._colour)} {_indented(printable_lines(text), 2).lstrip()}")
        if label != "notice":
            self._annotate(label, None, text)

    def _annotate(self, level: str, problem: Problem | None, text: str) -> None:
        line = self._folding.annotation(
            level,
            problem.reference if problem else "",
            printable_lines(masked(text)),
            problem.place if problem else None,
        )
        if line:
            self._write(line)

    def _write(self, text: str) -> None:
        if self._build:
            self._build.above(text)
        else:
            self._raw(text)

    def _raw(self, text: str) -> None:
        self._stream.write(text + "\n")


class Build:
    """One build on show; every method may be called from any thread."""

    def __init__(self, view: PlainBuild | LiveBuild, progress: Progress) -> None:
        self.progress = progress
        self._view = view
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._ticker: threading.Thread | None = None

    def feed(self, line: str) -> None:
        """One line of buildx's stderr, record or not."""
        with self._lock:
            self._view.show(self.progress.feed(line), self.progress)

    def tick(self) -> None:
        """Draw, or beat after a long silence."""
        with self._lock:
            if not self._over.is_set():
                self._view.tick(self.progress)

    def above(self, text: str) -> None:
        """Write a message beside the build."""
        with self._lock:
            self._view.above(text)

    def begin_ticking(self) -> None:
        """Call ``tick`` four times a second until the build is over."""
        self._ticker = threading.Thread(target=self._tick_on, name="console-ticker", daemon=True)
        self._ticker.start()

    def close(self, stopped: bool) -> None:
        """The build is over; ``stopped`` when an exception or a signal ended it."""
        with self._lock:
            self._over.set()
            self._view.close(self.progress, stopped)
        if self._ticker:
            self._ticker.join(timeout=1)

    def _tick_on(self) -> None:
        while not self._over.wait(_FRAME):
            self.tick()


def render_problems(problems: Sequence[Problem], outcome: Outcome, *, colour: bool = False) -> str:
    """How errors look: message and reference, place, context, hint; several are numbered and counted."""
    many = len(problems) > 1
    blocks = [
        _block(problem, f"error {index} of {len(problems)}:" if many else "error:", colour)
        for index, problem in enumerate(problems, 1)
    ]
    total = f"{len(problems)} problems; " if many else ""
    return ("\n\n" if many else "\n").join([*blocks, f"{total}outcome: {outcome.value}"])


def _block(problem: Problem, label: str, colour: bool) -> str:
    message = _indented(printable_lines(problem.message), 2).lstrip()
    reference = f" [{problem.reference}]" if problem.reference else ""
    lines = [f"{paint(label, RED, BOLD, colour=colour)} {message}{reference}"]
    if problem.place:
        lines.append(f"  at {printable(str(problem.place))}")
    if problem.context:
        lines.append(_indented(printable_lines(problem.context.strip("\n")), 4))
    if problem.hint:
        hint = _indented(printable_lines(problem.hint), 8).lstrip()
        lines.append(f"  {paint('hint:', CYAN, colour=colour)} {hint}")
    return "\n".join(lines)


def printable_lines(text: str) -> str:
    """``text`` without escape sequences, line by line."""
    return "\n".join(map(printable, text.splitlines()))


def _indented(text: str, width: int) -> str:
    return "\n".join(" " * width + line if line else "" for line in text.split("\n"))
