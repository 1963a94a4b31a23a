"""Dirty marks: GPUs of this host that were not given back as they were taken. Nobody leases them.

A process killed inside the driver may keep video memory that no one owns; every later test on that device
fails for a reason that is not its own.  A mark carries the evidence, and goes when the memory is back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from ..errors import InfraError
from . import files
from .clock import Clock
from .gpus import Gpu, Holder, Node
from .ledger import boot_id

VERSION = 1
REMEDY = "see dmesg; reset the device (amd-smi reset --gpureset) or reboot the node; the next run checks it again"
TOLERANCE_MB = 512
"""MiB above its baseline that a device may keep: the driver's own tables grow a little."""

_LOOK = 2.0
"""Seconds between looks at memory that is being given back."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Leak:
    """A device that has not come back: memory in MiB before and now, and who is said to hold it.

    Not ``sure``: its memory was known neither before nor now, and nobody new holds it, so nobody can tell.
    """

    gpu: str
    before_mb: int | None
    now_mb: int | None
    holders: tuple[Holder, ...]
    sure: bool = True

    def __str__(self) -> str:
        who = ", ".join(f"process {each.pid} {each.name}".strip() for each in self.holders) or "nobody"
        return f"{self.gpu} uses {_mb(self.now_mb)} after {_mb(self.before_mb)} before; held by {who}"


@dataclass(frozen=True, slots=True)
class Mark:
    """Why a device is dirty.

    One that is ``lasting`` (it hung, or computes wrongly) is trusted again only after a reboot, or once somebody
    removes its mark, clean as its memory may be.
    """

    gpu: str
    run: str
    who: str
    at: datetime
    boot: str
    reason: str
    before_mb: int | None
    after_mb: int | None
    lasting: bool = False

    def __str__(self) -> str:
        return f"{self.gpu} is dirty since {self.at:%Y-%m-%d %H:%M}Z, left by {self.who}, run {self.run}: {self.reason}"


def returned(before: Node, after: Node, tolerance_mb: int = TOLERANCE_MB) -> tuple[Leak, ...]:
    """The devices of ``before`` that are not back at what they used then; one nobody can measure is not back.

    What a process that held a device before has taken since is its own affair.
    """
    leaks = []
    for gpu in before.gpus:
        now = after.gpu(gpu.key)
        used = now.used_mb if now else None
        strangers = {holder.pid: holder.vram_mb or 0 for holder in before.held(gpu.key)}
        holders = after.held(gpu.key)
        theirs = sum(max(0, (each.vram_mb or 0) - strangers[each.pid]) for each in holders if each.pid in strangers)
        if used is None or used - theirs > (gpu.used_mb or 0) + tolerance_mb:
            known = now is None or gpu.used_mb is not None or used is not None
            sure = known or any(each.pid not in strangers for each in holders)
            leaks.append(Leak(gpu.key, gpu.used_mb, used, holders, sure))
    return tuple(leaks)


def settle(
    look: Callable[[], Node], before: Node, seconds: float, clock: Clock, tolerance_mb: int = TOLERANCE_MB
) -> tuple[Leak, ...]:
    """Wait until the devices of ``before`` are back, at most ``seconds``; gives those that are not.

    To be called once their users have ended: the driver lists a process, and keeps its memory, for a
    moment after its end.  Does not wait for what will never be known.
    """
    end = clock.monotonic() + seconds
    while True:
        leaks = returned(before, look(), tolerance_mb)
        if not any(leak.sure for leak in leaks) or clock.monotonic() >= end:
            return leaks
        clock.sleep(_LOOK)


def mark(state: Path, leak: Leak, *, run: str, who: str, clock: Clock, unwell: str = "") -> Mark:
    """Keep the device from everybody until it is clean again; one that is ``unwell``, for that reason, longer.

    A lasting mark is not replaced by a milder one.
    """
    folder = state / "dirty"
    path = folder / f"{leak.gpu}.json"
    known = next((each for each in marks(state) if each.gpu == leak.gpu), None)
    if known and known.lasting and known.boot == boot_id() and not unwell:
        return known
    reason = f"{unwell}; {leak}; after a reset remove {path}" if unwell else str(leak)
    made = Mark(leak.gpu, run, who, clock.now(), boot_id(), reason, leak.before_mb, leak.now_mb, bool(unwell))
    with files.disk_errors(f"cannot write in {folder}"):
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o1777)
    files.write_json(path, {"version": VERSION, **asdict(made), "at": made.at.isoformat()})
    path.chmod(0o644)
    return made


def marks(state: Path) -> tuple[Mark, ...]:
    """All dirty devices; one whose mark cannot be read is dirty as well."""
    return tuple(_read(path) for path in sorted((state / "dirty").glob("[!.]*.json")))


def recheck(state: Path, node: Node, say: Say, tolerance_mb: int = TOLERANCE_MB) -> tuple[Mark, ...]:
    """Take the mark from every device that is clean again, and say so; gives those that stay."""
    stay = []
    for each in marks(state):
        gpu = node.gpu(each.gpu)
        if gpu is None or not _clean(each, gpu, node.held(each.gpu), tolerance_mb):
            stay.append(each)
            continue
        try:
            (state / "dirty" / f"{each.gpu}.json").unlink(missing_ok=True)
        except OSError as error:
            say(f"{each.gpu} is clean again, but its mark cannot be removed: {error.strerror}; ask {each.who}")
            stay.append(each)
        else:
            say(f"{each.gpu} is clean again ({_mb(gpu.used_mb)} in use): {each}")
    return tuple(stay)


def _clean(marked: Mark, gpu: Gpu, holders: Sequence[Holder], tolerance_mb: int) -> bool:
    if holders or (marked.lasting and marked.boot == boot_id()):
        return False
    if gpu.used_mb is None:  # nor was it known then: it was marked for its holder, or for not being there
        return marked.before_mb is None and marked.after_mb is None
    return gpu.used_mb <= (marked.before_mb or 0) + tolerance_mb


def _read(path: Path) -> Mark:
    with suppress(InfraError, OSError, TypeError, KeyError, ValueError, AttributeError):
        data = files.read_json(path)
        if data.pop("version") == VERSION:
            return Mark(**{**data, "at": datetime.fromisoformat(data["at"])})
    reason = f"its mark {path} cannot be read: remove it if the device is well"
    return Mark(path.stem, "?", "?", _changed(path), boot_id(), reason, None, None, lasting=True)


def _changed(path: Path) -> datetime:
    from datetime import UTC

    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _mb(value: int | None) -> str:
    return "an unknown amount" if value is None else f"{value} MiB"
