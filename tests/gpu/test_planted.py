"""A rank that misbehaves on purpose is noticed, blamed, and told by how: what the other tests' word is worth."""

from __future__ import annotations

from pathlib import Path

import pytest
from ranks import all_to_all, judge, run

LIMIT = 45.0
"""Enough to import torch on a busy machine; the hung group takes all of it."""


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        ("die:1", "rank 1 died of signal 9, it got to 'start"),
        ("exit:1", "rank 1 died with exit status 0, it got to 'start"),
        ("hang:1", "rank 1 hung: the group's 45 s were over, and it got to 'start"),
        ("wrong:1", "rank 0 got a wrong answer: even: rows computed by rank 1 are off"),
    ],
    ids=["dies", "exits-early", "hangs", "answers-wrong"],
)
def test_misbehaviour_is_told_apart(plant: str, said: str, logs: Path, tmp_path: Path) -> None:
    wrong = judge(run(all_to_all(2, tmp_path / "meet", plant), logs, LIMIT), LIMIT)
    assert wrong, "the planted misbehaviour was not noticed"
    assert wrong[0].startswith(said), "\n".join(wrong)
