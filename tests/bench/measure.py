"""Measuring: whole processes, one after the other in turn, after a warm-up."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


class BenchError(Exception):
    """Something that is measured did not do what it is measured for."""


@dataclass(frozen=True, slots=True)
class Series:
    """The seconds of every round of one case."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.seconds)

    def above(self, base: Series) -> Series:
        """Round by round, what it took above ``base``: neighbours in time had the same machine."""
        return Series(tuple(mine - its for mine, its in zip(self.seconds, base.seconds, strict=True)))


@dataclass(frozen=True, slots=True)
class Process:
    """A command line; ``before`` runs untimed ahead of every round."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    before: Callable[[], None] | None = None

    def seconds(self) -> float:
        """How long one run of it took; raises ``BenchError`` unless it ended with 0."""
        if self.before:
            self.before()
        begun = time.perf_counter()
        done = subprocess.run(self.argv, cwd=self.cwd, env=dict(self.env), capture_output=True, check=False)
        taken = time.perf_counter() - begun
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace")[-2000:]
            raise BenchError(f"{' '.join(self.argv)} ended with {done.returncode}\n{said}")
        return taken


def in_turn(cases: Mapping[str, Process], rounds: int, warm_ups: int = 2) -> dict[str, Series]:
    """Measure the cases A B C, A B C, ...: what disturbs the machine disturbs them alike."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(-warm_ups, rounds):
        for name, process in cases.items():
            seconds = process.seconds()
            if number >= 0:
                taken[name].append(seconds)
    return {name: Series(tuple(values)) for name, values in taken.items()}


def environment(**more: str) -> dict[str, str]:
    """This environment as a person has it: Python keeps its byte code, and none of our variables is set."""
    dropped = ("ROCM_CI_", "PYTHON", "NOX_", "COVERAGE")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)} | more


def output(argv: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """What a command writes; raises ``BenchError`` unless it ended with 0."""
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(argv)} ended with {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout.strip()
