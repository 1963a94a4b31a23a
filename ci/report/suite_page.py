"""A run of a suite as Markdown, for the page of a CI: what failed first, then every step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..errors import Outcome
from ..printable import printable
from ..suites.replay import WELL
from ..suites.results import RunResult, StepResult
from .markdown import code, fenced, plain, table
from .units import clip, counted, seconds

_REASONS = 6
_WIDEST = 300


def markdown(result: RunResult) -> str:
    """Heading, why each failing step failed and the command that runs it again, then a row for each step."""
    ran = sum(each.counts.run for each in result.steps)
    took = f"{result.outcome} in {seconds(result.seconds)}, {counted(ran, 'test')} run"
    parts = [f"### {code(result.suite)} ({plain(result.stack)}): {took}"]
    parts += [_text(each) for each in result.reasons]
    if counts := _counted(result.steps):
        parts.append(counts)
    for each in result.steps:
        if each.outcome not in WELL:
            parts += _failing(each)
    if result.steps:
        parts.append(table(("Step", "Outcome", "Time", "Run", "Failed", "Skipped", "On"), map(_row, result.steps)))
    for image in dict.fromkeys(step.image for step in result.steps if step.image):
        parts.append(f"Image {code(image)}")
    return "\n\n".join(parts) + "\n"


def _counted(steps: Sequence[StepResult]) -> str:
    """What went by without a red step, and is not to go unseen."""
    soft = sum(bool(each.soft) and each.outcome is Outcome.FAILED for each in steps)
    flaky, quarantined = (sum(getattr(each.counts, name) for each in steps) for name in ("flaky", "quarantined"))
    told = [counted(soft, "soft failure")] if soft else []
    told += [f"{counted(flaky, 'test')} flaky"] if flaky else []
    told += [f"{counted(quarantined, 'test')} failed in quarantine"] if quarantined else []
    if not told:
        return ""
    lines = [
        f"- {_text(each)}" for step in steps for each in step.reasons if each.startswith(("flaky: ", "quarantined: "))
    ]
    return "\n".join([f"**Not red, and not well:** {', '.join(told)}", *([""] if lines else []), *lines[:_REASONS]])


def _failing(step: StepResult) -> Iterator[str]:
    soft = f", soft: {_text(step.soft)}" if step.soft else ""
    lines = [f"- {_text(each)}" for each in step.reasons[:_REASONS]]
    if len(step.reasons) > _REASONS:
        lines.append(f"- {len(step.reasons) - _REASONS} more in result.json")
    yield "\n".join([f"**{plain(step.label)}: {step.outcome}**{soft}", "", *lines]).rstrip()
    if step.replay:
        yield fenced([printable(step.replay)])


def _row(step: StepResult) -> tuple[str, ...]:
    outcome = f"{step.outcome} (soft)" if step.soft and step.outcome is Outcome.FAILED else str(step.outcome)
    if step.outcome is Outcome.SKIPPED and not step.commands:
        return (plain(step.label), f"{outcome}: {_text('; '.join(step.reasons))}", "", "", "", "", "")
    numbers = map(str, (step.counts.run, step.counts.failed, step.counts.skipped))
    where = plain(", ".join(step.gpus) or step.where)
    return (plain(step.label), outcome, seconds(step.seconds), *numbers, where)


def _text(text: str) -> str:
    return plain(clip(text, _WIDEST))
