"""One builder per thing and host: file locks that vanish with their process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import files


@contextmanager
def exclusive(state: Path, name: str, say: Callable[[str], None]) -> Iterator[bool]:
    """Hold the lock ``name``; gives True when another process had it and we waited."""
    folder = state / "locks"
    with files.disk_errors(f"cannot make {folder / name}"):
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o1777)
        handle = _opened(folder / name)
    try:
        waited = False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            say(f"another run on this host works on {name[:20]}; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield waited
    finally:
        os.close(handle)


def locked(handle: int) -> bool:
    """Whether another process keeps the open file locked, in whatever container it runs.

    The lock that finds out is a shared one, and ours until ``handle`` is closed.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _opened(path: Path) -> int:
    """A handle for any user of this host: a lock needs no right to write, and whoever made the file had a umask.

    A file that is there is opened without O_CREAT, which the kernel may refuse for somebody else's
    file in a folder with the sticky bit.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    if os.fstat(handle).st_uid == os.geteuid():
        os.fchmod(handle, 0o644)
    return handle
