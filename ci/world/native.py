"""A sandbox that is the machine or container we are in already: a pod of Kubernetes, an agent that gives one.

Each command has a keeper (``keeper.py``) for a parent, below which everything it starts stays, detached
or not; a signal to every process inside goes to all that is below.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..settings import Settings
from . import keeper
from .attending import Attendance, Fallen, Reins
from .clock import Clock, SystemClock
from .memory import own_kills
from .probes import ask
from .process import Command, Finished, Lines, holding_signals, started
from .sandbox import GRACE, PATIENCE, Ended, Limits, OnLimit, Say, Spec, Stopping, never

_INHERITED = ("PATH", "HOME", "LANG")


@dataclass(frozen=True, slots=True)
class _Kept:
    """A keeper that was started; ``closing`` ends with it."""

    child: subprocess.Popen[bytes]
    closing: ExitStack


class Native:
    """The step called ``spec.name``, run beside us; of our environment its commands see PATH, HOME and LANG."""

    def __init__(
        self,
        spec: Spec,
        settings: Settings,
        say: Say,
        *,
        clock: Clock | None = None,
        stopping: Stopping = never,
    ) -> None:
        self.spec = spec
        ours = {name: settings.host(name) for name in _INHERITED}
        self._env = {**{name: value for name, value in ours.items() if value}, **spec.env}
        self._say = say
        self._clock = clock or SystemClock()
        self._stopping = stopping
        self._kept: list[_Kept] = []
        self._orphans: tuple[keeper.Process, ...] = ()

    @property
    def name(self) -> str:
        """The step's name."""
        return self.spec.name

    def begin(self) -> None:
        """Nothing has to be made; what a killed keeper leaves behind is to come to us, so that ``end`` can find it."""
        keeper.adopt()

    def inside(self, path: Path) -> str:
        """The same path."""
        return str(path)

    def attend(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        limits: Limits,
        on_line: Lines,
        on_limit: OnLimit,
    ) -> Ended:
        """Run a command below a keeper; see ``Sandbox.attend``."""
        before, ours = own_kills(), keeper.below(os.getpid())
        told, report = os.pipe()
        with os.fdopen(told, "rb", buffering=0) as end:
            try:
                child = self._started(argv, {**self._env, **self.spec.secrets, **env}, cwd, report, limits)
            finally:
                os.close(report)
            try:
                reins = Reins(child, end.fileno(), partial(_tell_all, child.pid))
                attendance = Attendance(
                    self.name, reins, limits, on_line, on_limit, self._say, self._clock, self._stopping
                )
                fallen = attendance.until_end()
            finally:
                for stream in (child.stdout, child.stderr):
                    if stream:
                        stream.close()
            code = end.read()
            if not code:
                self._take_in(ours, child.pid)
            return self._judged(fallen, code, before)

    def _started(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, report: int, limits: Limits
    ) -> subprocess.Popen[bytes]:
        words = (sys.executable, "-I", "-S", keeper.__file__, str(report), f"{limits.grace_seconds:g}", *argv)
        folder = Path(cwd or self.spec.workdir) if cwd or self.spec.workdir else None
        closing = ExitStack()
        child = closing.enter_context(started(Command(words, cwd=folder, env=env), handles=(report,)))
        self._kept.append(_Kept(child, closing))
        return child

    def _take_in(self, before: tuple[keeper.Process, ...], killed: int) -> None:
        """Remember whose keeper was killed: they are in sessions of their own, which nothing else of ours is."""
        session = os.getsid(0)
        new = (process for process in keeper.below(os.getpid()) if process not in before and process.pid != killed)
        self._orphans += tuple(process for process in new if process.session != session)

    def _judged(self, fallen: Fallen, told: bytes, before: int | None) -> Ended:
        limit, rungs, seconds, _ = fallen
        if not told:
            lost = "" if signal.SIGKILL.name in rungs else "the parent of the command was killed from outside"
            return Ended(None, seconds, limit, lost, rungs=rungs)
        now = own_kills()
        starved = before is not None and now is not None and now > before
        return Ended(int(told), seconds, limit, "", bool(int(told)) and starved, rungs)

    def probe(self, argv: Sequence[str], seconds: float) -> Finished:
        """Ask a program; ``DeadlineError`` past ``seconds``, its group ended hard."""
        folder = Path(self.spec.workdir) if self.spec.workdir else None
        return ask(Command(tuple(argv), cwd=folder, env=self._env), seconds)

    def end(self, grace: float = GRACE) -> tuple[str, ...]:
        """End what the commands left behind; what cannot be ended is said, and left to whoever can reboot."""
        with holding_signals():
            rungs: list[str] = []
            for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, PATIENCE)):
                if not (left := self._left()):
                    break
                rungs.append(number.name)
                tail = ", which may leave VRAM held" if number == signal.SIGKILL else ""
                self._say(f"{self.name}: {_named(left)} left behind; {number.name}{tail}")
                for process in left:
                    keeper.tell(process, number)
                self._wait(patience)
            if left := self._left():
                self._say(f"{self.name}: {_named(left)} survived SIGKILL")
            self._close()
            return tuple(rungs)

    def _left(self) -> tuple[keeper.Process, ...]:
        known = {(one.pid, one.began) for one in self._orphans}
        orphans = [one for one in keeper.below(os.getpid()) if (one.pid, one.began) in known] if known else []
        return (*orphans, *(one for kept in self._kept for one in keeper.below(kept.child.pid)))

    def _wait(self, patience: float) -> None:
        end = self._clock.monotonic() + patience
        while self._left() and self._clock.monotonic() < end:
            self._clock.sleep(0.1)

    def _close(self) -> None:
        """A keeper ends by itself once nothing is below it; one that cannot is not waited for."""
        for kept in self._kept:
            try:
                kept.child.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(kept.child.pid, signal.SIGKILL)
            kept.closing.close()
        for orphan in self._orphans:
            with suppress(ChildProcessError):
                os.waitpid(orphan.pid, os.WNOHANG)
        self._kept.clear()
        self._orphans = ()


def _tell_all(pid: int, number: signal.Signals) -> None:
    for process in keeper.below(pid):
        keeper.tell(process, number)


def _named(processes: Sequence[keeper.Process]) -> str:
    return ", ".join(f"{process.name} ({process.pid}, state {process.state})" for process in processes[:10])
