"""The options of these tests, and what several of them share. It runs inside images, without the task runner."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import serving
from serving import Serve

HERE = Path(__file__).resolve().parent
SEED = "7"


def objective(text: str) -> float | None:
    """Seconds, or None for ``report``."""
    return None if text == "report" else float(text)


def pytest_addoption(parser: pytest.Parser) -> None:
    serve = parser.getgroup("serve", "the server under test")
    serve.addoption("--model", type=Path, help="a model folder; without it one is made on the spot")
    serve.addoption("--serve-args", action="append", default=[], metavar="ARG", help="one more argument; repeatable")
    serve.addoption("--up-limit", type=float, default=300.0, help="seconds until the server must be healthy")
    serve.addoption("--request-limit", type=float, default=60.0, help="seconds a rank may be silent")
    ends = parser.getgroup("shutdown")
    ends.addoption("--objective", type=objective, default=None, help="seconds, or report: then no time fails")
    ends.addoption("--slack", type=float, default=0.5, help="seconds above the objective that do not fail")
    ends.addoption("--hang-limit", type=float, default=60.0, help="seconds after which the server is hung")
    ends.addoption("--client-patience", type=float, default=3.0, help="seconds a client waits for its next token")
    ends.addoption("--drain-timeout", type=int, default=60, help="seconds given to a running request")
    ranks = parser.getgroup("ranks")
    ranks.addoption("--ranks", type=int, action="append", default=[], help="how many; repeatable (default 2 and 4)")
    ranks.addoption("--group-limit", type=float, default=300.0, help="seconds all ranks together may take")
    ranks.addoption("--data-parallel-size", type=int, default=2)
    ranks.addoption("--agreement-floor", type=float, help="0..1; without it tokens must be equal")
    example = parser.getgroup("example")
    example.addoption("--example", type=Path, help="path of the script")
    example.addoption("--example-args", action="append", default=[], metavar="ARG", help="one argument; repeatable")
    example.addoption("--example-ranks", type=int, default=2, help="processes it must start")
    example.addoption("--backend-proof", metavar="REGEX", help="what its output says when the right backend is used")
    example.addoption("--needs-module", action="append", default=[], help="skip without it; repeatable")


def pytest_configure(config: pytest.Config) -> None:
    """Three numbers that contradict each other are a usage error."""
    wanted, slack, limit = (config.getoption(name) for name in ("objective", "slack", "hang_limit"))
    if wanted is not None and limit <= wanted + slack:
        raise pytest.UsageError(f"--hang-limit={limit:g} must be above --objective plus --slack, {wanted + slack:g}")
    floor = config.getoption("agreement_floor")
    if floor is not None and not 0 < floor <= 1:
        raise pytest.UsageError(f"--agreement-floor={floor:g} must be above 0, and at most 1")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per number of ranks."""
    if "ranks" in metafunc.fixturenames:
        chosen: Sequence[int] = metafunc.config.getoption("ranks") or (2, 4)
        metafunc.parametrize("ranks", chosen)


@pytest.fixture
def logs(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder for what the programs of one test print: among the results, where the command has such a folder."""
    results: Path | None = request.config.getoption("rocm_ci_results", None)
    if results is None:
        return tmp_path
    folder = results / "logs" / re.sub(r"[^A-Za-z0-9.-]+", "_", request.node.name).strip("_")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def serve(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """How to start the server; the model is made in a process of its own, so that nothing of it stays here."""
    model = pytestconfig.getoption("model")
    if model is None:
        model = tmp_path_factory.mktemp("model") / "tiny"
        made = subprocess.run(
            [sys.executable, HERE / "tiny_model.py", f"--weights={SEED}", model],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert made.returncode == 0, f"tiny_model.py ended with {made.returncode}:\n{made.stdout[-2000:]}"
    arguments = (*serving.default_arguments(serving.has_gpu()), *pytestconfig.getoption("serve_args"))
    return Serve(model, arguments, pytestconfig.getoption("up_limit"))
