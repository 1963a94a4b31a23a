"""The pytest plugin that runs inside images, with real pytest processes: what it writes survives every end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.without_engine

GPU = Path(__file__).resolve().parents[1] / "gpu"

OUTCOMES = """
import unittest
import pytest

def test_pass(measure):
    measure("speed", 2.5, "GB/s")

def test_fail():
    assert 1 == 2, "first\\nsecond"

@pytest.fixture
def bad():
    raise RuntimeError("setup broke")

@pytest.fixture
def bad_end():
    yield
    raise RuntimeError("teardown broke")

def test_setup(bad): ...
def test_teardown(bad_end): ...
def test_both(bad_end): assert 0, "call"
def test_skip(): pytest.skip("no such thing")

@pytest.mark.skip(reason="marked")
def test_mark(): ...

@pytest.mark.xfail(reason="known", strict=False)
def test_xfail(): assert 0

@pytest.mark.xfail(reason="known", strict=False)
def test_xpass(): ...

@pytest.mark.xfail(reason="known", strict=True)
def test_strict(): ...

@pytest.mark.xfail(reason="never", run=False)
def test_not_run(): ...

def test_parts(subtests):
    for number in range(3):
        with subtests.test("part", n=number):
            assert number != 1

class TestUnit(unittest.TestCase):
    def test_parts(self):
        for number in range(2):
            with self.subTest(n=number):
                self.assertEqual(number, 0)
"""

WANTED = {
    "test_pass": ("passed", ""),
    "test_fail": ("failed", "AssertionError: first"),
    "test_setup": ("error", "RuntimeError: setup broke"),
    "test_teardown": ("error", "RuntimeError: teardown broke"),
    "test_both": ("failed", "AssertionError: call"),
    "test_skip": ("skipped", "no such thing"),
    "test_mark": ("skipped", "marked"),
    "test_xfail": ("xfailed", "known"),
    "test_xpass": ("xpassed", "known"),
    "test_strict": ("failed", "[XPASS(strict)] known"),
    "test_not_run": ("xfailed", "[NOTRUN] never"),
    "test_parts": ("failed", "assert 1 != 1"),
    "TestUnit::test_parts": ("failed", "AssertionError: 1 != 0"),
}


class Pytest:
    """A pytest of its own in a folder of its own; ``suite/`` has the tests, ``results/`` what the plugin wrote."""

    def __init__(self, folder: Path) -> None:
        self.suite, self.results = folder / "suite", folder / "results"
        self.suite.mkdir()

    def add(self, name: str, text: str) -> None:
        (self.suite / name).write_text(text, encoding="utf-8")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        path = f"{GPU / 'plugin'}{os.pathsep}{GPU / 'site'}"
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "rocm_ci_watch", "-p", "no:cacheprovider", "-q",
             f"--rocm-ci-results={self.results}", *arguments],
            cwd=self.suite, env=environ | {"PYTHONPATH": path}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        lines = (self.results / "events.jsonl").read_text(encoding="utf-8").split("\n")
        assert lines.pop() == "", "the last line is cut short"
        rows = [json.loads(line) for line in lines]
        return [row for row in rows if kind in {"", row["event"]}]


@pytest.fixture
def inner(tmp_path: Path) -> Pytest:
    return Pytest(tmp_path)


def test_every_outcome_and_its_reason(inner: Pytest) -> None:
    inner.add("test_a.py", OUTCOMES)
    code, _ = inner.run()
    ends = {row["id"].removeprefix("test_a.py::"): (row["outcome"], row["reason"]) for row in inner.events("end")}
    assert ends == WANTED
    assert code == 1
    assert inner.events("finish") == [{"event": "finish", "code": 1}]
    assert inner.events("measured") == [
        {"event": "measured", "id": "test_a.py::test_pass", "name": "speed", "value": 2.5, "unit": "GB/s"}
    ]


def test_the_order_of_events(inner: Pytest) -> None:
    inner.add("test_a.py", "def test_one(): ...\ndef test_two(): ...\ndef test_three(): ...")
    assert inner.run("-k", "not three")[0] == 0
    ids = ["test_a.py::test_one", "test_a.py::test_two"]
    assert [(row["event"], row.get("id")) for row in inner.events()] == [
        ("begin", None), ("collected", None),
        ("start", ids[0]), ("end", ids[0]), ("start", ids[1]), ("end", ids[1]), ("finish", None),
    ]  # fmt: skip
    assert inner.events("collected")[0]["ids"] == ids
    assert inner.events("begin")[0]["pytest"] == pytest.__version__


TRY_AGAIN = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    for last in (False, True):
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        for report in reports:
            if report.failed and not last:
                report.outcome = "rerun"
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        if not any(report.outcome == "rerun" for report in reports):
            return True
    return True
"""


