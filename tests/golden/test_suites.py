"""The end of a run of a suite, word for word: what a person reads, and the document."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ci.errors import Outcome
from ci.report import suites
from ci.suites.events import Measured
from ci.suites.results import CommandResult, RunResult, StepResult
from ci.suites.verdict import Counts, Verdict
from ci.world.sandbox import Ended

IMAGE = "rocm-ci/local:test-v1-" + "3f2a4b5c6d7e8f90" * 4 + "@sha256:" + "0123456789abcdef" * 4
RUN = Path("/var/tmp/rocm-ci/runs/20260102T030405Z-0a1b2c3d")
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[31mn\u00f6 f\u00e4bric\x1b[0m \u202eabc\r::error::x\x00 \u65e5\u672c"


def step(name: str, outcome: Outcome, *reasons: str, **more: object) -> StepResult:
    """A step of one command that ended so."""
    made = StepResult(name, f"what {name} proves", outcome, reasons, image=IMAGE, seconds=12.3)
    made = replace(made, **more)  # type: ignore[arg-type]
    place = made.shard.replace("/", "-of-") or "whole"
    verdict = Verdict(outcome, reasons, made.counts)
    ended = Ended({Outcome.OK: 0, Outcome.FAILED: 1}.get(outcome), made.seconds)
    folder = RUN / "steps" / name / f"{place}-{len(made.tries) + 1}" / "1"
    return replace(made, commands=(CommandResult(1, ("python3", "-m", "pytest", name), verdict, ended, folder),))


def left_out(name: str, why: str) -> StepResult:
    """A step this node cannot run."""
    return StepResult(name, name, Outcome.SKIPPED, (why,), unmet=True)


def run(outcome: Outcome, *steps: StepResult, reasons: tuple[str, ...] = ()) -> RunResult:
    """A run of those steps."""
    return RunResult("rocm-tests", "local", outcome, steps, RUN, 3723.4, reasons)


FAILURES = tuple(f"tests/test_many.py::test_n[{number}] failed: assert {number} < 0" for number in range(20))
LONG = f"tests/test_long.py::test_x[{'a' * 80}] failed: AssertionError: " + "a very long reason " * 30
GOOD = step(
    "shutdown",
    Outcome.OK,
    "1 skipped: needs a GPU",
    counts=Counts(4, 4, 0, 1),
    skipped={"needs a GPU": 1},
    measured=(Measured("a.py::test_abort[idle]", "shutdown_seconds", 1.8765432, "s"),),
    durations={"a.py::test_abort[idle]": 3.2},
)
MANY = step(
    "kernels",
    Outcome.FAILED,
    *FAILURES,
    "and 20 more failed",
    "flaky: tests/test_f.py::test_f failed before on the same image",
    "quarantined: tests/test_q.py::test_q failed: known",
    "3 skipped: no fabric",
    counts=Counts(44, 2, 40, 3, 0, 1, 1),
    skipped={"no fabric": 3},
)
MIXED = run(
    Outcome.TIMEOUT,
    GOOD,
    MANY,
    step(
        "hangs",
        Outcome.TIMEOUT,
        "ended at its deadline after 12 s while a.py::test_hangs ran; SIGKILL was needed, which may leave VRAM held",
        "1 of 2 collected tests never ended: a.py::test_hangs",
        where="gpu",
        gpus=("0000:05:00.0", "0000:26:00.0"),
        counts=Counts(1, 1),
        shard="1/2",
    ),
    step("hangs", Outcome.SKIPPED, "nothing to do: there are fewer tests than shards", shard="2/2"),
    step(
        "lost",
        Outcome.INFRA,
        "cannot start rocm-ci-lost-whole-2 of IMAGE",
        "it said: no such device",
        "hint: check that its devices and mounted folders exist on the engine's host, then inv doctor",
        tries=("the engine went away: it is silent",),
        commands=(),
    ),
    left_out("eight-gpus", "needs 8 GPUs (gfx942): this node has 1 GPU (gfx90a)"),
)
BROKEN_OFF = run(
    Outcome.INTERRUPTED,
    GOOD,
    step("sleeps", Outcome.INTERRUPTED, "stopped with SIGINT, SIGTERM while a.py::test_b ran", counts=Counts(1, 1)),
    reasons=("not begun: third, fourth",),
)
ODD = run(
    Outcome.FAILED,
    step("odd", Outcome.FAILED, LONG, f"a.py::test_{HOSTILE} failed: {HOSTILE}", f"2 skipped: {HOSTILE}"),
    reasons=(f"odd: shard 1 of 2 lacks a.py::{HOSTILE}",),
)
SOFT = run(
    Outcome.OK,
    GOOD,
    step(
        "new-kernels",
        Outcome.FAILED,
        f"a.py::test_| failed: <b>{HOSTILE}`",
        counts=Counts(4, 3, 1),
        soft="not stable yet (until 2027-01-01)",
        replay="python -m ci test rocm-tests --only new-kernels --image r:t@sha256:1 --stack 'a b.yaml'",
    ),
    reasons=("1 soft failure: new-kernels: not stable yet (until 2027-01-01)",),
)
NOTHING = run(Outcome.EMPTY, left_out("gpu", "needs 1 GPU: the image has no GPU runtime"), reasons=("nothing was run",))
RUNS = {"mixed": MIXED, "broken-off": BROKEN_OFF, "odd": ODD, "soft": SOFT, "nothing": NOTHING}


@pytest.mark.parametrize("name", RUNS)
def test_text(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}.txt", suites.answer(RUNS[name]).text + "\n")


@pytest.mark.parametrize("name", RUNS)
def test_markdown(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}.md", suites.answer(RUNS[name]).page)


@pytest.mark.parametrize("name", RUNS)
def test_document(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}.json", json.dumps(suites.answer(RUNS[name]).document, indent=2) + "\n")


def test_nothing_drives_the_terminal() -> None:
    """What the tests said is shown, readable and in one line."""
    text = suites.answer(ODD).text
    assert all(char.isprintable() for char in text.replace("\n", ""))
    assert "n\u00f6 f\u00e4bric" in text
    assert "owned" not in text
    assert not [line for line in text.splitlines() if line.lstrip().startswith("::")]


@pytest.mark.parametrize("name", RUNS)
def test_a_step_that_is_read_back_is_the_same(name: str) -> None:
    for each in RUNS[name].steps:
        assert StepResult.from_json(json.loads(json.dumps(each.to_json()))) == each
