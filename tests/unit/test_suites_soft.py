"""Soft steps: a failure that is counted and fails nothing, until its day, and only beside a step that counts."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from ci.errors import Outcome
from ci.suites import catalogue, plan
from ci.suites.crewing import Unit, _empty
from ci.suites.plan import Here, Wish
from ci.suites.verdict import Part, merge_run

LAST = date(2026, 12, 31)
SUITE = """\
schema: 1
runtime: cpu
steps:
  firm: {summary: s, limits: {minutes: 1}, commands: [{run: ["true"]}]}
  soft:
    summary: s
    limits: {minutes: 1}
    commands: [{run: ["true"]}]
    soft: {reason: new, until: "2026-12-31", link: "https://example.org/1"}
suites:
  all: {summary: s, steps: [firm, soft]}
"""
WHY = "new (until 2026-12-31, https://example.org/1)"
NOT = Outcome.FAILED, Outcome.OK, Outcome.SKIPPED
FIRM = Part("firm", Outcome.OK)


def part(outcome: Outcome, name: str = "soft") -> Part:
    return Part(name, outcome, ("why",), soft=WHY)


def planned(tmp_path: Path, today: date) -> plan.SuitePlan:
    (tmp_path / "suite.yaml").write_text(SUITE)
    found = catalogue.read(tmp_path / "suite.yaml", ("test",))
    return plan.make(found, "all", Here(), Wish(), today)


def test_a_soft_failure_beside_a_step_that_counts_is_counted_and_forgiven() -> None:
    outcome, reasons = merge_run([FIRM, part(Outcome.FAILED)])
    assert (outcome, reasons) == (Outcome.OK, (f"1 soft failure: soft: {WHY}",))
    shards = [part(Outcome.FAILED, f"soft {number}/2") for number in (1, 2)]
    assert merge_run([FIRM, *shards])[1] == (f"2 soft failures: soft 1/2: {WHY}; soft 2/2: {WHY}",)


@pytest.mark.parametrize(
    "others",
    [
        [],  # the job of one step in a pipeline
        [part(Outcome.OK, "soft 2/2")],  # another shard of it
        [part(Outcome.OK, "softer")],
        [Part("firm", Outcome.SKIPPED, ("no GPU",))],
        [Part("firm", Outcome.FAILED)],
    ],
)
def test_where_no_step_that_counts_went_well_a_soft_failure_fails(others: list[Part]) -> None:
    outcome, reasons = merge_run([*others, part(Outcome.FAILED)])
    assert outcome is Outcome.FAILED
    assert reasons == (f"1 soft failure: soft: {WHY}",)


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome not in NOT])
def test_only_the_products_failure_is_forgiven(outcome: Outcome) -> None:
    assert merge_run([FIRM, part(outcome)]) == (outcome, ())


def test_a_soft_failure_does_not_hide_a_real_one() -> None:
    assert merge_run([FIRM, part(Outcome.FAILED), Part("hangs", Outcome.TIMEOUT)])[0] is Outcome.TIMEOUT


def test_a_soft_step_that_goes_well_is_nothing_special() -> None:
    assert merge_run([FIRM, part(Outcome.OK)]) == (Outcome.OK, ())
    assert merge_run([part(Outcome.OK)]) == (Outcome.OK, ())


def test_softness_ends(tmp_path: Path) -> None:
    now = planned(tmp_path, LAST)
    assert {each.name: each.soft for each in now.steps} == {"firm": "", "soft": WHY}
    assert now.notices == ()
    later = planned(tmp_path, LAST + timedelta(days=1))
    assert {each.soft for each in later.steps} == {""}
    assert later.notices == ("step soft is soft no more: that ended on 2026-12-31 (new)",)


def test_a_call_that_told_nothing_knows_that_its_step_is_soft(tmp_path: Path) -> None:
    soft = planned(tmp_path, LAST).steps[1]
    assert _empty(Unit(soft, (1, 2))).soft == WHY
