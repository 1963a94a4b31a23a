"""Plans and explanations as a person reads them, and as documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..answer import Answer
from ..build.age import Age
from ..build.explain import Explanation
from ..build.plan import Plan, TierPlan
from ..build.scope import Told
from ..errors import Outcome
from ..identity import Change

_SHOWN = 60
"""Changes shown in text; the JSON document has them all."""


def answer(plan: Plan, told: Told | None = None, ages: Sequence[Age] = ()) -> Answer:
    """A plan: one line a tier, reasons below it; ``told`` of one that the stack's own tiers are built by."""
    lines = [f"stack {plan.stack.name}: {plan.stack.summary}"]
    lines += [f"  root {name}: will be fetched or made" for name in plan.missing_roots]
    for tier in plan.tiers:
        lines += _tier(tier)
    unclear = [tier.name for tier in plan.tiers if tier.decision == "unknown" and tier.identity]
    if unclear:
        lines.append(f"could not tell whether {', '.join(unclear)} is there already; run the same command again")
    lines += [str(age) for age in ages]
    lines += told.lines if told else ()
    outcome = Outcome.INFRA if unclear else Outcome.OK
    return Answer(
        outcome,
        "\n".join(lines),
        {
            "outcome": outcome,
            **plan.to_json(),
            **(told.document if told else {}),
            "ages": [age.to_json() for age in ages],
        },
    )


def _tier(tier: TierPlan) -> Iterator[str]:
    yield f"  {tier.decision:7} {tier.name}  {tier.tag or '(no identity yet)'}"
    if tier.found:
        yield f"          {tier.found.digest}"
    for reason in tier.reasons:
        yield f"          {reason}"


def explanation(found: Explanation) -> Answer:
    """Why a tier would, or would not, be rebuilt."""
    text = "\n".join(_explained(found))
    document: dict[str, Any] = {
        "schema": 1,
        "outcome": Outcome.OK,
        "tier": found.tier,
        "identity": found.identity or None,
        "against": found.against,
        "against_identity": found.before or None,
        "same": found.same,
        "changes": [_document(change) for change in found.changes],
        "notes": list(found.notes),
        "age": found.age.to_json() if found.age else None,
    }
    return Answer(Outcome.OK, text, document)


def _document(change: Change) -> dict[str, Any]:
    return {"kind": change.kind, "name": change.name, "old": change.old, "new": change.new}


def _explained(found: Explanation) -> Iterator[str]:
    yield f"{found.tier} is {found.identity or 'not known yet'}"
    yield from (f"  note: {note}" for note in found.notes)
    if found.age:
        yield f"  {found.age}"
    if found.same is None:
        yield f"  nothing to compare with: {found.against}"
    elif found.same:
        yield f"  same inputs as {found.against}: it would not be rebuilt"
    else:
        yield f"  differs from {found.against} ({found.before[:12]}): it would be rebuilt, because"
        for change in found.changes[:_SHOWN]:
            yield from _change(change)
        if len(found.changes) > _SHOWN:
            yield f"  and {len(found.changes) - _SHOWN} more (--json has them all)"


def _change(change: Change) -> Iterator[str]:
    yield f"  {change.kind} {change.name}".rstrip()
    for sign, value in (("-", change.old), ("+", change.new)):
        if value is not None:
            yield from (f"    {sign} {line}" for line in (value.splitlines() or [""]))
