"""How a command, a step and a run ended: judged from JUnit, the events, the exit status and the signal together. Pure.

No witness is believed alone.  A library can end the process with 0 after a failed test, a crash
at interpreter exit can follow a perfect report, and a file can be left from nobody knows when:
where two witnesses disagree the command failed, and the reason says which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from ..errors import Outcome, worst
from ..world.sandbox import Ended
from . import ids
from .exits import signal_of, told
from .records import Records
from .source import State
from .tally import BAD, Tally, disagreements, tally

_NAMED = 20
"""Failed tests that get a line each."""


class Counts(NamedTuple):
    """Tests by what became of them; ``run`` are all but the skipped ones."""

    run: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    xfailed: int = 0
    flaky: int = 0
    quarantined: int = 0


class Verdict(NamedTuple):
    """An outcome, why, and the tests behind it; reasons for the outcome come first, then what else is to be known."""

    outcome: Outcome
    reasons: tuple[str, ...] = ()
    counts: Counts = Counts()


class _Finding(NamedTuple):
    outcome: Outcome
    reason: str


def judge(
    kind: str,
    ended: Ended,
    records: Records,
    *,
    allow_empty: bool = False,
    quarantined: Collection[str] = (),
    failed_before: Collection[str] = (),
) -> Verdict:
    """The verdict on one command.

    ``kind`` is ``pytest`` or ``run``; a ``run`` has no tests, only a status.  ``quarantined`` are the
    ids in force today; ``failed_before`` are ids that failed earlier on the same image.
    """
    tests = tally(records, quarantined, failed_before) if kind == "pytest" else Tally()
    found = list(_from_outside(ended, records))
    if kind == "pytest":
        found += _failures(tests)
        if _came_to_its_end(ended):
            found += _pytest(ended, records, tests, allow_empty)
        else:
            found += [_Finding(found[0].outcome, reason) for reason in _unfinished(records)]
    elif not found and ended.code:
        found.append(_Finding(Outcome.FAILED, told(ended.code)))
    outcome = worst(each.outcome for each in found) if found else Outcome.OK
    reasons = [each.reason for each in sorted(found, key=lambda each: each.outcome is not outcome)]
    if kind == "pytest" and not found and not tests.proven:
        outcome = Outcome.SKIPPED
        reasons.append(
            "no test was left that could pass" if tests.run or tests.skipped else "no tests, which is allowed"
        )
    return Verdict(outcome, (*reasons, *_notes(tests)), counts(tests))


def counts(tests: Tally) -> Counts:
    """The numbers of a tally."""
    return Counts(
        run=tests.run,
        passed=len(tests.passed),
        failed=len(tests.failed),
        skipped=len(tests.skipped),
        xfailed=len(tests.xfailed),
        flaky=len(tests.flaky),
        quarantined=len(tests.quarantined),
    )


# --- what the outside says ------------------------------------------------------------------


def _from_outside(ended: Ended, records: Records) -> Iterator[_Finding]:
    """What was done to the command, or happened to it, whatever its files say."""
    during = f" while {ids.several(records.events.running)} ran" if records.events.running else ""
    if ended.lost:
        yield _Finding(Outcome.INFRA, f"{ended.lost}{during}")
    if ended.limit:
        what = "its deadline" if ended.limit == "deadline" else f"its limit of {ended.limit}"
        yield _Finding(Outcome.TIMEOUT, f"ended at {what} after {ended.seconds:.0f} s{during}{_killed(ended)}")
    elif ended.rungs and not ended.lost:
        yield _Finding(Outcome.INTERRUPTED, f"stopped with {', '.join(ended.rungs)}{during}{_killed(ended)}")
    elif ended.code is None and not ended.lost:
        yield _Finding(Outcome.INFRA, f"nobody learned how it ended{during}")
    if ended.out_of_memory:
        yield _Finding(Outcome.FAILED, f"out of memory{during}: the kernel killed a process of it at its limit")


def _killed(ended: Ended) -> str:
    return "; SIGKILL was needed, which may leave VRAM held" if "SIGKILL" in ended.rungs else ""


def _came_to_its_end(ended: Ended) -> bool:
    """Whether nobody cut it short, so that its witnesses have to be complete."""
    return not (ended.lost or ended.limit or ended.rungs or ended.code is None or ended.out_of_memory)


# --- what pytest says -----------------------------------------------------------------------


def _failures(tests: Tally) -> Iterator[_Finding]:
    for test in list(tests.failed)[:_NAMED]:
        reason = tests.failed[test]
        yield _Finding(Outcome.FAILED, f"{test} failed" + (f": {reason}" if reason else ""))
    if len(tests.failed) > _NAMED:
        yield _Finding(Outcome.FAILED, f"and {len(tests.failed) - _NAMED} more failed")


def _pytest(ended: Ended, records: Records, tests: Tally, allow_empty: bool) -> Iterator[_Finding]:
    """What the exit status of pytest means beside what its files say."""
    code = ended.code or 0
    if signal_of(code):
        during = f" while {ids.several(records.events.running)} ran" if records.events.running else ""
        after = ", after pytest had finished" if records.events.finish is not None else ""
        yield _Finding(Outcome.FAILED, f"{told(code)}{during}{after}")
        yield from (_Finding(Outcome.FAILED, reason) for reason in _unfinished(records))
        return
    if code == 4 and not records.events.started and not tests.failed:
        usage = (
            "pytest refused its arguments (4): an option, a path or an id it does not have, or a conftest.py that fails"
        )
        yield _Finding(Outcome.CONFIG, usage)
        return
    if not allow_empty and not tests.run and (code == 5 or (code == 0 and not tests.skipped)):
        what = "every file left itself out" if tests.skipped else "no test was collected"
        yield _Finding(Outcome.EMPTY, f"{what}; allow_empty would have to say that this is meant")
    yield from (_Finding(Outcome.FAILED, reason) for reason in _status(code, records, tests))
    if code in (0, 1, 5):
        yield from (_Finding(Outcome.FAILED, reason) for reason in _witnesses(code, records))


def _status(code: int, records: Records, tests: Tally) -> Iterator[str]:
    """Where the exit status does not fit the tests."""
    junit = sum(case.outcome in BAD for case in records.junit.cases)
    events = sum(result.outcome in BAD for result in records.events.ended)
    if code in (0, 5):
        if junit or events:
            yield f"pytest ended with {code}, but {_told_by(junit, events)}"
        if code == 5 and (tests.run or records.events.started):
            yield "pytest ended with 5 (nothing collected), but tests ran"
    elif code == 1:
        if not junit and not events:
            yield "pytest ended with 1, but neither JUnit nor the events have a failure"
    elif code == 2 and tests.failed.keys() - {*records.collected}:
        yield "pytest ran nothing (2), because it could not collect everything"
    elif code == 2:
        yield "pytest was interrupted (2): by itself, or by a test; nobody here asked it to stop"
    elif code == 3:
        yield "pytest or one of its plugins broke (3); log.txt has the traceback"
    elif code == 4:
        yield "pytest ended with 4 (wrong arguments), but tests had started"
    else:
        yield told(code)


def _told_by(junit: int, events: int) -> str:
    parts = [("JUnit", junit), ("the events", events)]
    told_by = [f"{who} {'has' if who == 'JUnit' else 'have'} {_counted(n, 'failure')}" for who, n in parts if n]
    return " and ".join(told_by)


def _witnesses(code: int, records: Records) -> Iterator[str]:
    """Where a witness is missing, or two of them disagree, although pytest came to a normal end."""
    events = records.events
    if not records.junit.source.whole:
        yield f"pytest ended with {code}, but junit.xml is {records.junit.source}"
    if not events.source.whole:
        yield f"pytest ended with {code}, but events.jsonl is {events.source}"
        return
    if events.finish is None:
        yield f"the process ended with {code}, but pytest never finished"
    elif events.finish != code:
        yield f"pytest finished with {events.finish}, but its process ended with {code}"
    yield from _collection(records)
    if records.junit.source.whole:
        yield from disagreements(records)


def _collection(records: Records) -> Iterator[str]:
    """What was collected is what ended, each once."""
    events = records.events
    collected, ended = Counter(events.collected or ()), Counter(result.id for result in events.ended)
    if events.collected is None:
        yield "pytest never said what it collected"
    yield from _unfinished(records)
    left_out = {result.id for result in events.ended if result.outcome in {"skipped", "error"}} - {*events.started}
    strangers = [test for test in ended if test not in collected and test not in left_out]
    if strangers and events.collected is not None:
        yield f"tests ran that were not collected: {ids.several(strangers)}"
    if doubles := [test for test, count in collected.items() if count > 1]:
        yield f"collected more than once: {ids.several(doubles)}"
    if again := [test for test, count in ended.items() if count > 1]:
        yield f"ended more than once: {ids.several(again)}"


def _unfinished(records: Records) -> Iterator[str]:
    ended = {result.id for result in records.events.ended}
    collected = dict.fromkeys(records.collected)
    if missing := [test for test in collected if test not in ended]:
        yield f"{len(missing)} of {_counted(len(collected), 'collected test')} never ended: {ids.several(missing)}"


def _notes(tests: Tally) -> Iterator[str]:
    """What a reader has to know beside the outcome: nothing that did not simply pass goes unsaid."""
    for test, reason in tests.flaky.items():
        yield f"flaky: {test} {reason}"
    for test, reason in tests.quarantined.items():
        yield f"quarantined: {test} failed" + (f": {reason}" if reason else "")
    for reason, count in tests.why_skipped().items():
        yield f"{count} skipped: {reason or 'no reason given'}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# --- a step, a run --------------------------------------------------------------------------


IDLE = "nothing to do: there are fewer tests than shards"
"""The reason of a command whose shard got no test."""


class Part(NamedTuple):
    """A step of a run; ``unmet``: left out, this node lacks what it needs; ``idle``: no test fell to its shard.

    ``soft`` says why its failure fails nothing; empty where it does.
    """

    name: str
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    unmet: bool = False
    idle: bool = False
    soft: str = ""


def merge_step(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict on a step from those on its commands, shards included; a step without any is empty."""
    outcome = worst(each.outcome for each in verdicts)
    rows = [each.counts for each in verdicts]
    total = Counts(*map(sum, zip(*rows, strict=True))) if rows else Counts()
    first = sorted(verdicts, key=lambda each: each.outcome is not outcome)
    return Verdict(outcome, tuple(reason for each in first for reason in each.reasons), total)


