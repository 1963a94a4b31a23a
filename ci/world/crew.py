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
from itertools import count
from typing import NamedTuple, Self

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
    waiting = iter(commands)
    with Crew(heard) as crew:
        while True:
            while crew.busy < max(1, jobs) and (command := next(waiting, None)):
                crew.begin(command)
            if not crew.busy:
                return
            for ended in crew.listen():
                done(*ended)


class MemberEnded(NamedTuple):
    """A program that has ended: its place in the order they were begun, how, and after how many seconds."""

    place: int
    finished: Finished
    seconds: float


@dataclass(slots=True)
class _Member:
    place: int
    command: Command
    child: subprocess.Popen[bytes]
    pump: Pump
    begun: float
    closing: ExitStack
    open_streams: int


class Crew:
    """Programs at work, begun one by one; leaving the ``with`` block ends those that are left, whole groups.

    The limits of a command count for nothing here: whoever listens keeps the time.
    """

    def __init__(self, heard: Heard | None = None, clock: Clock | None = None) -> None:
        self._heard = heard
        self._clock = clock or SystemClock()
        self._members: list[_Member] = []
        self._places = count()
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop()
        self._selector.close()

    @property
    def busy(self) -> int:
        """How many are at work."""
        return len(self._members)

    def begin(self, command: Command) -> int:
        """Start a program; gives its place."""
        place = next(self._places)
        closing = ExitStack()
        begun = self._clock.monotonic()
        child = closing.enter_context(started(command))
        pump = Pump(child, partial(self._heard, place) if self._heard else None, self._clock, exact=command.exact)
        member = _Member(place, command, child, pump, begun, closing, 0)
        self._members.append(member)
        for name, stream in pump.streams():
            self._selector.register(stream, selectors.EVENT_READ, (member, name))
            member.open_streams += 1
        return place

    def listen(self) -> tuple[MemberEnded, ...]:
        """Hear what they have to say, for half a second at most; gives those that have ended."""
        if not self._selector.get_map():
            self._clock.sleep(_LOOK / 10)
        for key, _ in self._selector.select(timeout=_LOOK if self._selector.get_map() else 0):
            member, name = key.data
            if not member.pump.read(key.fd, name):
                self._selector.unregister(key.fileobj)
                member.open_streams -= 1
        return tuple(map(self._finish, list(self._ended())))

    def _ended(self) -> Iterator[_Member]:
        """Children that are over: their pipes are read to the end, or held open by a daemon they left behind."""
        for member in self._members:
            if not member.open_streams:
                with suppress(subprocess.TimeoutExpired):  # the pipes close a moment before the end
                    member.child.wait(timeout=_LOOK / 10)
            if member.child.poll() is not None:
                yield member

    def _finish(self, member: _Member) -> MemberEnded:
        for name, stream in member.pump.streams() if member.open_streams else ():
            if stream.fileno() in self._selector.get_map():
                os.set_blocking(stream.fileno(), False)
                with suppress(BlockingIOError):
                    while member.pump.read(stream.fileno(), name):
                        continue
                self._selector.unregister(stream)
        self._members.remove(member)
        member.closing.close()
        finished = Finished(member.command, member.child.wait(), member.pump.text("stdout"), member.pump.text("stderr"))
        return MemberEnded(member.place, finished, self._clock.monotonic() - member.begun)

    def _stop(self) -> None:
        """End all of them; they are asked first, so that the patience with each is the patience with all."""
        for member in self._members:
            with suppress(ProcessLookupError):
                os.killpg(member.child.pid, signal.SIGINT)
        end = self._clock.monotonic() + max((member.command.patience for member in self._members), default=0.0)
        try:
            while self._members and self._clock.monotonic() < end:
                self.listen()  # a clean-up that has something to say must not wait for a full pipe
        finally:
            for member in self._members:
                stop(member.child)
                member.closing.close()
            self._members.clear()
