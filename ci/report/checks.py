"""What a check found, as a person reads it and as a document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ..answer import Answer
from ..audit import secrets
from ..errors import Outcome, Problem
from ..printable import printable
from .units import counted


class Row(NamedTuple):
    """One finding: the rule that is broken, ``error`` or ``warning``, and what is wrong."""

    rule: str
    level: str
    problem: Problem


class Unapplied(NamedTuple):
    """Rules that could not look at all they are about, why, and what to give them."""

    rules: tuple[str, ...]
    why: str
    hint: str

    def __str__(self) -> str:
        return f"not applied: {', '.join(self.rules)}: {self.why} ({self.hint})"


def answer(
    stack: str,
    rules: Sequence[str],
    files: Sequence[str],
    rows: Sequence[Row],
    unapplied: Unapplied | None = None,
) -> Answer:
    """All findings in the order given, without secrets; one error makes the outcome ``config``, warnings none."""
    rows = [row._replace(problem=secrets.hidden(row.problem)) for row in rows]
    errors = sum(row.level == "error" for row in rows)
    outcome = Outcome.CONFIG if errors else Outcome.OK
    lines = [line for row in rows for line in _lines(row)]
    lines += [str(unapplied)] if unapplied else []
    lines.append(_sum(stack, len(rules), len(files), errors, len(rows) - errors))
    document = {
        "schema": 1,
        "outcome": outcome,
        "stack": stack,
        "rules": list(rules),
        "files": list(files),
        "findings": [_document(row) for row in rows],
        "not_applied": unapplied._asdict() if unapplied else None,
    }
    return Answer(outcome, "\n".join(lines), document)


def _lines(row: Row) -> Iterator[str]:
    problem = row.problem
    place = f"{printable(str(problem.place))}: " if problem.place else ""
    yield f"{place}{row.level}: {printable(problem.message)} [{problem.reference}]"
    yield from (f"    {printable(line)}" for line in problem.context.splitlines())
    if problem.hint:
        yield f"    → {printable(problem.hint)}"


def _sum(stack: str, rules: int, files: int, errors: int, warnings: int) -> str:
    what = f"stack {stack}, {counted(rules, 'rule')}, {counted(files, 'file')}"
    notes = f", {counted(warnings, 'warning')}" if warnings else ""
    return f"{counted(errors, 'error') if errors else 'ok'}{notes}: {what}"


def _document(row: Row) -> dict[str, Any]:
    problem = row.problem
    place = problem.place
    return {
        "rule": row.rule,
        "level": row.level,
        "reference": problem.reference,
        "message": problem.message,
        "hint": problem.hint,
        "context": problem.context,
        "file": place.file if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
    }
