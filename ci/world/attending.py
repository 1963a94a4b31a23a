"""A command in a sandbox, attended to its end: output, limits, and the ladder for every process inside.

At a limit, or when we are told to stop, evidence is taken first; then come SIGINT, SIGTERM, a wait and
SIGKILL.  Output is taken all the while: a process that waits for a full pipe cannot clean up.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import InfraError, Interrupted
from .clock import Clock
from .process import Lines, Pump, holding_signals
from .sandbox import PATIENCE, Limits, OnLimit, Say, Stopping

_LOOK = 0.5
"""Seconds between looks at the limits while nothing is heard."""

_GLANCE = 0.05
"""The same while evidence is taken."""

_REST = 1 << 20
"""Bytes of a stream still taken once the command is over: what it left behind may write for ever."""

_LONGEST = 1 << 16
"""Bytes after which a line is handed on in parts: one that never ends must not fill our memory."""

DEADLINE, INACTIVITY, INTERRUPTED = "deadline", "inactivity", "interrupted"


class Fallen(NamedTuple):
    """The limit that was reached, the signals that were needed, the seconds it took, and the end of its stderr."""

    limit: str
    rungs: tuple[str, ...]
    seconds: float
    stderr: str


@dataclass(frozen=True, slots=True)
class Reins:
    """How to follow one command: its child, a handle that can be read once it is over, and how to signal all inside.

    ``signal`` raises ``InfraError`` where the signal cannot be delivered: there is no use in waiting then.
    """

    child: subprocess.Popen[bytes]
    over: int
    signal: Callable[[signal.Signals], None]


@dataclass
class Attendance:
    """The loop around one command."""

    name: str
    reins: Reins
    limits: Limits
    on_line: Lines
    on_limit: OnLimit
    say: Say
    clock: Clock
    stopping: Stopping
    _rungs: list[str] = field(default_factory=list)
    _falling: bool = False
    _over: bool = False
    _deaf: bool = False
    _failed: BaseException | None = None

    def until_end(self) -> Fallen:
        """Follow it to its end; raises what ``on_line`` raised, and ``Interrupted``, the ladder done first."""
        self._begun = self._heard = self.clock.monotonic()
        self._pump = Pump(self.reins.child, self._line, self.clock, exact=False, longest=_LONGEST)
        limit = ""
        with selectors.DefaultSelector() as self._selector:
            self._selector.register(self.reins.over, selectors.EVENT_READ)
            for name, stream in self._pump.streams():
                self._selector.register(stream, selectors.EVENT_READ, name)
            try:
                limit = self._until_limit()
                if limit:
                    self._fall(limit)
            except Interrupted as error:
                self._fall(INTERRUPTED)
                error.rungs = tuple(self._rungs)
                raise
            except BaseException:
                self._fall("")
                raise
            self._drain()
        if self._failed:
            raise self._failed
        return Fallen(limit, tuple(self._rungs), self.clock.monotonic() - self._begun, self._pump.text("stderr"))

    def _until_limit(self) -> str:
        """Listen until it is over, or a limit is reached, whose name this gives."""
        while True:
            self._turn(_LOOK)
            if self._over:
                return ""
            if number := self.stopping():
                raise Interrupted(number)
            now = self.clock.monotonic()
            if now - self._begun > self.limits.seconds:
                return DEADLINE
            if self.limits.silent_seconds is not None and now - self._heard > self.limits.silent_seconds:
                return INACTIVITY

    def _turn(self, patience: float) -> None:
        """Take what there is to read."""
        for key, _ in self._selector.select(timeout=patience):
            if key.data is None:
                self._over = True
                self._selector.unregister(key.fileobj)
                continue
            if not self._pump.read(key.fd, key.data):
                self._selector.unregister(key.fileobj)
            self._heard = self.clock.monotonic()  # after the listener, whose slowness is not the command's silence

    def _line(self, stream: str, line: str) -> None:
        if self._deaf:
            return
        try:
            self.on_line(stream, line)
        except Interrupted:
            raise
        except BaseException as error:
            self._deaf = True  # a disk that is full stays full: the rest is taken, and told nobody
            if not self._falling:
                raise
            self._failed = error

    def _fall(self, kind: str) -> None:
        """Take evidence of ``kind`` (none where empty), then end every process inside."""
        with holding_signals():
            self._falling = True
            if kind and not self._over:
                self._look_closer(kind)
            self._take_down(kind)

    def _look_closer(self, kind: str) -> None:
        """Have evidence taken in a thread: it may hang, and the command has to be able to write meanwhile."""
        thread = threading.Thread(target=self._evidence, args=(kind,), name="evidence", daemon=True)
        thread.start()
        end = self.clock.monotonic() + self.limits.evidence_seconds
        while thread.is_alive():
            if self.clock.monotonic() > end:
                self.say(f"{self.name}: no evidence after {self.limits.evidence_seconds:g} s; going on without")
                return
            self._turn(_GLANCE)

    def _evidence(self, kind: str) -> None:
        try:
            self.on_limit(kind)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it must not keep us from the ladder
            self.say(f"{self.name}: no evidence: {str(error) or type(error).__name__}")

    def _take_down(self, why: str) -> None:
        grace = self.limits.grace_seconds
        for number, patience in ((signal.SIGINT, PATIENCE), (signal.SIGTERM, grace), (signal.SIGKILL, PATIENCE)):
            if self._over:
                return
            tail = ", which may leave VRAM held" if number == signal.SIGKILL else ""
            self.say(f"{self.name}: {why or 'nobody listens'}: {number.name} to every process inside{tail}")
            self._rungs.append(number.name)
            try:
                self.reins.signal(number)
            except InfraError as error:
                self.say(f"{self.name}: {number.name} cannot be sent: {error}")
                continue
            self._wait(patience)
        if not self._over:
            self.say(f"{self.name}: not over {PATIENCE:g} s after SIGKILL; no longer waiting")
            with suppress(ProcessLookupError):
                os.killpg(self.reins.child.pid, signal.SIGKILL)

    def _wait(self, patience: float) -> None:
        end = self.clock.monotonic() + patience
        while not self._over and self.clock.monotonic() < end:
            self._turn(_LOOK)

    def _drain(self) -> None:
        """Take what was written before the end; somebody left behind may hold the pipes open."""
        for key in list(self._selector.get_map().values()):
            if key.data is None:
                continue
            taken = 0
            os.set_blocking(key.fd, False)
            with suppress(BlockingIOError):
                while taken < _REST and self._pump.read(key.fd, key.data):
                    taken += 1 << 16
        self._pump.flush()
