"""What became of each test, by everything that was said of it; the worse word counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from . import ids
from .records import Records

BAD = frozenset({"failed", "error"})


@dataclass(frozen=True)
class Tally:
    """Every test that was told of stands in one of these, with its reason."""

    passed: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    xfailed: dict[str, str] = field(default_factory=dict)
    flaky: dict[str, str] = field(default_factory=dict)
    quarantined: dict[str, str] = field(default_factory=dict)

    @property
    def run(self) -> int:
        """How many tests ran; one that was skipped did not."""
        kinds = (self.passed, self.failed, self.xfailed, self.flaky, self.quarantined)
        return sum(map(len, kinds))

    @property
    def proven(self) -> bool:
        """Whether at least one test went as it should."""
        return bool(self.passed or self.xfailed or self.flaky)

    def why_skipped(self) -> Mapping[str, int]:
        """How many tests were skipped for each reason, the most first."""
        return dict(Counter(self.skipped.values()).most_common())


def tally(records: Records, quarantined: Collection[str] = (), failed_before: Collection[str] = ()) -> Tally:
    """The tests of one command.

    ``quarantined`` are ids (or files, classes, functions) whose failure is known; ``failed_before``
    are ids that failed earlier on the very same image.
    """
    reruns = {result.id: f"failed at first: {result.reason}" for result in records.events.reruns}
    found = Tally()
    for test, (outcome, reason) in _said(records).items():
        if outcome in BAD:
            known = any(ids.covers(pattern, test) for pattern in quarantined)
            (found.quarantined if known else found.failed)[test] = reason
        elif outcome == "skipped":
            found.skipped[test] = reason
        elif test in reruns:
            found.flaky[test] = reruns[test]
        elif test in failed_before:
            found.flaky[test] = "failed before on the same image"
        else:
            (found.xfailed if outcome == "xfailed" else found.passed)[test] = reason
    return found


def _said(records: Records) -> dict[str, tuple[str, str]]:
    """Outcome and reason of each test by events and JUnit together."""
    said: dict[str, tuple[str, str]] = {}
    known: dict[tuple[str, str], list[str]] = {}
    for result in records.events.ended:
        _worse(said, result.id, result.outcome, result.reason)
        known.setdefault(ids.junit(result.id), []).append(result.id)
    for case in records.junit.cases:
        tests = known.get((case.classname, case.name))
        for test in tests or [f"{case.classname}::{case.name}".removeprefix("::")]:
            if case.collecting and case.outcome in BAD:
                said[test] = (case.outcome, case.reason)  # JUnit has the whole traceback, and so its last line
            elif tests is None or case.outcome in BAD:
                _worse(said, test, case.outcome, case.reason)
    return said


def _worse(said: dict[str, tuple[str, str]], test: str, outcome: str, reason: str) -> None:
    if test not in said or (outcome in BAD and said[test][0] not in BAD):
        said[test] = (outcome, reason)


def disagreements(records: Records) -> Iterator[str]:
    """Where JUnit and the events tell different stories of the same tests."""
    names = {ids.junit(result.id): result.id for result in records.events.ended}
    ended = {ids.junit(result.id): _kind(result.outcome) for result in records.events.ended}
    cases = {(case.classname, case.name): _kind(case.outcome) for case in records.junit.cases}
    if lacking := [names[key] for key in ended if key not in cases]:
        yield f"the events have tests that JUnit does not have: {ids.several(lacking)}"
    if unseen := ["::".join(key) for key in cases if key not in ended]:
        yield f"JUnit has tests that the events do not have: {ids.several(unseen)}"
    partly = {ids.junit(part.id) for part in records.events.parts if _kind(part.outcome) == "skipped"}
    torn = [
        f"{names[key]} ({cases[key]}, {kind})"
        for key, kind in ended.items()
        if cases.get(key, kind) != kind and not (key in partly and (cases[key], kind) == ("skipped", "passed"))
    ]
    if torn:
        yield f"JUnit and the events do not agree on {ids.several(torn)}"
    if records.junit.bad and not any(case.outcome in BAD for case in records.junit.cases):
        yield f"JUnit counts {records.junit.bad} failures and names none"


def _kind(outcome: str) -> str:
    """The three words both sides have: an expected failure is a skip in JUnit, an unexpected success a pass."""
    if outcome in BAD:
        return "failed"
    return "skipped" if outcome in {"skipped", "xfailed"} else "passed"
