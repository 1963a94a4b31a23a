"""Leases: who uses which GPU of this host, one folder for all checkouts and users.

A request is a ticket: a file of its own that its owner keeps locked for life.  The kernel drops the lock
at any death and shows it across containers that share the folder; no child inherits it.  Tickets are
served in the order of their numbers, all devices of one at once.  A ticket whose owner died counts no
more, unless the owner's run left a container behind, which may still use the devices.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pwd
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ..errors import ConfigError, InfraError
from . import dirty, files, locks
from .clock import Clock, SystemClock
from .gpus import Gpu
from .ledger import Ledger
from .process import holding_signals

VERSION = 1
"""Version of a ticket: a newer one is refused and left alone."""

_LOOK = 1.0
"""Seconds between looks at a queue we wait in."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Lease:
    """A ticket: ``gpus`` are the keys it holds, none while it waits; ``among`` those it may get.

    ``until`` is when its owner wanted to be done.  ``left`` says what a dead owner's run left behind.
    """

    number: int
    user: str
    pid: int
    run: str
    verb: str
    wanted: int
    among: tuple[str, ...]
    begun: datetime
    until: datetime
    gpus: tuple[str, ...] = ()
    left: str = ""

    def __str__(self) -> str:
        what = f"{self.user}'s {self.verb} (run {self.run}, process {self.pid})"
        return f"{what}, dead, but {self.left}" if self.left else what

    def overdue(self, now: datetime) -> bool:
        """Whether it holds devices longer than it meant to; they stay its own as long as it lives."""
        return bool(self.gpus) and now > self.until


@contextmanager
def leased(
    state: Path,
    gpus: Sequence[Gpu],
    count: int,
    *,
    run: str,
    verb: str,
    lasts: float,
    patience: float,
    say: Say,
    clock: Clock | None = None,
) -> Iterator[tuple[Gpu, ...]]:
    """Hold ``count`` of ``gpus`` alone, meaning to be done within ``lasts`` seconds.

    Waits its turn for ``patience`` seconds, saying for whom; ``InfraError`` past that, or where too many
    are dirty.  ``ConfigError`` where there are too few at all.
    """
    if count > len(gpus):
        hint = "ask for fewer, or run on a node that has them: python -m ci doctor"
        raise ConfigError("too-few-gpus", f"{count} GPUs are asked for and {len(gpus)} may be used here", hint=hint)
    if not count:
        yield ()
        return
    clock = clock or SystemClock()
    now = clock.now()
    keys = tuple(gpu.key for gpu in gpus)
    lease = Lease(0, _user(), os.getpid(), run, verb, count, keys, now, now + timedelta(seconds=lasts))
    ticket = _Ticket(state, lease)
    try:
        granted = _wait(ticket, patience, say, clock)
        yield tuple(gpu for gpu in gpus if gpu.key in granted)
    finally:
        with holding_signals():
            ticket.give_back()


def held(state: Path) -> tuple[Lease, ...]:
    """All tickets that count, in order: those that hold devices and those that wait."""
    if not (state / "leases").is_dir():
        return ()
    with _quiet(state):
        return tuple(_scan(state, sweep=False))


class _Ticket:
    """Our own ticket: a locked file."""

    def __init__(self, state: Path, lease: Lease) -> None:
        self.state = state
        folder = state / "leases"
        with files.disk_errors(f"cannot write a ticket in {folder}"), _quiet(state):
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o1777)
            number = max((int(path.stem) for path in _tickets(state)), default=0) + 1
            self.lease = replace(lease, number=number)
            self._path = folder / f"{number:08}.json"
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                os.fchmod(self._handle, 0o644)
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._write()
            except BaseException:
                self.give_back()
                raise

    def take(self, live: Sequence[Lease], unclean: set[str]) -> bool:
        """Hold the devices if it is our turn and enough are free; the caller keeps others away meanwhile."""
        taken = {key for lease in live for key in lease.gpus} | unclean
        free = [key for key in self.lease.among if key not in taken]
        if self.ahead(live) or len(free) < self.lease.wanted:
            return False
        self.lease = replace(self.lease, gpus=tuple(free[: self.lease.wanted]))
        with files.disk_errors(f"cannot write {self._path}"):
            self._write()
        return True

    def ahead(self, live: Sequence[Lease]) -> list[Lease]:
        """Who waits before us for a device that we may get too: a small request never delays a large one."""
        mine = set(self.lease.among)
        return [
            each for each in live if each.number < self.lease.number and not each.gpus and mine.intersection(each.among)
        ]

    def give_back(self) -> None:
        """Remove the ticket; the devices are free."""
        self._path.unlink(missing_ok=True)
        os.close(self._handle)

    def _write(self) -> None:
        data = {"version": VERSION, **asdict(self.lease)}
        text = json.dumps(data, default=lambda when: when.isoformat()).encode()
        os.ftruncate(self._handle, 0)
        if os.pwrite(self._handle, text, 0) != len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _wait(ticket: _Ticket, patience: float, say: Say, clock: Clock) -> tuple[str, ...]:
    end = clock.monotonic() + patience
    told = ""
    while True:
        with _quiet(ticket.state):
            live = _scan(ticket.state)
            unclean = _unclean(ticket)
            if ticket.take(live, unclean):
                return ticket.lease.gpus
        message = _waiting(ticket, live, clock.now())
        left = end - clock.monotonic()
        if left <= 0:
            hint = "wait for them, or give it more time; python -m ci doctor shows every lease"
            raise InfraError("gpus-busy", f"no turn within {patience:g} s: {message}", hint=hint)
        if message != told:
            say(message)
            told = message
        clock.sleep(min(_LOOK, left))


