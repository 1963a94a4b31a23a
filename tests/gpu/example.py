"""An example script run as one group: one deadline, every rank's exit status, proof in its output."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import family_log
import processes
from family_log import Member

WATCH = "ROCM_WATCH_CHILDREN"
"""The variable by which ``sitecustomize`` keeps the family log; it marks the family too."""
GRACE = 5.0
"""Seconds each rung of the ladder takes, and that the rest may outlive the script."""


class Finished(NamedTuple):
    """The end of a script; ``code`` None: the deadline came first. ``survivors`` had to be ended after it."""

    code: int | None
    seconds: float
    ranks: tuple[Member, ...]
    survivors: tuple[str, ...]
    output: str


def run(argv: Sequence[str], logs: Path, limit: float) -> Finished:
    """Run it to its end or the deadline; nothing of its tree is left afterwards."""
    log, children = logs / "example.log", logs / "children.jsonl"
    mark = f"{WATCH}={children}"
    begin = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, WATCH: str(children)},
        )  # fmt: skip
    try:
        ended = bool(processes.wait([process.pid], limit))
        seconds = time.monotonic() - begin
        members = family_log.read(children, process.pid)
        if not ended:
            processes.ask_for_stacks(each.pid for each in family(process.pid, mark))
            time.sleep(1)  # the stacks go to the script's output
        code = process.poll() if ended else None
    finally:
        survivors = end_tree(process, mark)
    return Finished(code, seconds, members, survivors, log.read_text(errors="replace"))


def family(leader: int, mark: str) -> list[processes.Process]:
    """The script's processes that still run, in its session or not."""
    seen = processes.table()
    return processes.alive(processes.family(seen, leader, processes.marked(seen, mark)))


def end_tree(process: subprocess.Popen[bytes], mark: str) -> tuple[str, ...]:
    """End what is left; after the end of the script itself the rest first has a moment to go by itself."""
    if process.poll() is not None:
        processes.wait_all([each.pid for each in family(process.pid, mark)], GRACE)
    left = family(process.pid, mark)
    processes.end(left, GRACE)
    process.wait()
    return tuple(str(each) for each in left if each.pid != process.pid)


def judge(finished: Finished, limit: float, ranks: int, proof: str | None) -> tuple[str, ...]:
    """Everything wrong with the end of a script; empty if nothing is."""
    found = family_log.ranks(finished.ranks)
    hung = finished.code is None
    wrong = [rank_text(number, member, hung) for number, member in enumerate(found) if member.code != 0]
    if hung:
        return (f"the group hung: it had not ended after {limit:g} s", *wrong)
    if finished.code:
        wrong.append(f"the script ended with {finished.code}")
    if len(found) < ranks:
        wrong.append(f"the script started {len(found)} ranks, {ranks} were asked for")
    if finished.survivors:
        wrong.append(f"processes outlived the script: {', '.join(finished.survivors)}")
    if proof is not None and not re.search(proof, finished.output):
        wrong.append(f"the output has no line like {proof!r}: the backend asked for is not known to be in use")
    return tuple(wrong)


def rank_text(number: int, member: Member, hung: bool) -> str:
    """What is said of a rank that did not end with 0."""
    if member.code is None:
        return f"rank {number} (pid {member.pid}) {'was still running' if hung else 'was never seen to end'}"
    how = f"signal {-member.code}" if member.code < 0 else f"exit status {member.code}"
    return f"rank {number} (pid {member.pid}) died: {how}"


def moved_text(path: Path) -> str:
    """What is said of a script that is not there, with the nearest files of that kind."""
    folder = next((parent for parent in path.parents if parent.is_dir()), Path("/"))
    near = sorted(str(each) for each in folder.rglob(f"*{path.stem}*.py"))[:3] if folder != Path("/") else []
    shown = f"; there is {', '.join(near)}" if near else f"; {folder} is the nearest folder that exists"
    return f"there is no {path} in this image: it has moved{shown}"