def test_a_try_that_is_made_again_is_told_as_such(inner: Pytest) -> None:
    """What pytest-rerunfailures does: a start for every try, and reports with the outcome ``rerun``."""
    inner.add("conftest.py", TRY_AGAIN)
    inner.add("test_a.py", "tries = []\ndef test_one():\n    tries.append(1)\n    assert len(tries) == 2")
    assert inner.run()[0] == 0
    assert [(row["outcome"], row["reason"]) for row in inner.events("end")] == [
        ("rerun", "assert 1 == 2"), ("passed", ""),
    ]  # fmt: skip


def test_failed_parts_are_told_one_by_one(inner: Pytest) -> None:
    inner.add("test_a.py", OUTCOMES)
    inner.run("-k", "test_parts and not TestUnit")
    assert [(row["outcome"], row["name"]) for row in inner.events("subtest")] == [
        ("passed", "[part] (n='0')"), ("failed", "[part] (n='1')"), ("passed", "[part] (n='2')"),
    ]  # fmt: skip


def test_what_cannot_be_collected_has_an_end(inner: Pytest) -> None:
    inner.add("test_broken.py", "import there_is_no_such_module")
    inner.add("test_skips.py", "import pytest\npytest.skip('not on this platform', allow_module_level=True)")
    code, _ = inner.run()
    assert code == 2
    ends = {row["id"]: (row["outcome"], row["reason"]) for row in inner.events("end")}
    assert ends["test_skips.py"] == ("skipped", "not on this platform")
    assert ends["test_broken.py"][0] == "error"
    assert "ImportError while importing" in ends["test_broken.py"][1]
    assert inner.events("start") == []
    assert inner.events("finish") == [{"event": "finish", "code": 2}]


def test_a_conftest_that_does_not_import_is_no_silence(inner: Pytest) -> None:
    inner.add("conftest.py", "import there_is_no_such_module")
    code, _ = inner.run()
    assert code == 4
    assert [row["event"] for row in inner.events()] == ["begin"]


def test_nothing_collected(inner: Pytest) -> None:
    assert inner.run()[0] == 5
    assert inner.events("collected")[0]["ids"] == []
    assert inner.events("finish")[0]["code"] == 5


def test_collecting_alone_runs_nothing(inner: Pytest) -> None:
    inner.add("test_a.py", "def test_one(): ...")
    assert inner.run("--collect-only")[0] == 0
    assert inner.events("collected")[0]["ids"] == ["test_a.py::test_one"]
    assert inner.events("start") == []


@pytest.mark.parametrize(
    ("death", "code"),
    [("os._exit(0)", 0), ("os.kill(os.getpid(), 9)", -9)],
    ids=["exits-with-0", "killed"],
)
def test_a_sudden_death_leaves_a_start_without_an_end(inner: Pytest, death: str, code: int) -> None:
    inner.add("test_a.py", f"import os\ndef test_one(): assert 0\ndef test_two(): {death}\ndef test_three(): ...")
    assert inner.run()[0] == code
    assert [row["event"] for row in inner.events()] == ["begin", "collected", "start", "end", "start"]
    assert inner.events("start")[-1]["id"] == "test_a.py::test_two"
    assert inner.events("end")[0]["outcome"] == "failed"


def test_measured_before_a_death_is_kept(inner: Pytest) -> None:
    inner.add("test_a.py", "import os\ndef test_one(measure):\n    measure('n', 3)\n    os._exit(0)")
    inner.run()
    assert inner.events("measured")[0]["value"] == 3


def test_a_forked_child_writes_nothing(inner: Pytest) -> None:
    fork = "import os\ndef test_one():\n    if not (pid := os.fork()): raise SystemExit(3)\n    os.waitpid(pid, 0)\n"
    inner.add("test_a.py", fork + "def test_two(): ...")
    assert inner.run()[0] == 0
    assert [row["id"] for row in inner.events("end")] == ["test_a.py::test_one", "test_a.py::test_two"]
    assert len(inner.events("finish")) == 1


def test_no_number_is_no_measurement(inner: Pytest) -> None:
    inner.add("test_a.py", "def test_one(measure): measure('n', float('nan'))")
    assert inner.run()[0] == 1
    assert inner.events("measured") == []
    assert "is not a number to report" in inner.events("end")[0]["reason"]


