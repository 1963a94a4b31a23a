"""Lines of shell as commands: which need no shell, which do, and what one command leaves to the next."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ci.suites.dialects import commands, line


def made(*lines: str, workdir: str = "/src/tests") -> list[dict[str, Any]]:
    """The commands of a step that has these lines."""
    found, _ = commands.said(lines, workdir, 1)
    return [each for _, each in found.made]


def notes(*lines: str) -> list[str]:
    found, _ = commands.said(lines, "/src/tests", 1)
    return [each.what for each in found.notes]


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("pytest -v a.py", {"pytest": ["-v", "a.py"]}),
        ("python3 -m pytest a.py", {"pytest": ["a.py"]}),
        ("pytest", {"pytest": ["--verbosity=0"]}),
        ("python3 -u tool.py", {"run": ["python3", "-u", "tool.py"]}),
        ("A=1 B='x y' pytest a", {"pytest": ["a"], "env": {"A": "1", "B": "x y"}}),
        ("A=1 ./tool", {"run": ["./tool"], "env": {"A": "1"}}),
        ("pytest a.py::test[x-1]", {"pytest": ["a.py::test[x-1]"]}),
        ("pytest -m 'split(group=0) and not core'", {"pytest": ["-m", "split(group=0) and not core"]}),
        ('pytest -k "not +a and (b or c)"', {"pytest": ["-k", "not +a and (b or c)"]}),
        ("find d -name 'a_*' -exec cat {} \\;", {"run": ["find", "d", "-name", "a_*", "-exec", "cat", "{}", ";"]}),
        ("pip install 'a>=1' \\\n  b", {"run": ["pip", "install", "a>=1", "b"]}),
        ("pip install a>=1", {"shell": "pip install a>=1"}),
        ("pytest tests/a_*.py", {"shell": "pytest tests/a_*.py"}),
        ("pytest a | tee log", {"shell": "pytest a | tee log"}),
        ("A=1 tool a > log", {"shell": "A=1 tool a > log"}),
        ("tool a || true", {"shell": "tool a || true"}),
        ("tool a; tool b", {"shell": "tool a; tool b"}),
        ("tool $$HOME/a", {"shell": "tool $HOME/a"}),
        ('tool "$$HOME/a b"', {"shell": 'tool "$HOME/a b"'}),
        ("tool '$$HOME'", {"run": ["tool", "$HOME"]}),
        ("tool $(cat list)", {"shell": "tool $(cat list)"}),
        ("tool ~/a", {"shell": "tool ~/a"}),
        ("tool a.{py,txt}", {"shell": "tool a.{py,txt}"}),
        ("pytest -k ''", {"shell": "pytest -k ''"}),
        ("for i in 1 2; do pytest a; done", {"shell": "for i in 1 2; do pytest a; done"}),
        ("if true && false\nthen x\nfi", {"shell": "if true && false\nthen x\nfi"}),
        ("(cd a && b)", {"shell": "(cd a && b)"}),
        ("cat <<X\na && b\nX", {"shell": "cat <<X\na && b\nX"}),
        ("tool 'unclosed", {"shell": "tool 'unclosed"}),
    ],
)
def test_one_command(text: str, command: dict[str, Any]) -> None:
    assert made(text) == [command]


def test_chains_and_lines_are_commands_of_their_own() -> None:
    assert made("a 1 && pytest b &&\n c | d\npytest e") == [
        {"run": ["a", "1"]},
        {"pytest": ["b"]},
        {"shell": "c | d"},
        {"pytest": ["e"]},
    ]


def test_quotes_hold_what_looks_like_a_join() -> None:
    assert made("a 'x && y' \"; z\" && b") == [{"run": ["a", "x && y", "; z"]}, {"run": ["b"]}]


def test_exports_in_front_are_the_steps_and_later_ones_of_what_follows() -> None:
    found, _ = commands.said(
        ["export A=1 B=2", "export C='x y'", "pytest a", "export D=4", "pytest b", "c | d"], "/w", 1
    )
    assert found.env == {"A": "1", "B": "2", "C": "x y"}
    assert [each for _, each in found.made] == [
        {"pytest": ["a"]},
        {"pytest": ["b"], "env": {"D": "4"}},
        {"shell": "c | d", "env": {"D": "4"}},
    ]


def test_a_folder_entered_first_is_the_steps() -> None:
    found, _ = commands.said(["cd ../examples && python3 a.py", "python3 b.py"], "/src/tests", 1)
    assert found.workdir == "/src/examples"
    assert [each for _, each in found.made] == [{"run": ["python3", "a.py"]}, {"run": ["python3", "b.py"]}]


def test_a_folder_entered_later_is_entered_again_by_all_that_follows() -> None:
    assert made("pytest a", "cd ..", "A=1 pytest b", "popd", "pytest c") == [
        {"pytest": ["a"]},
        {"shell": "cd .. && A=1 pytest b"},
        {"shell": "cd .. && popd && pytest c"},
    ]


@pytest.mark.parametrize("first", ["source env.sh", ". env.sh", "export PATH=/x:$$PATH", "set -x", "X=1"])
def test_what_only_a_shell_can_set_is_set_again_by_all_that_follows(first: str) -> None:
    assert made(first, "pytest a") == [{"shell": f"{first.replace('$$', '$')} && pytest a"}]


def test_words_that_divide_tests_go() -> None:
    found, _ = commands.said(
        ["pytest a --shard-id=$$BUILDKITE_PARALLEL_JOB --num-shards=$$BUILDKITE_PARALLEL_JOB_COUNT -v"], "/w", 1
    )
    assert ([each for _, each in found.made], found.shards, found.notes) == ([{"pytest": ["a", "-v"]}], True, [])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("pytest a # slow", "the comment 'slow'"),
        ("tool $IMAGE", "$IMAGE is filled in when the pipeline is uploaded"),
        ("tool ${IMAGE}", "$IMAGE is filled in when the pipeline is uploaded"),
        ("tool $$BUILDKITE_COMMIT", "it reads variables of Buildkite, which no sandbox has"),
        ("timeout 9 pytest a", "pytest runs inside of another program"),
        ("bash -c 'pytest a'", "pytest runs inside of another program"),
    ],
)
def test_what_is_lost_of_a_line(text: str, what: str) -> None:
    assert notes(text) == [what]


@pytest.mark.parametrize("text", ["pip install pytest mteb", "tool $$(date)", "tool '# none'", "tool a#b", r"tool \$X"])
def test_what_is_not_lost(text: str) -> None:
    assert notes(text) == []


def test_a_script_that_sets_something_for_later_is_told() -> None:
    assert notes("if true; then export A=1; fi", "pytest a") == ["what it sets or enters ends with it"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1).map(lambda w: ["tool", *w]))
def test_any_words_come_through_quotes(words: list[str]) -> None:
    """What ``shlex`` quotes for a shell is read back as the same words, with no shell."""
    (part,) = line.read(shlex.join(words)).parts
    assert part.plain
    assert list(part.words) == words


@given(st.text(alphabet="ab $'\"\\&|;()<>#*{}=~\n"))
@example("a\\")
@example("a && b \\")
def test_no_command_is_dropped(text: str) -> None:
    """Whatever a line is, its parts hold every character of it that is no blank, no comment and no join."""
    found = line.read(text)
    kept = "".join(part.text for part in found.parts) + "".join(found.comments)
    assert [char for char in "ab" for _ in range(text.count(char))] == sorted(char for char in kept if char in "ab")


@given(st.text(alphabet="ab $'\"\\=~*{},.?[]"))
@example("\\ ")
@example("a \\  && b")
def test_plain_words_are_what_shlex_says(text: str) -> None:
    """Where no shell is needed, the words are those a shell would give."""
    for part in line.read(text).parts:
        if part.plain:
            told = [f"{name}={value}" for name, value in part.given]
            assert [*told, *part.words] == shlex.split(part.text)
