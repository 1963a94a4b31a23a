"""Whether several data-parallel ranks answer as one does, and which of them does not, how: pure judgements.

Three things can be wrong with a rank, and each has its own words: it died, it hangs, it answers wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from asking import Answer, Step

TOLERANCE = 0.1
"""How far two log-probabilities of one token may be apart and still agree."""
SERVED = re.compile(r"^vllm:request_success_total\{(?P<labels>[^}]*)\} (?P<count>\S+)$", re.MULTILINE)
ENGINE = re.compile(r'\bengine="(\d+)"')


class Reply(NamedTuple):
    """What one rank made of one prompt; without an ``answer``, ``hung`` tells silence from a refusal."""

    rank: int
    prompt: str
    answer: Answer | None
    hung: bool = False
    said: str = ""


def agreement(one: Sequence[Step], other: Sequence[Step]) -> tuple[int, int]:
    """(positions that agree, positions compared) of two answers to one prompt.

    A position agrees if both chose the same token with nearly the same log-probability, or if each
    gives the other's choice nearly the log-probability of its own.  After two different tokens
    nothing can be compared any more.
    """
    agreed = compared = 0
    for mine, theirs in zip(one, other, strict=False):
        compared += 1
        agreed += close(mine, theirs)
        if mine.token != theirs.token:
            break
    return agreed, compared


def close(mine: Step, theirs: Step) -> bool:
    """Whether two steps at one position agree."""
    if mine.logprob is None or theirs.logprob is None:
        return mine.token == theirs.token
    pairs = (
        (mine.logprob, theirs.likely.get(mine.token)),
        (theirs.logprob, mine.likely.get(theirs.token)),
    )
    return all(other is not None and abs(own - other) <= TOLERANCE for own, other in pairs)


def judge(reference: Mapping[str, Answer], replies: Sequence[Reply], floor: float | None) -> tuple[str, ...]:
    """Everything wrong with the replies; ``floor`` None demands equal tokens."""
    wrong = [trouble(reply) for reply in replies if reply.answer is None]
    answered = [reply for reply in replies if reply.answer is not None]
    if not answered:
        return (*wrong, "no rank answered anything: nothing was compared")
    if floor is None:
        return (*wrong, *(text for reply in answered if (text := difference(reference[reply.prompt], reply))))
    for rank in sorted({reply.rank for reply in answered}):
        share, compared = agreement_of_rank(reference, [reply for reply in answered if reply.rank == rank])
        if share < floor:
            wrong.append(
                f"rank {rank} answers wrong: {share:.4f} of {compared} positions agree with one rank,"
                f" the floor is {floor}"
            )
    return tuple(wrong)


def agreement_of_rank(reference: Mapping[str, Answer], replies: Sequence[Reply]) -> tuple[float, int]:
    """(share of positions that agree, positions compared) over all of a rank's answers; 0 of 0 is no agreement."""
    pairs = [agreement(reference[each.prompt].steps, each.answer.steps) for each in replies if each.answer]
    agreed, compared = (sum(column) for column in zip(*pairs, strict=True)) if pairs else (0, 0)
    return (agreed / compared if compared else 0.0), compared


def trouble(reply: Reply) -> str:
    """What is said of a rank that gave no answer."""
    if reply.hung:
        return f"rank {reply.rank} hangs: {reply.said} to {reply.prompt!r}"
    return f"rank {reply.rank} died, or refuses: {reply.said}"


def difference(expected: Answer, reply: Reply) -> str:
    """How the tokens of an answer differ; empty if they do not."""
    found = reply.answer.tokens if reply.answer else ()
    if found == expected.tokens:
        return ""
    pairs = enumerate(zip(found, expected.tokens, strict=False))
    at = next((place for place, (mine, theirs) in pairs if mine != theirs), min(len(found), len(expected.tokens)))
    shown = f"token {at} is {found[at : at + 1]}, {expected.tokens[at : at + 1]} with one rank"
    return f"rank {reply.rank} answers wrong: {shown} ({reply.prompt!r})"


def served(metrics: str) -> dict[int, int]:
    """Requests finished by each engine, from the text of ``/metrics``."""
    counts: dict[int, int] = {}
    for match in SERVED.finditer(metrics):
        engine = ENGINE.search(match["labels"])
        if engine is not None:
            counts[int(engine[1])] = counts.get(int(engine[1]), 0) + round(float(match["count"]))
    return counts


def judge_served(counts: Mapping[int, int], expected: Mapping[int, int]) -> tuple[str, ...]:
    """The engines that did not serve what they were asked."""
    return tuple(
        f"rank {rank} finished {counts.get(rank, 0)} requests by its own count, {asked} were sent to it"
        for rank, asked in sorted(expected.items())
        if counts.get(rank, 0) != asked
    )
