"""An example script of the framework, as its users run it, with everything its exit status does not tell."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import example
import pytest


def test_example(pytestconfig: pytest.Config, logs: Path, measure: Callable[..., None]) -> None:
    script: Path | None = pytestconfig.getoption("example")
    if script is None:
        pytest.skip("no --example given")
    assert script.is_file(), example.moved_text(script)
    for module in pytestconfig.getoption("needs_module"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"this image has no module {module}")
    limit: float = pytestconfig.getoption("group_limit")
    finished = example.run([sys.executable, str(script), *pytestconfig.getoption("example_args")], logs, limit)
    measure("example_seconds", finished.seconds, "s")
    ranks, proof = pytestconfig.getoption("example_ranks"), pytestconfig.getoption("backend_proof")
    wrong = example.judge(finished, limit, ranks, proof)
    assert not wrong, "\n".join((*wrong, "its output ends:", *finished.output.splitlines()[-40:]))
