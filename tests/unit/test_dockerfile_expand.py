"""Word expansion, case by case as BuildKit's own table has them."""

from __future__ import annotations

import pytest

from ci.recipe.dockerfile.expand import ExpandError, UnknownVariable, expand

VALUES = {"A": "one", "E": "", "P": "a/b/c.tar.gz", "S": "x*y"}


@pytest.mark.parametrize(
    ("word", "expanded"),
    [
        ("plain", "plain"),
        ("$A ${A}x $AB", "one onex "),
        ("${A:-d} ${E:-d} ${E-d} ${N:-d} ${N-d}", "one d  d d"),
        ("${A:+d} ${E:+d} ${E+d} ${N:+d} ${N+d}", "d  d  "),
        ("${N:-${A}-$A}", "one-one"),
        ("${A?no} ${A:?no}", "one one"),
        ("${P#*/} ${P##*/} ${P%.*} ${P%%.*}", "b/c.tar.gz c.tar.gz a/b/c.tar a/b/c"),
        ("${P#?} ${P%z} ${P%nothing} ${S#x\\*}", "/b/c.tar.gz a/b/c.tar.g a/b/c.tar.gz y"),
        ("${P/\\//-} ${P//\\//-} ${P//a/z}", "a-b/c.tar.gz a-b-c.tar.gz z/b/c.tzr.gz"),
        ("'$A' \"$A\" \\$A \"\\$A\" '\\'", "$A one $A $A \\"),
        ('"a\\b" a\\b "\\""', 'a\\b ab "'),
        ("$ $$ $1 a$", "$   a$"),
        ("trailing\\", "trailing"),
        ("<<x <y", "<<x <y"),
    ],
)
def test_expansion(word: str, expanded: str) -> None:
    assert expand(word, VALUES.get) == expanded


def test_the_escape_character_is_the_files_own() -> None:
    assert expand("a`$A\\$A", VALUES.get, "`") == "a$A\\one"


@pytest.mark.parametrize(
    "word",
    [
        "${",
        "${}",
        "${A",
        "${:-x}",
        "${{A}}",
        "${A^^}",
        "${A:#x}",
        "${A:=x}",
        "${N?must be set}",
        "${E:?}",
        "'open",
        '"open',
        "${A/x}",
        "${A//*/x}",
        "${A#\\x}",
    ],
)
def test_what_cannot_be_expanded_is_an_error(word: str) -> None:
    with pytest.raises(ExpandError):
        expand(word, VALUES.get)


def test_an_unknown_value_is_not_an_empty_one() -> None:
    def nobody(name: str) -> str | None:
        raise UnknownVariable(name)

    with pytest.raises(UnknownVariable) as raised:
        expand("a/${X:-y}", nobody)
    assert raised.value.name == "X"
