"""Strict documents: what YAML would swallow is a problem with its place, and all of them come at once."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci import documents
from ci.errors import ConfigError, Place, Problem
from ci.recipe import stack as stacks

ROOT = Path(__file__).parents[2]
SCHEMA: dict[str, Any] = json.loads((ROOT / "docker/stacks/stack.schema.json").read_text())


def said(text: str) -> list[tuple[str, str]]:
    """(reference, line:column) of every problem."""
    return [(p.reference, str(p.place).removeprefix("f:")) for p in documents.read(text, "f").problems]


REFUSED = {
    "boolean on": ("a: on\n", "ambiguous-value", "1:4"),
    "boolean no": ("a:\n  - 1\n  - no\n", "ambiguous-value", "3:5"),
    "boolean Off": ("a: Off\n", "ambiguous-value", "1:4"),
    "boolean YES": ("{a: [YES]}", "ambiguous-value", "1:6"),
    "boolean maybe": ("a: !!bool maybe\n", "ambiguous-value", "1:4"),
    "key on": ("a: 1\non: 1\n", "ambiguous-value", "2:1"),
    "key number": ("1: a\n", "ambiguous-value", "1:1"),
    "key empty": ("~: a\n", "ambiguous-value", "1:1"),
    "key list": ("? [a]\n: b\n", "key-type", "1:3"),
    "duplicate": ("a: 1\nb: 2\na: 3\n", "duplicate-key", "3:1"),
    "duplicate in depth": ("a:\n  b: {c: 1, c: 2}\n", "duplicate-key", "2:13"),
    "duplicate in JSON": ('{"a": "1", "a": "2"}', "duplicate-key", "1:12"),
    "empty": ("a:\nb: 1\n", "ambiguous-value", "1:3"),
    "null": ("a: null\n", "ambiguous-value", "1:4"),
    "tilde": ("- ~\n", "ambiguous-value", "1:3"),
    "octal": ("a: 010\n", "ambiguous-value", "1:4"),
    "grouped number": ("a: 1_000\n", "ambiguous-value", "1:4"),
    "sexagesimal": ("a: 1:30\n", "ambiguous-value", "1:4"),
    "exponent": ("a: 1.0e+3\n", "ambiguous-value", "1:4"),
    "infinity": ("a: .inf\n", "ambiguous-value", "1:4"),
    "a million billions": ("a: 1000000000000000\n", "ambiguous-value", "1:4"),
    "5000 digits": ("a: [-" + "9" * 5000 + "]\n", "ambiguous-value", "1:5"),
    "400 digits and a half": ("a: 1" + "0" * 400 + ".5\n", "ambiguous-value", "1:4"),
    "tagged digits": ("a: !!int " + "9" * 5000 + "\n", "ambiguous-value", "1:4"),
    "date": ("a: 2026-01-01\n", "ambiguous-value", "1:4"),
    "merge": ("a: &x {b: 1}\nc:\n  <<: *x\n", "ambiguous-value", "3:3"),
    "tag on a scalar": ("a: !thing b\n", "ambiguous-value", "1:4"),
    "tag on a mapping": ("a: !thing {b: 1}\n", "ambiguous-value", "1:4"),
    "contains itself": ("a: &x [*x]\n", "ambiguous-value", "1:8"),
    "two documents": ("a: 1\n---\nb: 2\n", "syntax", "2:1"),
    "unclosed": ("a: [1\n", "syntax", "2:1"),
    "tab": ("a:\n\tb: 1\n", "syntax", "2:1"),
    "nothing": ("# only a comment\n", "empty-file", "f"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_yaml_would_swallow_is_a_problem_at_its_place(name: str) -> None:
    text, reference, place = REFUSED[name]
    assert said(text) == [(reference, place)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 'on'\n", {"a": "on"}),
        ('a: "no"\n"on": 1\n', {"a": "no", "on": 1}),
        ("a: true\nb: false\n", {"a": True, "b": False}),
        ("a: [0, -3, 1.5]\n", {"a": [0, -3, 1.5]}),
        ("a: gfx942;gfx950\n", {"a": "gfx942;gfx950"}),
        ('a: "010"\nb: ""\n', {"a": "010", "b": ""}),
        ("a: &x [1]\nb: *x\n", {"a": [1], "b": [1]}),
        ("a: !!str 1\n", {"a": "1"}),
        ('{"a": {"b": [true, 1, "é"]}}', {"a": {"b": [True, 1, "é"]}}),
    ],
)
def test_plain_values_are_read_as_written(text: str, value: object) -> None:
    document = documents.read(text, "f")
    assert document.problems == ()
    assert document.value == value


def test_all_problems_come_at_once_and_in_order() -> None:
    text = "a: on\nb:\n  c: 1\n  c: 2\nd: ~\non: 010\n"
    assert [place for _, place in said(text)] == ["1:4", "4:3", "5:4", "6:1", "6:5"]
    with pytest.raises(ConfigError) as caught:
        documents.refuse(documents.read(text, "f").problems)
    assert len(caught.value.problems) == 5


def test_a_duplicate_names_the_line_of_the_other_key() -> None:
    (problem,) = documents.read("a:\n  b: 1\nc: 2\na: 3\n", "f").problems
    assert "line 1" in problem.hint


def test_places_of_values_and_keys() -> None:
    document = documents.read("a:\n  b: [x, y]\n", "f")
    assert document.place("a", "b", 1) == Place("f", 2, 10)
    assert document.key("a", "b") == Place("f", 2, 3)
    assert document.place("a", "nowhere", "at", "all") == Place("f", 2, 3)


MOST = 10**15 - 1


@given(
    st.recursive(
        st.booleans() | st.integers(-MOST, MOST) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_reads_back(value: Any) -> None:
    """ASCII JSON is YAML, except for DEL and for UTF-16 surrogate pairs, which YAML has no escapes for."""
    text = json.dumps({"value": value}, ensure_ascii=True)
    if "\\ud" not in text and "\x7f" not in text:
        document = documents.read(text, "f")
        assert document.value == {"value": value}
        assert document.problems == ()


# --- the schema -----------------------------------------------------------------------------


def problems(text: str) -> tuple[Problem, ...]:
    document = documents.read(text, "s.yaml")
    return (*document.problems, *documents.check(document, SCHEMA))


GOOD = """\
schema: 1
name: mine
summary: what it is
repository: team/mine
platform: linux/amd64
tiers:
  base:
    dockerfile: Dockerfile
    target: base
