"""The end of a build verb: its summary for people and its result for programs."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ..answer import Answer
from ..build import scope
from ..build.perform import Performance, TierResult
from ..errors import CiError, Outcome
from . import summary
from .summary import RunReport, TierReport

_NEXT = {"base": "inv build-ci-base", "ci-base": "inv build-test"}
"""What a person usually does after a tier is there."""


def answer(verb: str, performance: Performance) -> Answer:
    """A run in which every tier ended well."""
    report = _report(verb, performance, None)
    text, page = summary.text(report, width=_width()), summary.markdown(report)
    return Answer(Outcome.OK, text, _document(verb, performance, Outcome.OK), page)


def failure(verb: str, performance: Performance, error: CiError) -> str:
    """How a failed run ended: the failing stage first, then what was finished before it."""
    return summary.text(_report(verb, performance, error), width=_width())


def page(verb: str, performance: Performance, error: CiError) -> str:
    """The same as Markdown."""
    return summary.markdown(_report(verb, performance, error))


def _width() -> int:
    return shutil.get_terminal_size().columns


def _report(verb: str, performance: Performance, error: CiError | None) -> RunReport:
    work = performance.workspace
    goal = performance.results[-1].tier if performance.results else ""
    return RunReport(
        verb=verb,
        stack=work.stack.name,
        outcome=error.outcome if error else Outcome.OK,
        tiers=tuple(_tier(result) for result in performance.results),
        seconds=sum(result.seconds for result in performance.results),
        next_command="" if error else _NEXT.get(goal, ""),
        run_folder=str(performance.ledger.folder),
        failure=performance.failure,
    )


def _tier(result: TierResult) -> TierReport:
    decision = result.decision if result.outcome is Outcome.OK else "failed"
    return TierReport(
        tier=result.tier,
        tag=result.reference.partition("@")[0],
        digest=result.digest,
        decision=decision,
        reasons=result.reasons,
        stages=result.stages,
        seconds=result.seconds,
        size=result.size,
        largest_layers=result.largest_layers,
        published=result.published,
        cache=tuple(_caches(result)) if result.cache or result.cache_read else (),
        attested=result.attested,
        warnings=result.warnings,
    )


def _caches(result: TierResult) -> Iterator[str]:
    """How many were read and written, in one line, then each that was not written although it was to be."""
    from ..build.cache_kept import FAILED, SKIPPED, WRITTEN

    states = Counter(kept.state for kept in result.cache)
    counts = {"read": len(result.cache_read), WRITTEN: states[WRITTEN], "there already": states[SKIPPED]}
    if told := ", ".join(f"{count} {what}" for what, count in counts.items() if count):
        yield told
    for kept in result.cache:
        if kept.state == FAILED:
            yield f"not written, the image is fine: {kept.where}: {kept.why}"


def _document(verb: str, performance: Performance, outcome: Outcome) -> dict[str, Any]:
    return {
        "schema": 1,
        "verb": verb,
        "outcome": outcome,
        "stack": performance.workspace.stack.name,
        "trust": scope.document(performance.workspace.reach),
        "run_folder": str(performance.ledger.folder),
        "tiers": [_row(result) for result in performance.results],
    }


def _row(result: TierResult) -> dict[str, Any]:
    return {
        "tier": result.tier,
        "outcome": result.outcome,
        "decision": result.decision,
        "reasons": list(result.reasons),
        "identity": result.identity,
        "reference": result.reference or None,
        "digest": result.digest or None,
        "published": result.published,
        "cache_read": list(result.cache_read),
        "cache": [kept._asdict() for kept in result.cache],
        "attested": list(result.attested),
        "seconds": round(result.seconds, 2),
        "size": result.size,
        "stages": {stage.name: round(stage.seconds, 2) for stage in result.stages},
        "largest_layers": [list(row) for row in result.largest_layers],
        "warnings": list(result.warnings),
    }
