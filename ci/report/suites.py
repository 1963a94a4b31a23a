"""A run of a suite as a person reads it, and as a document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from ..answer import Answer
from ..errors import Outcome
from ..printable import printable
from ..suites.plan import Planned, SuitePlan
from ..suites.results import RunResult, StepResult
from . import suite_page
from .units import clip, counted, seconds

_HEADS = ("step", "shard", "outcome", "time", "run", "failed", "skipped", "on")
_REASONS = 6
"""Reasons shown for one step, and as many notes; ``result.json`` has them all."""

_NOTE = re.compile(r"\d+ skipped: |flaky: |quarantined: |left out( in vain)?: ")
"""What has to be known of a step and is not why it ended as it did."""


def answer(result: RunResult) -> Answer:
    """The run in full: a table of steps, why each ended as it did, what was measured, and on which image."""
    return Answer(result.outcome, "\n".join(_lines(result)), document(result), suite_page.markdown(result))


def _lines(result: RunResult) -> Iterator[str]:
    yield from table([_row(each) for each in result.steps], _HEADS)
    for each in result.steps:
        yield from _why(each)
        yield from (f"  {each.label}: {line}" for line in _measured(each))
    for image in dict.fromkeys(step.image for step in result.steps if step.image):
        yield f"image       {image}"
    yield f"run folder  {result.folder}"
    ran = sum(each.counts.run for each in result.steps)
    tail = "".join(f"; {clip(each, 200)}" for each in result.reasons)
    took = f"{result.outcome} in {seconds(result.seconds)}"
    yield f"{result.suite} ({result.stack}): {took}, {counted(ran, 'test')} run{tail}"


def table(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> Iterator[str]:
    """Columns as wide as their widest word; a column nobody fills is left out."""
    used = [index for index in range(len(heads)) if any(row[index] for row in rows)]
    widths = {index: max(len(row[index]) for row in (heads, *rows)) for index in used}
    for row in (heads, *rows):
        yield "  ".join(f"{row[index]:{widths[index]}}" for index in used).rstrip()


def _row(step: StepResult) -> tuple[str, ...]:
    name = f"{step.name}{f' (try {len(step.tries) + 1})' if step.tries else ''}"
    if step.outcome is Outcome.SKIPPED and not step.commands:
        return (name, step.shard, step.outcome, "", "", "", "", "")
    outcome = f"{step.outcome} (soft)" if step.soft and step.outcome is Outcome.FAILED else step.outcome
    numbers = (step.counts.run, step.counts.failed, step.counts.skipped)
    return (
        name,
        step.shard,
        outcome,
        seconds(step.seconds),
        *map(str, numbers),
        ", ".join(step.gpus) or step.where,
    )


def _why(step: StepResult) -> Iterator[str]:
    told = [*(f"earlier try: {each}" for each in step.tries), *step.reasons]
    notes = [each for each in told if _NOTE.match(each)]
    for kind, lines in (("reasons", [each for each in told if each not in notes]), ("notes", notes)):
        yield from (f"  {step.label}: {clip(each, 200)}" for each in lines[:_REASONS])
        if len(lines) > _REASONS:
            yield f"  {step.label}: more {kind} are in result.json and junit.xml"
    if step.commands and step.outcome not in {Outcome.OK, Outcome.SKIPPED}:
        bad = next((each for each in step.commands if each.verdict.outcome is step.outcome), step.commands[-1])
        yield f"  {step.label}: see {bad.folder}/log.txt"
    if step.replay:
        yield f"  {step.label}: again: {step.replay}"


def _measured(step: StepResult) -> Iterator[str]:
    for each in step.measured:
        test = clip(each.id.rpartition("::")[2], 60)
        yield f"{test}: {printable(each.name)} {each.value:.6g} {printable(each.unit)}".rstrip()


def document(result: RunResult) -> dict[str, Any]:
    """The run for programs."""
    return {
        "schema": 1,
        "outcome": result.outcome,
        "suite": result.suite,
        "stack": result.stack,
        "reasons": list(result.reasons),
        "seconds": round(result.seconds, 2),
        "run_folder": str(result.folder),
        "fallback": {"why": result.fallback} if result.fallback else None,
        "steps": [each.to_json() for each in result.steps],
    }


def planned(plan: SuitePlan, images: dict[str, str]) -> Answer:
    """What would be run, and where; nothing was started."""
    rows = [_planned_row(each) for each in plan.steps]
    lines = list(table(rows, ("step", "on", "GPUs", "shards", "at most", "tests and programs")))
    lines += [f"image {tier}: {image}" for tier, image in images.items()]
    document = {
        "schema": 1,
        "outcome": Outcome.OK,
        "plan": True,
        "suite": plan.suite,
        "images": images,
        "steps": [_planned_step(each) for each in plan.steps],
    }
    return Answer(Outcome.OK, "\n".join(lines), document)


def _planned_row(each: Planned) -> tuple[str, ...]:
    step = each.step
    if each.skip:
        return (each.name, "skipped", "", "", "", each.skip)
    shards = str(step.shards) if step.shards > 1 else ""
    words = "; ".join(" ".join((command.kind, *command.words)) for command in step.commands)
    where = "gpu" if step.needs.gpus else "cpu"
    return (each.name, where, str(step.needs.gpus or ""), shards, seconds(step.limits.seconds), clip(words, 100))


def _planned_step(each: Planned) -> dict[str, Any]:
    step = each.step
    return {
        "step": each.name,
        "skip": each.skip or None,
        "tier": step.tier,
        "needs": step.needs._asdict(),
        "limits": step.limits._asdict(),
        "bounds": step.bounds._asdict(),
        "shards": step.shards,
        "commands": [{"kind": c.kind, "words": list(c.words), "allow_empty": c.allow_empty} for c in step.commands],
        "excluded": [{"test": e.test, "reason": e.reason, "until": str(e.until)} for e in each.excluded],
    }
