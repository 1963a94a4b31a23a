"""A run with a ledger at a real Slurm, and everything that was heard in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci.suites.nodes import RankedJob, RanksEnded
from ci.suites.ranks import Around, run_ranks
from ci.world.ledger import Ledger
from ci.world.sandbox import Limits
from ci.world.slurm import Slurm

from .slurm import Cluster, until

FOREVER = ("sleep", "100000")
DEAF = ("sh", "-c", "trap '' INT TERM; while :; do sleep 0.1; done")


@dataclass
class Desk:
    """A run with a ledger, and everything that was heard in it."""

    cluster: Cluster
    folder: Path
    ledger: Ledger
    lines: list[tuple[int, str, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    on_up: Callable[[], object] | None = None

    def run(self, *commands: Sequence[str], **changes: Any) -> RanksEnded:
        return run_ranks(job(self.folder, commands, **changes), self.around())

    def around(self) -> Around:
        return Around(Slurm(self.cluster.environ), self.ledger, self._hear, self.said.append)

    def _hear(self, rank: int, stream: str, line: str) -> None:
        self.lines.append((rank, stream, line))
        if self.on_up and line == "up":
            self.on_up()

    def nothing_is_left(self) -> None:
        """No job, in Slurm or in the ledger, no process of a rank, and every node free again."""
        assert self.ledger.open_things() == ()
        assert self.cluster.jobs() == []
        self.cluster.until_idle()
        until(lambda: not self.cluster.left(b"MASTER_PORT="), "the end of all ranks")


def job(folder: Path, commands: Sequence[Sequence[str]], **changes: Any) -> RankedJob:
    plain: dict[str, Any] = {
        "name": "step", "commands": tuple(map(tuple, commands)), "env": {}, "cwd": Path("/"),
        "results": folder / "results",
        "limits": Limits(180.0, grace_seconds=2.0, evidence_seconds=20.0), "queue": 60.0,
    }  # fmt: skip
    return RankedJob(**plain | changes)


def at(slurm: Cluster, folder: Path) -> Desk:
    """A desk with a run of its own in ``folder``."""
    return Desk(slurm, folder, Ledger.begin(folder / "state", "20260101T000000Z-abcdef01", "test"))


def shell(text: str) -> tuple[str, ...]:
    return ("sh", "-c", text)


def python(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def codes(result: RanksEnded) -> list[int | None]:
    return [each.ended.code for each in result.ranks]
