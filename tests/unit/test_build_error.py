"""Whose fault a failed build is: the product's, or the world's."""

from __future__ import annotations

import pytest

from ci.build.bake import build_error
from ci.build.inputs import Inputs
from ci.build.plan import TierPlan
from ci.build.progress import Failure
from ci.errors import CiError, FailedError, InfraError, Place
from ci.recipe.stack import Tier

TIER = TierPlan(
    Inputs(Tier("ci-base", "Dockerfile.x", "ci_base", (), (), ("fetch",), Place("s.yaml")), "", (), (), {}, None),
    "1" * 64,
    "x:y",
    "build",
    (),
)
STEP = "[ci_base 3/5] RUN make"


def failure(message: str = "", *, code: int | None = None, stage: str = "ci_base", kind: str = "") -> Failure:
    return Failure(stage, STEP if stage else "", tuple(f"line {n}" for n in range(40)), code, message, kind)


def error(found: Failure | None, tail: str = "") -> CiError:
    return build_error(TIER, 1, found, tail)


CASES: dict[str, tuple[Failure | None, str, type[CiError], str]] = {
    "a RUN of the product": (failure(code=2), "", FailedError, "run-failed"),
    "a RUN whose log speaks of the network": (failure("dial tcp", code=2), "dial tcp", FailedError, "run-failed"),
    "a RUN of a fetch stage": (failure("exit code: 6", code=6, stage="fetch"), "", InfraError, "build-world"),
    "no reason at all": (None, "bye", InfraError, "build-broke-off"),
    "a full disk": (failure("no space", code=1, kind="disk"), "", InfraError, "disk"),
    "a full disk at no step": (failure("no space", stage="", kind="disk"), "", InfraError, "disk"),
    "killed for memory": (failure(code=137, kind="oom"), "", InfraError, "killed"),
    "a registry that is not there": (
        failure("failed to do request: Head x: dial tcp: connection refused", stage=""), "", InfraError, "build-world",
    ),
    "a daemon that went away": (
        failure("rpc error", stage=""), "ERROR: Cannot connect to the Docker daemon at x", InfraError, "build-world",
    ),
    "a daemon that shuts down": (failure("graceful_stop", stage=""), "", InfraError, "build-world"),
    "a Dockerfile that cannot be parsed": (
        failure("dockerfile parse error on line 3", stage=""), "", FailedError, "build-failed",
    ),
    "a missing file": (failure('"/x": not found'), "", FailedError, "build-failed"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_whose_fault_it_is(name: str) -> None:
    found, tail, kind, reference = CASES[name]
    made = error(found, tail)
    problem = made.problems[0]
    assert (type(made), problem.reference) == (kind, reference)
    assert "ci-base" in problem.message
    assert problem.hint


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[0]])
def test_the_failing_step_and_its_last_lines_are_there(name: str) -> None:
    found, tail, *_ = CASES[name]
    problem = error(found, tail).problems[0]
    assert problem.context.splitlines() == [f"line {n}" for n in range(20, 40)]
    assert found is not None
    assert (STEP in problem.message) == bool(found.step)


def test_the_words_of_buildx_are_kept_where_there_is_no_step() -> None:
    assert error(None, "the last words").problems[0].context == "the last words"
    assert "exit code: 6" in error(failure("exit code: 6", code=6, stage="fetch")).problems[0].message


def test_hints_name_the_next_step() -> None:
    assert "MAX_JOBS" in error(failure(code=137, kind="oom")).problems[0].hint
    assert "ci-base/progress.jsonl" in error(failure(code=2)).problems[0].hint
    assert "Dockerfile.x" in error(failure("parse error", stage="")).problems[0].hint
