"""Verdicts: every witness is asked, and where two disagree it is no success."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.errors import Outcome
from ci.suites import ids
from ci.suites.catalogue import Exemption
from ci.suites.events import Events, Result
from ci.suites.junit import Case, Junit
from ci.suites.records import NOTHING, Records
from ci.suites.source import Source, State
from ci.suites.tally import tally
from ci.suites.verdict import IDLE, Counts, Part, Verdict, judge, may_retry, merge_run, merge_step
from ci.world.sandbox import Ended

WHOLE, MISSING, BROKEN = Source(), Source(State.MISSING), Source(State.BROKEN, "0 bytes")
GOOD = frozenset({Outcome.OK, Outcome.SKIPPED})


@dataclass(frozen=True)
class Story:
    """A command as honest witnesses tell it; each field bends one of them."""

    tests: tuple[tuple[str, str], ...] = (("a.py::t1", "passed"), ("a.py::t2", "passed"))
    reason: str = "why"
    collected: tuple[str, ...] | None = None
    unended: tuple[str, ...] = ()
    finish: int | None = 0
    junit: Source = WHOLE
    events: Source = WHOLE
    reruns: tuple[Result, ...] = ()
    parts: tuple[Result, ...] = ()

    def records(self) -> Records:
        ended = tuple(Result(test, outcome, 1.0, self.reason) for test, outcome in self.tests)
        started = (*(test for test, _ in self.tests if "::" in test), *self.unended)
        return Records(
            Junit(self.junit, tuple(case(test, outcome, self.reason) for test, outcome in self.tests)),
            Events(
                self.events,
                collected=started if self.collected is None else self.collected,
                started=started,
                ended=ended,
                running=self.unended[:1],
                reruns=self.reruns,
                parts=self.parts,
                finish=self.finish,
            ),
        )


def case(test: str, outcome: str, reason: str = "why") -> Case:
    return Case(*ids.junit(test), {"xpassed": "passed"}.get(outcome, outcome), reason)


def told(code: int | None, story: Story | Records, kind: str = "pytest", **more: Any) -> Verdict:
    options = {name: more.pop(name) for name in ("allow_empty", "quarantined", "failed_before") if name in more}
    found = story.records() if isinstance(story, Story) else story
    return judge(kind, Ended(code, 60.0, **more), found, **options)


FAILED = (("a.py::t1", "passed"), ("a.py::t2", "failed"))
FAILURES = Story(tests=FAILED, finish=1)
NONE = Story(tests=(), finish=5)
SKIPPED = Story(tests=(("a.py::t1", "skipped"), ("a.py::t2", "skipped")), reason="no GPU")
CUT = Story(unended=("a.py::t3", "a.py::t4"), finish=None, junit=MISSING)
CRASH = Story(tests=(("a.py::t1", "passed"),), unended=("a.py::t2",), finish=None, junit=MISSING)


def test_all_passed() -> None:
    assert told(0, Story()) == Verdict(Outcome.OK, (), Counts(run=2, passed=2))


@pytest.mark.parametrize(
    ("code", "story", "outcome", "reason"),
    [
        (1, FAILURES, Outcome.FAILED, "a.py::t2 failed: why"),
        (5, NONE, Outcome.EMPTY, "no test was collected"),
        (0, Story(tests=()), Outcome.EMPTY, "no test was collected"),
        (0, SKIPPED, Outcome.SKIPPED, "2 skipped: no GPU"),
        (5, Story(tests=(("a.py", "skipped"),), collected=(), finish=5), Outcome.EMPTY, "left itself out"),
        # pytest's own codes
        (2, CUT, Outcome.FAILED, "interrupted (2)"),
        (2, Story(tests=(("a.py", "error"),), collected=(), finish=2), Outcome.FAILED, "could not collect"),
        (3, CUT, Outcome.FAILED, "broke (3)"),
        (4, NOTHING, Outcome.CONFIG, "refused its arguments"),
        (4, CUT, Outcome.FAILED, "but tests had started"),
        (6, Story(finish=6), Outcome.FAILED, "ended with 6"),
        (255, CUT, Outcome.FAILED, "ended with 255"),
        # signals
        (134, CRASH, Outcome.FAILED, "ended by SIGABRT (134): GPU hang or abort while a.py::t2 ran"),
        (-6, CRASH, Outcome.FAILED, "ended by SIGABRT (-6)"),
        (135, CRASH, Outcome.FAILED, "SIGBUS (135): is /dev/shm too small?"),
        (-7, CRASH, Outcome.FAILED, "SIGBUS (-7): is /dev/shm too small?"),
        (139, CRASH, Outcome.FAILED, "SIGSEGV (139)"),
        (137, CRASH, Outcome.FAILED, "SIGKILL (137): not by us"),
        (139, Story(), Outcome.FAILED, "SIGSEGV (139): it reached for memory that is not its own, after pytest had"),
        # disagreements
        (0, FAILURES, Outcome.FAILED, "pytest ended with 0, but JUnit has 1 failure and the events have 1 failure"),
        (0, FAILURES, Outcome.FAILED, "pytest finished with 1, but its process ended with 0"),
        (1, Story(finish=1), Outcome.FAILED, "pytest ended with 1, but neither JUnit nor the events have a failure"),
        (1, Story(), Outcome.FAILED, "pytest finished with 0, but its process ended with 1"),
        (5, Story(finish=5), Outcome.FAILED, "5 (nothing collected), but tests ran"),
        (0, Story(finish=None), Outcome.FAILED, "the process ended with 0, but pytest never finished"),
        (0, Story(junit=MISSING), Outcome.FAILED, "junit.xml is missing"),
        (0, Story(junit=BROKEN), Outcome.FAILED, "junit.xml is broken: 0 bytes"),
        (0, Story(events=MISSING), Outcome.FAILED, "events.jsonl is missing"),
        (0, Story(events=BROKEN), Outcome.FAILED, "events.jsonl is broken: 0 bytes"),
        (0, NOTHING, Outcome.FAILED, "junit.xml is missing"),
        (0, Story(collected=("a.py::t1", "a.py::t2", "a.py::t3", "b.py::t")), Outcome.FAILED,
         "2 of 4 collected tests never ended: a.py::t3, b.py::t"),
        (0, Story(collected=("a.py::t1",)), Outcome.FAILED, "not collected: a.py::t2"),
        (0, Story(collected=("a.py::t1", "a.py::t2", "a.py::t1")), Outcome.FAILED,
         "collected more than once: a.py::t1"),
        (0, Story(tests=(*Story.tests, Story.tests[0]), collected=("a.py::t1", "a.py::t2")), Outcome.FAILED,
         "ended more than once: a.py::t1"),
    ],
)  # fmt: skip
def test_the_table(code: int, story: Story | Records, outcome: Outcome, reason: str) -> None:
    found = told(code, story)
    assert found.outcome is outcome, found
    assert any(reason in each for each in found.reasons), found.reasons


def bent(story: Story, **changes: object) -> Records:
    found = story.records()
    return Records(found.junit._replace(**changes), found.events)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cases", "reason"),
    [
        ((("a.py::t1", "passed"), ("a.py::t2", "failed")), "do not agree on a.py::t2 (failed, passed)"),
        ((("a.py::t1", "passed"), ("a.py::t2", "failed")), "pytest ended with 0, but JUnit has 1 failure"),
        ((("a.py::t1", "passed"), ("a.py::t2", "skipped")), "do not agree on a.py::t2 (skipped, passed)"),
        ((("a.py::t1", "passed"),), "JUnit does not have: a.py::t2"),
        ((("a.py::t1", "passed"), ("a.py::t2", "passed"), ("b.py::t", "passed")), "events do not have: b::t"),
    ],
)
def test_junit_and_events_disagree(cases: tuple[tuple[str, str], ...], reason: str) -> None:
    found = told(0, bent(Story(), cases=tuple(case(*each) for each in cases)))
    assert found.outcome is Outcome.FAILED
    assert any(reason in each for each in found.reasons), found.reasons


def test_junits_own_sum_is_a_witness() -> None:
    found = told(0, bent(Story(), bad=1))
    assert (found.outcome, found.reasons) == (Outcome.FAILED, ("JUnit counts 1 failures and names none",))


def test_what_pytest_itself_tells_twice_is_no_disagreement() -> None:
    """Failed and then not cleaned up: two entries. A skipped subtest: its test passes. Expected failures: skips."""
    tests = (("a.py::t1", "failed"), ("a.py::t2", "passed"), ("a.py::t3", "xfailed"), ("m.py", "skipped"))
    story = Story(tests=tests, finish=1, parts=(Result("a.py::t2", "skipped", 0.0),))
    found = story.records()
    cases = (case("a.py::t1", "failed"), case("a.py::t1", "error"), case("a.py::t2", "skipped"), *found.junit.cases[2:])
    judged = told(1, Records(found.junit._replace(cases=cases, bad=2), found.events))
    assert judged.reasons == ("a.py::t1 failed: why", "1 skipped: why")
    assert judged.counts == Counts(run=3, passed=1, failed=1, skipped=1, xfailed=1)


@pytest.mark.parametrize(
    ("how", "outcome", "reason"),
    [
        ({"limit": "deadline"}, Outcome.TIMEOUT, "ended at its deadline after 60 s while a.py::t3 ran"),
        ({"limit": "inactivity"}, Outcome.TIMEOUT, "ended at its limit of inactivity after 60 s while a.py::t3 ran"),
        ({"limit": "deadline", "rungs": ("SIGINT", "SIGKILL")}, Outcome.TIMEOUT, "which may leave VRAM held"),
        ({"rungs": ("SIGINT",)}, Outcome.INTERRUPTED, "stopped with SIGINT while a.py::t3 ran"),
        ({"lost": "the engine went away"}, Outcome.INFRA, "the engine went away while a.py::t3 ran"),
        ({"lost": "killed from outside", "rungs": ("SIGINT",)}, Outcome.INFRA, "killed from outside"),
        ({"lost": "killed from outside", "limit": "deadline"}, Outcome.TIMEOUT, "ended at its deadline"),
        ({"out_of_memory": True}, Outcome.FAILED, "out of memory while a.py::t3 ran"),
        ({}, None, ""),
    ],
)
@pytest.mark.parametrize("code", [None, 0, 1, 137, -9])
def test_what_was_done_to_it(how: dict[str, Any], code: int | None, outcome: Outcome | None, reason: str) -> None:
    found = told(code, CUT, **how)
    if outcome is None:
        assert found.outcome is (Outcome.INFRA if code is None else Outcome.FAILED)
    else:
        assert found.outcome is outcome
        assert reason in found.reasons[0]
    assert "2 of 4 collected tests never ended: a.py::t3, a.py::t4" in found.reasons


@pytest.mark.parametrize(
    "how", [{"limit": "deadline"}, {"lost": "gone"}, {"rungs": ("SIGINT",)}, {"out_of_memory": True}]
)
def test_a_perfect_report_excuses_nothing(how: dict[str, Any]) -> None:
    assert told(0, Story(), **how).outcome not in GOOD
    assert told(0, Story(), "run", **how).outcome not in GOOD


def test_a_test_that_failed_before_the_world_broke_has_failed() -> None:
    story = Story(tests=FAILED, unended=("a.py::t3",), finish=None, junit=MISSING)
    found = told(None, story, lost="the engine went away")
    assert found.outcome is Outcome.FAILED
    assert found.reasons[0] == "a.py::t2 failed: why"
    assert "the engine went away while a.py::t3 ran" in found.reasons


@pytest.mark.parametrize(
    ("code", "outcome", "reasons"),
    [
        (0, Outcome.OK, ()),
        (1, Outcome.FAILED, ("ended with 1",)),
        (5, Outcome.FAILED, ("ended with 5",)),
        (127, Outcome.FAILED, ("ended with 127: there is no such program in the image",)),
        (-6, Outcome.FAILED, ("ended by SIGABRT (-6): GPU hang or abort",)),
        (None, Outcome.INFRA, ("nobody learned how it ended",)),
    ],
)
def test_a_program_has_a_status_only(code: int | None, outcome: Outcome, reasons: tuple[str, ...]) -> None:
    for records in (NOTHING, FAILURES.records()):
        assert told(code, records, "run") == Verdict(outcome, reasons, Counts())


def test_allowed_to_be_empty_is_skipped_never_ok() -> None:
    assert told(5, NONE, allow_empty=True) == Verdict(Outcome.SKIPPED, ("no tests, which is allowed",), Counts())
    for story in (Story(tests=(), finish=5, junit=MISSING), Story(tests=(), finish=None), FAILURES, Story(finish=5)):
        assert told(5, story, allow_empty=True).outcome is Outcome.FAILED


# --- quarantine, flaky ----------------------------------------------------------------------


def in_force(*entries: Exemption) -> frozenset[str]:
    return frozenset(each.test for each in entries if each.holds(date(2026, 6, 1)))


KNOWN = Exemption("flaps on gfx942", date(2026, 6, 30), test="a.py::t2", owner="somebody")


def test_a_quarantined_failure_is_counted_and_named_and_fails_nothing() -> None:
    found = told(1, FAILURES, quarantined=in_force(KNOWN))
    assert found == Verdict(Outcome.OK, ("quarantined: a.py::t2 failed: why",), Counts(run=2, passed=1, quarantined=1))


@pytest.mark.parametrize(
    ("code", "story"),
    [
        (0, FAILURES),  # it failed, and yet 0: that is no known failure
        (134, Story(tests=FAILED, finish=None, junit=MISSING)),
        (1, Story(tests=(*FAILED, ("a.py::t3", "error")), finish=1)),
        (1, Story(tests=FAILED, unended=("a.py::t3",), finish=1)),
        (2, Story(tests=FAILED, finish=2)),
    ],
)
def test_a_quarantine_excuses_nothing_else(code: int, story: Story) -> None:
    assert told(code, story, quarantined=in_force(KNOWN)).outcome is Outcome.FAILED


def test_a_quarantine_that_is_over_excuses_nothing() -> None:
    over = in_force(KNOWN._replace(until=date(2026, 5, 31)))
    assert told(1, FAILURES, quarantined=over).outcome is Outcome.FAILED


def test_quarantine_by_file_and_function() -> None:
    story = Story(tests=(("a.py::t1", "passed"), ("a.py::t2[8]", "failed")), finish=1)
    assert told(1, story, quarantined={"a.py::t2"}).outcome is Outcome.OK
    assert told(1, story, quarantined={"a.py"}).outcome is Outcome.OK
    assert told(1, story, quarantined={"a.py::t"}).outcome is Outcome.FAILED


def test_a_file_that_cannot_be_collected_says_its_last_line() -> None:
    """The events have the first line of the traceback, which is the same for all of them."""
    records = Story(tests=(("a.py", "error"),), reason="ImportError while importing", collected=(), finish=2).records()
    entry = Case("", "a", "error", "No module named 'x'", collecting=True)
    found = told(2, Records(records.junit._replace(cases=(entry,)), records.events))
    assert found.reasons[0] == "a.py failed: No module named 'x'"


def test_where_only_known_failures_ran_nothing_was_proven() -> None:
    found = told(1, Story(tests=(("a.py::t2", "failed"),), finish=1), quarantined=in_force(KNOWN))
    assert found.outcome is Outcome.SKIPPED
    assert found.reasons == ("no test was left that could pass", "quarantined: a.py::t2 failed: why")


def test_flaky_is_never_called_passed() -> None:
    again = Story(reruns=(Result("a.py::t2", "rerun", 1.0, "assert 0"),))
    flaky = Counts(run=2, passed=1, flaky=1)
    assert told(0, again) == Verdict(Outcome.OK, ("flaky: a.py::t2 failed at first: assert 0",), flaky)
    found = told(0, Story(), failed_before={"a.py::t2", "b.py::gone"})
    assert found == Verdict(Outcome.OK, ("flaky: a.py::t2 failed before on the same image",), flaky)
    assert told(1, FAILURES, failed_before={"a.py::t2"}).counts == Counts(run=2, passed=1, failed=1)


def test_reasons_stay_few() -> None:
    found = told(1, Story(tests=tuple((f"a.py::t{n}", "failed") for n in range(100)), finish=1))
    assert len(found.reasons) == 21
    assert found.reasons[-1] == "and 80 more failed"
    assert found.counts.failed == 100


def test_skips_are_told_by_reason() -> None:
    records = SKIPPED.records()
    assert tally(records).why_skipped() == {"no GPU": 2}


# --- properties -----------------------------------------------------------------------------

OUTCOMES = st.sampled_from(["passed", "passed", "failed", "error", "skipped", "xfailed", "xpassed"])
SOURCES = st.sampled_from([WHOLE, WHOLE, MISSING, BROKEN])
TESTS = st.lists(OUTCOMES, max_size=4).map(lambda found: tuple((f"a.py::t{n}", each) for n, each in enumerate(found)))
STORIES = st.builds(
    Story,
    tests=TESTS,
    collected=st.none() | st.lists(st.sampled_from([f"a.py::t{n}" for n in range(5)]), max_size=5).map(tuple),
    unended=st.sampled_from([(), (), ("b.py::t",)]),
    finish=st.none() | st.integers(0, 5),
    junit=SOURCES,
    events=SOURCES,
)
CODES = st.none() | st.integers(0, 6) | st.sampled_from([-9, -6, 134, 135, 137, 139, 255])


@settings(deadline=None)
@given(CODES, STORIES, st.booleans())
def test_good_needs_every_witness(code: int | None, story: Story, allow_empty: bool) -> None:
    found = told(code, story, allow_empty=allow_empty)
    bad = [outcome for _, outcome in story.tests if outcome in {"failed", "error"}]
    ended = sorted(test for test, _ in story.tests)
    collected = story.records().collected
    if found.outcome in GOOD:
        assert code == story.finish
        assert code == 0 or (code == 5 and allow_empty and not ended)
        assert not bad
        assert story.junit.whole and story.events.whole  # noqa: PT018
        assert sorted(collected) == ended
    if found.outcome is Outcome.OK:
        assert code == 0
        assert any(outcome in {"passed", "xfailed", "xpassed"} for _, outcome in story.tests)
    else:
        assert found.reasons
    assert found.counts.run + found.counts.skipped == len(ended)


@settings(deadline=None)
@given(STORIES, st.sets(st.sampled_from([f"a.py::t{n}" for n in range(4)])))
def test_a_quarantine_excuses_only_what_it_names(story: Story, quarantined: set[str]) -> None:
    found = told(1, story, quarantined=quarantined)
    bad = {test for test, outcome in story.tests if outcome in {"failed", "error"}}
    if found.outcome in GOOD:
        assert bad
        assert bad <= quarantined


@settings(deadline=None)
@given(st.integers(-64, 255), st.booleans())
def test_a_program_is_ok_with_0_alone(code: int, lost: bool) -> None:
    found = told(code, NOTHING, "run", lost="gone" if lost else "")
    assert (found.outcome is Outcome.OK) == (code == 0 and not lost)


# --- steps, runs, retries -------------------------------------------------------------------


def test_a_step_takes_the_worst_of_its_commands_and_all_their_counts() -> None:
    empty = Verdict(Outcome.EMPTY, ("nothing",))
    fine = Verdict(Outcome.OK, ("flaky: x",), Counts(run=2, passed=1, flaky=1))
    bad = Verdict(Outcome.FAILED, ("t failed",), Counts(run=1, failed=1))
    assert merge_step([fine, bad]) == Verdict(Outcome.FAILED, ("t failed", "flaky: x"), Counts(3, 1, 1, 0, 0, 1))
    assert merge_step([empty, fine]).outcome is Outcome.EMPTY  # the first of two collected nothing
    assert merge_step([fine, Verdict(Outcome.SKIPPED)]).outcome is Outcome.OK
    assert merge_step([Verdict(Outcome.SKIPPED)]).outcome is Outcome.SKIPPED
    assert merge_step([]).outcome is Outcome.EMPTY


def parts(*outcomes: Outcome) -> list[Part]:
    return [Part(f"step{n}", outcome) for n, outcome in enumerate(outcomes)]


@pytest.mark.parametrize(
    ("outcomes", "outcome"),
    [
        ((), Outcome.EMPTY),
        ((Outcome.SKIPPED, Outcome.SKIPPED), Outcome.EMPTY),
        ((Outcome.SKIPPED, Outcome.OK), Outcome.OK),
        ((Outcome.INFRA, Outcome.OK), Outcome.INFRA),
        ((Outcome.EMPTY, Outcome.OK), Outcome.EMPTY),
        ((Outcome.INFRA, Outcome.FAILED, Outcome.OK), Outcome.FAILED),
        ((Outcome.FAILED, Outcome.TIMEOUT), Outcome.TIMEOUT),
        ((Outcome.SKIPPED, Outcome.FAILED), Outcome.FAILED),
    ],
)
def test_a_run_of_mixed_steps(outcomes: tuple[Outcome, ...], outcome: Outcome) -> None:
    nothing = set(outcomes) <= {Outcome.SKIPPED}
    assert merge_run(parts(*outcomes)) == (outcome, ("nothing was run",) if nothing else ())


def test_a_step_left_out_is_red_where_a_gpu_was_required() -> None:
    probe = Part("probe", Outcome.SKIPPED, ("needs 1 GPU: this node has no GPU",), unmet=True)
    exempt = Part("sequence", Outcome.SKIPPED, ("CUDA only",))
    steps = [*parts(Outcome.OK), probe, exempt]
    assert merge_run(steps) == (Outcome.OK, ())
    outcome, reasons = merge_run(steps, require_gpu=True)
    assert outcome is Outcome.EMPTY
    assert outcome.exit_code
    assert reasons == ("a GPU was required, and probe did not run: needs 1 GPU: this node has no GPU",)
    assert merge_run([*steps, *parts(Outcome.FAILED)], require_gpu=True)[0] is Outcome.FAILED
    assert merge_run([*parts(Outcome.OK), exempt], require_gpu=True)[0] is Outcome.OK


@settings(deadline=None)
@given(st.lists(st.sampled_from(list(Outcome))), st.booleans())
def test_a_run_is_green_only_where_something_ran_and_nothing_was_red(outcomes: list[Outcome], gpu: bool) -> None:
    outcome, _ = merge_run(parts(*outcomes), require_gpu=gpu)
    assert (outcome.exit_code == 0) == (Outcome.OK in outcomes and set(outcomes) <= GOOD)


BEGUN = Records(Junit(MISSING), Events(Source()))


@pytest.mark.parametrize(
    ("outcome", "found", "tries", "again"),
    [
        (Outcome.INFRA, (), 1, True),
        (Outcome.INFRA, (BEGUN,), 1, True),
        (Outcome.INFRA, (), 2, False),
        (Outcome.INFRA, (CUT.records(),), 1, False),
        (Outcome.INFRA, (Story().records(), BEGUN), 1, False),
        (Outcome.INFRA, (NOTHING,), 1, False),  # a program, which may have done anything
        (Outcome.INFRA, (BEGUN._replace(events=Events(BROKEN)),), 1, False),
        (Outcome.INFRA, (BEGUN._replace(junit=Junit(BROKEN)),), 1, False),
        *((each, (), 1, False) for each in Outcome if each is not Outcome.INFRA),
    ],
)
def test_only_the_world_is_tried_again_and_only_before_a_test(
    outcome: Outcome, found: tuple[Records, ...], tries: int, again: bool
) -> None:
    assert may_retry(outcome, found, tries, 2) is again


def test_a_shard_without_tests_is_no_empty_run() -> None:
    """The other shards are other runs; only tests that were there and did not run make a run empty."""
    idle = Part("many 3/3", Outcome.SKIPPED, (IDLE,), idle=True)
    skipped = Part("gpu", Outcome.SKIPPED, ("needs 1 GPU",), unmet=True)
    assert merge_run([idle, skipped]) == (Outcome.SKIPPED, (IDLE,))
    assert merge_run([skipped])[0] is Outcome.EMPTY
    assert merge_run([idle, skipped], require_gpu=True)[0] is Outcome.EMPTY
