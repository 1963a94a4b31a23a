"""Several ranks as one group: one deadline over all, every exit status, and which of them is to blame.

A rank says how far it is by lines ``at PHASE`` on its output, the last one ``at end``.  A dead rank makes
its peers fail or wait, and a hung one makes all of them wait, so neither the last to fail nor everyone who
waits is to blame: the first that died is, or else the one that got least far.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import processes

HERE = Path(__file__).resolve().parent
GRACE = 5.0
"""Seconds the others have to fail by themselves once one has died, and each rung of the ladder has."""
WRONG = 3
"""Exit status by which a rank says that its numbers are wrong."""
LAST = "end"
"""The phase a rank says when it has done everything; without it, exit status 0 is a death too."""


class End(NamedTuple):
    """How one rank ended; ``code`` None: it was still running when we ended the group.

    ``order`` counts looks at the group: two ranks found dead at one look have the same.
    """

    rank: int
    code: int | None
    order: int
    phases: tuple[str, ...]
    last_words: str = ""


class Group(NamedTuple):
    """How all ended, and after how long."""

    ends: tuple[End, ...]
    seconds: float


def judge(group: Group, limit: float) -> tuple[str, ...]:
    """Everything wrong with a group; empty if every rank came to its end and left with 0."""
    wrong = [end for end in group.ends if end.code == WRONG]
    if wrong:
        return tuple(f"rank {end.rank} got a wrong answer: {end.last_words}" for end in wrong)
    dead = [end for end in group.ends if died(end)]
    if dead:
        # Peers of a killed rank fail by themselves, with an exception: of two found dead at once, the signal was first.
        first = min(dead, key=lambda end: (end.order, (end.code or 0) > 0))
        text = f"rank {first.rank} died {how(first.code)}, it {where(first)}: {first.last_words}"
        return (text, *others(group, first))
    waiting = [end for end in group.ends if end.code is None]
    if waiting:
        first = min(waiting, key=lambda end: len(end.phases))
        return (
            f"rank {first.rank} hung: the group's {limit:g} s were over, and it {where(first)}",
            *others(group, first),
        )
    return ()


def died(end: End) -> bool:
    """Whether a rank ended, and not as it should."""
    return end.code is not None and (end.code != 0 or end.phases[-1:] != (LAST,))


def how(code: int | None) -> str:
    """An exit status in words."""
    return f"of signal {-code}" if code is not None and code < 0 else f"with exit status {code}"


def where(end: End) -> str:
    """How far a rank got, as far as it said."""
    return f"got to {end.phases[-1]!r}" if end.phases else "said nothing of how far it got"


def others(group: Group, first: End) -> tuple[str, ...]:
    """The other ranks, each with its status."""
    rest = (end for end in group.ends if end is not first)
    return tuple(
        f"  rank {end.rank}: {'ended by us' if end.code is None else 'ended ' + how(end.code)}, {where(end)}"
        for end in rest
    )


def read_log(log: Path) -> tuple[tuple[str, ...], str]:
    """The phases a rank went through, and the last line it said beside them."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    phases = tuple(line.removeprefix("at ") for line in lines if line.startswith("at "))
    words = [line for line in lines if line.strip() and not line.startswith("at ")]
    return phases, (words[-1] if words else "no words")[:500]


def all_to_all(ranks: int, rendezvous: Path, plant: str = "") -> list[list[str]]:
    """The argument list of each rank of the all-to-all test; ``plant`` makes one misbehave."""
    program = [sys.executable, str(HERE / "all_to_all_rank.py"), f"--rendezvous={rendezvous}", f"--plant={plant}"]
    return [[*program, f"--ranks={ranks}", f"--rank={rank}"] for rank in range(ranks)]


def start(command: Sequence[str], log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Begin one rank, in a session of its own, its output in a file."""
    with log.open("wb") as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **env},
            start_new_session=True,
        )  # fmt: skip


def run(commands: Sequence[Sequence[str]], logs: Path, limit: float, env: Mapping[str, str] | None = None) -> Group:
    """Run one command per rank, each with an output file; none of their processes is left afterwards."""
    begin = time.monotonic()
    files = [logs / f"rank-{rank}.log" for rank in range(len(commands))]
    started: list[subprocess.Popen[bytes]] = []
    try:
        started += (start(command, log, env or {}) for command, log in zip(commands, files, strict=True))
        found = attend(started, begin + limit)
        if len(found) < len(started):
            processes.ask_for_stacks(process.pid for process in started if process.poll() is None)
            time.sleep(0.5)  # the stacks go to the ranks' own files
    finally:
        for process in started:
            end_tree(process)
    ends = (end_of(rank, found.get(rank), log) for rank, log in enumerate(files))
    return Group(tuple(ends), time.monotonic() - begin)


def end_of(rank: int, found: tuple[int, int] | None, log: Path) -> End:
    """How a rank ended, by its (status, order) and what it said."""
    phases, last_words = read_log(log)
    code, order = found or (None, 0)
    return End(rank, code, order, phases, last_words)


def attend(started: Sequence[subprocess.Popen[bytes]], end: float) -> dict[int, tuple[int, int]]:
    """(status, order of death) of each rank that ended before ``end``, a reading of the monotonic clock.

    Once one has failed its peers get a short time to end too: their words may be the cause.
    """
    found: dict[int, tuple[int, int]] = {}
    order = 0
    while len(found) < len(started):
        left = {process.pid: rank for rank, process in enumerate(started) if rank not in found}
        gone = processes.wait(tuple(left), end - time.monotonic())
        if not gone:
            break
        for pid in gone:
            found[left[pid]] = (started[left[pid]].wait(), order)
        if any(started[left[pid]].returncode for pid in gone):
            end = min(end, time.monotonic() + GRACE)
        order += 1
    return found


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """End a rank and everything it has started."""
    processes.end(processes.family(processes.table(), process.pid), GRACE)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
