"""What BuildKit says while it builds: rawjson lines in, events and totals out.

``docker buildx build --progress rawjson`` writes one JSON object per line to stderr, with
vertexes (steps), statuses, logs and warnings; buildx's own last words are plain text in
between.  Nothing here reads a clock: every time comes from the records.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..printable import printable
from .events import Event, StepDone, StepFailed, StepLog, StepStarted
from .vertex import Vertex, covered, moment

__all__ = ["Event", "Failure", "Progress", "StageTime", "StepDone", "StepFailed", "StepLog", "StepStarted"]

TAIL = 40
"""How many last log lines of a failed step are kept."""

_NOTES = 200
_LONGEST_MESSAGE = 600
_KEYS = ("vertexes", "statuses", "logs", "warnings")
_EXIT_CODE = re.compile(r"exit code: (\d+)")
_PROCESS = "did not complete successfully"
_CANCELLED = "context canceled"
_NO_SPACE = re.compile(r"no space left on device|\bENOSPC\b|disk quota exceeded", re.IGNORECASE)
_NO_MEMORY = re.compile(
    r"fatal error: Killed signal terminated program|unable to execute command: Killed|LLVM ERROR: out of memory"
)
_LEADS = ("ERROR: ", "failed to build: ", "failed to solve: ")


@dataclass(frozen=True, slots=True)
class StageTime:
    """One stage: wall seconds (the union of its steps' intervals), its steps without FROM, and its state.

    ``state`` is waiting, running, done, cached, failed or cancelled.
    """

    name: str
    seconds: float
    steps: int
    cached_steps: int
    state: str
    done_steps: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a build ended badly.

    ``step`` is BuildKit's full name, such as ``[ci_base 3/5] RUN make``, and empty where no step
    is to blame (a parse error, a dead daemon).  ``exit_code`` is there for a RUN only.  ``kind``
    is a guess from the evidence: "oom", "disk" or "".
    """

    stage: str
    step: str
    tail: tuple[str, ...]
    exit_code: int | None
    message: str
    kind: str = ""


class Progress:
    """The state of one build; feed it every line buildx writes to stderr."""

    def __init__(self) -> None:
        self._vertices: dict[str, Vertex] = {}
        self._logs: dict[str, deque[str]] = {}
        self._notes: deque[str] = deque(maxlen=_NOTES)
        self._last_word = ""
        self._warnings: dict[str, None] = {}
        self._now: float | None = None
        self._open: dict[tuple[str, str], object] = {}
        self._moved = 0.0

    def feed(self, line: str) -> tuple[Event, ...]:
        """Take one line; a line that is no progress record is kept in ``notes`` and gives no event."""
        record = _record(line)
        if record is None:
            self._note(line)
            return ()
        events: list[Event] = []
        vertices = [(self._vertex(raw), raw) for raw in _objects(record, "vertexes")]
        for vertex, raw in vertices:
            events += self._begin(vertex, raw)
        for raw in _objects(record, "statuses"):
            events += self._status(raw)
        for raw in _objects(record, "logs"):
            events += self._log(raw)
        for vertex, raw in vertices:
            events += self._end(vertex, raw)
        for raw in _objects(record, "warnings"):
            self._warn(raw)
        return tuple(events)

    @property
    def notes(self) -> tuple[str, ...]:
        """The last lines that were no records: buildx's ERROR and the excerpt of the Dockerfile before it."""
        return tuple(self._notes)

    @property
    def stages(self) -> tuple[StageTime, ...]:
        """Every stage that takes part, parents before children."""
        groups: dict[str, list[Vertex]] = {}
        for vertex in self._vertices.values():
            if vertex.stage:
                groups.setdefault(vertex.stage, []).append(vertex)
        ranks = self._ranks()
        order = sorted(groups, key=lambda name: min(ranks[v.digest] for v in groups[name]))
        return tuple(self._total(name, groups[name]) for name in order)

    @property
    def exports(self) -> tuple[StageTime, ...]:
        """What came after the last stage, as pseudo-stages: the image's export, then the cache's."""
        found = (v for v in self._vertices.values() if v.kind in ("export", "cache-export"))
        return tuple(self._total(v.step, [v]) for v in found)

    @property
    def failure(self) -> Failure | None:
        """The first step that failed by itself, else what buildx's ERROR says; None while nothing failed.

        A cancelled build has no failure (see ``cancelled``).  Errors of BuildKit's own work do not
        count before buildx says ERROR: a failed cache import or export leaves the build's status 0.
        """
        failed = [v for v in self._vertices.values() if v.error and not _is_cancel(v.error)]
        for vertex in sorted(failed, key=lambda v: v.ended):
            if vertex.stage:
                return self._step_failure(vertex)
        if not self._last_word or _is_cancel(self._last_word):
            return None
        for vertex in failed:
            if vertex.error in self._last_word:
                return self._step_failure(vertex)
        return Failure("", "", self._excerpt(), None, _clip(self._last_word), _kind(self._last_word, None, ()))

    @property
    def cancelled(self) -> bool:
        """Somebody stopped the build: the caller by a signal, or the engine that is going down."""
        return self.failure is None and _is_cancel(self._last_word)

    @property
    def all_cached(self) -> bool:
        """Every step that was executed came from the cache; False when nothing was seen or something failed.

        FROM does not count: BuildKit resolves a parent anew each time and never calls it cached.
        """
        staged = [v for v in self._vertices.values() if v.stage]
        if not staged or self._last_word or self.failure:
            return False
        return all(v.cached for v in staged if v.kind == "step" and v.spans)

    @property
    def cache_export(self) -> str | None:
        """None: not asked for (or not reached); "ok"; otherwise what went wrong.

        With ``ignore-error=true`` a failed export leaves the build's status 0 and shows only here.
        """
        asked = [v for v in self._vertices.values() if v.kind == "cache-export"]
        if not asked:
            return None
        wrong = [v.error or "the export did not finish" for v in asked if v.error or not v.finished]
        return wrong[0] if wrong else "ok"

    @property
    def imported(self) -> bool:
        """A cache was read, or at least begun to be."""
        return any(v.kind == "cache-import" and v.spans for v in self._vertices.values())

    @property
    def executing(self) -> bool:
        """A RUN is at work; one whose layers are on their way from a cache is not."""
        running = (v for v in self._vertices.values() if v.kind == "step" and v.running and not v.cached)
        return any(" RUN " in f" {v.step}" for v in running)

    @property
    def stalled(self) -> float:
        """Seconds, by the records' clock, since a byte came of the layers that are on their way; 0 where none is."""
        waiting = [v for v, _ in self._open if self._vertices[v].running]
        return (self._now or 0.0) - self._moved if waiting else 0.0

    @property
    def vertices(self) -> tuple[Vertex, ...]:
        """Every node seen so far, as it is now."""
        return tuple(self._vertices.values())

    @property
    def now(self) -> float:
        """The last moment the records tell, in seconds since the epoch by the builder's clock; 0 before the first."""
        return self._now or 0.0

    @property
    def warnings(self) -> tuple[str, ...]:
        """BuildKit's lint warnings and failed cache imports, each once, in order."""
        imports = (v for v in self._vertices.values() if v.kind == "cache-import" and v.error)
        return (*self._warnings, *(f"{v.step}: {v.error}" for v in imports))

    def _vertex(self, raw: Mapping[str, object]) -> Vertex:
        digest, name = str(raw.get("digest", "")), raw.get("name")
        vertex = self._vertices.get(digest)
        if vertex is None:
            vertex = self._vertices[digest] = Vertex(digest, printable(str(name or digest)))
            self._logs[digest] = deque(maxlen=TAIL)
        inputs = raw.get("inputs")
        if isinstance(inputs, list) and inputs:
            vertex.inputs = tuple(str(item) for item in inputs)
        return vertex

    def _begin(self, vertex: Vertex, raw: Mapping[str, object]) -> Iterator[Event]:
        was_running = vertex.running
        started = self._seen(moment(raw.get("started")))
        if started is not None:
            vertex.spans.setdefault(started, None)
        if vertex.running and not was_running and raw.get("cached") is not True:
            yield StepStarted(vertex.stage, vertex.step)

    def _end(self, vertex: Vertex, raw: Mapping[str, object]) -> Iterator[Event]:
        completed = self._seen(moment(raw.get("completed")))
        vertex.cached = vertex.cached or raw.get("cached") is True
        if completed is None:
            return
        started = moment(raw.get("started"))
        vertex.spans[completed if started is None else started] = completed
        error = printable(str(raw.get("error") or ""))
        # A layer found in the cache, let go before it was loaded because its child was in the cache too: no error.
        needless = raw.get("cached") is True and _is_cancel(error)
        vertex.error = vertex.error if needless else error or vertex.error
        if vertex.running or vertex.reported == (len(vertex.spans), vertex.error):
            return
        vertex.reported = (len(vertex.spans), vertex.error)
        yield from self._lines(vertex, vertex.rest())
        seconds = covered(vertex.spans.items())
        if vertex.error:
            yield StepFailed(vertex.stage, vertex.step, seconds, vertex.error, _is_cancel(vertex.error))
        else:
            yield StepDone(vertex.stage, vertex.step, seconds, vertex.cached)

    def _status(self, raw: Mapping[str, object]) -> Iterator[Event]:
        """The phases of an export (layers, push, unpack) read like its log; transfers are noise."""
        at = self._seen(moment(raw.get("timestamp")))
        vertex = self._vertices.get(str(raw.get("vertex")))
        phase = printable(str(raw.get("id", "")))
        if vertex is not None and phase.startswith("sha256:"):
            self._transfer((vertex.digest, phase), raw, at)
        if vertex is not None and vertex.kind in ("export", "cache-export") and phase not in vertex.phases:
            vertex.phases.add(phase)
            yield from self._lines(vertex, (phase,))

    def _transfer(self, key: tuple[str, str], raw: Mapping[str, object], at: float | None) -> None:
        """A layer on its way, told several times a second whether or not anything comes."""
        current = raw.get("current")
        if key not in self._open or self._open[key] != current:
            self._moved = max(self._moved, at or 0.0)
        self._open[key] = current
        if raw.get("completed") or current == raw.get("total"):
            del self._open[key]

    def _log(self, raw: Mapping[str, object]) -> Iterator[Event]:
        self._seen(moment(raw.get("timestamp")))
        vertex = self._vertices.get(str(raw.get("vertex")))
        if vertex is not None:
            yield from self._lines(vertex, vertex.split(str(raw.get("stream")), _decoded(raw.get("data"))))

    def _lines(self, vertex: Vertex, lines: tuple[str, ...]) -> Iterator[Event]:
        if lines:
            self._logs[vertex.digest].extend(lines)
            yield StepLog(vertex.stage, vertex.step, lines)

    def _warn(self, raw: Mapping[str, object]) -> None:
        text = printable(_decoded(raw.get("short")).decode(errors="replace"))
        if text:
            self._warnings.setdefault(text)

    def _note(self, line: str) -> None:
        text = printable(line.rstrip())
        if text.strip():
            self._notes.append(text)
        if text.startswith("ERROR: "):
            self._last_word = text

    def _seen(self, at: float | None) -> float | None:
        if at is not None:
            self._now = at if self._now is None else max(at, self._now)
        return at

    def _total(self, name: str, vertices: list[Vertex]) -> StageTime:
        end = self._now or 0.0
        spans = [(a, end if b is None else b) for v in vertices for a, b in v.spans.items()]
        # COPY --link is two vertices of one number: it counts as one step, and as two halves of its state.
        steps = [v for v in vertices if v.kind != "source"]
        numbers = {v.number for v in steps}
        cached = numbers - {v.number for v in steps if not self._from_cache(v)}
        done = numbers - {v.number for v in steps if not self._is_done(v)}
        state = self._state(steps or vertices)
        return StageTime(name, covered(spans), len(numbers), len(cached), state, len(done))

    def _from_cache(self, vertex: Vertex) -> bool:
        """Cached, or never started because a cached child made it needless: an export proves all was solved."""
        solved = any(v.kind == "export" and v.spans for v in self._vertices.values())
        return vertex.cached or (solved and not vertex.spans)

    def _is_done(self, vertex: Vertex) -> bool:
        return (vertex.finished and not vertex.error) or self._from_cache(vertex)

    def _state(self, vertices: list[Vertex]) -> str:
        errors = [v.error for v in vertices if v.error]
        if any(not _is_cancel(error) for error in errors):
            return "failed"
        if not errors and all(self._from_cache(v) for v in vertices):
            return "cached"
        if not errors and all(self._is_done(v) for v in vertices):
            return "done"
        if not any(v.spans for v in vertices):
            return "waiting"
        return "cancelled" if errors or self._last_word else "running"

    def _ranks(self) -> dict[str, tuple[int, int]]:
        """Depth below the sources (parents first), then first seen; garbage with a cycle just ends."""
        depth = dict.fromkeys(self._vertices, 0)
        for _ in range(len(depth)):
            changed = False
            for digest, vertex in self._vertices.items():
                below = 1 + max((depth.get(item, 0) for item in vertex.inputs), default=-1)
                if below > depth[digest]:
                    depth[digest], changed = below, True
            if not changed:
                break
        return {digest: (depth[digest], index) for index, digest in enumerate(depth)}

    def _step_failure(self, vertex: Vertex) -> Failure:
        code = _EXIT_CODE.findall(vertex.error) if _PROCESS in vertex.error else []
        exit_code = int(code[-1]) if code else None
        tail = tuple(self._logs[vertex.digest])
        message = _message(vertex.error, exit_code)
        kind = _kind(vertex.error, exit_code, tail)
        return Failure(vertex.stage, vertex.name, tail or self._excerpt(), exit_code, message, kind)

    def _excerpt(self) -> tuple[str, ...]:
        return tuple(note for note in self._notes if note != self._last_word)[-TAIL:]


def _record(line: str) -> Mapping[str, object] | None:
    if not line.lstrip().startswith("{"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and any(key in record for key in _KEYS) else None


def _objects(record: Mapping[str, object], key: str) -> Iterable[Mapping[str, object]]:
    found = record.get(key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _decoded(data: object) -> bytes:
    try:
        return base64.b64decode(data) if isinstance(data, str) else b""
    except (binascii.Error, ValueError):
        return b""


def _is_cancel(error: str) -> bool:
    return _CANCELLED in error


def _message(error: str, exit_code: int | None) -> str:
    if exit_code is not None:
        return f"the command ended with exit code {exit_code}"
    if _PROCESS in error and "cannot allocate memory" in error:
        return "the command ran out of memory"
    return _clip(error)


def _kind(error: str, exit_code: int | None, tail: tuple[str, ...]) -> str:
    """137 is SIGKILL, which inside a build is nearly always the kernel's out-of-memory killer."""
    if exit_code == 137 or "cannot allocate memory" in error:
        return "oom"
    if any(_NO_SPACE.search(text) for text in (error, *tail)):
        return "disk"
    return "oom" if any(_NO_MEMORY.search(text) for text in tail) else ""


def _clip(error: str) -> str:
    for lead in _LEADS:
        error = error.removeprefix(lead)
    return error if len(error) <= _LONGEST_MESSAGE else error[: _LONGEST_MESSAGE - 3] + "..."
