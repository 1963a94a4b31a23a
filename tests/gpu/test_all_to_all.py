"""Dispatch and combine over torch.distributed against NumPy, with uneven loads and ranks that get nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ranks import all_to_all, judge, run


def test_against_numpy(
    ranks: int, logs: Path, tmp_path: Path, pytestconfig: pytest.Config, measure: Callable[..., None]
) -> None:
    limit: float = pytestconfig.getoption("group_limit")
    group = run(all_to_all(ranks, tmp_path / "meet"), logs, limit)
    measure("group_seconds", group.seconds, "s")
    wrong = judge(group, limit)
    assert not wrong, "\n".join(wrong)
