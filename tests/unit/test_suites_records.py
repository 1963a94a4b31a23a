"""JUnit and events: read as pytest and its plugin write them, and never believed when they are broken."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.suites import events, ids, junit, records, source
from ci.suites.events import Measured, Result
from ci.suites.junit import Case
from ci.suites.source import State

WHOLE = b"""<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest" errors="3" \
failures="2" skipped="3" tests="8" time="0.053" timestamp="2026-11-21T15:36:06+00:00" hostname="node">\
<testcase classname="" name="deep.test_err" time="0.000"><error message="collection failure">ImportError while \
importing test module '/suite/deep/test_err.py'.
deep/test_err.py:1: in &lt;module&gt;
    import nothing_there_at_all
E   ModuleNotFoundError: No module named 'nothing_there_at_all'</error></testcase>\
<testcase classname="" name="deep.test_mod" time="0.000"><skipped message="collection skipped">\
('/suite/deep/test_mod.py', \
2, "Skipped: could not import 'nope'")</skipped></testcase>\
<testcase classname="a.TestX" name="test_one[x/y]" time="0.5"><properties><property name="p" value="1" /></properties>\
</testcase><testcase classname="a" name="test_fails" time="0.1"><failure message="assert 1 == 2&#10;more">trace\
</failure></testcase><testcase classname="a" name="test_both" time="0.1"><failure message="assert 0">\
trace</failure></testcase>\
<testcase classname="a" name="test_both" time="0.1"><error message="failed on teardown with &quot;gone&quot;">trace\
</error></testcase><testcase classname="a" name="test_setup" time="0.1"><error message="failed on setup with \
&quot;x&quot;">t\
</error></testcase><testcase classname="a" name="test_skip" time="0"><skipped type="pytest.skip" message="collection \
skipped">a.py:3</skipped></testcase><testcase classname="a" name="test_xfail" time="0"><skipped type="pytest.xfail" \
message="known" /></testcase></testsuite></testsuites>"""

LINES: tuple[dict[str, object], ...] = (
    {"event": "begin", "pid": 12, "pytest": "9.2.0", "python": "3.11.2"},
    {"event": "end", "id": "m.py", "outcome": "skipped", "seconds": 0.0, "reason": "no GPU"},
    {"event": "collected", "ids": ["a.py::t1", "a.py::t2", "a.py::t3"]},
    {"event": "start", "id": "a.py::t1"},
    {"event": "measured", "id": "a.py::t1", "name": "shutdown_seconds", "value": 1.9, "unit": "s"},
    {"event": "subtest", "id": "a.py::t1", "outcome": "skipped", "name": "[size]", "reason": "part"},
    {"event": "end", "id": "a.py::t1", "outcome": "passed", "seconds": 1.25, "reason": ""},
    {"event": "start", "id": "a.py::t2"},
    {"event": "end", "id": "a.py::t2", "outcome": "rerun", "seconds": 1, "reason": "assert 0"},
    {"event": "end", "id": "a.py::t2", "outcome": "passed", "seconds": 2, "reason": ""},
    {"event": "start", "id": "a.py::t3"},
    {"event": "end", "id": "a.py::t3", "outcome": "failed", "seconds": 3, "reason": "one\ntwo"},
    {"event": "finish", "code": 1},
)


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_junit_as_pytest_writes_it() -> None:
    found = junit.parse(WHOLE)
    assert found.source == source.Source()
    assert found.bad == 5
    assert found.cases == (
        Case("", "deep.test_err", "error", "ModuleNotFoundError: No module named 'nothing_there_at_all'", True),
        Case(
            "", "deep.test_mod", "skipped", "('/suite/deep/test_mod.py', 2, \"Skipped: could not import 'nope'\")", True
        ),
        Case("a.TestX", "test_one[x/y]", "passed"),
        Case("a", "test_fails", "failed", "assert 1 == 2"),
        Case("a", "test_both", "failed", "assert 0"),
        Case("a", "test_both", "error", 'failed on teardown with "gone"'),
        Case("a", "test_setup", "error", 'failed on setup with "x"'),
        Case("a", "test_skip", "skipped", "collection skipped"),
        Case("a", "test_xfail", "xfailed", "known"),
    )


def test_of_two_words_in_one_entry_the_worse_counts() -> None:
    both = '<skipped type="pytest.xfail" message="k"/>', '<error message="e"/>'
    for text in ("".join(both), "".join(reversed(both))):
        data = f'<testsuite><testcase classname="a" name="t">{text}</testcase></testsuite>'.encode()
        assert junit.parse(data).cases == (Case("a", "t", "error", "e"),)


BOMB = b"""<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY c "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<testsuite><testcase name="&c;"/></testsuite>"""
OUTSIDE = b'<!DOCTYPE b [<!ENTITY a SYSTEM "file:///etc/passwd">]><testsuite><testcase name="&a;"/></testsuite>'


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "0 bytes"),
        (b"\n", "no whole XML"),
        (WHOLE[:-1], "no whole XML"),
        (WHOLE[: len(WHOLE) // 2], "no whole XML"),
        (WHOLE + b"<more/>", "no whole XML"),
        (WHOLE.replace(b"assert 0", b"assert \xff"), "not UTF-8"),
        (WHOLE.replace(b"assert 0", b"assert \0"), "no whole XML"),
        (WHOLE.decode().encode("utf-16"), "not UTF-8"),
        (BOMB, "document type"),
        (OUTSIDE, "document type"),
        (b"<html/>", "first element"),
        (WHOLE.replace(b'errors="3"', b'errors="-3"'), "errors is '-3'"),
        (WHOLE.replace(b'failures="2"', b'failures="' + b"9" * 5000 + b'"'), "failures is"),
        (b"<testsuite><testcase/></testsuite>", "entry 1 is absurd"),
        (b'<testsuite><testcase name="' + b"x" * 5000 + b'"/></testsuite>', "entry 1 is absurd"),
        (b"<testsuite>" + b"<a>" * 1000 + b"</a>" * 1000 + b"</testsuite>", "nested too deep"),
    ],
)
def test_broken_junit(data: bytes, why: str) -> None:
    found = junit.parse(data).source
    assert found.state is State.BROKEN
    assert why in found.why


