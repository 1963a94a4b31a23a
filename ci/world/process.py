"""The one way a program is started: argument list, own group, streamed, bounded, stopped in steps.

Signals end in ``Interrupted`` (see ``listen``).  A running child is then taken down a
ladder, SIGINT → SIGTERM → SIGKILL, with time to clean up on each rung, because a
killed builder or GPU process leaves a dirty node behind.
"""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import IO, Any, NamedTuple

from ..errors import DeadlineError, InfraError, Interrupted
from .ahead import ahead
from .clock import Clock, SystemClock

Lines = Callable[[str, str], None]
"""Called with ``stdout`` or ``stderr`` and one line without its end."""

LADDER = ((signal.SIGINT, 10.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0))
"""Signal, and seconds to wait for the child to end after it."""

_TAIL = 200
_AGAIN = 0.01
"""Seconds after which a signal is sent once more that nobody could hear."""

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Command:
    """What to start. ``deadline`` and ``inactivity`` are seconds, None for no limit; stdin has ``feed``, or is closed.

    ``brief`` is for a question that ends by itself within moments: it is not told of our
    death, and so starts without a copy of this process, and has no limits.  ``exact`` keeps what it writes as
    data: carriage returns stay, bytes that are not UTF-8 become surrogates.  ``patience`` is the seconds it
    may clean up after SIGINT before it is told more firmly.
    """

    argv: tuple[str, ...]
    cwd: Path | None = None
    env: Mapping[str, str] | None = None
    deadline: float | None = None
    inactivity: float | None = None
    brief: bool = False
    exact: bool = False
    patience: float = 10.0
    feed: bytes = b""

    def __str__(self) -> str:
        return shlex.join(self.argv)


class Finished(NamedTuple):
    """How it ended: the exit code (negative for a signal) and what it wrote."""

    command: Command
    code: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Exit code 0."""
        return self.code == 0

    def tail(self, lines: int = 20) -> str:
        """The last lines it wrote, errors preferred: evidence for a message."""
        return "\n".join((self.stderr or self.stdout).strip().splitlines()[-lines:])


Run = Callable[..., Finished]
"""The seam ``run(command, on_line=None)``: the real one below, the fake in ``fakes``."""


def run(command: Command, on_line: Lines | None = None, clock: Clock | None = None) -> Finished:
    """Start ``command`` and wait for its end.

    With ``on_line`` every line is handed on as it comes and only the last 200 of each
    stream are kept.  Raises ``InfraError`` when the program is not there, ``DeadlineError``
    past a limit and ``Interrupted`` on a signal, the child's whole group ended first.
    """
    if command.brief:
        return begin(command)()
    with started(command) as child:
        pump = Pump(child, on_line, clock or SystemClock(), exact=command.exact)
        try:
            pump.until_end(command)
        except BaseException:
            stop(child)
            raise
        return Finished(command, child.wait(), pump.text("stdout"), pump.text("stderr"))


def begin(command: Command) -> Callable[[], Finished]:
    """Start a brief question now; what this returns waits for its end.

    The kernel keeps what it writes: a pipe would wake us for each of its pages.
    """
    with ExitStack() as opened:
        stdout = opened.enter_context(os.fdopen(os.memfd_create("stdout"), "w+b"))
        stderr = opened.enter_context(os.fdopen(os.memfd_create("stderr"), "w+b"))
        child = opened.enter_context(started(command, stdout, stderr))
        return ahead(partial(_collected, command, child, (stdout, stderr), opened.pop_all()))


def _collected(
    command: Command, child: subprocess.Popen[bytes], streams: tuple[IO[bytes], IO[bytes]], opened: ExitStack
) -> Finished:
    with opened:
        code = child.wait()
        texts = []
        for stream in streams:
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "surrogateescape" if command.exact else "replace"))
        return Finished(command, code, *texts)


@contextmanager
def started(
    command: Command,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
    handles: tuple[int, ...] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """The child in a group of its own that dies with us, pipes closed on the way out; it inherits ``handles`` too."""
    if not command.brief:
        _libc()  # loaded here, so that the child does nothing but one system call before exec
    try:
        with _stdin(command.feed) as stdin:
            child = subprocess.Popen(
                command.argv,
                cwd=command.cwd,
                env=None if command.env is None else dict(command.env),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                process_group=0,
                pass_fds=handles,
                preexec_fn=None if command.brief else die_with_parent,  # noqa: PLW1509 - one system call, see above
            )
    except OSError as error:
        name = command.argv[0]
        if command.cwd and not command.cwd.is_dir():
            raise InfraError("no-folder", f"there is no folder {command.cwd} to run {name} in") from None
        if not isinstance(error, FileNotFoundError):
            raise InfraError("no-program", f"cannot start {name}: {error.strerror}") from None
        hint = f"install {name}, or run ci/bootstrap"
        raise InfraError("no-program", f"{name} is not installed or not on PATH", hint=hint) from None
    with child:
        yield child


@contextmanager
def _stdin(feed: bytes) -> Iterator[int | IO[bytes]]:
    """What a child reads: ``feed`` in a file without a name, which nobody has to keep filling as they would a pipe."""
    if not feed:
        yield subprocess.DEVNULL
        return
    with os.fdopen(os.memfd_create("stdin"), "w+b") as stream:
        stream.write(feed)
        stream.seek(0)
        yield stream


def stop(child: subprocess.Popen[bytes]) -> None:
    """Take the child's whole group down the ladder; returns once the leader has ended."""
    for number, patience in LADDER:
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        try:
            child.wait(timeout=patience)
            break
        except subprocess.TimeoutExpired:
            continue
    with suppress(ProcessLookupError, PermissionError):  # what the leader left behind
        os.killpg(child.pid, signal.SIGKILL)