def merge_run(parts: Sequence[Part], *, require_gpu: bool = False) -> tuple[Outcome, tuple[str, ...]]:
    """How a run ended, and what there is to say that no step says.

    A run in which nothing ran is empty.  So is, where a GPU was required, one that had to leave out
    a step this node cannot run: no fault of the product was seen, the suite means what it says, and
    a retry on this node would not help, so it is neither failed nor config nor infra; but something
    that was asked for did not run, which is what empty means, and it is never 0.

    A soft failure is counted and forgiven, but only beside a step that counts and went well.  A run of soft
    steps alone, such as the job of one step in a pipeline, fails where they do: its own CI forgives it, and shows it.
    """
    reasons = [_soft_failures(parts)] if any(map(_failed_softly, parts)) else []
    sound = any(part.outcome is Outcome.OK and not part.soft for part in parts)
    outcomes = [part.outcome for part in parts if not (sound and _failed_softly(part))]
    for part in parts if require_gpu else ():
        if part.unmet:
            why = "; ".join(part.reasons)
            reasons.append(f"a GPU was required, and {part.name} did not run" + (f": {why}" if why else ""))
            outcomes.append(Outcome.EMPTY)
    if any(part.idle for part in parts) and all(each is Outcome.SKIPPED for each in outcomes):
        return Outcome.SKIPPED, (IDLE,)
    if all(each is Outcome.SKIPPED for each in outcomes):
        outcomes.append(Outcome.EMPTY)
        reasons.append("nothing was run")
    return worst(each for each in outcomes if each is not Outcome.SKIPPED), tuple(reasons)


def _failed_softly(part: Part) -> bool:
    """Whether the product failed where that fails nothing; what the world or its time limit did is another matter."""
    return bool(part.soft) and part.outcome is Outcome.FAILED


def _soft_failures(parts: Sequence[Part]) -> str:
    failed = [part for part in parts if _failed_softly(part)]
    told = "; ".join(f"{part.name}: {part.soft}" for part in failed)
    return f"{_counted(len(failed), 'soft failure')}: {told}"


def may_retry(outcome: Outcome, found: Sequence[Records], tries: int, most: int) -> bool:
    """Whether a step may be begun again after ``tries`` of at most ``most``.

    Only where the world was at fault and no test had started for certain: ``found`` are the records
    of its commands that began, and one whose events are not there or not whole may have started anything.
    """
    if outcome is not Outcome.INFRA or tries >= most:
        return False
    return all(_not_begun(records) for records in found)


def _not_begun(records: Records) -> bool:
    nothing = not (records.events.started or records.events.ended or records.junit.cases)
    return nothing and records.events.source.whole and records.junit.source.state is State.MISSING
