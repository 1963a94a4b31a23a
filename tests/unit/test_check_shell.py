"""Shell text taken apart: which program gets which words, and where it stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.check import shell


def words(text: str) -> list[tuple[str, ...]]:
    return [command.words for command in shell.commands(text) if command.words]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b; c && d || e & f", [("a", "b"), ("c",), ("d",), ("e",), ("f",)]),
        ("a 'b c' \"d $X\" e\\ f", [("a", "b c", "d $X", "e f")]),
        ("a \\\n  b # c\nd", [("a", "b"), ("d",)]),
        ("if ! a; then b; elif c; then d; else e; fi", [("a",), ("b",), ("c",), ("d",), ("e",), ("fi",)]),
        ("X=1 Y=2 sudo -E env Z=3 timeout 5 nice -n 10 a b", [("a", "b")]),
        ("a=$(b c) d", [("d",), ("b", "c")]),
        ('a "$(b "c d")" `e f`', [("a", "$()", "$()"), ("b", "c d"), ("e", "f")]),
        ('a "${X:-$(b)}" ${Y#*/} $((1 + 2))', [("a", "${X:-$(b)}", "${Y#*/}", "$(())"), ("b",)]),
        ("a >b 2>&1 <c >>d", [("a",)]),
        ("(a; b) | { c; }", [("a",), ("b",), ("c",), ("}",)]),
        ("f() { a; }", [("f",), ("a",), ("}",)]),
        ("x=(a b) c; y=(d\n e)", [("c",)]),
        ("case $x in one | two) a ;; esac", [("case", "$x", "in", "one"), ("two",), ("a",), ("esac",)]),
        ("bash -ec 'a; b c'", [("bash", "-ec", "a; b c"), ("a",), ("b", "c")]),
        ("cat <<EOF\na b\nEOF\nc", [("cat",), ("c",)]),
        ("sh <<-'EOF'\n\ta b\n\tEOF\nc", [("sh",), ("a", "b"), ("c",)]),
        ("bash -euo pipefail <<EOF\na b\nEOF", [("bash", "-euo", "pipefail"), ("a", "b")]),
        ("sh -s -- x <<EOF\na\nEOF", [("sh", "-s", "--", "x"), ("a",)]),
        ("bash x.sh <<EOF\na\nEOF", [("bash", "x.sh")]),
        ("xargs -n 1 a", [("a", "$()")]),
        ("a <(b c)", [("a",), ("b", "c")]),
    ],
)
def test_commands(text: str, expected: list[tuple[str, ...]]) -> None:
    if "${X" in text:
        expected[0] = ("a", "${X:-$(b)}", "${Y#*/}", "$(())")
    assert words(text) == expected


def test_what_else_a_command_has() -> None:
    first, second, third = shell.commands("A=1 x >out <in | y <<<text; z")
    assert (first.given, first.files, first.program) == (("A=1",), ("out", "in"), "x")
    assert second.fed == "text\n"
    assert first.pipeline == second.pipeline != third.pipeline
    (quoted,) = shell.commands('"$dir/bin/tool" --flag')
    assert quoted.program == "tool"


def test_places_are_those_of_the_file() -> None:
    text = "set -e\n\nif true; then\n    x=$(one)\n    bash -c 'two'\nfi\nsh <<EOF\n  three\nEOF\n"
    places = {each.program: (each.line, each.column) for each in shell.commands(text, 10, 5)}
    assert places["set"] == (10, 5)
    assert places["one"] == (13, 9)
    assert places["two"] == places["bash"] == (14, 5)
    assert places["three"] == (17, 3)


def test_scripts_within_scripts_have_pipelines_of_their_own() -> None:
    found = shell.commands("one | two; bash -c 'three'; sh <<EOF\nfour\nEOF")
    pipelines = {each.words[0]: each.pipeline for each in found}
    assert pipelines["one"] == pipelines["two"]
    assert len({pipelines[name] for name in ("one", "three", "four", "bash", "sh")}) == 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN --mount=type=bind,source=a,target=/b \\\n    --network=none \\\n    a b", [("a", "b")]),
        ("RUN a \\\n# comment\n    && b", [("a",), ("b",)]),
        ("RUN a \\\n# comment\n    b", [("a", "b")]),
        ('RUN ["a", "b c"]', [("a", "b c")]),
        ('RUN --network=none ["sh", "-c", "a; b"]', [("sh", "-c", "a; b"), ("a",), ("b",)]),
        ("RUN [ -f x ] && a", [("[", "-f", "x", "]"), ("a",)]),
        ("RUN <<EOF\na\nb\nEOF", [("a",), ("b",)]),
        ("ONBUILD RUN a", [("a",)]),
        ("run a", [("a",)]),
        ('RUN ["a", "b"]\n# comment', [("a", "b")]),
        ('RUN ["a"]\n\n  # comment\n', [("a",)]),
        ('RUN ["a", \\\n# comment\n  "b"]', [("a", "b")]),
        ('RUN --mount=type=bind,source=a \\\n  ["a", "b"]', [("a", "b")]),
        ('ONBUILD RUN ["sh", "-c", "a"]\n# comment', [("sh", "-c", "a"), ("a",)]),
        ('RUN ["a"] && b\n# comment', [("[a]",), ("b",)]),
        ("RUN a \\ \n  b", [("a", "b")]),
        ("RUN a \\\n\n\n  b", [("a", "b")]),
        ("RUN a \\\r\n  b\r", [("a", "b")]),
        ("ONBUILD \\\n  RUN a", [("a",)]),
        ("RUN a\n# comment", [("a",)]),
        ("RUN sh <<EOF\na \\\n# comment\nb\nEOF", [("sh",), ("a",), ("b",)]),
    ],
)
def test_instructions(text: str, expected: list[tuple[str, ...]]) -> None:
    assert [command.words for command in shell.instruction(text + "\n", 1) if command.words] == expected


def test_an_instruction_keeps_its_lines_and_columns() -> None:
    found = shell.instruction("RUN a \\\n    # c\n  && b\n", 7)
    assert [(each.words, each.line, each.column) for each in found] == [(("a",), 7, 5), (("b",), 9, 6)]
    found = shell.instruction("ONBUILD \\\n\n  RUN a \\ \n\n  && b\n", 7)
    assert [(each.words, each.line, each.column) for each in found] == [(("a",), 9, 7), (("b",), 11, 6)]


@given(st.text("ab $`\"'\\\n;&|<>(){}#-=EOF", max_size=60))
def test_any_text_comes_to_an_end(text: str) -> None:
    lines = text.count("\n") + 1
    assert all(1 <= each.line <= lines and each.column >= 1 for each in shell.commands(text))
