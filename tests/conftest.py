"""What all tests share: engine tests are loudly left out where no engine answers, and a stopped Nox stops pytest.

``--require-engine``, or ``CI=true`` in the environment, makes them fail instead: where tests
decide something, "not run" must not look like "passed".
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import settings as hypotheses

from ci import settings
from ci.errors import CiError
from ci.world.engine import Engine, endpoint
from ci.world.process import die_with_parent

HERE = Path(__file__).resolve().parent
REAL = (HERE / "engine", HERE / "faults")
SILENT = "no engine answers"


# Where tests decide something the same examples run each time; at a desk each run looks for new ones.  No example is
# red for being slow: the machine may be busy.
hypotheses.register_profile("ci", derandomize=True, deadline=None)
hypotheses.register_profile("desk", deadline=None)
hypotheses.load_profile("ci" if os.environ.get("CI") == "true" else "desk")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-engine", action="store_true", help="fail, not skip, engine tests without an engine")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "without_engine: a test below tests/engine that asks no engine anything")
    if settings.under_nox():
        signal.signal(signal.SIGTERM, _stop_all if config.getoption("numprocesses", None) else _stop)
        die_with_parent(settings.nox_process())


def _stop(_number: int, _frame: FrameType | None) -> None:
    """End as by Ctrl-C: fixtures clean up and no child stays behind."""
    raise KeyboardInterrupt


def _stop_all(number: int, frame: FrameType | None) -> None:
    """Tell the processes that run the tests, our only children: pytest-xdist kills them ten seconds later."""
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with suppress(ProcessLookupError):
            os.kill(int(child), number)
    _stop(number, frame)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if not any(item.path.is_relative_to(folder) for folder in REAL) or item.get_closest_marker("without_engine"):
        return
    reason = engine_problem()
    if not reason:
        return
    if item.config.getoption("--require-engine") or os.environ.get("CI", "").lower() not in {"", "0", "false"}:
        pytest.fail(f"{SILENT}: {reason}", pytrace=False)
    pytest.skip(f"{SILENT}: {reason}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.getreports("skipped")  # those of all processes, where the tests run in several
    count = sum(SILENT in str(report.longrepr) for report in skipped)
    if count:
        terminalreporter.section(f"{count} ENGINE TESTS WERE NOT RUN", red=True, bold=True)
        terminalreporter.line(f"{SILENT}: {engine_problem()}")
        terminalreporter.line("start one, or see: python -m ci doctor; --require-engine makes this a failure")


@cache
def engine_problem() -> str:
    """Why engine tests cannot run here; empty where they can."""
    try:
        Engine(endpoint(settings.capture())).image("rocm-ci-test/does-it-answer:1")
    except CiError as error:
        return str(error)
    return ""
