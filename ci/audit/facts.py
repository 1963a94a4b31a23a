"""What the rules judge: the facts of one wheel or of loose files, what is asked of them, and what is found wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import Problem
from .inspect import Inspection
from .libraries import Libraries
from .wheel import Wheel


@dataclass(frozen=True, slots=True)
class Facts:
    """One wheel, or the loose files of a target (``wheel`` is None); ``problems`` are of files that could not be read.

    ``sizes`` has what every part takes in the thing that is shipped: packed in a wheel.
    """

    name: str
    size: int
    files: tuple[Inspection, ...]
    sizes: tuple[tuple[str, int], ...]
    problems: tuple[Problem, ...] = ()
    wheel: Wheel | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller asks for: targets, the most bytes (0 for no limit), a module to import (empty for none)."""

    archs: tuple[str, ...] = ()
    budget: int = 0
    module: str = ""


class Finding(NamedTuple):
    """Something wrong: ``subject`` is the file or name it is about, what an exception is matched with."""

    subject: str
    message: str
    hint: str = ""
    context: str = ""


class Allowed(NamedTuple):
    """An exception: findings of ``rule`` whose subject matches ``pattern`` do not count, for ``reason``."""

    rule: str
    pattern: str
    reason: str


class Waived(NamedTuple):
    """A finding that does not count, and why not."""

    finding: Finding
    by: Allowed


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one rule went: kept, broken, or not applied, ``why`` saying why not."""

    rule: str
    state: str
    findings: tuple[Finding, ...] = ()
    waived: tuple[Waived, ...] = ()
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """The verdict as a document has it."""
        return {
            "rule": self.rule,
            "state": self.state,
            "why": self.why or None,
            "findings": [finding._asdict() for finding in self.findings],
            "allowed": [{**each.finding._asdict(), "reason": each.by.reason} for each in self.waived],
        }


@dataclass(frozen=True, slots=True)
class Part:
    """The facts of one wheel or set of files, and every rule's verdict."""

    facts: Facts
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """Everything found in ``target``; ``unused`` are exceptions that covered nothing."""

    target: Path
    wanted: Wanted
    parts: tuple[Part, ...]
    unused: tuple[Allowed, ...] = ()

    @property
    def broken(self) -> tuple[tuple[str, Finding], ...]:
        """All that counts against it: (rule, finding)."""
        return tuple(
            (verdict.rule, finding) for part in self.parts for verdict in part.verdicts for finding in verdict.findings
        )


class Case(NamedTuple):
    """What a rule looks at."""

    facts: Facts
    wanted: Wanted
    libraries: Libraries


class Skip(NamedTuple):
    """What a rule answers that does not apply: why not."""

    why: str
