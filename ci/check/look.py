"""One look at a stack: every rule, and an overlay where one is given."""

from __future__ import annotations

from ..answer import Answer
from ..errors import ConfigError
from ..report import checks
from ..settings import Settings
from ..world.process import Run, run
from . import material, overlay, tree
from .rules import RULES, Finding, apply


def answer(settings: Settings, laid_over: str, given: material.Given, start: Run = run) -> Answer:
    """Everything that is wrong; ``laid_over`` is the overlay's path or pinned URL, empty for none.

    Raises ``ConfigError`` where there is no stack at all, and what ``overlay.fetched`` raises.
    """
    found = overlay.fetched(laid_over) if laid_over else None
    case = material.read(settings, start, given)
    findings = list(apply(case))
    names = [rule.name for rule in RULES]
    if found is not None:
        names.append("overlay")
        findings += _overlaid(case, found)
    rows = [checks.Row(each.rule, each.level, each.problem) for each in findings]
    looked = [recipe.file.name for recipe in case.recipes] + [script.name for script in case.scripts]
    looked += list(filter(None, (case.suite_file, case.pipeline_file)))
    return checks.answer(case.name, names, looked, rows, _unapplied(case))


def _unapplied(case: material.Case) -> checks.Unapplied | None:
    """The rules that could not look at all they are about."""
    if case.stack is None or case.source or not (case.suite_file or case.pipeline_file):
        return None
    why = "no source: nobody looked for the paths and globs of the tree under test"
    return checks.Unapplied(tuple(rule.name for rule in RULES if rule.of_source), why, tree.wanted(case.stack))


def _overlaid(case: material.Case, found: overlay.Overlay) -> list[Finding]:
    """What the overlay changes; nothing to compare it with where the stack itself cannot be read."""
    if case.stack is None:
        return []
    try:
        problems = tuple(overlay.differences(case.stack, case.settings, found, case.start))
    except ConfigError as error:
        problems = tuple(problem._replace(message=f"{found.name}: {problem.message}") for problem in error.problems)
    return [Finding("overlay", "error", problem) for problem in problems]
