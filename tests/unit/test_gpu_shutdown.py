"""What the shutdown tests conclude from what they saw, over planted ends of a server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.gpu_suite import module

shutdown = module("shutdown")
LIMITS = shutdown.Limits(objective=4.0, slack=0.5, hang=60.0)


def ended(code: int | None = 0, seconds: float = 1.0, **rest: Any) -> Any:
    return shutdown.Stopped(code, seconds, **rest)


@pytest.mark.parametrize("code", [0, -15])
def test_a_good_end(code: int) -> None:
    assert shutdown.judge_stop(ended(code, 4.49), LIMITS) == ()


@pytest.mark.parametrize("code", [1, -9, -11, 143])
def test_any_other_status_fails(code: int) -> None:
    (wrong,) = shutdown.judge_stop(ended(code), LIMITS)
    assert wrong == f"the server ended with {code}; 0 or -15 is right"


def test_the_objective_and_its_slack_are_two_numbers() -> None:
    (wrong,) = shutdown.judge_stop(ended(seconds=4.51), LIMITS)
    assert "4.51 s" in wrong
    assert "objective is 4 s and 0.5 s of slack" in wrong


def test_report_judges_no_time() -> None:
    assert shutdown.judge_stop(ended(seconds=59.0), LIMITS._replace(objective=None)) == ()


def test_a_client_that_was_waited_for_moves_the_objective_and_nothing_else() -> None:
    assert LIMITS.after(3.0) == LIMITS._replace(objective=7.0)
    assert LIMITS._replace(objective=None).after(3.0) == LIMITS._replace(objective=None)


def test_leftovers_fail_a_quick_and_clean_exit() -> None:
    (wrong,) = shutdown.judge_stop(ended(leftovers="ports: 8000"), LIMITS)
    assert wrong == "the server left behind: ports: 8000"


def test_a_hang_names_the_stacks_and_the_signals() -> None:
    (wrong,) = shutdown.judge_stop(ended(None, 60.0, rungs=("SIGINT", "SIGTERM", "SIGKILL"), shown=(7, 9)), LIMITS)
    assert "no exit within 60 s of SIGTERM" in wrong
    assert "stacks of pids 7, 9" in wrong
    assert "SIGINT, SIGTERM, SIGKILL; SIGKILL may leave VRAM held" in wrong


def test_a_hang_without_a_handler_says_so() -> None:
    (wrong,) = shutdown.judge_stop(ended(None, 60.0, rungs=("SIGINT",)), LIMITS)
    assert "none listens to SIGUSR1" in wrong
    assert "VRAM" not in wrong


GOOD_DRAIN = shutdown.Drained(asked=100, at_signal=3, tokens=100, reason="length", refusals=(200, 500))


@pytest.mark.parametrize("status", [0, 500, 503])
def test_a_good_drain(status: int) -> None:
    assert shutdown.judge_drain(GOOD_DRAIN._replace(refusals=(200, status))) == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"at_signal": 100}, "over before the signal"),
        ({"tokens": 57, "reason": "abort"}, "57 of 100 tokens, reason 'abort'"),
        ({"reason": ""}, "did not complete"),
        ({"tokens": 57, "trouble": "IncompleteRead"}, "57 of 100 tokens, IncompleteRead"),
        ({"refusals": (200, 200)}, "no new request was refused while the running one was drained (2 sent)"),
        ({"refusals": ()}, "(0 sent)"),
    ],
)
def test_a_bad_drain(change: dict[str, Any], said: str) -> None:
    (wrong,) = shutdown.judge_drain(GOOD_DRAIN._replace(**change))
    assert said in wrong


def test_an_abort_cuts_the_request_off() -> None:
    assert shutdown.judge_abort(asked=100, at_signal=2, tokens=40) == ()
    assert "nothing was aborted" in shutdown.judge_abort(asked=100, at_signal=2, tokens=100)[0]
    assert "over before the signal" in shutdown.judge_abort(asked=100, at_signal=100, tokens=100)[0]