"""


def test_a_small_stack_is_accepted() -> None:
    assert problems(GOOD) == ()


@pytest.mark.parametrize(
    ("old", "new", "reference", "place", "hint"),
    [
        ("summary:", "sumary:", "unknown-key", "3:1", "did you mean summary?"),
        ("    target:", "    targett: x\n    target:", "unknown-key", "9:5", "did you mean target?"),
        ("linux/amd64", "linux/arm46", "wrong-value", "5:11", "did you mean linux/arm64"),
        ("schema: 1", "schema: 2", "wrong-value", "1:9", ""),
        ("schema: 1", "schema: true", "wrong-type", "1:9", ""),
        ("name: mine", "name: Mine", "wrong-value", "2:7", "lower case words"),
        ("name: mine", 'name: "mine\\n"', "wrong-value", "2:7", "lower case words"),
        ("name: mine", "name: [mine]", "wrong-type", "2:7", ""),
        ("  base:", "  Base_1:", "wrong-value", "7:3", "lower case words"),
        ("what it is", '""', "too-short", "3:10", ""),
    ],
)
def test_a_mistake_is_named_with_its_place_and_a_suggestion(
    old: str, new: str, reference: str, place: str, hint: str
) -> None:
    found = [p for p in problems(GOOD.replace(old, new)) if p.reference != "missing-key"]
    assert [(p.reference, str(p.place)) for p in found] == [(reference, f"s.yaml:{place}")]
    assert hint in found[0].hint


def test_an_unknown_key_with_a_block_below_is_shown_at_the_key() -> None:
    (problem,) = problems(GOOD + "chanels:\n  nightly: 1\n")
    assert str(problem.place) == "s.yaml:10:1"


def test_a_value_is_refused_once() -> None:
    """YAML's ``on`` where text is wanted is one mistake, not two."""
    assert [p.reference for p in problems(GOOD.replace("what it is", "on"))] == ["ambiguous-value"]
    assert [p.reference for p in problems(GOOD.replace("what it is", ""))] == ["ambiguous-value"]