def test_what_stands_before_the_break_is_kept() -> None:
    cut = WHOLE.index(b"test_both")
    assert [case.name for case in junit.parse(WHOLE[:cut]).cases][-1] == "test_fails"


def test_events_as_the_plugin_writes_them() -> None:
    found = events.parse(lines(*LINES))
    assert found == events.Events(
        source.Source(),
        collected=("a.py::t1", "a.py::t2", "a.py::t3"),
        started=("a.py::t1", "a.py::t2", "a.py::t3"),
        ended=(
            Result("m.py", "skipped", 0.0, "no GPU"),
            Result("a.py::t1", "passed", 1.25),
            Result("a.py::t2", "passed", 2.0),
            Result("a.py::t3", "failed", 3.0, "one"),
        ),
        running=(),
        reruns=(Result("a.py::t2", "rerun", 1.0, "assert 0"),),
        parts=(Result("a.py::t1", "skipped", 0.0, "part"),),
        measured=(Measured("a.py::t1", "shutdown_seconds", 1.9, "s"),),
        finish=1,
    )


def test_what_runs_is_what_did_not_end() -> None:
    assert events.parse(lines(*LINES[:4])).running == ("a.py::t1",)
    assert events.parse(lines(*LINES[:9])).running == ("a.py::t2",)  # it is run again


