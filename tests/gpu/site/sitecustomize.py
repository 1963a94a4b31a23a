"""Every Python in the sandbox shows the stacks of all its threads on SIGUSR1, on its standard error.

A ``sitecustomize`` further down the path is run too: this one only stands in front of it.  Where
``ROCM_WATCH_CHILDREN`` names a file, every Python also writes there when it starts and how each
child it waits for has ended, one JSON object per line: a rank's exit status is known only to its
parent, and a parent may drop it.

Every Python child pays for what is imported here, so it is little.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

HERE = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120 - pathlib takes longer than the rest of this file
WATCH = os.environ.get("ROCM_WATCH_CHILDREN")


def show_stacks() -> None:
    """Register the handler; a Python without standard error does without."""
    if sys.__stderr__ is None:
        return
    try:
        faulthandler.register(signal.SIGUSR1, file=sys.__stderr__, all_threads=True)
    except (AttributeError, OSError, RuntimeError, ValueError):
        return


def write(path: str, line: str) -> None:
    """Append one line in one piece; a watch that fails must not disturb what it watches."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return
    try:
        os.write(handle, line.encode())
    except OSError:
        return
    finally:
        os.close(handle)


def ticks() -> int:
    """The clock ticks after boot at which this process started, or 0; a pid alone may be lower than an older one."""
    try:
        with open("/proc/self/stat", "rb") as stat:  # noqa: PTH123 - see above
            return int(stat.read().rpartition(b") ")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def born(path: str, kind: str) -> None:
    """Write down that this process is there, and since when; ``kind`` says how it was made."""
    who = f'"pid": {os.getpid()}, "parent": {os.getppid()}, "ticks": {ticks()}'
    write(path, f'{{"event": "born", {who}, "kind": "{kind}"}}\n')


def kind_of_start(words: list[str]) -> str:
    """``spawn`` for a child of multiprocessing, ``tracker`` for its resource tracker, ``program`` for all others."""
    text = " ".join(words)
    if "multiprocessing.resource_tracker" in text:
        return "tracker"
    return "spawn" if "multiprocessing.spawn" in text else "program"


def watch_children(path: str) -> None:
    """Write down this process, those it forks, and the status of each child that it reaps."""
    real = os.waitpid

    def waitpid(pid: int, options: int, /) -> tuple[int, int]:
        ended, status = real(pid, options)
        if ended and (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
            code = os.waitstatus_to_exitcode(status)
            write(path, f'{{"event": "ended", "pid": {ended}, "parent": {os.getpid()}, "code": {code}}}\n')
        return ended, status

    os.waitpid = waitpid
    os.register_at_fork(after_in_child=lambda: born(path, "fork"))
    born(path, kind_of_start(sys.orig_argv))


def chain() -> None:
    """Run the next ``sitecustomize`` on the path, if there is one."""
    rest = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) != HERE]
    spec = PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


show_stacks()
if WATCH:
    watch_children(WATCH)
chain()
