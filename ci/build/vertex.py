"""One node of BuildKit's graph as its progress stream tells it: name, intervals, log bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ..printable import printable

_STEP = re.compile(r"\[(?:(?P<stage>.+?) )?(?P<number>\d+/\d+)\] (?P<what>.*)", re.DOTALL)
_ROOM = re.compile(r"\[(?P<room>[^\]]+)\] (?P<what>.*)", re.DOTALL)
_PLATFORM = re.compile(r"^[a-z0-9]+/[a-z0-9]+(?:/v\d+)?(?:->\S+)?(?: |$)")
_LONGEST_LINE = 16_384


@dataclass(slots=True)
class Vertex:
    """A node; its name is taken apart once, its intervals grow: BuildKit runs some nodes twice.

    ``kind`` is step, source (a FROM), export, cache-export, cache-import or internal.
    """

    digest: str
    name: str
    stage: str = ""
    step: str = ""
    number: str = ""
    kind: str = "internal"
    inputs: tuple[str, ...] = ()
    spans: dict[float, float | None] = field(default_factory=dict)
    cached: bool = False
    error: str = ""
    reported: tuple[int, str] = (0, "")
    phases: set[str] = field(default_factory=set)
    _open: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = " ".join(self.name.split())
        match = _STEP.fullmatch(self.name)
        if match:
            # BuildKit names no stage where a Dockerfile has a single unnamed one.
            self.stage = _PLATFORM.sub("", match["stage"] or "") or "stage-0"
            self.number, what = match["number"], match["what"]
            self.step = f"{self.number} {what}"
            self.kind = "source" if what.startswith("FROM ") else "step"
        else:
            self.step, what = _room(self.name)
            self.kind = _own_kind(what)

    @property
    def running(self) -> bool:
        """An interval is open."""
        return any(end is None for end in self.spans.values())

    @property
    def finished(self) -> bool:
        """It ran, well or not, and no interval is open."""
        return bool(self.spans) and not self.running

    @property
    def ended(self) -> float:
        """When its last closed interval ended; infinity when none did."""
        return max((end for end in self.spans.values() if end is not None), default=float("inf"))

    def split(self, stream: str, data: bytes) -> tuple[str, ...]:
        """The lines that ``data`` completes on ``stream``; the rest waits for more."""
        *whole, rest = (self._open.get(stream, b"") + data).split(b"\n")
        if b"\r" in rest[:-1]:  # a progress bar redraws one line for hours: only its last state matters
            rest = rest[rest.rindex(b"\r", 0, -1) + 1 :]
        if len(rest) > _LONGEST_LINE:
            whole, rest = [*whole, rest], b""
        self._open[stream] = rest
        return tuple(map(_line, whole))

    def rest(self) -> tuple[str, ...]:
        """The unfinished lines of a step that ended."""
        left = tuple(_line(data) for data in self._open.values() if data)
        self._open.clear()
        return left


def covered(spans: Iterable[tuple[float, float | None]]) -> float:
    """The length of the union of closed intervals; open ones do not count."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted((a, b) for a, b in spans if b is not None):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def moment(text: object) -> float | None:
    """Seconds since the epoch of an RFC 3339 time, or None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _line(data: bytes) -> str:
    """What a terminal would show of one line in the end: the part after the last carriage return."""
    text = data.decode(errors="replace").rstrip("\r\n")
    return printable(text.rpartition("\r")[2]).rstrip()[:_LONGEST_LINE]


def _room(name: str) -> tuple[str, str]:
    """``[internal] load X`` -> ``load X``; ``[context src] load X`` -> ``context src: load X``."""
    match = _ROOM.fullmatch(name)
    if not match:
        return name, name
    words = [word for word in match["room"].split() if word not in ("internal", "auth")]
    prefix = " ".join(words) + ": " if words else ""
    return prefix + match["what"], match["what"]


def _own_kind(what: str) -> str:
    if what.startswith("exporting cache"):
        return "cache-export"
    if what.startswith("importing cache"):
        return "cache-import"
    return "export" if what.startswith("exporting") else "internal"
