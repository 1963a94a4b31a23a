"""Globs over a source tree: whole parts, the last pattern decides, one path at a time."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.pipeline.patterns import Globs, Paths, shown
from ci.recipe.dockerfile.globs import GlobError


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("tests/x", "tests/x"),
        ("tests/x", "tests/x/deep/file.py"),
        ("tests/x/", "tests/x/file.py"),
        ("tests/x/", "tests/x"),
        ("*.md", "README.md"),
        ("**/*.md", "README.md"),
        ("**/*.md", "a/b/c.md"),
        ("docs/**", "docs/a/b"),
        ("a/**/b.py", "a/b.py"),
        ("a/**/b.py", "a/x/y/b.py"),
        ("vllm/*/rocm", "vllm/platforms/rocm/x.py"),
        ("test_?.py", "test_a.py"),
        ("[ab].txt", "b.txt"),
        (r"odd\[1].txt", "odd[1].txt"),
        ("new\nline/*", "new\nline/x\ny"),
        (".buildkite", ".buildkite/test-amd.yaml"),
    ],
)
def test_a_pattern_takes(pattern: str, path: str) -> None:
    assert Globs([pattern]).match(path) == pattern


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("tests/test_sequence", "tests/test_sequence.py"),
        ("vllm/config", "vllm/config_utils.py"),
        ("docker/Dockerfile.rocm", "docker/Dockerfile.rocm_base"),
        ("docker/Dockerfile.rocm", "docker/Dockerfile.rocm_72_base"),
        ("setup.py", "setup_py_helper"),
        ("setup.py", "tools/setup.py"),
        ("setup.py", "setup.pyc"),
        ("setup.py", "setupXpy"),
        ("tests/x", "tests"),
        ("tests/x", "other/tests/x"),
        ("*.md", "docs/README.md"),
        ("vllm/*.py", "vllm/a/b.py"),
        ("docs/**", "docs"),
        ("a/**/b.py", "a/xb.py"),
        ("test_?.py", "test_/.py"),
        ("[ab].txt", "b.txt.old"),
        ("vllm/*_utils", "vllm/a_utils.py"),
    ],
)
def test_a_pattern_leaves(pattern: str, path: str) -> None:
    assert Globs([pattern]).match(path) == ""


def test_an_exclusion_is_decided_file_by_file() -> None:
    globs = Globs(["vllm/distributed/", "!vllm/distributed/kv_transfer/", "vllm/distributed/kv_transfer/base.py"])
    assert globs.match("vllm/distributed/comm.py") == "vllm/distributed/"
    assert globs.match("vllm/distributed/kv_transfer/x.py") == ""
    assert globs.match("vllm/distributed/kv_transfer/base.py") == "vllm/distributed/kv_transfer/base.py"
    both = Paths(["vllm/distributed/kv_transfer/x.py", "vllm/distributed/z.py"])
    assert globs.first(both) == ("vllm/distributed/z.py", "vllm/distributed/")


def test_of_two_patterns_for_one_file_the_last_is_named() -> None:
    assert Globs(["a", "a/b"]).first(Paths(["a/b", "a/c"])) == ("a/b", "a/b")
    assert Globs(["a/b", "a"]).first(Paths(["a/b", "a/c"])) == ("a/b", "a")


def test_a_later_pattern_takes_what_an_exclusion_took_back() -> None:
    assert Globs(["a", "!a/b", "a"]).match("a/b") == "a"
    assert Globs(["a", "a", "!a/b"]).match("a/b") == ""


@pytest.mark.parametrize("pattern", ["", "/", "!", "/abs", "a//b", "./a", "a/../b", "[a", "a**b", "a/b**", "a\\"])
def test_what_cannot_be_meant_is_refused(pattern: str) -> None:
    with pytest.raises(GlobError):
        Globs([pattern])


def test_a_link_or_submodule_on_the_way_is_found() -> None:
    globs = Globs(["*/x", "third/party/lib/*.cc", "!top/a"])
    assert globs.leads(Paths(["third/party"])) == ("third/party", "third/party/lib/*.cc")
    assert globs.leads(Paths(["third/part", "README.md", "top"])) is None
    assert Globs(["a/b"]).leads(Paths(["a/b"])) is None


@pytest.mark.parametrize(
    ("patterns", "entering"),
    [
        (["csrc/*/kern.cu"], "csrc/*/kern.cu"),
        (["**/*.hip"], "**/*.hip"),
        (["c*/**/x.py"], "c*/**/x.py"),
        (["csrc/s[u]b/*/a"], "csrc/s[u]b/*/a"),
        (["csrc/*/kern.cu", "!csrc/*/kern.cu"], "csrc/*/kern.cu"),
        (["!csrc", "**/*.hip"], "**/*.hip"),
        (["**/*.hip", "!csrc"], ""),
        (["**/*.hip", "!csrc/s?b"], ""),
        (["csrc/x*/kern.cu"], ""),
        (["*/other/**"], ""),
        (["c*"], ""),
    ],
)
def test_wildcards_enter_a_link_or_submodule_that_they_can_match_below(patterns: list[str], entering: str) -> None:
    for link in ("csrc/sub", "csrc/sub/"):  # git ends another repository in an untracked folder with a slash
        expected = (link, entering) if entering else None
        assert Globs(patterns).leads(Paths(["a.md", link], [link])) == expected
    assert Globs(patterns).leads(Paths(["a.md", "csrc/sub"])) is None


def test_odd_names_are_spelled_out() -> None:
    assert shown("plain/naïve.py") == "plain/naïve.py"
    assert shown("new\nline") == r"'new\nline'"
    assert shown(b"a\xff".decode("utf-8", "surrogateescape")) == r"'a\udcff'"


# --- against a naive model ----------------------------------------------------------------------

PART = st.sampled_from(["a", "b", "ab"])
WILD = st.sampled_from(["a", "b", "ab", "*", "a*", "?", "*b", "[ab]", "[^a]", "**"])
PATH = st.lists(PART, min_size=1, max_size=4).map("/".join)
PATTERN = st.tuples(st.sampled_from(["", "", "!"]), st.lists(WILD, min_size=1, max_size=3), st.sampled_from(["", "/"]))


def takes(pattern: list[str], path: list[str]) -> bool:
    """Part by part; what is left of the path once the pattern is used up lies below it."""
    if not pattern:
        return True
    if pattern == ["**"]:
        return bool(path)
    if pattern[0] == "**":
        return any(takes(pattern[1:], path[skip:]) for skip in range(len(path) + 1))
    part = pattern[0].replace("[^", "[!")
    return bool(path) and fnmatchcase(path[0], part) and takes(pattern[1:], path[1:])


@given(PATTERN, PATH, PATH)
def test_what_a_pattern_takes_below_a_link_is_led_to(drawn: tuple[str, list[str], str], link: str, below: str) -> None:
    globs = Globs(["/".join(drawn[1])])
    if globs.match(f"{link}/{below}"):
        paths = Paths([link], [link])
        assert globs.first(paths) or globs.leads(paths)


@settings(max_examples=400)
@given(st.lists(PATTERN, max_size=4), st.lists(PATH, max_size=8))
def test_globs_agree_with_a_naive_model(drawn: list[tuple[str, list[str], str]], files: list[str]) -> None:
    written = ["".join((bang, "/".join(parts), slash)) for bang, parts, slash in drawn]
    expected: dict[str, str] = {}
    for file in sorted(set(files)):
        hits = [number for number, (_, parts, _) in enumerate(drawn) if takes(parts, file.split("/"))]
        if hits and not drawn[hits[-1]][0]:
            expected[file] = written[hits[-1]]
    globs = Globs(written)
    assert dict(globs.matches(Paths(files))) == expected
    assert {file: globs.match(file) for file in files} == {file: expected.get(file, "") for file in files}
    assert globs.first(Paths(files)) == next(iter(expected.items()), None)
