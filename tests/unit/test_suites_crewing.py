"""Steps beside each other: which calls there are, how many at once, what each told, and whether all tests ran."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci.errors import Outcome
from ci.suites import words
from ci.suites.catalogue import Bounds, Limits, Needs, Step
from ci.suites.catalogue import Command as StepCommand
from ci.suites.crewing import Crewing, Unit, _result, units, unproven, width
from ci.suites.plan import Planned
from ci.suites.results import CommandResult, StepResult
from ci.suites.verdict import Verdict
from ci.world.fakes import FakeClock
from ci.world.process import Command, Finished
from ci.world.sandbox import Ended

STEP = Step(
    "kernels", "all kernels", "test", (StepCommand("run", ("true",)),), Needs(), Limits(600, 600, 60), Bounds(),
    {}, (), (), "", 1, None, (),
)  # fmt: skip


def planned(name: str = "kernels", *, gpus: int = 0, minutes: float = 10, shards: int = 1, skip: str = "") -> Planned:
    limits = Limits(60 * minutes, 600, 60)
    return Planned(STEP._replace(name=name, needs=Needs(gpus), limits=limits, shards=shards), skip)


# --- which calls, and how many at once -------------------------------------------------------------


def test_the_longest_calls_come_first_and_what_is_skipped_is_no_call() -> None:
    steps = (planned("a", minutes=5), planned("b", minutes=30, shards=3), planned("c", skip="no"), planned("d"))
    assert [unit.label for unit in units(steps)] == ["b 1/3", "b 2/3", "b 3/3", "d", "a"]


@pytest.mark.parametrize(
    ("jobs", "needs", "gpus", "expected"),
    [
        (3, (1,), 8, 3),  # as asked
        (0, (2, 2, 2), 8, 4),
        (0, (2, 4), 8, 4),
        (0, (0, 3), 8, 2),
        (0, (8,), 8, 1),
        (0, (0, 0), 8, 1),  # nothing says how many a CPU bears
        (0, (), 8, 1),
        (0, (2,), 0, 1),
    ],
)
def test_auto_is_what_the_gpus_allow(jobs: int, needs: Sequence[int], gpus: int, expected: int) -> None:
    steps = [planned(gpus=each) for each in needs]
    assert width(jobs, [*steps, planned(gpus=1, skip="left out")], gpus) == expected


def test_a_call_says_step_shard_and_image() -> None:
    crewing = Crewing("all", ("--stack", "x.yaml"), {"test": "r@sha256:1"}, 2, Quiet(), FakeClock(), program=("ci",))
    command = crewing._command(Unit(planned(shards=4), (2, 4)))
    own = ["--only", "kernels", "--shard", "2/4", "--image", "r@sha256:1", "--json", "--stack", "x.yaml"]
    assert command.argv == ("ci", "test", "all", *own)
    assert command.patience > 60 + 60, "its ladder and its report end before ours"


class Quiet:
    """A screen nobody looks at."""

    def say(self, text: str) -> None:
        """Nothing."""

    def warn(self, text: str) -> None:
        """Nothing."""

    def build(self, tier: str, progress: Any) -> Any:
        raise AssertionError((tier, progress))


# --- what a call told -------------------------------------------------------------------------------

UNIT = Unit(planned(), (1, 2))


def told(document: Any, code: int = 0, stderr: str = "") -> StepResult:
    text = document if isinstance(document, str) else json.dumps(document)
    return _result(UNIT, Finished(Command(("ci",)), code, text, stderr), text, 7.0)


def document(outcome: Outcome = Outcome.OK, name: str = "kernels") -> dict[str, Any]:
    row = StepResult(name, "all kernels", outcome, ("because",), "1/2").to_json()
    return {"outcome": outcome, "steps": [row]}


def test_the_row_of_its_step_is_the_result() -> None:
    assert told(document()) == StepResult("kernels", "all kernels", Outcome.OK, ("because",), "1/2")
    assert told(document(Outcome.TIMEOUT), 124).outcome is Outcome.TIMEOUT


@pytest.mark.parametrize(
    "text", ["", "no JSON", "7", "[]", "{}", '{"outcome": "fine"}', '{"outcome": "ok", "steps": [{}]}',
             '{"outcome": "ok", "steps": [{"name": "kernels"}]}', '{"steps": 7}'],
)  # fmt: skip
def test_no_result_is_never_success(text: str) -> None:
    found = told(text, 0, "Traceback\nKeyError: 1")
    assert (found.label, found.outcome, found.seconds) == ("kernels 1/2", Outcome.INTERNAL, 7.0)
    assert "its process ended with 0" in found.reasons[0]
    assert "KeyError: 1" in found.reasons[0]


def test_a_call_that_was_refused_gives_its_problems() -> None:
    refused = {"outcome": "config", "problems": [{"message": "two masks", "hint": "keep one"}, {"message": "and more"}]}
    found = told(refused, 2)
    assert (found.outcome, found.reasons) == (Outcome.CONFIG, ("two masks", "hint: keep one", "and more"))


def test_a_result_that_its_exit_status_denies_is_not_believed() -> None:
    found = told(document(), -9)
    assert found.outcome is Outcome.INTERNAL
    assert found.reasons[0].startswith("its result says ok, but its process ended by SIGKILL")


# --- whether all tests ran --------------------------------------------------------------------------

ALL = ("a", "b", "c")
PLAN = (("a", "c"), ("b",))


def shard(
    folder: Path, number: int, ran: Sequence[str], plan: Sequence[Sequence[str]] = PLAN, *, divided: bool = True
) -> StepResult:
    """The result of a shard whose one command left these files."""
    here = folder / str(number)
    here.mkdir()
    lines: list[dict[str, Any]] = [{"event": "begin"}, {"event": "collected", "ids": list(ran)}]
    for each in ran:
        lines += [{"event": "start", "id": each}, {"event": "end", "id": each, "outcome": "passed", "seconds": 1}]
    (here / words.EVENTS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    if divided:
        (here / words.SHARDS).write_text(json.dumps({"collected": ALL, "shards": plan}))
    command = CommandResult(1, (), Verdict(Outcome.OK), Ended(0, 1.0), here)
    return StepResult("kernels", "", Outcome.OK, shard=f"{number}/2", commands=(command,))


EVERY = units([planned(shards=2)])


def test_every_test_ran_once_where_it_was_given_to(tmp_path: Path) -> None:
    assert unproven(EVERY, (shard(tmp_path, 1, ("a", "c")), shard(tmp_path, 2, ("b",)))) == ()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (("a",), ("b",), "shard 1 of 2 lacks c"),
        (("a", "c"), ("b", "a"), "shard 2 of 2 has what nobody asked for: a"),
        (("a", "c", "c"), ("b",), "shard 1 of 2 has more than once: c"),
    ],
)
def test_what_is_wrong_with_the_union_is_said(
    tmp_path: Path, first: Sequence[str], second: Sequence[str], expected: str
) -> None:
    found = unproven(EVERY, (shard(tmp_path, 1, first), shard(tmp_path, 2, second)))
    assert found == (f"kernels: command 1: {expected}",)


def test_shards_that_planned_from_other_tests_prove_nothing(tmp_path: Path) -> None:
    results = (shard(tmp_path, 1, ("a", "c")), shard(tmp_path, 2, ("b",), (("a",), ("b", "c"))))
    assert unproven(EVERY, results) == ("kernels: command 1: its shards did not plan from the same tests",)
    lost = replace(results[1], commands=())
    assert unproven(EVERY, (results[0], lost)) == ("kernels: command 1: its shards did not plan from the same tests",)


def test_a_command_that_every_shard_runs_whole_has_no_union(tmp_path: Path) -> None:
    results = tuple(shard(tmp_path, number, ALL, divided=False) for number in (1, 2))
    assert unproven(EVERY, results) == ()
    whole = units([planned()])
    assert unproven(whole, (replace(results[0], shard=""),)) == ()
