"""Several data-parallel engines answer as one does: greedy, one request at a time, each rank asked by number."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import agreement
import processes
import pytest
import serving
from agreement import Reply
from asking import Answer, Client, Refused, Silent
from processes import Process
from serving import Serve

PROMPTS = (
    "The capital of France is", "1, 1, 2, 3, 5, 8,", "Once upon a time", "def fibonacci(n):",
    "Zwölf Boxkämpfer jagen Viktor", "x", "a b c d e f g h i j k l m n o p", "{'key': [1, 2, 3]}",
)  # fmt: skip
TOKENS = 48
LIKELY = 5
LONGEST = 86400.0


class FirstDeath(threading.Thread):
    """Waits for the first of some processes to end: once one rank is dead the server ends the others too."""

    def __init__(self, known: Sequence[Process]) -> None:
        super().__init__(daemon=True)
        self.known = {each.pid: each for each in known}
        self.found: tuple[str, ...] = ()

    def run(self) -> None:
        gone = processes.wait(tuple(self.known), LONGEST)
        self.found = tuple(f"the first process to end was {self.known[pid]}" for pid in gone)


def ask_one(client: Client, prompt: str, rank: int, limit: float, logprobs: int | None) -> Reply:
    """One prompt to one rank."""
    try:
        answer = client.complete(prompt, TOKENS, limit, rank=rank, logprobs=logprobs)
        if answer.reason != "length":
            return Reply(rank, prompt, None, said=f"it ended after {len(answer.tokens)} tokens: {answer.reason!r}")
        return Reply(rank, prompt, answer)
    except Silent:
        return Reply(rank, prompt, None, hung=True, said=f"no answer within {limit:g} s")
    except Refused as error:
        return Reply(rank, prompt, None, said=str(error))


def ask_all(client: Client, ranks: int, limit: float, logprobs: int | None) -> list[Reply]:
    """Every prompt to every rank; a rank that gave no answer is not asked again."""
    replies: list[Reply] = []
    for rank in range(ranks):
        for prompt in PROMPTS:
            replies.append(ask_one(client, prompt, rank, limit, logprobs))
            if replies[-1].answer is None:
                break
    return replies


def answers_of_one(
    serve: Serve, arguments: Sequence[str], logs: Path, limit: float, logprobs: int | None
) -> dict[str, Answer]:
    """What a single engine answers."""
    folder = logs / "one"
    folder.mkdir()
    with serving.serving(serve.model, arguments, folder, serve.limit) as server:
        return {prompt: server.client.complete(prompt, TOKENS, limit, logprobs=logprobs) for prompt in PROMPTS}


def test_ranks_answer_as_one(
    serve: Serve, logs: Path, pytestconfig: pytest.Config, measure: Callable[..., None]
) -> None:
    ranks: int = pytestconfig.getoption("data_parallel_size")
    limit: float = pytestconfig.getoption("request_limit")
    floor: float | None = pytestconfig.getoption("agreement_floor")
    logprobs = None if floor is None else LIKELY
    reference = answers_of_one(serve, serve.arguments, logs, limit, logprobs)
    assert len({answer.tokens for answer in reference.values()}) > 1, "all prompts get one answer: it proves nothing"
    arguments = (*serve.arguments, f"--data-parallel-size={ranks}", "--api-server-count=1")
    with serving.serving(serve.model, arguments, logs, serve.limit) as server:
        death = FirstDeath(server.family())
        death.start()
        replies = ask_all(server.client, ranks, limit, logprobs)
        wrong = agreement.judge(reference, replies, floor)
        if wrong:
            death.join(1)
            wrong += death.found
        else:
            counts = agreement.served(server.client.text("/metrics", limit))
            wrong = agreement.judge_served(counts, dict.fromkeys(range(ranks), len(PROMPTS)))
        end = server.tail()
    for rank in range(ranks):
        share, compared = agreement.agreement_of_rank(reference, [reply for reply in replies if reply.rank == rank])
        measure(f"agreement_rank_{rank}", share)
        measure(f"positions_rank_{rank}", compared)
    assert not wrong, "\n".join((*wrong, f"the server's output ends:\n{end}"))