BEGIN = LINES[0]
START = {"event": "start", "id": "a.py::t"}
END = {"event": "end", "id": "a.py::t", "outcome": "passed", "seconds": 1, "reason": ""}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "0 bytes"),
        (lines(*LINES)[:-1], "line 13 is cut short"),
        (lines(*LINES)[:100], "is cut short"),
        (lines(BEGIN) + b"\n", "line 2 is no JSON"),
        (lines(BEGIN) + b'{"event": "start", "id": "\xff"}\n', "line 2 is not UTF-8"),
        (lines(BEGIN) + b"[" * 100_000 + b"\n", "line 2 is no JSON"),
        (lines(BEGIN) + b'{"event": "finish", "code": ' + b"9" * 5000 + b"}\n", "line 2 is no JSON"),
        (lines(BEGIN, []), "line 2 is no event"),
        (lines(BEGIN, {"event": ["start"]}), "line 2 is no event"),
        (lines(BEGIN, {"event": "pause"}), "line 2 is no event"),
        (lines(START), "line 1 comes before the beginning"),
        (lines(BEGIN, BEGIN), "line 2 begins a second time"),
        (lines(BEGIN, {"event": "finish", "code": 0}, START), "line 3 comes after the finish"),
        (lines(BEGIN, {"event": "finish", "code": True}), "line 2 has no exit code"),
        (lines(BEGIN, {"event": "finish", "code": 10**9}), "line 2 has no exit code"),
        (lines(BEGIN, {"event": "collected", "ids": "a.py"}), "line 2 names no tests"),
        (lines(BEGIN, *[{"event": "collected", "ids": []}] * 2), "line 3 names no tests"),
        (lines(BEGIN, {"event": "collected", "ids": [1]}), "line 2 names no test"),
        (lines(BEGIN, {"event": "start"}), "line 2 names no test"),
        (lines(BEGIN, {"event": "start", "id": ""}), "line 2 names no test"),
        (lines(BEGIN, {"event": "start", "id": "x" * 5000}), "line 2 names no test"),
        (lines(BEGIN, {**END, "outcome": "fine"}), "line 2 has no outcome"),
        (lines(BEGIN, {**END, "outcome": []}), "line 2 has no outcome"),
        (lines(BEGIN, {**END, "reason": 1}), "line 2 has no outcome"),
        (lines(BEGIN, {**END, "seconds": "1"}), "line 2 has no number"),
        (lines(BEGIN, {**END, "seconds": True}), "line 2 has no number"),
        (lines(BEGIN, {**END, "seconds": float("nan")}), "line 2 has no number"),
        (lines(BEGIN, {**END, "seconds": 10**400}), "line 2 has no number"),
        (lines(BEGIN, {**END, "seconds": -1}), "line 2 took -1 seconds"),
        (lines(BEGIN, {**END, "seconds": 1e9}), "line 2 took 1e+09 seconds"),
        (
            lines(BEGIN, {"event": "measured", "id": "a", "name": "n", "value": None, "unit": ""}),
            "line 2 has no number",
        ),
        (lines(BEGIN, {"event": "measured", "id": "a", "name": "n", "value": 1}), "line 2 measures nothing"),
        (lines(BEGIN, {**END, "event": "subtest", "outcome": "rerun"}), "line 2 has no outcome"),
    ],
)
def test_broken_events(data: bytes, why: str) -> None:
    found = events.parse(data).source
    assert found.state is State.BROKEN
    assert why in found.why


def test_a_line_cut_short_takes_none_of_the_others_with_it() -> None:
    found = events.parse(lines(*LINES[:4]) + b'{"event": "en')
    assert found.running == ("a.py::t1",)
    assert found.collected == ("a.py::t1", "a.py::t2", "a.py::t3")


def test_too_many_tests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (events, junit):
        monkeypatch.setattr(module, "TESTS", 2)
    assert "too many" in events.parse(lines(BEGIN, START, START, START)).source.why
    assert "too many" in events.parse(lines(BEGIN, END, END, END)).source.why
    assert "names no tests" in events.parse(lines(BEGIN, {"event": "collected", "ids": ["a", "b", "c"]})).source.why
    case = b'<testcase name="t"/>'
    assert "entry 3" in junit.parse(b"<testsuite>" + 3 * case + b"</testsuite>").source.why


