"""The ledger: what a run makes, written down before it is made, so that a crash leaves nothing unknown.

One folder per run below ``<state>/runs``, owned by the user who runs it.  ``owner.json``
names the process, which keeps it locked; ``ledger.jsonl`` has one line per thing.  A run
whose process is gone is over, whatever its last line says.  The lock tells that across
containers that share the folder, where a process number tells nothing.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import ConfigError, InfraError
from . import files
from .clock import Clock, SystemClock
from .locks import locked
from .process import holding_signals
from .spans import Spans

VERSION = 1
"""Version of the ledger's files: the one before is read, a newer one is refused and left alone."""


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that must not outlive its run: ``kind`` image, container or folder, and its name."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that cannot be mistaken for another one with the same number."""

    pid: int
    started: int
    boot: str

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        return cls(os.getpid(), _start_time(os.getpid()), boot_id())

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return self.boot == boot_id() and self.started == _start_time(self.pid) != 0


class Ledger:
    """The ledger of one run; ``spans`` is what that run did, from when to when."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.folder = folder
        self.spans = Spans(folder, clock or SystemClock())
        self._lock = -1

    @classmethod
    def begin(cls, state: Path, run: str, verb: str) -> Ledger:
        """Open the ledger of a new run."""
        runs = state / "runs"
        with files.disk_errors(f"cannot make {runs / run}"):
            if not runs.is_dir():
                runs.mkdir(parents=True, exist_ok=True)
                runs.chmod(0o1777)
            (runs / run).mkdir(mode=0o755)
        ledger = cls(runs / run)
        owner = ledger._owner_file
        files.write_json(owner, {"version": VERSION, "verb": verb, "locked": True, **asdict(Owner.me())})
        owner.chmod(0o644)  # other users' reap has to see that this run lives
        ledger._lock = os.open(owner, os.O_RDONLY)  # kept open, and so locked, until the end
        fcntl.flock(ledger._lock, fcntl.LOCK_EX)
        return ledger

    def will_make(self, kind: str, name: str) -> Thing:
        """Write down a thing before it is made."""
        thing = Thing(kind, name)
        self._append({"will": asdict(thing)})
        return thing

    def gone(self, thing: Thing) -> None:
        """Write down that a thing was removed, or handed over to live on."""
        self._append({"gone": asdict(thing)})

    def clear(self, thing: Thing, remove: Callable[[], None], warn: Callable[[str], None]) -> None:
        """Remove a thing and write that down; what cannot be removed is said and stays open for ``reap``.

        For the end of a run: a dead engine or a full disk must not hide the error that brought us here.
        """
        try:
            with holding_signals(), files.disk_errors(f"cannot remove {thing.name}"):
                remove()
                self.gone(thing)
        except InfraError as error:
            warn(f"{thing.kind} {thing.name} is left behind for inv reap: {error}")

    def holds(self, thing: Thing) -> bool:
        """Whether a file or folder lies inside the run folder: anybody may write a ledger, root may read it."""
        path = Path(thing.name)
        return path.name != ".." and self.folder.resolve() in (path.parent.resolve() / "x").parents

    def end(self) -> None:
        """Close the run; what is still open stays visible to ``reap``."""
        with suppress(OSError):  # it only tells that the run is alive, which its process does as well
            self._owner_file.unlink()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _append(self, record: Mapping[str, object]) -> None:
        """Add one line, whole or not at all: half a line would swallow the next one."""
        line = (json.dumps({"v": VERSION, **record}) + "\n").encode()
        with files.disk_errors(f"cannot write the ledger in {self.folder}"):
            handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                before = os.fstat(handle).st_size
                if self._cut_short():
                    line = b"\n" + line
                try:
                    if os.write(handle, line) != len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(handle)
                except OSError:
                    os.ftruncate(handle, before)
                    raise
            finally:
                os.close(handle)

    def _cut_short(self) -> bool:
        """Whether a crash left half a line at the end."""
        with self._file.open("rb") as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, end - 1))
            return stream.read(1) not in {b"", b"\n"}

    @property
    def _file(self) -> Path:
        return self.folder / "ledger.jsonl"

    @property
    def owner(self) -> Owner | None:
        """The process that runs it; None once the run has ended in order."""
        data = self._owner()
        return None if data is None else Owner(data["pid"], data["started"], data["boot"])

    @property
    def alive(self) -> bool:
        """Whether its run still works, in whatever container of this host."""
        data = self._owner()
        if data is None or not data.get("locked"):  # a run of the version before did not lock it
            return data is not None and Owner(data["pid"], data["started"], data["boot"]).alive
        with suppress(FileNotFoundError):  # it has just ended
            handle = os.open(self._owner_file, os.O_RDONLY)
            try:
                return locked(handle)
            finally:
                os.close(handle)
        return False

    def _owner(self) -> Any:
        data = files.read_json(self._owner_file)
        if data is not None:
            self._refuse_newer(data.get("version", 0))
        return data

    @property
    def _owner_file(self) -> Path:
        return self.folder / "owner.json"

    def _refuse_newer(self, version: int) -> None:
        if version > VERSION:
            hint = "use the newer rocm-ci that wrote it, or wait for its run to end"
            raise ConfigError("newer-ledger", f"{self.folder} was written by a newer version", hint=hint)

    def open_things(self) -> tuple[Thing, ...]:
        """What was written down and not removed; a line cut short by a crash was never acted on."""
        things: dict[Thing, None] = {}
        if not self._file.is_file():
            return ()
        for line in self._file.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            self._refuse_newer(record.get("v", 0))
            if "will" in record:
                things[Thing(**record["will"])] = None
            else:
                things.pop(Thing(**record["gone"]), None)
        return tuple(things)


def abandoned(state: Path) -> Iterator[Ledger]:
    """The ledgers of runs that are over and have something left, oldest first."""
    for folder in sorted((state / "runs").glob("*")):
        ledger = Ledger(folder)
        with suppress(PermissionError):  # another user's, under a strict umask: theirs to reap, or root's
            if not ledger.alive and ledger.open_things():
                yield ledger


def outdated(state: Path, before: datetime) -> tuple[Path, ...]:
    """The folders of runs that ended in order before ``before``; a run's name begins with its UTC start."""
    limit = f"{before:%Y%m%dT%H%M%SZ}"
    folders = sorted((state / "runs").glob("????????T??????Z-*"))
    return tuple(
        folder
        for folder in folders
        if folder.name < limit and Ledger(folder).owner is None and not Ledger(folder).open_things()
    )


def boot_id() -> str:
    """Which boot of this host it is: process numbers and video memory mean nothing after the next."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def process_space() -> str:
    """Where a process number means the same process: this boot of this host, and its container."""
    return f"{boot_id()} {Path('/proc/self/ns/pid').readlink()}"


def _start_time(pid: int) -> int:
    """The start of process ``pid`` in clock ticks since boot; 0 when there is none, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])
