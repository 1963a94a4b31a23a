"""A build as a tree that redraws itself: stages, times, the running steps and their last lines."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from ..build.progress import Event, Progress, StageTime, StepLog, StepStarted
from ..world.clock import Clock
from . import units
from .plain import verdict
from .terminal import QuietStream

if TYPE_CHECKING:
    from typing import IO

    from rich.console import Console, ConsoleRenderable
    from rich.text import Text
    from rich.tree import Tree

WIDEST = 100
"""A wider window gains nothing, and a line short of its edge survives most resizing unwrapped."""

_LOG_LINES = 3
_TIMELESS = ("waiting", "cached", "not run")
_FEW_CACHED = 3
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ICONS = {"done": "✓", "cached": "=", "failed": "✗", "cancelled": "-", "waiting": "·", "not run": "·"}
_ASCII_ICONS = {"done": "+", "cached": "=", "failed": "x", "cancelled": "-", "waiting": ".", "not run": "."}
_STYLES = {
    "done": "green", "cached": "dim", "failed": "bold red", "cancelled": "yellow", "waiting": "dim",
    "running": "cyan", "not run": "dim",
}  # fmt: skip


@dataclass(slots=True)
class _Running:
    began: float
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LOG_LINES))


class LiveBuild:
    """Shows one build on a terminal; the caller holds a lock around every call.

    ``size`` is for tests and pictures; without it the terminal is asked before each drawing.
    """

    def __init__(
        self,
        tier: str,
        stream: QuietStream,
        clock: Clock,
        *,
        colour: bool,
        unicode: bool,
        size: tuple[int, int] | None = None,
    ) -> None:
        from rich.live import Live

        self._tier, self._clock, self._unicode = tier, clock, unicode
        self._console = rich_console(stream, colour=colour, size=size)
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop",
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._began = self._heard = clock.monotonic()
        self._running: dict[tuple[str, str], _Running] = {}
        self._frame = 0
        self._drawn_widths: list[int] = []
        self._drawn_in = 0
        self._live.start()

    def show(self, events: Iterable[Event], progress: Progress) -> None:
        """Remember what runs; drawing is left to ``tick``."""
        del progress
        self._heard = self._clock.monotonic()
        for event in events:
            key = (event.stage, event.step)
            if isinstance(event, StepStarted):
                self._running[key] = _Running(self._heard)
            elif isinstance(event, StepLog):
                if key in self._running:
                    self._running[key].lines.extend(line for line in event.lines if line.strip())
            else:
                self._running.pop(key, None)

    def tick(self, progress: Progress) -> None:
        """Draw."""
        self._frame += 1
        width, height = self._console.size
        self._forget_wrapped(width)
        tree = self.tree(progress, height - 1)
        lines = self._console.render_lines(tree, self._console.options.update(height=None), pad=False)
        self._drawn_widths = [sum(part.cell_length for part in line) for line in lines]
        self._drawn_in = width
        self._live.update(tree, refresh=True)

    def above(self, text: str) -> None:
        """Write a message over the tree, which moves down."""
        from rich.text import Text

        self._console.print(Text.from_ansi(text), soft_wrap=True)

    def close(self, progress: Progress, stopped: bool) -> None:
        """Replace the moving tree by a still one; safe to call with the terminal in any state."""
        self._forget_wrapped(self._console.size.width)
        self._live.stop()
        self._console.print(self.final(progress, stopped))

    def tree(self, progress: Progress, height: int) -> ConsoleRenderable:
        """The tree of this moment, at most ``height`` lines where that can be done."""
        silence = self._clock.monotonic() - self._heard
        stages = [_older(stage, silence) for stage in (*progress.stages, *progress.exports)]
        own = [key for key in self._running if not key[0] and not key[1].startswith("exporting")]
        busy = len(self._running)
        spare = height - 1 - len(stages) - busy
        logs = max(0, min(_LOG_LINES, spare // max(1, busy)))
        shown = stages if spare >= 0 else _folded(stages)
        tree = self._tree(f"{self._tier}  ", units.seconds(self._clock.monotonic() - self._began), "bold")
        for stage in shown:
            node = tree.add(self._stage_line(stage, shown))
            for key, step in self._running.items():
                if key[0] == stage.name or key == ("", stage.name):
                    self._add_step(node, key, step, logs)
        for key in own[:2]:
            self._add_step(tree, key, self._running[key], 0)
        return self._fitted(tree)

    def final(self, progress: Progress, stopped: bool) -> ConsoleRenderable:
        """The still tree: no logs, many cached stages as one line."""
        over = stopped or progress.cancelled or progress.failure is not None
        stages = [_never_run(stage) if over else stage for stage in (*progress.stages, *progress.exports)]
        cached = [stage for stage in stages if stage.state == "cached"]
        if len(cached) > _FEW_CACHED:
            stages = [_sum(cached, "cached"), *(stage for stage in stages if stage.state != "cached")]
        style = "bold red" if progress.failure else "bold yellow" if stopped or progress.cancelled else "bold green"
        spent = units.seconds(self._clock.monotonic() - self._began)
        tree = self._tree(f"{self._tier}  ", f"{verdict(progress, stopped)} {spent}", style)
        for stage in stages:
            tree.add(self._stage_line(stage, stages))
        return self._fitted(tree)

    def _tree(self, title: str, rest: str, style: str) -> Tree:
        from rich.tree import Tree

        return Tree(self._text((title, "bold"), (rest, style)), guide_style="dim")

    def _fitted(self, tree: Tree) -> ConsoleRenderable:
        from rich.constrain import Constrain

        return Constrain(tree, WIDEST)

    def _stage_line(self, stage: StageTime, among: list[StageTime]) -> Text:
        style = _STYLES.get(stage.state, "")
        names = min(28, max(len(other.name) for other in among))
        spent = units.seconds(stage.seconds) if stage.state not in _TIMELESS else stage.state
        parts = [
            (f"{self._icon(stage.state)} ", style),
            (f"{units.clip(stage.name, names):<{names}}  ", "bold" if stage.state in ("running", "failed") else ""),
            (f"{spent:>12}", style if stage.state != "done" else ""),
        ]
        if not stage.name.startswith("exporting"):
            parts.append((f"  {stage.done_steps}/{stage.steps}", "dim"))
        if stage.cached_steps and stage.state != "cached":
            parts.append((f"  {stage.cached_steps} cached", "dim"))
        if stage.state in ("failed", "cancelled"):
            parts.append((f"  {stage.state}", style))
        return self._text(*parts)

    def _add_step(self, node: Tree, key: tuple[str, str], step: _Running, logs: int) -> None:
        lines = list(step.lines)[-logs:] if logs else []
        if not key[0] and key[1].startswith("exporting"):
            parts = [("\n".join(lines), "dim")]
        else:
            spent = units.seconds(self._clock.monotonic() - step.began)
            room = max(20, min(WIDEST, self._console.width) - len(spent) - 12)
            parts = [(units.clip(units.command(key[1]), room), ""), (f"  {spent}", "cyan")]
            parts += [(f"\n  {line}", "dim") for line in lines]
        if any(text for text, _ in parts):
            node.add(self._text(*parts))

    def _icon(self, state: str) -> str:
        if not self._unicode:
            return _ASCII_ICONS.get(state, "|/-\\"[self._frame % 4])
        return _ICONS.get(state, _FRAMES[self._frame % len(_FRAMES)])

    def _text(self, *parts: tuple[str, str]) -> Text:
        from rich.text import Text

        return Text.assemble(*parts, no_wrap=True, overflow="ellipsis" if self._unicode else "crop")

    def _forget_wrapped(self, width: int) -> None:
        """A window made narrower wraps what we drew: step over those extra rows so they get cleared too."""
        from rich.control import Control
        from rich.segment import ControlType

        if not 0 < width < self._drawn_in:
            return
        extra = sum(max(0, -(-drawn // width) - 1) for drawn in self._drawn_widths)
        one_up = [(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)]
        self._console.control(*(Control(*one_up) for _ in range(extra)))
        self._drawn_in = width


def rich_console(stream: QuietStream, *, colour: bool, size: tuple[int, int] | None = None) -> Console:
    """A rich console that decides nothing by itself: no environment, no guessing of the terminal."""
    from rich.console import Console

    console = Console(
        file=cast("IO[str]", stream), force_terminal=True, legacy_windows=False, markup=False, emoji=False,
        highlight=False, color_system="standard" if colour else None, no_color=not colour, _environ={},
    )  # fmt: skip
    if size:
        console.size = size
    return console


def _older(stage: StageTime, silence: float) -> StageTime:
    """A running stage grows older while BuildKit says nothing."""
    return replace(stage, seconds=stage.seconds + silence) if stage.state == "running" else stage


def _never_run(stage: StageTime) -> StageTime:
    return replace(stage, state="not run") if stage.state == "waiting" else stage


def _folded(stages: list[StageTime]) -> list[StageTime]:
    """Too many for the window: the ended ones as one line, then what runs, then the waiting ones as one."""
    ended = [stage for stage in stages if stage.state in ("done", "cached")]
    waiting = [stage for stage in stages if stage.state == "waiting"]
    rest = [stage for stage in stages if stage not in ended and stage not in waiting]
    return [*([_sum(ended, "done")] if ended else []), *rest, *([_sum(waiting, "waiting")] if waiting else [])]


def _sum(stages: list[StageTime], state: str) -> StageTime:
    seconds = sum(stage.seconds for stage in stages)
    steps = [sum(getattr(stage, name) for stage in stages) for name in ("steps", "cached_steps", "done_steps")]
    return StageTime(units.counted(len(stages), "stage"), seconds, steps[0], steps[1], state, steps[2])
