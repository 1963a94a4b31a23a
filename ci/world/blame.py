"""When git saw each line of a file change last."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ..errors import InfraError
from .process import Command, Run, run

_COMMIT = re.compile(r"([0-9a-f]{40,64}) \d+ (\d+)")


class LineChange(NamedTuple):
    """The last change of a line: its commit, empty while none has it, and the commit's time in seconds."""

    commit: str
    moment: int


def last_changes(path: Path, start: Run = run) -> dict[int, LineChange]:
    """The last change of each line of ``path``, counted from 1, blanks and moves left aside.

    A line is missing where git cannot tell: outside of a repository, without git, in a file that it does not track,
    and for what a shallow history was cut off from.
    """
    git = ("git", "-c", "core.fsmonitor=false", "-c", "blame.ignoreRevsFile=", "-C", str(path.parent))
    try:
        shallow = start(Command((*git, "rev-parse", "--is-shallow-repository"), brief=True))
        told = start(Command((*git, "blame", "-w", "-M", "--line-porcelain", "--", path.name), brief=True))
    except InfraError:
        return {}
    if not told.ok:
        return {}
    return _read(told.stdout, cut=shallow.stdout.strip() != "false")


def _read(porcelain: str, *, cut: bool) -> dict[int, LineChange]:
    changes: dict[int, LineChange] = {}
    commit, line, moment, boundary = "", 0, 0, False
    for row in porcelain.splitlines():
        if row.startswith("\t"):
            if not (cut and boundary):
                changes[line] = LineChange("" if commit.strip("0") == "" else commit, moment)
            boundary = False
        elif found := _COMMIT.match(row):
            commit, line = found[1], int(found[2])
        elif row.startswith("committer-time "):
            moment = int(row.split()[1])
        elif row == "boundary":
            boundary = True
    return changes
