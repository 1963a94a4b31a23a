"""A data-parallel rank that died, hangs, or answers wrong is told apart, over planted answers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.gpu_suite import module

agreement, asking = module("agreement"), module("asking")


def answer(*tokens: int) -> Any:
    return asking.Answer(tuple(asking.Step(token) for token in tokens), "length")


def likely(token: int, value: float, **others: float) -> Any:
    """A step with log-probabilities; the others are named ``t7=-1.5``."""
    return asking.Step(token, value, {token: value} | {int(name[1:]): each for name, each in others.items()})


REFERENCE = {"one": answer(1, 2, 3), "two": answer(4, 5, 6)}
RIGHT = [agreement.Reply(rank, prompt, REFERENCE[prompt]) for rank in (0, 1) for prompt in REFERENCE]


def test_equal_tokens_agree() -> None:
    assert agreement.judge(REFERENCE, RIGHT, None) == ()


def test_the_three_troubles_have_three_texts() -> None:
    died = agreement.Reply(1, "one", None, said="ConnectionResetError: reset")
    hung = agreement.Reply(1, "one", None, hung=True, said="no answer within 60 s")
    lying = agreement.Reply(1, "two", answer(4, 9, 6))
    texts = [agreement.judge(REFERENCE, [*RIGHT, reply], None) for reply in (died, hung, lying)]
    assert texts == [
        ("rank 1 died, or refuses: ConnectionResetError: reset",),
        ("rank 1 hangs: no answer within 60 s to 'one'",),
        ("rank 1 answers wrong: token 1 is (9,), (5,) with one rank ('two')",),
    ]


@pytest.mark.parametrize("tokens", [(4, 5), (4, 5, 6, 7)])
def test_an_answer_of_another_length_is_wrong(tokens: tuple[int, ...]) -> None:
    (wrong,) = agreement.judge(REFERENCE, [agreement.Reply(0, "two", answer(*tokens))], None)
    assert wrong.startswith("rank 0 answers wrong: token ")


@pytest.mark.parametrize("floor", [None, 0.5])
def test_nothing_compared_is_no_agreement(floor: float | None) -> None:
    assert agreement.judge(REFERENCE, [], floor)[-1].endswith("nothing was compared")


def test_log_probabilities_agree_within_a_tolerance() -> None:
    same = [likely(1, -0.5), likely(2, -0.2)]
    near = [likely(1, -0.45), likely(2, -0.25)]
    far = [likely(1, -0.5), likely(2, -0.9)]
    assert agreement.agreement(same, near) == (2, 2)
    assert agreement.agreement(same, far) == (1, 2)


def test_a_near_tie_agrees_and_ends_the_comparison() -> None:
    mine = [likely(1, -0.70, t2=-0.71), likely(5, -0.1)]
    theirs = [likely(2, -0.69, t1=-0.72), likely(6, -0.1)]
    assert agreement.agreement(mine, theirs) == (1, 1)


def test_another_choice_that_is_no_tie_disagrees() -> None:
    mine = [likely(1, -0.1, t2=-3.0), likely(5, -0.1)]
    theirs = [likely(2, -0.1, t1=-3.0), likely(5, -0.1)]
    assert agreement.agreement(mine, theirs) == (0, 1)
    assert agreement.agreement(mine, [likely(2, -0.1)]) == (0, 1)


def test_the_floor_is_for_each_rank() -> None:
    steps = tuple(likely(token, -0.5) for token in range(10))
    reference = {"one": asking.Answer(steps, "length")}
    half = asking.Answer((*steps[:5], *(likely(token, -2.0) for token in range(5, 10))), "length")
    replies = [agreement.Reply(0, "one", reference["one"]), agreement.Reply(1, "one", half)]
    assert agreement.judge(reference, replies, 0.5) == ()
    (wrong,) = agreement.judge(reference, replies, 0.9)
    assert wrong == "rank 1 answers wrong: 0.5000 of 10 positions agree with one rank, the floor is 0.9"


METRICS = """# TYPE vllm:request_success_total counter
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 1.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 7.0
vllm:request_success_total{engine="1",finished_reason="length",model_name="m"} 8.0
vllm:request_success_created{engine="1",finished_reason="length",model_name="m"} 1.7952e+09
"""


def test_each_engine_must_have_served_what_it_was_sent() -> None:
    counts = agreement.served(METRICS)
    assert counts == {0: 8, 1: 8}
    assert agreement.judge_served(counts, {0: 8, 1: 8}) == ()
    assert agreement.judge_served({0: 16}, {0: 8, 1: 8}) == (
        "rank 0 finished 16 requests by its own count, 8 were sent to it",
        "rank 1 finished 0 requests by its own count, 8 were sent to it",
    )


def test_tokens_are_told_by_number() -> None:
    choice = {
        "token_ids": [7, 8],
        "logprobs": {"token_logprobs": [-0.5, -1], "top_logprobs": [{"token_id:7": -0.5, "token_id:9": -2.0}, None]},
    }
    assert asking.steps_of(choice) == (asking.Step(7, -0.5, {7: -0.5, 9: -2.0}), asking.Step(8, -1, {}))
    assert asking.steps_of({"token_ids": [7]}) == (asking.Step(7),)