def test_a_file_that_cannot_be_parsed_has_one_problem() -> None:
    assert [p.reference for p in problems(GOOD + "x: [\n")] == ["syntax"]
    assert [p.reference for p in problems("")] == ["empty-file"]


# --- the same schema for editors: the jsonschema library agrees ------------------------------


def agree(value: Any, schema: dict[str, Any]) -> bool:
    """Whether ours accepts ``value``; fails where the library says otherwise."""
    ours = documents.check(documents.Document("f", value, {(): Place("f")}), schema) == ()
    theirs = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert ours == theirs, f"ours {ours}, jsonschema {theirs}: {value!r}"
    return ours


@pytest.mark.parametrize("path", sorted((ROOT / "docker/stacks").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_stacks_are_accepted_by_both(path: Path) -> None:
    document = documents.read(path.read_text(), path.name)
    assert document.problems == ()
    assert agree(document.value, SCHEMA)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert stacks.shipped()


FULL: dict[str, Any] = {
    "schema": 1,
    "name": "full",
    "summary": "one of every key",
    "repository": "team/full",
    "platform": "linux/arm64",
    "disk_gb": 20,
    "sources": ["src"],
    "args": {"A": {"type": "arch-list", "default": "gfx942", "feature": "deepep", "allowed": ["none"]}},
    "roots": {"busy": {"image": "busy:1", "debian": "forky"}},
    "tiers": {"base": {"dockerfile": "D", "target": "t", "parents": {"ROOT": "busy"}, "beside": ["x"], "fetch": ["y"]}},
}

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, 1.0, 1.5, "", "x", "X y", "x\n", "a--b", "é", "linux/amd64", "none", [], ["x"],
    [1], [[]], [""], {}, {"x": "y"}, {"X": {}}, {"x": None}, {"type": "text"}, "a" * 300,
)  # fmt: skip


def test_the_full_document_is_accepted() -> None:
    assert agree(FULL, SCHEMA)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        found += paths(item, (*path, key))
    return found


def changed(path: tuple[Any, ...], change: Callable[[Any, Any], object]) -> Any:
    """FULL with ``change(container, key)`` done at ``path``."""
    top = {"top": copy.deepcopy(FULL)}
    at: Any = top
    for key in ("top", *path)[:-1]:
        at = at[key]
    change(at, ("top", *path)[-1])
    return top.get("top")


@pytest.mark.parametrize("path", paths(FULL), ids=lambda path: ".".join(map(str, path)) or "top")
def test_jsonschema_agrees_on_every_mutation(path: tuple[Any, ...]) -> None:
    for odd in ODD:
        agree(changed(path, lambda at, key, odd=odd: at.__setitem__(key, odd)), SCHEMA)  # type: ignore[misc]
    if path:
        assert agree(changed(path, lambda at, key: at.pop(key)), SCHEMA) in {True, False}
    for name in ("extra", "Extra key", "type", "image", "x" * 60):
        agree(changed(path, lambda at, key, name=name: _add(at[key], name)), SCHEMA)  # type: ignore[misc]


def _add(value: Any, name: str) -> None:
    if isinstance(value, dict):
        value[name] = {"type": "text"}
    elif isinstance(value, list):
        value.append(name)


values = st.recursive(
    st.sampled_from(ODD[:18]) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "image", "x", "A b"]), inner),
    max_leaves=6,
)


@given(st.sampled_from(paths(FULL)), values)
def test_jsonschema_agrees_on_generated_values(path: tuple[Any, ...], value: Any) -> None:
    agree(changed(path, lambda at, key: at.__setitem__(key, value)), SCHEMA)


def test_suggestions() -> None:
    assert documents.suggest("gfx94a", ["gfx90a", "gfx942", "gfx1100"]) == "did you mean gfx942 or gfx90a?"
    assert documents.suggest("zzz", ["a", "b"]) == "allowed: a, b"