class Pump:
    """Reads both streams to their end, line by line; one of more than ``longest`` bytes comes in parts (0: never)."""

    def __init__(
        self, child: subprocess.Popen[bytes], on_line: Lines | None, clock: Clock, *, exact: bool, longest: int = 0
    ) -> None:
        self._exact = exact
        self._longest = longest
        self._child = child
        self._on_line = on_line
        self._clock = clock
        limit = _TAIL if on_line else None
        self._kept: dict[str, deque[str]] = {"stdout": deque(maxlen=limit), "stderr": deque(maxlen=limit)}
        self._rest: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        self._size = {"stdout": 0, "stderr": 0}

    def text(self, name: str) -> str:
        """What was kept of a stream."""
        return "".join(line + "\n" for line in self._kept[name])

    def streams(self) -> Iterator[tuple[str, IO[bytes]]]:
        """The child's streams by name."""
        for name in self._kept:
            stream: IO[bytes] | None = getattr(self._child, name)
            if stream is not None:
                yield name, stream

    def until_end(self, command: Command) -> None:
        """Read until the child has ended; raises past a limit."""
        begun = heard = self._clock.monotonic()
        with selectors.DefaultSelector() as selector:
            for name, stream in self.streams():
                selector.register(stream, selectors.EVENT_READ, name)
            while selector.get_map():
                ready = selector.select(timeout=0.5)
                for key, _ in ready:
                    heard = self._clock.monotonic()
                    if not self.read(key.fd, key.data):
                        selector.unregister(key.fileobj)
                if not ready and self._child.poll() is not None:
                    break  # it ended; a daemon it left behind keeps the pipes open
                self._check_limits(command, begun, heard)
        self._wait(command, begun)

    def _wait(self, command: Command, begun: float) -> None:
        """A child that closed its pipes may still run; the deadline holds for it too."""
        while True:
            try:
                self._child.wait(timeout=0.5)
                return
            except subprocess.TimeoutExpired:
                self._check_limits(command, begun, self._clock.monotonic())

    def read(self, handle: int, name: str) -> bool:
        """Take what the stream ``name`` has to give now; False at its end."""
        data = os.read(handle, 65536)
        if not data:
            self._unfinished(name)
            return False
        first, *others = data.split(b"\n")
        self._rest[name].append(first)
        self._size[name] += len(first)
        for begun in others:
            self._line(name, b"".join(self._rest[name]))
            self._rest[name] = [begun]
            self._size[name] = len(begun)
        if self._longest and self._size[name] > self._longest:
            self._unfinished(name)
        return True

    def flush(self) -> None:
        """Hand on lines that were begun, where the streams stay open but nobody reads them any more."""
        for name in self._rest:
            self._unfinished(name)

    def _unfinished(self, name: str) -> None:
        if any(self._rest[name]):
            self._line(name, b"".join(self._rest[name]))
        self._rest[name], self._size[name] = [], 0

    def _line(self, name: str, raw: bytes) -> None:
        line = raw.decode("utf-8", "surrogateescape") if self._exact else raw.decode("utf-8", "replace").rstrip("\r")
        self._kept[name].append(line)
        if self._on_line:
            self._on_line(name, line)

    def _check_limits(self, command: Command, begun: float, heard: float) -> None:
        now = self._clock.monotonic()
        if command.deadline is not None and now - begun > command.deadline:
            raise DeadlineError(
                "deadline", f"{command.argv[0]} ran longer than {command.deadline:g} s", context=str(command)
            )
        if command.inactivity is not None and now - heard > command.inactivity:
            message = f"{command.argv[0]} was silent for {command.inactivity:g} s"
            raise DeadlineError("inactivity", message, context=str(command))


def die_with_parent(ancestor: int = 0) -> None:
    """Ask the kernel for a SIGTERM to this process when its parent dies, however that happens.

    It may have died before we could ask: where process ``ancestor`` is gone already, we end here.
    """
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if ancestor and not Path(f"/proc/{ancestor}").exists():
        os.kill(os.getpid(), signal.SIGTERM)


@cache
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None)


def _stopped(number: int) -> Interrupted:
    return Interrupted(number, hint="run the same command again; what was built is kept")


@dataclass
class _Held:
    """Whether signals wait for a clean-up to end, and the one that does."""

    depth: int = 0
    number: int = 0


_held = _Held()


@contextmanager
def holding_signals() -> Iterator[None]:
    """Let a clean-up end before a signal that comes in its middle is heard.

    Signals are heard in the main thread: a clean-up in another one is not disturbed, and must not hold them up.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _held.depth += 1
    try:
        yield
    finally:
        _held.depth -= 1
        if _held.number and not _held.depth:
            number, _held.number = _held.number, 0
            raise _stopped(number)


@contextmanager
def listen() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into ``Interrupted``; more of them do not disturb the clean-up."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def handler(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        if _held.depth:
            _held.number = number
            return
        raise _stopped(number)

    def ignored(told: sys.UnraisableHookArgs) -> None:
        """A signal that came where Python ignores errors (a finalizer, the end of a weak reference) comes again."""
        if not isinstance(told.exc_value, Interrupted):
            unraisable(told)
            return
        for each in numbers:
            signal.signal(each, handler)
        threading.Timer(_AGAIN, os.kill, (os.getpid(), told.exc_value.signal)).start()

    before = [signal.signal(number, handler) for number in numbers]
    unraisable, sys.unraisablehook = sys.unraisablehook, ignored
    try:
        yield
    finally:
        sys.unraisablehook = unraisable
        for number, old in zip(numbers, before, strict=True):
            signal.signal(number, old)
