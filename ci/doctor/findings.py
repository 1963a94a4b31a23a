"""What a check is, what it may look at and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..errors import Outcome, Problem, masked
from ..recipe.stack import Stack
from ..report.units import size
from ..settings import Settings
from ..world import host
from ..world.clock import Clock
from ..world.engine import Engine
from ..world.http import Send
from ..world.nics import Nics
from ..world.process import Run
from ..world.sysfs import Devices

State = Literal["fail", "warn", "ok"]
STATES: tuple[State, ...] = ("fail", "warn", "ok")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; ``outcome`` is what a failure makes of the whole run.

    ``subject`` is the one of many things that a check asks for: each has a line of its own.
    """

    check: str
    state: State
    message: str
    remedy: str = ""
    outcome: Outcome = Outcome.OK
    subject: str = ""

    @property
    def shown(self) -> Finding:
        """The same without logins: addresses come from the environment of this host."""
        return replace(self, message=masked(self.message), remedy=masked(self.remedy), subject=masked(self.subject))


@dataclass(frozen=True)
class Case:
    """All a check may look at. ``stack`` is None where it cannot be read, which is a finding of its own.

    ``start`` is for programs of this host, ``fetch`` for those that ask another one.
    """

    settings: Settings
    stack: Stack | None
    folder: Path
    engine: Callable[[], Engine]
    start: Run
    fetch: Run
    send: Send
    clock: Clock
    gpus: Callable[[], Devices]
    nics: Callable[[], Nics]

    @property
    def state(self) -> Path:
        """The state folder of this host."""
        return Path(self.settings.get("ROCM_CI_STATE").value)


@dataclass(frozen=True, slots=True)
class Check:
    """One question; ``remedy`` is for the case that it does not answer, which is fatal unless said otherwise."""

    name: str
    look: Callable[[Case], Iterable[Finding]]
    remedy: str
    fatal: bool = True
    needs_engine: bool = False
    where: Callable[[Case], str] = lambda _case: ""


def mistakes(check: str, problems: Iterable[Problem]) -> Iterator[Finding]:
    """Problems of what somebody wrote, as failures."""
    for problem in problems:
        place = f" at {problem.place}" if problem.place else ""
        yield Finding(check, "fail", problem.message + place, problem.hint, Outcome.CONFIG)


def space(check: str, folder: Path, needed_gb: int, remedy: str) -> Finding:
    """Less than the whole need may still do where images are there already; a quarter of it never does."""
    free = host.free_disk(folder)
    message = f"{size(free)} free at {folder}" + (
        f", a first build takes about {needed_gb} GB there" if needed_gb else ""
    )
    if free < needed_gb * 1e9 / 4:
        return Finding(check, "fail", message, remedy, Outcome.INFRA)
    if free < needed_gb * 1e9:
        return Finding(check, "warn", message, remedy)
    return Finding(check, "ok", message)
