"""The file that shards are planned from: how many seconds each test of each step took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from .. import documents
from ..world import files
from .results import StepResult

Seconds = Mapping[str, Mapping[str, float]]
"""Step, test, seconds."""

_MOST = 2_000_000
"""Tests of a whole stack, as a run writes them."""

_SCHEMA = {
    "type": "object",
    "additionalProperties": {"type": "object", "additionalProperties": {"type": "number"}},
}


def read(path: Path) -> Seconds:
    """The recorded durations in the JSON file ``path``; raises ``ConfigError`` for anything else."""
    document = documents.read(files.read_text(path), str(path), most=_MOST)
    documents.refuse((*document.problems, *documents.check(document, _SCHEMA)))
    return {step: {test: float(each) for test, each in tests.items()} for step, tests in document.value.items()}


def of(steps: Iterable[StepResult]) -> Seconds:
    """What a run took, in the shape that ``read`` reads."""
    found: dict[str, dict[str, float]] = {}
    for step in steps:
        found.setdefault(step.name, {}).update(step.durations)
    return {step: tests for step, tests in found.items() if tests}
