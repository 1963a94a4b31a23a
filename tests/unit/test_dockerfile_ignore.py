"""``.dockerignore`` patterns; the engine tests check such tables against real builds."""

from __future__ import annotations

import pytest

from ci.errors import ConfigError
from ci.recipe.dockerfile import Ignore

PATHS = ("a", "b/a", "b/c/a.o", "b/c/d.c", "docs/x.md", "docs/y/z.md", "README.md", "we[i]rd", "x.git/a")


@pytest.mark.parametrize(
    ("text", "ignored"),
    [
        ("", ""),
        ("# a\n\n  \n", ""),
        (" # is a pattern\n", ""),
        ("a\n", "a"),
        ("/a\r\n", "a"),
        ("./a/\n", "a"),
        ("b/\n", "b/a b/c/a.o b/c/d.c"),
        ("*\n", " ".join(PATHS)),
        ("*/a", "b/a x.git/a"),
        ("**/a", "a b/a x.git/a"),
        ("**", " ".join(PATHS)),
        ("**/*.o", "b/c/a.o"),
        ("**a", "a b/a x.git/a"),
        ("docs/**", "docs/x.md docs/y/z.md"),
        ("docs/**/z.md", "docs/y/z.md"),
        ("b/**/a*", "b/a b/c/a.o"),
        ("b**", "b/a b/c/a.o b/c/d.c"),
        ("?.git", "x.git/a"),
        ("[w-x]*", "we[i]rd x.git/a"),
        ("[^a-w]*", "README.md x.git/a"),
        ("we\\[i\\]rd", "we[i]rd"),
        ("*\n!b\n", "a docs/x.md docs/y/z.md README.md we[i]rd x.git/a"),
        ("*\n! /b/c\nb/c/*.o", "a b/a b/c/a.o docs/x.md docs/y/z.md README.md we[i]rd x.git/a"),
        ("**/*.md\n!README.md\n!docs/**/z.md", "docs/x.md"),
        ("!a\na", "a"),
        ("b/c/d.c\n!b", "b/c/d.c"),
        ("b/c\n!b", "b/c/a.o b/c/d.c"),
        ("b\n!b/c\nb/c/a.o", "b/a b/c/a.o"),
        ("x.git\n!**/a", ""),
        ("\ufeffa", "a"),
        ("../a\n/../b", "b/a b/c/a.o b/c/d.c"),
    ],
)
def test_patterns(text: str, ignored: str) -> None:
    ignore = Ignore.parse(text)
    assert [path for path in PATHS if ignore.ignored(path)] == [path for path in PATHS if path in ignored.split()]


@pytest.mark.parametrize("pattern", ["a[", "!", "a\\", "[b-a]", "x[]", "\\d*", "a^*"])
def test_malformed_patterns_are_refused_by_line(pattern: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Ignore.parse(f"# c\n{pattern}\nok\n", "x/.dockerignore")
    assert str(raised.value.problems[0].place) == "x/.dockerignore:2"
