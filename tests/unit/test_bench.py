"""The benchmark's table of goals is complete, and its verdicts are what the page says."""

from __future__ import annotations

import pytest

from tests.bench.__main__ import SCENES
from tests.bench.goals import GOALS, Goal, Measured, met, past
from tests.bench.measure import Series
from tests.bench.page import page

BY_KEY = {goal.key: goal for goal in GOALS}


def measured(ours: float, other: float | None = None) -> Measured:
    return Measured(Series((ours,)), None if other is None else Series((other,)))


def perfect(goal: Goal) -> Measured:
    return measured(0.001, 1.0 if goal.kind == "ratio" else None)


def test_the_promised_bounds() -> None:
    assert {goal.key: goal.bound for goal in GOALS} == {
        "nothing-module": 0.5,
        "nothing-invoke": 0.75,
        "identity-warm": 0.030,
        "identity-cold": None,
        "plan-module": 0.5,
        "plan-invoke": 0.5,
        "cold": 1.03,
        "python-only": 0.1,
        "kernels-cold": 1 / 1.8,
        "kernels-parallel": None,
        "kernels-warm": 0.002,
        "index-again": 1 / 3,
        "index-first": None,
        "index-cold": None,
        "index-add": 1.25,
        "shards-floor": 1.02,
        "shards-split": None,
        "shards-set-up": 1.0,
        "shards-modulo": 1.0,
        "pipeline": 0.35,
        "pipeline-rival": 1 / 5,
        "runner-step": 1.0,
    }


def test_every_goal_has_a_scene_and_every_scene_a_goal() -> None:
    assert len(BY_KEY) == len(GOALS)
    assert {goal.scene for goal in GOALS} == set(SCENES)
    assert {goal.kind for goal in GOALS} == {"ratio", "seconds"}
    assert all(goal.other for goal in GOALS if goal.kind == "ratio")


def test_what_was_not_measured_is_missed() -> None:
    assert past({}) == tuple(goal.key for goal in GOALS if goal.bound is not None)
    everything = {goal.key: perfect(goal) for goal in GOALS}
    assert past(everything) == ()
    assert past({**everything, "cold": measured(1.04, 1.0)}) == ("cold",)


@pytest.mark.parametrize(
    ("key", "found", "verdict"),
    [
        ("nothing-module", measured(0.5, 1.0), True),
        ("nothing-module", measured(0.51, 1.0), False),
        ("nothing-module", measured(0.1), False),  # a ratio of nothing is no success
        ("identity-warm", measured(0.031), False),
        ("plan-invoke", measured(0.4), True),
        ("identity-cold", measured(9.0), None),
    ],
)
def test_verdicts(key: str, found: Measured, verdict: bool | None) -> None:
    assert met(BY_KEY[key], found) is verdict


def test_the_page_shows_each_goal_and_the_machine() -> None:
    found = {goal.key: perfect(goal) for goal in GOALS} | {"cold": measured(10.5, 10.0)}
    text = page(found, {"cores": "2"})
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| What")]
    assert len(rows) == len(GOALS)
    cold = next(row for row in rows if "nothing cached" in row)
    assert cold.endswith("| 1.05 | ≤ 1.03 | **no** |")
    assert "10.50 s (10.50 s to 10.50 s)" in cold
    assert "- cores: 2" in text


def test_rounds_are_compared_with_their_neighbours() -> None:
    ours, other = Series((3.0, 1.0, 4.0)), Series((2.0, 1.0, 2.0))
    assert ours.above(other) == Series((1.0, 0.0, 2.0))
    assert Measured(ours, other).ratio == 1.5
    assert Measured(ours).ratio is None