def _unclean(ticket: _Ticket) -> set[str]:
    """The dirty devices; an error where the others are too few, for waiting would be in vain."""
    marks = [mark for mark in dirty.marks(ticket.state) if mark.gpu in ticket.lease.among]
    clean = len(ticket.lease.among) - len(marks)
    if clean < ticket.lease.wanted:
        message = f"{ticket.lease.wanted} GPUs are asked for and {clean} are clean"
        context = "\n".join(map(str, marks))
        raise InfraError("dirty-gpus", message, hint=dirty.REMEDY, context=context)
    return {mark.gpu for mark in marks}


def _waiting(ticket: _Ticket, live: Sequence[Lease], now: datetime) -> str:
    mine = set(ticket.lease.among)
    holders = [lease for lease in live if mine.intersection(lease.gpus)]
    parts = [
        f"{lease} holds {', '.join(lease.gpus)} until {lease.until:%H:%M}Z{', overdue' * lease.overdue(now)}"
        for lease in holders
    ]
    ahead = ticket.ahead(live)
    parts += [f"before us waits {each} for {each.wanted}" for each in ahead]
    return f"waiting for {ticket.lease.wanted} of {len(mine)} GPUs: {'; '.join(parts)}"


# --- the queue --------------------------------------------------------------------------------


def _quiet(state: Path) -> Any:
    """Nobody else looks at or changes the queue meanwhile: it takes milliseconds, and nobody needs to hear of it."""
    return locks.exclusive(state, "gpu-leases", lambda _message: None)


def _tickets(state: Path) -> list[Path]:
    return sorted(path for path in (state / "leases").glob("*.json") if path.stem.isdigit())


def _scan(state: Path, *, sweep: bool = True) -> list[Lease]:
    """The tickets that count; ``sweep`` removes the others where we may."""
    found = []
    for path in _tickets(state):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue  # given back just now, or a link that somebody laid
        try:
            lease = _read(handle)
            if locks.locked(handle):
                if lease is not None:
                    found.append(lease)
                continue
            left = _left_behind(state, lease) if lease else ""
            if lease and left:
                found.append(replace(lease, left=left))
                continue
            if sweep:
                with suppress(OSError):  # another user's: it counts no more all the same
                    path.unlink()
        finally:
            os.close(handle)
    return found


def _read(handle: int) -> Lease | None:
    """The ticket; None where its owner died while writing it."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        data = json.loads(os.pread(handle, 1 << 20, 0))
        if data.pop("version") > VERSION:
            hint = "use the newer rocm-ci that wrote it, or wait for its run to end"
            raise ConfigError("newer-lease", "a lease was written by a newer version", hint=hint)
        data |= {name: datetime.fromisoformat(data[name]) for name in ("begun", "until")}
        return Lease(**{**data, "among": tuple(data["among"]), "gpus": tuple(data["gpus"])})
    return None


def _left_behind(state: Path, lease: Lease) -> str:
    """What a dead owner left that may still use its devices."""
    if not lease.gpus:
        return ""
    try:
        things = Ledger(state / "runs" / lease.run).open_things()
    except PermissionError:
        return ""  # its owner's records are closed to us: the check of the device before its use has to do
    except ConfigError:
        return "its ledger is a newer version's"
    names = [thing.name for thing in things if thing.kind == "container"]
    return f"container {', '.join(names)} is left: inv reap" if names else ""


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user need not have a name
        return str(os.getuid())
