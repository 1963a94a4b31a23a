"""How a run of a suite went, step by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..errors import Outcome
from ..world.sandbox import Ended
from .events import Measured
from .records import Records
from .tally import tally
from .verdict import IDLE, Counts, Verdict, merge_step


@dataclass(frozen=True)
class CommandResult:
    """One command: its words, how it ended and how that was judged; ``folder`` has its log, JUnit and events."""

    number: int
    words: tuple[str, ...]
    verdict: Verdict
    ended: Ended
    folder: Path

    def to_json(self) -> dict[str, Any]:
        """As a plain value; ``from_json`` reads it."""
        return {
            "number": self.number,
            "argv": list(self.words),
            "outcome": self.verdict.outcome,
            "reasons": list(self.verdict.reasons),
            "counts": self.verdict.counts._asdict(),
            "ended": {**self.ended._asdict(), "rungs": list(self.ended.rungs)},
            "folder": str(self.folder),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CommandResult:
        """The command that ``to_json`` wrote."""
        verdict = Verdict(Outcome(data["outcome"]), tuple(data["reasons"]), Counts(**data["counts"]))
        ended = Ended(**{**data["ended"], "rungs": tuple(data["ended"]["rungs"])})
        return cls(data["number"], tuple(data["argv"]), verdict, ended, Path(data["folder"]))


@dataclass(frozen=True)
class StepResult:
    """One step, or one shard of it (``1/2``); ``tries`` says why earlier ones counted for nothing.

    ``unmet``: it was left out because this node lacks what it needs.  ``soft`` says why its failure fails nothing, and
    until when; ``replay`` is the command that runs a step again that did not end well.
    """

    name: str
    summary: str
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    shard: str = ""
    where: str = "cpu"
    seconds: float = 0.0
    counts: Counts = field(default_factory=Counts)
    skipped: Mapping[str, int] = field(default_factory=dict)
    measured: tuple[Measured, ...] = ()
    gpus: tuple[str, ...] = ()
    image: str = ""
    tries: tuple[str, ...] = ()
    commands: tuple[CommandResult, ...] = ()
    durations: Mapping[str, float] = field(default_factory=dict)
    unmet: bool = False
    soft: str = ""
    replay: str = ""

    @property
    def label(self) -> str:
        """Its name with its shard."""
        return f"{self.name} {self.shard}".rstrip()

    @property
    def idle(self) -> bool:
        """Whether no test fell to its shard."""
        return any(each.verdict.reasons == (IDLE,) for each in self.commands)

    def to_json(self) -> dict[str, Any]:
        """As a plain value; ``from_json`` reads it."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return own | {
            "seconds": round(self.seconds, 2),
            "reasons": list(self.reasons),
            "gpus": list(self.gpus),
            "tries": list(self.tries),
            "counts": self.counts._asdict(),
            "measured": [each._asdict() for each in self.measured],
            "commands": [each.to_json() for each in self.commands],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StepResult:
        """The step that ``to_json`` wrote."""
        return cls(
            **{
                **data,
                "outcome": Outcome(data["outcome"]),
                "reasons": tuple(data["reasons"]),
                "gpus": tuple(data["gpus"]),
                "tries": tuple(data["tries"]),
                "counts": Counts(**data["counts"]),
                "measured": tuple(Measured(**each) for each in data["measured"]),
                "commands": tuple(CommandResult.from_json(each) for each in data["commands"]),
            }
        )


@dataclass(frozen=True)
class RunResult:
    """A whole run; ``fallback`` says why the image is not made of the bundle that was given."""

    suite: str
    stack: str
    outcome: Outcome
    steps: tuple[StepResult, ...]
    folder: Path
    seconds: float
    reasons: tuple[str, ...] = ()
    fallback: str = ""


def summed(empty: StepResult, done: Sequence[tuple[CommandResult, Records]]) -> StepResult:
    """``empty`` with what its commands gave together."""
    whole = merge_step([result.verdict for result, _ in done])
    skipped: Counter[str] = Counter()
    for _, found in done:
        skipped.update(tally(found).why_skipped())
    return replace(
        empty,
        outcome=whole.outcome,
        reasons=whole.reasons,
        counts=whole.counts,
        skipped=dict(skipped.most_common()),
        measured=tuple(each for _, found in done for each in found.events.measured),
        commands=tuple(result for result, _ in done),
        durations={each.id: round(each.seconds, 3) for _, found in done for each in found.events.ended},
    )
