"""The lock as a person reads it, and as a document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..answer import Answer
from ..errors import Outcome
from ..pins.ages import Age
from ..pins.drift import CURRENT, GONE, MOVED, UNKNOWN, Drift
from ..pins.kinds import Pin
from ..pins.listing import Listing
from ..pins.rebuilds import Rebuild
from ..pins.update import Update
from ..recipe.pins import MARK
from .units import clip, counted

_WIDTH = 60


def listed(found: Listing) -> Answer:
    """A line a pin. A drift that could not be told makes the outcome ``infra``: it never means current."""
    unknown = [name for name, drift in found.drift.items() if drift.state == UNKNOWN]
    outcome = Outcome.INFRA if unknown else Outcome.OK
    rows = [_row(found, pin) for pin in found.pins]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    document = {
        "schema": 1,
        "verb": "pins",
        "outcome": outcome,
        "stack": found.stack.name,
        "pins": [_document(found, pin) for pin in found.pins],
    }
    return Answer(outcome, "\n".join([*lines, *_ending(found, len(unknown))]), document)


def _row(found: Listing, pin: Pin) -> tuple[str, str, str, str, str]:
    drift = found.drift.get(pin.name)
    last = _follows(pin) if drift is None else _drift(pin, drift)
    return pin.name, pin.kind, _short(pin.kind, pin.value), _age(found.ages.get(pin.name)), last


def _short(kind: str, value: str) -> str:
    """A value that a person recognizes; of a fingerprint all of it, since people compare them."""
    if value.startswith(MARK):
        return clip(f"unresolved: {value.removeprefix(MARK)}", _WIDTH)
    if kind in ("commit", "digest", "sha256"):
        return value.removeprefix("sha256:")[:12]
    return clip(value, _WIDTH)


def _age(age: Age | None) -> str:
    if age is None or (age.days is None and age.committed):
        return "unknown"
    return "not committed" if age.days is None else counted(age.days, "day")


def _follows(pin: Pin) -> str:
    if pin.follows and pin.kind == "commit":
        return f"follows {pin.follows} of {pin.of or 'a repository that no pin names'}"
    if pin.follows or (pin.of and pin.kind != "commit"):
        return f"follows {pin.of or pin.follows}"
    return clip(f"chosen: {pin.chosen}", 2 * _WIDTH) if pin.chosen else ""


def _drift(pin: Pin, drift: Drift) -> str:
    if drift.state == MOVED:
        return f"moved to {_short(pin.kind, drift.found)}"
    if drift.state in (UNKNOWN, GONE):
        return f"{'could not tell' if drift.state == UNKNOWN else 'gone'}: {drift.why}"
    if drift.state == CURRENT:
        return "current"
    if drift.found:
        return f"would be {_short(pin.kind, drift.found)}"
    return f"{drift.state}: {drift.why}" if drift.why else drift.state


def _ending(found: Listing, unknown: int) -> Iterator[str]:
    if not found.pins:
        yield f"stack {found.stack.name} has no pins.json"
        return
    unresolved = sum(not pin.resolved for pin in found.pins)
    counts = [counted(len(found.pins), "pin"), f"{unresolved} not resolved"]
    states = [drift.state for drift in found.drift.values()]
    counts += [f"{states.count(state)} {state}" for state in (MOVED, GONE) if state in states]
    yield ", ".join(counts + ([f"{unknown} could not be told"] if unknown else []))
    if not found.drift:
        yield "inv pins --drift asks upstream; inv pins --update NAME resolves one anew"


def _document(found: Listing, pin: Pin) -> dict[str, Any]:
    age, drift = found.ages.get(pin.name), found.drift.get(pin.name)
    return {
        "name": pin.name,
        "kind": pin.kind,
        "value": pin.value if pin.resolved else None,
        "unresolved": None if pin.resolved else pin.value.removeprefix(MARK),
        "follows": pin.follows or None,
        "where": pin.where or None,
        "chosen": pin.chosen or None,
        "age_days": age.days if age else None,
        "changed_by": (age.commit or None) if age else None,
        "drift": {"state": drift.state, "found": drift.found or None, "why": drift.why or None} if drift else None,
    }


def updated(found: Update, path: Path | None) -> Answer:
    """A pin before and after, and what would be built anew; ``path`` is the file that was written, if any was."""
    document = {
        "schema": 1,
        "verb": "pins",
        "outcome": Outcome.OK,
        "pin": found.pin.name,
        "kind": found.pin.kind,
        "before": found.pin.value,
        "after": found.value,
        "changed": found.changes,
        "written": str(path) if path else None,
        "rebuilds": [_rebuild_document(each) for each in found.rebuilt],
        "stale": list(found.stale),
    }
    return Answer(Outcome.OK, "\n".join(_updated(found, path)), document)


def _updated(found: Update, path: Path | None) -> Iterator[str]:
    name = found.pin.name
    if not found.changes:
        yield f"{name} stays {found.value}: {'it is that already' if found.given else 'upstream says the same'}"
        return
    yield name
    yield f"  - {found.pin.value}"
    yield f"  + {found.value}"
    if found.pin.kind == "fingerprint" and not found.given:
        yield "  the key was fetched just now, and trusted as it came: compare the fingerprint with what its owner"
        yield "  publishes elsewhere, before you commit it"
    if found.forgotten:
        entry = f"{name}: {{follows: {found.forgotten}}}"
        yield f"  what it follows stood in the lock alone; keep it in upstreams.yaml: {entry}"
    yield from (f"  {each} was found through it: inv pins --update {each}" for each in found.stale)
    yield "would rebuild:" if found.rebuilt else "nothing would rebuild, with the build arguments of this call"
    width = max((len(each.name) for each in found.rebuilt), default=0)
    for each in found.rebuilt:
        yield f"  {each.kind:9} {each.name:{width}}  {', '.join(each.because)}{_identities(each)}"
    yield f"written: {path}" if path else "nothing was written"


def _identities(each: Rebuild) -> str:
    if each.kind != "tier":
        return ""
    known = [identity[:12] or "no identity yet" for identity in (each.before, each.after)]
    return f"  ({known[0]})" if known[0] == known[1] else f"  ({' → '.join(known)})"


def _rebuild_document(each: Rebuild) -> dict[str, Any]:
    return {
        "kind": each.kind,
        "name": each.name,
        "because": list(each.because),
        "before": each.before or None,
        "after": each.after or None,
    }
