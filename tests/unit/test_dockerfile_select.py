"""Which paths a need takes."""

from __future__ import annotations

import pytest

from ci.errors import ConfigError
from ci.recipe.dockerfile import FileNeed, select

PATHS = sorted(
    path + name
    for path, names in {
        "": ["a.txt", "b.txt", "src", "src-x/a", "src.c", "lib0", "z/sub/a.md", "we[i]rd/f"],
        "docs/": ["a.md", "b.txt", "sub/a.md", "sub/deep/c.md"],
        "lib/": ["x/one.o", "y/one.o", "y/two.o"],
    }.items()
    for name in names
)


def need(*sources: str, how: str = "copy", excludes: tuple[str, ...] = (), parents: bool = False) -> FileNeed:
    return FileNeed("", sources, 7, how, excludes, parents, "docker/D")


def taken(wanted: FileNeed) -> str:
    return " ".join(select(wanted, PATHS, named_only={"secret/key", "note"}))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (need("."), " ".join(PATHS)),
        (need("a.txt"), "a.txt"),
        (need("src"), "src"),
        (need("lib"), "lib/x/one.o lib/y/one.o lib/y/two.o"),
        (need("lib/y", "a.txt", "lib"), "a.txt lib/x/one.o lib/y/one.o lib/y/two.o"),
        (need("*.txt"), "a.txt b.txt"),
        (need("?.txt"), "a.txt b.txt"),
        (need("*/*.md"), "docs/a.md"),
        (need("**/*.md"), "docs/a.md"),
        (need("lib/*/one.o"), "lib/x/one.o lib/y/one.o"),
        (need("lib/[^x]/t*"), "lib/y/two.o"),
        (need("*/sub"), "docs/sub/a.md docs/sub/deep/c.md z/sub/a.md"),
        (need("li*"), "lib/x/one.o lib/y/one.o lib/y/two.o lib0"),
        (need("we\\[i]rd*"), "we[i]rd/f"),
        (need("we[i]rd", how="bind"), "we[i]rd/f"),
        (need(".", how="bind"), " ".join(PATHS)),
        (need("a.txt", "*.lock"), "a.txt"),
        (need("note"), "note"),
        (need("note", "a.txt"), "a.txt note"),
        (need("docs", excludes=("*.md",)), "docs/b.txt docs/sub/a.md docs/sub/deep/c.md"),
        (need("docs", excludes=("**/*.md", "!sub/deep")), "docs/b.txt"),
        (need("docs", excludes=("**/*.md", "!sub/deep/c.md")), "docs/b.txt docs/sub/deep/c.md"),
        (need("*.txt", excludes=("a.txt",)), "a.txt b.txt"),
        (need("a.txt", excludes=("**",)), "a.txt"),
        (need("do*", "a.txt", excludes=("sub", "a.txt")), "a.txt docs/a.md docs/b.txt"),
        (need("docs/sub", parents=True), "docs/sub/a.md docs/sub/deep/c.md"),
        (need("docs/./sub/*.md", parents=True), "docs/sub/a.md"),
        (need("**/a.md", parents=True), "docs/a.md docs/sub/a.md z/sub/a.md"),
        (need("*/./sub", parents=True, excludes=("sub/deep",)), "docs/sub/a.md z/sub/a.md"),
        (need("note", parents=True), "note"),
    ],
)
def test_selection(wanted: FileNeed, expected: str) -> None:
    assert taken(wanted) == expected


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        (need("a.tx"), "a.txt"),
        (need("doc/a.md"), "docs/a.md"),
        (need("deep/c.md"), "docs/sub/deep/c.md"),
        (need("lib/y/zzzzzzz"), "lib/y"),
        (need("secret"), "secret/key"),
        (need("*.lock"), ""),
        (need("we[i]rd"), ""),
        (need("lib/*", how="bind"), "lib"),
        (need("a.txt/b"), "a.txt"),
        (need("docs/sub/deep", excludes=("*",)), "docs/sub"),
        (need("x*/./y", parents=True), "lib/y"),
    ],
)
def test_a_source_that_takes_nothing_is_an_error(wanted: FileNeed, near: str) -> None:
    with pytest.raises(ConfigError) as raised:
        taken(wanted)
    (problem,) = raised.value.problems
    assert problem.reference == "missing-source"
    assert str(problem.place) == "docker/D:7"
    assert wanted.sources[0] in problem.message
    assert near in problem.hint


def test_all_missing_sources_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        taken(need("nope", "a.txt", "nada", "*.none"))
    assert [problem.message.split()[3] for problem in raised.value.problems] == ["nope", "nada"]


@pytest.mark.parametrize("wanted", [need("a[*"), need("docs", excludes=("a[",)), need("a[", parents=True)])
def test_a_malformed_pattern_is_refused(wanted: FileNeed) -> None:
    with pytest.raises(ConfigError) as raised:
        taken(wanted)
    assert raised.value.problems[0].reference == "bad-pattern"
    assert str(raised.value.problems[0].place) == "docker/D:7"
