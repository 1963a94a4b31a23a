"""The parent of one native command: whatever that starts stays below it, however it detaches itself.

Run as a program, by path and with nothing but the standard library: ``keeper.py HANDLE GRACE ARGV...``.
It writes the command's exit code to HANDLE once the command has ended, and stays as long as processes
of it are left.  When whoever started it dies, or tells it to, it ends them all, SIGTERM first.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


class Process(NamedTuple):
    """A process that cannot be mistaken for another one with the same number: ``began`` is in ticks since boot."""

    pid: int
    began: int
    parent: int
    session: int
    state: str
    name: str


def below(pid: int) -> tuple[Process, ...]:
    """The processes that ``pid`` started, and those started by them; zombies are left out."""
    children: dict[int, list[Process]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if process := _read(int(folder.name)):
            children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    waiting = [pid]
    while waiting:
        own = children.get(waiting.pop(), [])
        found += own
        waiting += [process.pid for process in own]
    return tuple(process for process in found if process.state != "Z")


def _read(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    name, fields = text.partition("(")[2].rpartition(")")[0], text.rpartition(")")[2].split()
    return Process(pid, int(fields[19]), int(fields[1]), int(fields[3]), fields[0], name)


def tell(process: Process, number: int) -> None:
    """Send a signal to that very process; nothing happens where it is gone."""
    with suppress(OSError):
        handle = os.pidfd_open(process.pid)
        try:
            now = _read(process.pid)
            if now and now.began == process.began:
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def adopt() -> None:
    """Have whatever is orphaned below this process become its child."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def main(report: int, grace: float, argv: list[str]) -> int:
    """Start the command, tell of its end, and wait for everything below us."""
    adopt()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever means the command tells the command
    environment = dict(row.partition(b"=")[::2] for row in Path("/proc/self/environ").read_bytes().split(b"\0") if row)
    leader = os.fork()
    if leader == 0:
        os.close(report)
        _become(argv, environment)
    signal.signal(signal.SIGTERM, _leave)
    try:
        _wait(leader, report)
    except _Left:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end(grace)
    return 0


def _become(argv: list[str], environment: dict[bytes, bytes]) -> None:
    """Be the command: a session of its own, usual signals, and the environment as it was handed to us."""
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(argv[0], argv, environment)  # noqa: S606 - an argument list
    except OSError as error:
        os.write(2, f"cannot start {argv[0]}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)
    finally:
        os._exit(126)


class _Left(BaseException):
    """Whoever started us is gone."""


def _leave(_number: int, _frame: object) -> None:
    raise _Left


def _wait(leader: int, report: int) -> None:
    with suppress(ChildProcessError):
        while True:
            pid, status = os.wait()
            if pid == leader:
                os.write(report, str(os.waitstatus_to_exitcode(status)).encode())
                os.close(report)


def _end(grace: float) -> None:
    """End everything below us; what comes of it nobody is left to hear."""
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
        end = time.monotonic() + patience
        for process in below(os.getpid()):
            tell(process, number)
        while time.monotonic() < end:
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    continue
            if not below(os.getpid()):
                return
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
