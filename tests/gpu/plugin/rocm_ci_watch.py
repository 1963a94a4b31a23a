"""A pytest plugin that writes down what happens while it happens, so that a death in between is seen.

``--rocm-ci-results=FOLDER`` makes it append to ``FOLDER/events.jsonl``, one JSON object per line:

    {"event": "begin", "pid": 12, "pytest": "9.2.0", "python": "3.11.2"}
    {"event": "collected", "ids": ["a.py::t1"]}      what will run, after every deselection
    {"event": "start", "id": "a.py::t1"}
    {"event": "subtest", "id": "a.py::t1", "outcome": "failed", "name": "[size] (n=3)", "reason": "..."}
    {"event": "measured", "id": "a.py::t1", "name": "shutdown_seconds", "value": 1.9, "unit": "s"}
    {"event": "end", "id": "a.py::t1", "outcome": "passed", "seconds": 1.25, "reason": ""}
    {"event": "finish", "code": 0}

Outcomes: passed, failed, error, skipped, xfailed, xpassed.  A file or class that cannot be collected, or
skips itself while it is, has an "end" (error, skipped) under its own id and no "start".  A test with a
"start" and no "end" is what was running when the process died.

``--rocm-ci-select=FILE`` runs only the tests whose ids the file lists, one per line (an id that holds a
line break is written as a JSON string); an id that is not collected is a usage error, exit status 4.

SIGUSR1 shows the stacks of all threads, past pytest's capturing.  It needs pytest 7 or newer.
"""

from __future__ import annotations

import faulthandler
import json
import math
import os
import platform
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

NAME = "rocm-ci-journal"
LONGEST = 500
"""Characters kept of a reason."""

Measure = Callable[..., None]


class Journal:
    """The event file; each event is in the file when ``write`` returns, and a forked child writes nothing."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self.handle = os.open(folder / "events.jsonl", flags, 0o644)
        self.owner = os.getpid()

    def write(self, event: str, **rest: Any) -> None:
        """Append one event."""
        if os.getpid() != self.owner:
            return
        line = json.dumps({"event": event, **rest}).encode() + b"\n"
        while line:
            line = line[os.write(self.handle, line) :]

    def close(self, code: int) -> None:
        """Write the last event, and let it reach the disk."""
        self.write("finish", code=code)
        if os.getpid() == self.owner:
            os.fsync(self.handle)


class Tally:
    """What the phases of one test come to."""

    def __init__(self) -> None:
        self.outcome = "passed"
        self.reason = ""
        self.seconds = 0.0

    def add(self, report: Any) -> None:
        """Count one report; the first trouble names the outcome."""
        self.seconds += float(getattr(report, "duration", 0.0) or 0.0)
        outcome = outcome_of(report)
        if outcome == "passed" or self.outcome not in {"passed", "xpassed", "skipped", "xfailed"}:
            return
        if outcome in {"failed", "error", "rerun"} or self.outcome == "passed":
            self.outcome, self.reason = outcome, reason_of(report)

    def add_part(self, outcome: str, reason: str) -> None:
        """Count a subtest: a failed one fails its test, whatever the test itself says."""
        if outcome == "failed" and self.outcome == "passed":
            self.outcome, self.reason = outcome, reason


def outcome_of(report: Any) -> str:
    """One word for a report of one phase; ``rerun`` of one that failed and is tried again by some plugin."""
    if report.outcome == "rerun":
        return "rerun"
    expected = hasattr(report, "wasxfail")
    if report.outcome == "skipped":
        return "xfailed" if expected else "skipped"
    if report.outcome == "passed":
        return "xpassed" if expected and report.when == "call" else "passed"
    return "error" if report.when in {"setup", "teardown", "collect"} else "failed"


def reason_of(report: Any) -> str:
    """The first line of why; empty for a pass."""
    if hasattr(report, "wasxfail"):
        text = str(report.wasxfail or "").removeprefix("reason: ")
    elif report.outcome == "passed":
        text = ""
    elif isinstance(report.longrepr, tuple):
        text = str(report.longrepr[2]).removeprefix("Skipped: ")
    else:
        crash = getattr(report.longrepr, "reprcrash", None)
        text = str(getattr(crash, "message", "") or report.longrepr or "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:LONGEST] if lines else ""


class Watch:
    """The hooks that write the journal; in the workers of pytest-xdist only ``measured`` is written."""

    def __init__(self, journal: Journal, *, quiet: bool) -> None:
        self.journal = journal
        self.quiet = quiet
        self.told = False
        self.tallies: dict[str, Tally] = {}
        self.session: pytest.Session | None = None

    def say(self, event: str, **rest: Any) -> None:
        if not self.quiet:
            self.journal.write(event, **rest)

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self.session = session

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.outcome != "passed":
            outcome = "skipped" if report.outcome == "skipped" else "error"
            self.say("end", id=report.nodeid, outcome=outcome, seconds=0.0, reason=reason_of(report))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.config.pluginmanager.get_plugin("dsession") is None:
            self.say("collected", ids=[item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        if not self.told:
            self.told = True
            self.say("collected", ids=list(ids))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.tallies[nodeid] = Tally()
        self.say("start", id=nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        tally = self.tallies.setdefault(report.nodeid, Tally())
        if is_subtest(report):
            outcome, reason = outcome_of(report), reason_of(report)
            self.say("subtest", id=report.nodeid, outcome=outcome, name=subtest_name(report), reason=reason)
            tally.add_part(outcome, reason)
        else:
            tally.add(report)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        tally = self.tallies.pop(nodeid, None)
        if tally is not None:
            seconds = round(tally.seconds, 6)
            self.say("end", id=nodeid, outcome=tally.outcome, seconds=seconds, reason=tally.reason)

    def finish(self) -> None:
        if not self.quiet and self.session is not None:
            self.journal.close(int(self.session.exitstatus))


def is_subtest(report: Any) -> bool:
    """Whether a report is of a part of a test: pytest 9's own, or the plugin's of the same name before it."""
    return type(report).__name__.lower() == "subtestreport"


def subtest_name(report: Any) -> str:
    """What tells it from its siblings."""
    context = getattr(report, "context", None)
    message = getattr(context, "msg", None)
    values = ", ".join(f"{name}={value!r}" for name, value in (getattr(context, "kwargs", None) or {}).items())
    return " ".join(part for part in (f"[{message}]" if message else "", f"({values})" if values else "") if part)


# --- choosing ---------------------------------------------------------------------------------


def chosen_ids(text: str) -> tuple[str, ...]:
    """The ids of a selection file; nothing but a line feed ends a line."""
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return tuple(str(json.loads(line)) if line.startswith('"') else line for line in lines if line)


def missing_text(missing: Sequence[str], where: Path) -> str:
    """What is said of ids that no collected test has."""
    shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    return f"{where} names {len(missing)} test(s) that were not collected: {shown}"


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what was chosen. Where files could not be collected pytest stops by itself, and says why."""
    where: Path | None = config.getoption("rocm_ci_select")
    if where is None:
        return
    wanted = dict.fromkeys(chosen_ids(where.read_text(encoding="utf-8")))
    left_out = [item for item in items if item.nodeid not in wanted]
    items[:] = [item for item in items if item.nodeid in wanted]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    found = {item.nodeid for item in items}
    missing = [each for each in wanted if each not in found]
    if missing and not session.testsfailed:
        items[:] = []
        raise pytest.UsageError(missing_text(missing, where))


