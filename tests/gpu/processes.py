"""Processes as ``/proc`` shows them: named by (pid, start time), waited for without polling, asked for stacks.

A pid alone names nobody: it is given to somebody else once its process is gone.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

GONE = frozenset("ZX")
"""States of a process that has ended; a zombie only waits for its parent to ask."""


class Name(NamedTuple):
    """Who it is: the pid, and the clock ticks after boot at which it started."""

    pid: int
    start: int


class Process(NamedTuple):
    """One process; ``session`` is the pid of its session's leader, ``rss`` is in bytes."""

    pid: int
    start: int
    parent: int
    session: int
    state: str
    command: str
    rss: int = 0

    @property
    def name(self) -> Name:
        """Its pid and start time."""
        return Name(self.pid, self.start)

    def __str__(self) -> str:
        return f"{self.pid} ({self.state}) {self.command}"


def read(pid: int, proc: Path = Path("/proc")) -> Process | None:
    """The process with that pid, or None once it is gone."""
    try:
        text = (proc / str(pid) / "stat").read_text(errors="replace")
        raw = (proc / str(pid) / "cmdline").read_bytes()
    except OSError:
        return None
    short, _, rest = text.partition(" (")[2].rpartition(") ")
    fields = rest.split()
    command = raw.replace(b"\0", b" ").decode(errors="replace").strip() or f"[{short}]"
    return Process(
        pid=pid,
        start=int(fields[19]),
        parent=int(fields[1]),
        session=int(fields[3]),
        state=fields[0],
        command=command[:300],
        rss=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
    )


def table(proc: Path = Path("/proc")) -> dict[int, Process]:
    """Every process that can be seen, by pid."""
    found = (read(int(each), proc) for each in os.listdir(proc) if each.isdigit())  # noqa: PTH208 - thousands of entries
    return {process.pid: process for process in found if process is not None}


def family(seen: Mapping[int, Process], leader: int | None, known: Iterable[Name] = ()) -> list[Process]:
    """Those of ``seen`` that belong to ``leader``: of its session, below one of them, or ``known`` from before.

    Without a leader: the known ones and all below them.  An orphan stays in its session; whoever has left
    it is found as long as its parent lives, and afterwards only if somebody has looked in time: hand what
    an earlier look has found as ``known``.
    """
    names = set(known)
    inside = {
        process.pid for process in seen.values() if leader in {process.pid, process.session} or process.name in names
    }
    grown = True
    while grown:
        more = {process.pid for process in seen.values() if process.parent in inside} - inside
        inside |= more
        grown = bool(more)
    return [seen[pid] for pid in sorted(inside)]


def marked(seen: Mapping[int, Process], mark: str, proc: Path = Path("/proc")) -> list[Name]:
    """Those of ``seen`` that were started with ``mark`` in their environment, wherever they are now.

    One in uninterruptible sleep is not asked: whoever reads its memory may hang with it.
    """
    found = []
    for process in seen.values():
        with suppress(OSError):
            if process.state != "D" and mark.encode() in (proc / str(process.pid) / "environ").read_bytes():
                found.append(process.name)
    return found


def alive(processes: Iterable[Process]) -> list[Process]:
    """Those that have not ended."""
    return [process for process in processes if process.state not in GONE]


def hears(pid: int, number: int, proc: Path = Path("/proc")) -> bool:
    """Whether the process has a handler for that signal; an unheard SIGUSR1 would end it."""
    try:
        for line in (proc / str(pid) / "status").read_text(errors="replace").splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    except OSError:
        return False
    return False


def runs_python(pid: int, proc: Path = Path("/proc")) -> bool:
    """Whether its executable is a Python interpreter; a title it gave itself does not matter."""
    try:
        return (proc / str(pid) / "exe").readlink().name.startswith("python")
    except OSError:
        return False


def ask_for_stacks(pids: Iterable[int]) -> tuple[int, ...]:
    """Send SIGUSR1 to each Python process that hears it; the stacks appear on *their* standard error."""
    asked = []
    for pid in pids:
        if pid != os.getpid() and runs_python(pid) and hears(pid, signal.SIGUSR1):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGUSR1)
                asked.append(pid)
    return tuple(asked)


def wait(pids: Sequence[int], seconds: float) -> tuple[int, ...]:
    """Block until one of them has ended, at most ``seconds``; which have (a pid that is not there has)."""
    watched: dict[int, int] = {}
    gone = []
    poll = select.poll()
    try:
        for pid in pids:
            try:
                watched[descriptor := os.pidfd_open(pid)] = pid
            except ProcessLookupError:
                gone.append(pid)
            else:
                poll.register(descriptor, select.POLLIN)
        if gone or not watched:
            return tuple(gone)
        return tuple(watched[descriptor] for descriptor, _ in poll.poll(max(0.0, seconds) * 1000))
    finally:
        for descriptor in watched:
            os.close(descriptor)


def wait_all(pids: Sequence[int], seconds: float) -> tuple[int, ...]:
    """Block until all have ended, at most ``seconds``; which have not."""
    end = time.monotonic() + seconds
    left = list(pids)
    while left and (gone := wait(left, end - time.monotonic())):
        left = [pid for pid in left if pid not in gone]
    return tuple(left)


def send(processes: Iterable[Process], number: int) -> None:
    """Signal each of them that is still who it was."""
    for process in processes:
        now = read(process.pid)
        if now is not None and now.name == process.name:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, number)


def end(processes: Sequence[Process], seconds: float) -> tuple[str, ...]:
    """SIGINT, SIGTERM, then SIGKILL, ``seconds`` apart; the signals that were needed (SIGKILL may leave VRAM held)."""
    needed = []
    for rung in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        left = alive(now for process in processes if (now := read(process.pid)) and now.name == process.name)
        if not left:
            break
        needed.append(rung.name)
        send(left, rung)
        wait_all([process.pid for process in left], seconds)
    return tuple(needed)
