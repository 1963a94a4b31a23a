"""How channels are, for people and as a document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..answer import Answer
from ..errors import Outcome, worst
from ..publish.journal import Entry
from ..publish.manifest import SuiteRow
from ..publish.status import Finding, Pointer, Status
from .units import counted, seconds


def answer(verb: str, found: Sequence[Status]) -> Answer:
    """The status of every channel; its outcome is the worst of theirs."""
    outcome = worst(each.outcome for each in found)
    text = "\n\n".join("\n".join(_text(each)) for each in found) or "no channel"
    document = {"schema": 1, "verb": verb, "outcome": outcome, "channels": [_document(each) for each in found]}
    return Answer(outcome, text, document)


def age(value: float | None) -> str:
    """``2 h 03 min ago``; a time to come is said to be one."""
    if value is None:
        return "at a time nobody can tell"
    if value < 0:
        return f"{seconds(-value)} from now, so one of the two clocks is off"
    return f"{seconds(value)} ago"


def _text(found: Status) -> Iterator[str]:
    red = "" if found.outcome is Outcome.OK else f"  RED ({found.outcome})"
    standing, release = found.standing, found.release
    if standing and release:
        yield "  ".join(filter(None, (found.channel, release.version, f"{standing.commit}{red}")))
        yield f"  {standing.kind} by run {standing.run}, {age(found.age)}"
        yield from (f"  {_pointer(row)}" for row in found.pointers)
        yield from (f"  {_suite(row)}" for row in release.suites or ())
        if not release.suites:
            yield "  no suite is behind it"
        if standing.withdrawn:
            yield f"  withdrawn: {' '.join(commit[:12] for commit in standing.withdrawn)}"
    else:
        yield f"{found.channel}{red}"
    if found.run:
        yield f"  run {found.run} is at work on it now"
    yield from (f"  journal: {_entry(entry)}" for entry in found.entries)
    for each in found.findings:
        problem = each.problem.shown
        yield f"  {problem.message}"
        yield from (f"    {line}" for line in problem.context.splitlines())
        yield f"  next: {problem.hint}"


def _pointer(row: Pointer) -> str:
    mark = "?" if row.unread else "!" if row.wrong else "="
    return f"{mark} {row.name}  {row.seen or ('unknown' if row.unread else 'nothing')}"


def _suite(row: SuiteRow) -> str:
    return (
        f"suite {row.suite}: {row.outcome}, {counted(row.run, 'test')} run, {row.failed} failed, "
        f"{row.skipped} skipped, on {row.on}, for {counted(len(row.digests), 'digest')}"
    )


def _entry(entry: Entry) -> str:
    what = f"{len(entry.removed)} removed" if entry.removed else counted(len(entry.moves), "pointer")
    return f"{entry.sequence}  {entry.at}  {entry.kind}  {entry.commit[:12]}  {what}"


def _document(found: Status) -> dict[str, Any]:
    standing, release = found.standing, found.release
    return {
        "channel": found.channel,
        "outcome": found.outcome,
        "commit": standing.commit if standing else None,
        "version": release.version if release else None,
        "kind": standing.kind if standing else None,
        "at": standing.at if standing else None,
        "age_seconds": found.age,
        "sequence": standing.sequence if standing else None,
        "before": (standing.before or None) if standing else None,
        "withdrawn": list(standing.withdrawn) if standing else [],
        "pointers": [row._asdict() for row in found.pointers],
        "suites": [row._asdict() for row in release.suites] if release else [],
        "run": found.run or None,
        "journal": [_journal(entry) for entry in found.entries],
        "problems": [_finding(each) for each in found.findings],
    }


def _finding(found: Finding) -> dict[str, str]:
    problem = found.problem.shown
    return {
        "outcome": found.outcome,
        "reference": problem.reference,
        "message": problem.message,
        "hint": problem.hint,
        "context": problem.context,
    }


def _journal(entry: Entry) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "run": entry.run,
        "kind": entry.kind,
        "at": entry.at,
        "commit": entry.commit,
        "moves": [move._asdict() for move in entry.moves],
        "removed": len(entry.removed),
    }
