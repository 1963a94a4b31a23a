"""Texts that nobody should read to the end: each is refused at its line and column, whatever its size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from ci import documents
from ci.errors import ConfigError, Outcome, Place
from ci.pipeline import pools
from ci.recipe import stack
from ci.suites import catalogue, durations
from ci.yaml_text import MOST

TEN_MB = 10_000_000
LETTERS = "abcdefghij"


def bomb() -> str:
    """Nine lists, each of nine times the one before."""
    rows = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    rows += [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in pairwise(LETTERS)]
    return "\n".join(rows)


REFUSED: dict[str, tuple[Callable[[], str], str, str]] = {
    "lists in lists": (lambda: "[" * TEN_MB, "1:102", "nested deeper"),
    "lists that are closed again": (lambda: "[" * 5_000_000 + "]" * 5_000_000, "1:102", "nested deeper"),
    "brackets in text do not count": (lambda: '["]", ' * 1_700_000, "1:602", "nested deeper"),
    "maps in maps": (lambda: "{a: " * 2_500_000, "1:405", "nested deeper"),
    "dashes in one line": (lambda: "- " * 5_000_000, "1:203", "nested deeper"),
    "deep indentation": (lambda: "".join(f"{' ' * n}a:\n" for n in range(4400)), "102:102", "nested deeper"),
    "lists as keys": (lambda: "? " * 5_000_000, "1:203", "nested deeper"),
    "a long list": (lambda: "- a\n" * 2_500_000, f"{MOST}:3", "more values"),
    "a long map": (lambda: "".join(f"k{n}: 1\n" for n in range(800_000)), f"{MOST}:9", "more values"),
    "one key again and again": (lambda: "a: 1\n" * 2_000_000, f"{MOST}:4", "more values"),
    "aliases of aliases": (bomb, "5:12", "aliases repeat"),
    "one alias again and again": (lambda: "a: &a 1\nb: [" + "*a," * 3_000_000, "2:60005", "aliases repeat"),
    "an alias of nothing": (lambda: "a: *b\n", "1:4", "undefined alias 'b'"),
    "an anchor twice": (lambda: "a: &x 1\nb: &x 2\n", "2:4", "appears twice"),
    "an anchor in itself": (lambda: "a: {b: &x [*y]}\n", "1:12", "undefined alias"),
    "a tab": (lambda: "a:\n\tb: 1\n", "2:1", "cannot start any token"),
    "a zero byte": (lambda: "a: 1\nb: é\0\n", "2:5", "U+0000"),
    "a control character": (lambda: "a: b\x07\n", "1:5", "U+0007"),
    "a byte order mark": (lambda: "\ufeffa: 1\n", "1:1", "U+FEFF"),
    "a byte order mark inside": (lambda: "a: 1\n\ufeffb: 1\n", "2:1", "U+FEFF"),
    "half of a surrogate pair": (lambda: "a: \ud800\n", "1:4", "U+D800"),
    "a key of 10 MB": (lambda: "x" * TEN_MB + ": 1", "1:10000001", "mapping values"),
    "a quote that never ends": (lambda: 'a: "' + "x" * TEN_MB, "1:10000005", "end of stream"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_at_its_place(name: str) -> None:
    text, place, what = REFUSED[name]
    document = documents.read(text(), "f")
    (problem,) = document.problems
    assert (problem.reference, str(problem.place)) == ("syntax", f"f:{place}")
    assert what in problem.message
    assert document.value == {}


def test_what_is_large_and_no_mistake_is_read() -> None:
    text = "a: '" + "x" * TEN_MB + "'\nb: |\n" + "  y\n" * 1_000_000
    found = documents.read(text, "f")
    assert (found.problems, len(found.value["a"]), len(found.value["b"])) == ((), TEN_MB, 2_000_000)
    assert documents.read("#\n" * 5_000_000, "f").problems[0].reference == "empty-file"


def test_100_levels_below_the_top_are_read() -> None:
    assert documents.read("[" * 101 + "]" * 101, "f").problems == ()
    assert documents.read("[" * 102 + "]" * 102, "f").problems[0].reference == "syntax"


def test_a_value_left_out_by_a_duplicate_key_is_bounded_too() -> None:
    (problem,) = documents.read("a: 1\na: " + "[" * 1_000_000, "f").problems
    assert "nested deeper" in problem.message


def test_aliases_are_read_with_the_places_of_what_they_name() -> None:
    found = documents.read("a: &x\n  b: [1, 2]\nc: *x\nd: [*x]\n", "f")
    assert found.value["c"] == found.value["d"][0] == {"b": [1, 2]}
    assert (found.place("c"), found.place("c", "b", 1), found.key("c", "b")) == (
        Place("f", 3, 4), Place("f", 2, 10), Place("f", 2, 3),
    )  # fmt: skip
    assert found.place("d", 0, "b", 0) == Place("f", 2, 7)


def test_without_libyaml_nothing_is_read_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(yaml, "CSafeLoader")
    with pytest.raises(ConfigError) as caught:
        documents.read("a: 1\n", "f")
    assert caught.value.problems[0].reference == "no-libyaml"
    assert "pip install" in caught.value.problems[0].hint


def test_a_file_of_durations_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    tests = ", ".join(f'"test_{n}": 1.5' for n in range(MOST + 10))
    path.write_text(f'{{"step": {{{tests}}}}}')
    assert len(durations.read(path)["step"]) == MOST + 10


# --- every file that a person writes -------------------------------------------------------------

BROKEN = {
    "not UTF-8": (b"schema: 1\nname: \xff\n", "2:7"),
    "a list": (b"- schema: 1\n", "1:1"),
    "a word": (b"schema\n", "1:1"),
    "on": (b"schema: on\n", "1:9"),
    "twice": (b"schema: 1\nschema: 1\n", "2:1"),
    "a tab": (b"schema: 1\n\ttiers: 1\n", "2:1"),
    "nested": (b"schema: 1\nx: " + b"[" * TEN_MB, "2:104"),
    "a zero byte": (b"schema: 1\0\n", "1:10"),
    "a list of steps, nested": (b"steps:\n- " + b"[" * TEN_MB, "2:102"),
    "empty": (b"", ""),
    "only comments": (b"# a\n# b\n", ""),
}


def read_stack(path: Path) -> object:
    return stack.load(str(path))


def read_suite(path: Path) -> object:
    return catalogue.read(path, ("test",))


def read_catalogue(path: Path) -> object:
    return catalogue.load(stack.load("local"), str(path))


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("reader", [read_stack, read_suite, read_catalogue])
def test_a_broken_file_is_the_callers_mistake_at_a_place(
    reader: Callable[[Path], object], name: str, tmp_path: Path
) -> None:
    content, place = BROKEN[name]
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        reader(path)
    assert caught.value.outcome is Outcome.CONFIG
    places = [str(each.place).partition(".yaml")[2].lstrip(":") for each in caught.value.problems]
    assert place in places


def test_a_list_of_steps_that_are_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("steps: [[a], 1, no]\n")
    with pytest.raises(ConfigError) as caught:
        read_catalogue(path)
    assert [(each.reference, str(each.place).partition(".yaml:")[2]) for each in caught.value.problems] == [
        ("too-few", "1:8"),
        ("too-few", "1:1"),
    ]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_pipeline_file_is_the_callers_mistake_at_a_place(name: str, tmp_path: Path) -> None:
    content, place = BROKEN[name]
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        pools.load(replace(stack.load("local"), recipe=tmp_path, pipeline="x.yaml"))
    places = [str(each.place).partition(".yaml")[2].lstrip(":") for each in caught.value.problems]
    assert place in places
