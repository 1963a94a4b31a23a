"""The fast reader never says anything that the careful one does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ci import documents
from ci.yaml_text import DEEPEST, Text
from ci.yaml_values import values

ROOT = Path(__file__).parents[2]
PIECES = [
    "a", "b: ", "- ", "\n", "  ", "\n  ", "[", "]", "{", "}", ", ", ": ", "? ", "&x ", "*x", "!!str ", "! ", "'", '"',
    "|\n", ">-\n", "1", "0x1", "1.5", "1e3", ".inf", "true", "yes", "on", "~", "null", "2001-01-01", "<<: ", "=",
    "999999999999999", "-9999999999999999", "1000000000000000.5", "9" * 5000, f"1{'0' * 400}.0", "!!bool ", "TRUE",
    "---\n", "...\n", "%YAML 1.1\n", "# c\n", "\t", "é", "\ufeff", "\x07", "a: 1\n", "b: [1, x]\n", "c: {d: e}\n",
]  # fmt: skip
SHIPPED = [path for path in sorted((ROOT / "docker").rglob("*.yaml")) if "schema" not in path.name]


def agree(text: str) -> None:
    found, careful = values(text), Text.read(text, "f")
    if found is None:
        return
    assert careful.problems == []
    assert found == careful.value
    assert json.dumps(found) == json.dumps(careful.value)  # 1, 1.0 and true are equal to each other


@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
@example("")
@example("---\n")
@example("a: &x 1\nb: *x\n")
@example("a: 1\na: 1\n")
@example("a: !!str 1\n")
@example("!t {a: 1}\n")
@example("&x a: 1\n")
@example("1: a\n")
@example("a: 1\n---\nb: 1\n")
@example("[a]: b\n")
@example("a: on\n")
@example("a: !!bool maybe\n")
@example("a: 1000000000000000\n")
@example("a: 1\n\x07")
def test_what_it_reads_is_what_the_careful_one_reads_without_a_problem(text: str) -> None:
    agree(text)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_it_reads_what_people_write(path: Path) -> None:
    text = path.read_text()
    assert (values(text) is None) is (": &" in text)
    agree(text)


@pytest.mark.parametrize("nested", ["[" * DEEPEST + "]" * DEEPEST, "[" * 400 + "]" * 400])
def test_depth_has_the_same_bound(nested: str) -> None:
    agree(nested)


def test_a_text_of_too_many_values_is_left_to_the_careful_one() -> None:
    assert values("[a, b, c]", most=4) == ["a", "b", "c"]
    assert values("[a, b, c, d]", most=4) is None


def test_places_are_found_when_somebody_asks() -> None:
    document = documents.read("a:\n  b: [x, y]\n", "f")
    assert dict(document.places) == Text.read("a:\n  b: [x, y]\n", "f").places
    assert len(document.keys) == 2
