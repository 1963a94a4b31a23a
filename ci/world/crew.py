"""Several programs at once, in one thread, so that a signal reaches whoever waits for them and ends them all."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

from .clock import Clock, SystemClock
from .process import Command, Finished, Pump, started, stop

Done = Callable[[int, Finished, float], None]
"""Called with a command's place in the list, how it ended, and the seconds it took."""

Heard = Callable[[int, str, str], None]
"""Called with a command's place, ``stdout`` or ``stderr``, and one line."""

RunAll = Callable[..., None]
"""The seam ``run_all(commands, jobs, done, heard=None)``: the real one below, a pretended compiler in tests."""

_LOOK = 0.5
"""Seconds between looks at children that closed their pipes, or left them to a daemon."""


def run_all(commands: Sequence[Command], jobs: int, done: Done, heard: Heard | None = None) -> None:
    """Run ``commands``, at most ``jobs`` at once, begun in this order; ``done`` hears of each end as it comes.

    ``heard`` is told every line as it comes.  A command that fails does not stop the others.  When
    ``done`` or ``heard`` raises, a program is missing or a signal comes, every child's whole group
    is ended before the error goes on.
    """
    _Crew(commands, jobs, done, heard, SystemClock()).work()


@dataclass(slots=True)
class _Member:
    place: int
    child: subprocess.Popen[bytes]
    pump: Pump
    begun: float
    closing: ExitStack
    open_streams: int


class _Crew:
    def __init__(self, commands: Sequence[Command], jobs: int, done: Done, heard: Heard | None, clock: Clock) -> None:
        self._commands = commands
        self._jobs = max(1, jobs)
        self._done = done
        self._heard = heard
        self._clock = clock
        self._members: list[_Member] = []
        self._waiting = iter(range(len(commands)))

    def work(self) -> None:
        with selectors.DefaultSelector() as selector:
            try:
                self._fill(selector)
                while self._members:
                    self._listen(selector)
                    for member in list(self._ended()):
                        self._finish(member, selector)
                    self._fill(selector)
            except BaseException:
                self._stop()
                raise

    def _fill(self, selector: selectors.BaseSelector) -> None:
        while len(self._members) < self._jobs:
            place = next(self._waiting, None)
            if place is None:
                return
            closing = ExitStack()
            command = self._commands[place]
            begun = self._clock.monotonic()
            child = closing.enter_context(started(command))
            on_line = partial(self._heard, place) if self._heard else None
            pump = Pump(child, on_line, self._clock, exact=command.exact)
            member = _Member(place, child, pump, begun, closing, 0)
            self._members.append(member)
            for name, stream in pump.streams():
                selector.register(stream, selectors.EVENT_READ, (member, name))
                member.open_streams += 1

    def _listen(self, selector: selectors.BaseSelector) -> None:
        if not selector.get_map():
            self._clock.sleep(_LOOK / 10)
        for key, _ in selector.select(timeout=_LOOK if selector.get_map() else 0):
            member, name = key.data
            if not member.pump.read(key.fd, name):
                selector.unregister(key.fileobj)
                member.open_streams -= 1

    def _ended(self) -> Iterator[_Member]:
        """Children that are over: their pipes are read to the end, or held open by a daemon they left behind."""
        for member in self._members:
            if not member.open_streams:
                with suppress(subprocess.TimeoutExpired):  # the pipes close a moment before the end
                    member.child.wait(timeout=_LOOK / 10)
            if member.child.poll() is not None:
                yield member

    def _finish(self, member: _Member, selector: selectors.BaseSelector) -> None:
        for name, stream in member.pump.streams() if member.open_streams else ():
            if stream.fileno() in selector.get_map():
                os.set_blocking(stream.fileno(), False)
                with suppress(BlockingIOError):
                    while member.pump.read(stream.fileno(), name):
                        continue
                selector.unregister(stream)
        self._members.remove(member)
        member.closing.close()
        seconds = self._clock.monotonic() - member.begun
        command = self._commands[member.place]
        finished = Finished(command, member.child.wait(), member.pump.text("stdout"), member.pump.text("stderr"))
        self._done(member.place, finished, seconds)

    def _stop(self) -> None:
        """Ask all of them first, so that the patience with each is the patience with all."""
        for member in self._members:
            with suppress(ProcessLookupError):
                os.killpg(member.child.pid, signal.SIGINT)
        for member in self._members:
            stop(member.child)
            member.closing.close()
