"""What ``check`` holds a stack to, one function for each rule: problems, none where it is kept.

To add a rule, write the function and name it in ``RULES``: an error ends the check with exit 2, a warning does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from ..errors import Problem
from . import drift, fetching, loading, locks, paths, pools, renamed, sources, step_fetching, steps
from .material import Case

Level = Literal["error", "warning"]


class Rule(NamedTuple):
    """One rule; the first line of the function's docstring says what is kept."""

    name: str
    level: Level
    look: Callable[[Case], Iterable[Problem]]
    of_source: bool = False
    """Whether it looks, among others, at files of the tree under test: where that is not here, those are left out."""


RULES: tuple[Rule, ...] = (
    Rule("settings", "error", loading.settings),
    Rule("stack", "error", loading.stack),
    Rule("dockerfiles", "error", loading.dockerfiles),
    Rule("channels", "error", loading.channels),
    Rule("suites", "error", loading.suites),
    Rule("pipelines", "error", loading.pipelines),
    Rule("contracts", "error", loading.contracts),
    Rule("upstreams", "error", loading.upstreams),
    Rule("renamed", "error", renamed.table),
    Rule("plans", "error", loading.plans),
    Rule("downloads", "error", fetching.downloads),
    Rule("additions", "error", fetching.additions),
    Rule("clones", "error", fetching.clones),
    Rule("installs", "error", fetching.installs),
    Rule("apt-keys", "error", fetching.apt_keys),
    Rule("syntax", "error", fetching.syntax),
    Rule("summaries", "error", steps.summaries),
    Rule("limits", "error", steps.limits),
    Rule("profiles", "error", steps.profiles),
    Rule("unplaced", "error", pools.unplaced),
    Rule("secrets", "error", steps.keys),
    Rule("step-downloads", "error", step_fetching.step_downloads),
    Rule("listed-paths", "error", paths.listed_paths, of_source=True),
    Rule("elsewhere", "error", paths.elsewhere, of_source=True),
    Rule("nothing-collected", "error", paths.nothing_collected, of_source=True),
    Rule("uncovered", "error", sources.uncovered, of_source=True),
    Rule("patterns", "error", sources.patterns, of_source=True),
    Rule("unresolved", "warning", locks.unresolved),
    Rule("unused-pins", "warning", locks.unused),
    Rule("old-names", "warning", renamed.old_names),
    Rule("lost", "warning", loading.lost),
    Rule("drift", "warning", drift.drift, of_source=True),
    Rule("expired", "warning", steps.expired),
    Rule("away", "warning", pools.away),
    Rule("never-run", "warning", pools.never_run),
)


class Finding(NamedTuple):
    """What a rule found."""

    rule: str
    level: Level
    problem: Problem


def apply(case: Case, rules: Iterable[Rule] = RULES) -> tuple[Finding, ...]:
    """Everything that is wrong, errors first, each thing once, by file and line."""
    found: dict[Problem, Finding] = {}
    for rule in rules:
        for problem in rule.look(case):
            found.setdefault(problem, Finding(rule.name, rule.level, problem))
    return tuple(sorted(found.values(), key=_order))


def _order(finding: Finding) -> tuple[bool, str, int, int]:
    place = finding.problem.place
    where = (place.file, place.line, place.column) if place else ("", 0, 0)
    return (finding.level != "error", *where)