# --- beginning and end ------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rocm-ci")
    group.addoption("--rocm-ci-results", type=Path, metavar="FOLDER", help="write events.jsonl there")
    group.addoption("--rocm-ci-select", type=Path, metavar="FILE", help="run only the tests whose ids it lists")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Begin before any conftest is read: one that does not import is no silence."""
    begin(early_config, early_config.known_args_namespace.rocm_ci_results)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    begin(config, config.getoption("rocm_ci_results"))
    where: Path | None = config.getoption("rocm_ci_select")
    if where is not None and not where.is_file():
        raise pytest.UsageError(f"--rocm-ci-select: there is no file {where}")
    show_stacks_on_signal()


def begin(config: pytest.Config, folder: Path | None) -> None:
    """Open the journal, once."""
    if folder is None or config.pluginmanager.has_plugin(NAME):
        return
    quiet = "PYTEST_XDIST_WORKER" in os.environ
    try:
        watch = Watch(Journal(folder), quiet=quiet)
    except OSError as error:
        raise pytest.UsageError(f"--rocm-ci-results: {error}") from None
    config.pluginmanager.register(watch, NAME)
    watch.say("begin", pid=os.getpid(), pytest=pytest.__version__, python=platform.python_version())


def show_stacks_on_signal() -> None:
    """Register the handler on the standard error of now: while tests run, number 2 is pytest's capture."""
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR1, file=os.dup(2), all_threads=True)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    watch = config.pluginmanager.get_plugin(NAME)
    if isinstance(watch, Watch):
        watch.finish()


@pytest.fixture
def measure(request: pytest.FixtureRequest) -> Measure:
    """``measure(name, value, unit="")``: report a number, at once; it fails no test. ``ValueError`` if it is none."""
    watch = request.config.pluginmanager.get_plugin(NAME)

    def note(name: str, value: float, unit: str = "") -> None:
        if isinstance(value, bool) or not math.isfinite(value):
            raise ValueError(f"{name}: {value!r} is not a number to report")
        number = value if isinstance(value, int) else float(value)
        request.node.user_properties.append((name, number))
        if isinstance(watch, Watch):
            watch.journal.write("measured", id=request.node.nodeid, name=name, value=number, unit=unit)

    return note
