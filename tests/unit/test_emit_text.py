"""The YAML of pipelines: read back as it was, by a reader of YAML 1.1 and one of 1.2."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ci.providers.emit import text

HARD = "$\\'\"`{}[]!#:-&*|>%@?,~= \n\t\r\x00\x07\x1b\x7f\x85\xa0\u2028\ufeffé日😀"
TEXTS = st.text(st.one_of(st.sampled_from(HARD), st.characters(codec="utf-8")), max_size=20)
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)


def read_twice(document: str) -> tuple[Any, Any]:
    """As YAML 1.1 reads it, and as 1.2 does."""
    return yaml.safe_load(document), YAML(typ="safe", pure=True).load(document)


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=3))
def test_what_is_written_is_what_is_read(value: dict[str, Any]) -> None:
    assert read_twice(text.dump(value)) == (value, value)


@pytest.mark.parametrize(
    "word",
    ["yes", "No", "on", "off", "null", "~", "true", "y", "1", "1.5", "0x1f", "1:30", "2026-11-22", "=", "<<", "",
     " a", "a ", "a: b", "a #b", "- a", "? a", "&a", "*a", "!a", "|", ">", "%a", "@a", "`a", ".inf", ".5", "a\nb"],
)  # fmt: skip
def test_words_that_mean_something_to_yaml_stay_text(word: str) -> None:
    value = {"a": word, "b": [word]}
    assert read_twice(text.dump(value)) == (value, value)


@pytest.mark.parametrize("word", ["./ci/bootstrap python -m ci", "image-base", "a/b.c", "--x", "pools (gfx942) 1/4"])
def test_ordinary_words_are_not_quoted(word: str) -> None:
    written = text.dump({"a": word})
    assert word in written
    assert ('"' in written) == word.startswith("-")


def test_empty_lists_and_maps_are_written() -> None:
    assert text.dump({"a": [], "b": {}, "c": [[], {}]}) == "a: []\nb: {}\nc:\n  - []\n  - {}\n"


@given(TEXTS)
def test_a_comment_is_one_line_that_hides_nothing(words: str) -> None:
    assert yaml.safe_load(f"{text.comment(words)}\na: 1\n") == {"a": 1}


def test_no_line_is_a_command_to_the_ci_that_prints_it() -> None:
    written = text.dump({"a": "##[add-path]/x", "::error::x": "--- x", "b": ["::set-env name=x::y", "+++ x"]})
    assert "##[" not in written
    assert not [line for line in written.splitlines() if line.lstrip().startswith(("::", "--- ", "+++ "))]
