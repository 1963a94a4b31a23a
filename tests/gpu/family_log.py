"""What ``sitecustomize`` wrote of a family of Python processes: who was there, and how each ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

RANK_KINDS = frozenset({"spawn", "fork"})
"""How multiprocessing makes the processes that work."""


class Member(NamedTuple):
    """One child of the first process; ``code`` is None where its parent never asked for its status."""

    pid: int
    kind: str
    code: int | None


def read(path: Path, parent: int) -> tuple[Member, ...]:
    """The direct children of ``parent`` in the order it started them; a line cut short by a death is passed over."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    born: dict[int, tuple[int, str]] = {}
    codes: dict[int, int] = {}
    for line in lines:
        try:
            event = json.loads(line)
            if event["parent"] != parent:
                continue
            if event["event"] == "born":
                born[event["pid"]] = event["ticks"], event["kind"]
            else:
                codes[event["pid"]] = event["code"]
        except (KeyError, TypeError, ValueError):
            continue
    order = sorted((ticks, pid) for pid, (ticks, _) in born.items())  # pids alone begin anew at their limit
    return tuple(Member(pid, born[pid][1], codes.get(pid)) for _, pid in order)


def ranks(members: Sequence[Member]) -> tuple[Member, ...]:
    """Those that work: no resource tracker, no program run in passing."""
    return tuple(member for member in members if member.kind in RANK_KINDS)