def test_reasons_cannot_drive_a_terminal_or_break_a_file() -> None:
    reason = "\x1b[31mred\ud800 " + "x" * 1000
    found = events.parse(lines(BEGIN, {**END, "id": "a\udcff.py::t", "reason": reason})).ended[0]
    assert found.id == "a\\udcff.py::t"
    assert found.reason.startswith("red\\ud800 xxx")
    assert len(found.reason) == 300
    found.reason.encode()


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    junit.parse(data)
    events.parse(data)
    events.parse(lines(BEGIN) + data)
    junit.parse(b"<testsuite>" + data + b"</testsuite>")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2),
)
KEYS = ("event", "id", "ids", "outcome", "seconds", "reason", "name", "value", "unit", "code")
WORDS = ("begin", "collected", "start", "end", "subtest", "measured", "finish")


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(WORDS), st.dictionaries(st.sampled_from(KEYS[1:]), JSON)), max_size=4))
def test_no_event_raises(rows: list[tuple[str, dict[str, object]]]) -> None:
    found = events.parse(lines(BEGIN, *({"event": kind, **rest} for kind, rest in rows)))
    assert found.source.whole or found.source.why


# --- the folder -----------------------------------------------------------------------------


def written(folder: Path) -> Path:
    (folder / "junit.xml").write_bytes(WHOLE)
    (folder / "events.jsonl").write_bytes(lines(*LINES))
    return folder


def test_both_files_are_read(tmp_path: Path) -> None:
    found = records.read(written(tmp_path))
    assert found == records.Records(junit.parse(WHOLE), events.parse(lines(*LINES)))
    assert found.collected == ("a.py::t1", "a.py::t2", "a.py::t3")


def test_no_files(tmp_path: Path) -> None:
    assert records.read(tmp_path) == records.read(tmp_path / "gone") == records.NOTHING
    assert records.NOTHING.collected == ()


def link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(source.BYTES + 1)


@pytest.mark.parametrize(
    ("put", "why"),
    [(link, "link"), (os.mkfifo, "no file"), (Path.mkdir, "no file"), (huge, "are more than"), (Path.touch, "0 bytes")],
)
def test_what_a_program_may_leave_instead_of_a_file(tmp_path: Path, put: Callable[[Path], None], why: str) -> None:
    for name in ("junit.xml", "events.jsonl"):
        put(tmp_path / name)
    found = records.read(tmp_path)
    assert {found.junit.source.state, found.events.source.state} == {State.BROKEN}
    assert why in found.junit.source.why
    assert why in str(found.events.source)


# --- ids ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "key"),
    [
        ("t.py::test", ("t", "test")),
        ("a/b/t.py::TestX::test[a::b/c.py]", ("a.b.t.TestX", "test[a::b/c.py]")),
        ("a/b/t.py", ("", "a.b.t")),
        ("t.py::test[\x1b]", ("t", "test[#x1B]")),
        ("t.py::test[\ufffe]", ("t", "test[#xFFFE]")),
        ("notes.txt::notes.txt", ("notes.txt", "notes.txt")),
    ],
)
def test_the_names_junit_has(test: str, key: tuple[str, str]) -> None:
    assert ids.junit(test) == key


def test_what_a_pattern_covers() -> None:
    test = "a/t.py::TestX::test[1]"
    assert all(ids.covers(each, test) for each in ("a/t.py", "a/t.py::TestX", "a/t.py::TestX::test", test))
    assert not any(ids.covers(each, test) for each in ("a", "a/t", "a/t.py::Test", "a/t.py::TestX::te", ""))


def test_a_list_of_ids_stays_short() -> None:
    assert ids.several(["a", "b"]) == "a, b"
    assert ids.several([str(n) for n in range(8)]) == "0, 1, 2, 3, 4 and 3 more"