def test_measured_numbers_are_in_junit_too(inner: Pytest, tmp_path: Path) -> None:
    inner.add("test_a.py", "def test_one(measure): measure('n', 3, 's')")
    code, output = inner.run(f"--junitxml={tmp_path / 'junit.xml'}", "-o", "junit_family=xunit2", "-W", "error")
    assert code == 0, output
    assert '<property name="n" value="3"' in (tmp_path / "junit.xml").read_text()


# --- choosing ---------------------------------------------------------------------------------

NAMED = """
import pytest
@pytest.mark.parametrize("v", ["a b", "\u00fcn\u00ef \u2028", "line\\nbreak", "c::d[e]", "  "])
def test_named(v): ...
"""


@pytest.mark.parametrize("escaped", [True, False])
def test_ids_with_anything_in_them_come_back(inner: Pytest, tmp_path: Path, escaped: bool) -> None:
    inner.add("test_a.py", NAMED)
    if not escaped:
        option = "disable_test_id_escaping_and_forfeit_all_rights_to_community_support = true"
        inner.add("pytest.ini", f"[pytest]\n{option}\n")
    inner.run("--collect-only")
    ids = inner.events("collected")[0]["ids"]
    assert len(ids) == 5
    assert any("\n" in each for each in ids) is not escaped
    for wanted in ids:
        listed = json.dumps(wanted) if "\n" in wanted else wanted
        (tmp_path / "select.txt").write_text(f"{listed}\n", encoding="utf-8")
        code, output = inner.run(f"--rocm-ci-select={tmp_path / 'select.txt'}")
        assert code == 0, output
        assert inner.events("end")[-1]["id"] == wanted
        assert inner.events("collected")[-1]["ids"] == [wanted]


def test_only_what_is_listed_runs(inner: Pytest, tmp_path: Path) -> None:
    inner.add("test_a.py", "def test_one(): ...\ndef test_two(): ...\ndef test_three(): ...")
    (tmp_path / "select.txt").write_text("test_a.py::test_three\ntest_a.py::test_one\n")
    code, output = inner.run(f"--rocm-ci-select={tmp_path / 'select.txt'}")
    assert code == 0
    assert "1 deselected" in output
    assert [row["id"] for row in inner.events("end")] == ["test_a.py::test_one", "test_a.py::test_three"]


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("test_a.py::test_gone\ntest_a.py::test_one\n", "1 test(s) that were not collected: test_a.py::test_gone"),
        (None, "there is no file"),
    ],
)
def test_an_id_that_is_not_collected_is_a_usage_error(
    inner: Pytest, tmp_path: Path, listed: str | None, said: str
) -> None:
    inner.add("test_a.py", "def test_one(): ...")
    if listed is not None:
        (tmp_path / "select.txt").write_text(listed)
    code, output = inner.run(f"--rocm-ci-select={tmp_path / 'select.txt'}")
    assert code == 4
    assert said in output
    assert inner.events("start") == []


def test_a_file_that_does_not_import_is_the_reason_told(inner: Pytest, tmp_path: Path) -> None:
    inner.add("test_a.py", "import there_is_no_such_module\ndef test_one(): ...")
    (tmp_path / "select.txt").write_text("test_a.py::test_one\n")
    code, output = inner.run(f"--rocm-ci-select={tmp_path / 'select.txt'}")
    assert code == 2
    assert "there_is_no_such_module" in output


# --- stacks -----------------------------------------------------------------------------------


def test_stacks_come_past_pytests_capturing(inner: Pytest) -> None:
    inner.add(
        "test_a.py",
        "import os, time\ndef test_waits():\n    somewhere_deep()\n"
        "def somewhere_deep():\n    open('there', 'w').close()\n"
        "    while not os.path.exists('go'): time.sleep(0.05)\n",
    )
    process = inner.start()
    end = time.monotonic() + 60
    while not (inner.suite / "there").exists():
        assert time.monotonic() < end, "it never came there"
        time.sleep(0.05)
    assert inner.events("start"), "what has begun is told before its end"
    process.send_signal(signal.SIGUSR1)
    (inner.suite / "go").touch()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "in somewhere_deep" in output


def test_stacks_of_a_child_that_only_has_the_site_folder(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.another_was_run = True\n")
    code = "import sys, os, signal\nassert sys.another_was_run\nos.kill(os.getpid(), signal.SIGUSR1)\nprint('alive')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": f"{GPU / 'site'}{os.pathsep}{tmp_path}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "alive\n"
    assert "most recent call first" in done.stderr
