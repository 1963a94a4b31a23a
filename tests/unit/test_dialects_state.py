"""What a command leaves to those behind it in one shell: found, set again, or told; never dropped."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.suites.dialects import commands, state

ENDS = "what it sets or enters ends with it"
JOB = "what it starts in the background is no job of the commands that follow"


def made(*lines: str) -> list[dict[str, Any]]:
    found, _ = commands.said(lines, "/src/tests", 1)
    return [each for _, each in found.made]


def notes(*lines: str) -> list[str]:
    found, _ = commands.said(lines, "/src/tests", 1)
    return [each.what for each in found.notes]


@pytest.mark.parametrize(
    "first",
    [
        "N=$$(nproc)", 'N="$$(nproc --all "a b")"', "A=$$B C=1", "read X < list", "IFS=, read X Y < list",
        "declare -x Q=1", "printf -v Z hi", "typeset -i n=1", "readonly R=1", "mapfile -t L < list", "let n=1",
        "alias a=b", "A=$$B 2> log", "shift", "conda activate x", "deactivate", "cd $$HOME > /dev/null",
        "set -x 2> log", ". env.sh",
    ],
)  # fmt: skip
def test_what_only_changes_the_shell_is_done_again_by_all_that_follows(first: str) -> None:
    again = first.replace("$$", "$")
    assert made(first, "a", "b | c") == [{"shell": f"{again} && a"}, {"shell": f"{again} && b | c"}]
    assert notes(first, "a") == []


@pytest.mark.parametrize(
    "line",
    [
        "X=1; Y=2", "uv venv .v; . .v/bin/activate", "run() { a $$1; }", "function run { a; }", "a || X=1", "{ X=1; }",
        "if true; then export A=1; fi", "case $$A in x) cd b;; esac", "A=(1 2)", "A[1]=2; b", "a; read X < f",
        "X=$$(a $$(b))", "a; set -x 2>&1", "a; printf -v X y", "((n = 1))", "a; X='b c'", "X=1;", "X=1; # why",
        "(a); cd b", "a | b; cd c",
    ],
)  # fmt: skip
def test_what_else_changes_the_shell_is_told_where_something_follows(line: str) -> None:
    assert notes(line, "b") == [ENDS]
    assert notes(line, "export B=1") == []
    assert made(line, "b")[-1] == {"run": ["b"]}


@pytest.mark.parametrize(
    "line",
    [
        "(cd a && b)", "a; (X=1; b)", "cd a | b", "a | read X", "X=1 a; Y=2 b", "a; echo 'cd b'", 'a; echo "; cd b"',
        "cat <<E\ncd a\nE", "cat <<'E' > f; b\nX=1\nE", "a; printf x", "a; b 2>&1", "a &> log; b", "a |& b", "a; b X=1",
        "for i in 1 2; do a; done", "[[ a < b ]] || c", "a; echo $$(cd b)", "a; echo $$(cd b; echo $$(c))",
        "a <<E; b\nX=1",
    ],
)  # fmt: skip
def test_what_leaves_nothing_is_not_told(line: str) -> None:
    assert notes(line, "b") == []


def test_a_job_that_is_left_running_is_told() -> None:
    assert notes("server &", "pytest a", "kill $$!") == [JOB]
    assert notes("X=1; server & sleep 3", "a") == [ENDS, JOB]
    assert notes("server &") == []
    assert notes("a & b & wait", "c") == []
    assert notes("server & a; kill %1", "c") == []


def test_what_ends_with_a_line_is_told_behind_another_folder_as_well() -> None:
    assert notes("a", "cd ..", "X=1; b", "c") == [ENDS]


@pytest.mark.parametrize("last", [". ./tests.sh", "source tests.sh", "eval a", "exec a", "X=$$(a)", "X=`a`"])
def test_what_runs_something_on_its_way_is_a_command_where_none_follows(last: str) -> None:
    again = last.replace("$$", "$")
    assert made(last) == [{"shell": again}]
    assert made("b", "cd ..", last) == [{"run": ["b"]}, {"shell": f"cd .. && {again}"}]
    assert made("b", last, "cd ..") == [{"run": ["b"]}, {"shell": f"{again} && cd .."}]


def test_what_changes_only_the_shell_is_none_where_none_follows() -> None:
    assert made("a", "cd ..", "popd", "X=1", "set +x") == [{"run": ["a"]}]


@pytest.mark.parametrize("line", ["wait", "exit 0", "kill %1", ":"])
def test_programs_that_only_a_shell_has_are_run_by_one(line: str) -> None:
    assert made("a", line) == [{"run": ["a"]}, {"shell": line}]


@given(st.text(alphabet="aX1= $'\"\\&|;()<>#{}`\n"))
def test_any_text_is_judged(text: str) -> None:
    """What goes in front of other commands has nothing that joins or ends commands outside of its words."""
    state.sets(text)
    state.has_jobs(text)
    if state.is_all(text):
        state.runs(text)
        assert not text.rstrip(" ").endswith((";", "&"))
