"""Results of steps: through JSON and back, summed up, and the durations in them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ci.errors import ConfigError, Outcome
from ci.suites import durations
from ci.suites.events import Events, Measured, Result
from ci.suites.junit import Junit
from ci.suites.records import NOTHING, Records
from ci.suites.results import CommandResult, StepResult, summed
from ci.suites.source import Source
from ci.suites.verdict import Counts, Verdict
from ci.world.sandbox import Ended

COMMAND = CommandResult(
    2,
    ("python3", "-m", "pytest"),
    Verdict(Outcome.TIMEOUT, ("ended at its deadline",), Counts(run=3, passed=2, failed=1)),
    Ended(None, 12.5, "deadline", "", True, ("SIGINT", "SIGKILL")),
    Path("/runs/x/1"),
)
FULL = StepResult(
    name="kernels",
    summary="all kernels",
    outcome=Outcome.TIMEOUT,
    reasons=("ended at its deadline",),
    shard="2/4",
    where="gpu",
    seconds=13.25,
    counts=Counts(run=3, passed=2, failed=1, skipped=4, xfailed=5, flaky=6, quarantined=7),
    skipped={"no fabric": 4},
    measured=(Measured("a.py::t", "speed", 3.5, "GB/s"),),
    gpus=("0000:05:00.0", "0000:05:00.0+1"),
    image="r:t@sha256:1",
    tries=("the engine went away",),
    commands=(COMMAND,),
    durations={"a.py::t": 1.25},
    unmet=True,
    soft="known (until 2027-01-01)",
    replay="python -m ci test all --only kernels --shard 2/4",
)
EMPTY = StepResult("kernels", "all kernels", Outcome.SKIPPED)


@pytest.mark.parametrize("result", [FULL, EMPTY])
def test_a_step_goes_through_json_and_back(result: StepResult) -> None:
    assert StepResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_the_full_one_leaves_no_field_at_its_default() -> None:
    """Else the way back would be tested for some only."""
    full, empty = FULL.to_json(), EMPTY.to_json()
    assert [name for name in full if full[name] == empty[name]] == ["name", "summary"]
    assert all(FULL.counts)


@pytest.mark.parametrize("lost", ["outcome", "counts", "commands"])
def test_what_lacks_a_part_is_no_step(lost: str) -> None:
    data = FULL.to_json()
    del data[lost]
    with pytest.raises(KeyError):
        StepResult.from_json(data)


def ran(*ids: str, seconds: float = 1.0) -> Records:
    ended = tuple(Result(each, "passed", seconds) for each in ids)
    measured = tuple(Measured(each, "speed", 1.0, "GB/s") for each in ids)
    return Records(Junit(Source()), Events(Source(), collected=ids, started=ids, ended=ended, measured=measured))


def test_a_step_is_the_sum_of_its_commands() -> None:
    good = replace(COMMAND, number=1, verdict=Verdict(Outcome.OK, (), Counts(run=1, passed=1)))
    result = summed(EMPTY, [(good, ran("a", seconds=1.23456)), (COMMAND, ran("b"))])
    assert (result.outcome, result.reasons) == (Outcome.TIMEOUT, ("ended at its deadline",))
    assert result.counts == Counts(run=4, passed=3, failed=1)
    assert (result.durations, [each.id for each in result.measured]) == ({"a": 1.235, "b": 1.0}, ["a", "b"])
    assert result.commands == (good, COMMAND)


def test_a_step_without_commands_is_empty() -> None:
    assert summed(EMPTY, []).outcome is Outcome.EMPTY
    program = replace(COMMAND, verdict=Verdict(Outcome.OK))
    assert (summed(EMPTY, [(program, NOTHING)]).outcome, summed(EMPTY, [(program, NOTHING)]).durations) == ("ok", {})


# --- durations --------------------------------------------------------------------------------------


def test_durations_of_shards_come_together_and_can_be_read_again(tmp_path: Path) -> None:
    shards = [replace(EMPTY, shard=f"{n}/2", durations={f"t{n}": float(n)}) for n in (1, 2)]
    found = durations.of([*shards, replace(EMPTY, name="nothing")])
    assert found == {"kernels": {"t1": 1.0, "t2": 2.0}}
    (tmp_path / "d.json").write_text(json.dumps(found))
    assert durations.read(tmp_path / "d.json") == found


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"t": "1"}}', '{"a": {"t": true}}', '{"a": {"t": 1}'])
def test_a_file_that_is_no_durations_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(ConfigError) as caught:
        durations.read(tmp_path / "d.json")
    assert "d.json" in str(caught.value.problems[0].place)


def test_durations_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.json"):
        durations.read(tmp_path / "nowhere.json")
