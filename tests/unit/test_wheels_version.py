"""Versions of wheels: they order as people expect, round-trip, and refuse a tree that no commit describes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from ci.errors import ConfigError
from ci.names import IndexPage, WheelVersion, variant
from ci.wheels.version import scm, trial, version
from ci.world.history import Described, History

CLEAN = History(Path("/src"), "0123456789abcdef" * 2 + "01234567", 57, 1_700_000_000, False, frozenset(), frozenset())

numbers = st.lists(st.integers(0, 999), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
versions = st.builds(
    WheelVersion,
    numbers,
    numbers,
    st.none() | st.integers(0, 10_000),
    st.just("") | numbers,
    st.sampled_from(["", "trial", "g0123456789ab"]),
)


@given(versions)
def test_a_version_round_trips_and_is_already_normal(made: WheelVersion) -> None:
    assert WheelVersion.parse(str(made)) == made
    assert str(Version(str(made))) == str(made)


@pytest.mark.parametrize("text", ["1.0", "1.0+cu129", "1.0+rocm722", "1.0+rocm7.14", "1.0+rocm.07", "1.0+rocm.7.G1"])
def test_other_versions_are_not_ours(text: str) -> None:
    assert WheelVersion.parse(text) is None


def test_a_tagged_commit_is_the_release_any_other_a_nightly() -> None:
    tagged = replace(CLEAN, here=frozenset({"rocm-probe-v0.2.0", "v9"}))
    assert str(version("rocm-probe", "0.2.0", tagged, "7.14")) == "0.2.0+rocm.7.14"
    assert str(version("rocm-probe", "0.2.0", tagged, "7.14", "2.9.1+rocm7.14")) == "0.2.0+rocm.7.14.torch.2.9.1"
    assert str(version("rocm-probe", "0.2.0", CLEAN, "7.14")) == "0.2.0.dev57+rocm.7.14.g0123456789ab"


def test_a_trial_needs_no_commit() -> None:
    assert str(trial("0.2.0", "7.14", "2.9.1+rocm7.14")) == "0.2.0.dev0+rocm.7.14.torch.2.9.1.trial"


def test_nightlies_sort_in_a_row_before_the_release_and_after_the_last_one() -> None:
    after = frozenset({"rocm-probe-v0.1.0"})
    row = [
        version("rocm-probe", "0.1.0", replace(CLEAN, count=40, here=after), "7.2.3"),
        trial("0.2.0", "7.14"),
        version("rocm-probe", "0.2.0", replace(CLEAN, before=after), "7.14"),
        version("rocm-probe", "0.2.0", replace(CLEAN, count=58, before=after), "7.2"),
        version("rocm-probe", "0.2.0", replace(CLEAN, count=400, before=after), "7.2"),
        version("rocm-probe", "0.2.0", replace(CLEAN, here=frozenset({"rocm-probe-v0.2.0"})), "7.2"),
        version("rocm-probe", "0.2.0", replace(CLEAN, here=frozenset({"rocm-probe-v0.2.0"})), "7.14"),
        version("rocm-probe", "0.2.0", replace(CLEAN, here=frozenset({"rocm-probe-v0.2.0"})), "7.14", "2.9"),
        version("rocm-probe", "0.2.0", replace(CLEAN, here=frozenset({"rocm-probe-v0.2.0"})), "7.14", "2.10"),
        version("rocm-probe", "0.2.0", replace(CLEAN, here=frozenset({"rocm-probe-v0.2.0"})), "7.14.1"),
        version("rocm-probe", "0.2.0", replace(CLEAN, here=frozenset({"rocm-probe-v0.2.0"})), "10.0"),
    ]
    ordered = [Version(str(made)) for made in row]
    assert ordered == sorted(ordered)
    assert len(set(ordered)) == len(ordered)


def test_why_the_label_is_dotted_all_through() -> None:
    """What docs/how-to/wheels.md tells about moving away from ``+rocm722``."""
    assert Version("1.0+rocm.7.14") < Version("1.0+rocm.10.0")
    assert Version("1.0+rocm.7.9") < Version("1.0+rocm.7.14")
    for seven, ten in (("rocm7.14", "rocm10.0"), ("rocm722", "rocm100")):
        assert Version(f"1.0+{seven}") > Version(f"1.0+{ten}"), "undotted: seven comes after ten"
    for dotted in ("rocm.7.14", "rocm7.14", "rocm.10.0"):
        assert Version(f"1.0+{dotted}") < Version("1.0+rocm722"), "both dotted forms sort below today's"
    assert Version("1.1+rocm.7.14") > Version("1.0+rocm722"), "a new public version is what moves people over"


@pytest.mark.parametrize(
    ("history", "reference", "remedy"),
    [
        (None, "no-commit", "commit"),
        (replace(CLEAN, shallow=True), "shallow-clone", "--unshallow"),
        (replace(CLEAN, changes=("a.hip",)), "dirty-tree", "git stash"),
        (replace(CLEAN, before=frozenset({"rocm-probe-v0.2.0"})), "already-released", "raise the version"),
    ],
)
def test_a_tree_no_commit_describes_is_refused_with_the_remedy(
    history: History | None, reference: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        version("rocm-probe", "0.2.0", history, "7.14")
    problem = caught.value.problems[0]
    assert problem.reference == reference
    assert remedy in problem.hint


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        version("p", "0.2.0.dev1", replace(CLEAN, shallow=True, changes=tuple("abcdefg")), "rocm7", "new")
    assert [problem.reference for problem in caught.value.problems] == [
        "shallow-clone", "dirty-tree", "bad-release", "bad-rocm", "bad-torch",
    ]  # fmt: skip
    assert "and 2 more" in caught.value.problems[1].context
    with pytest.raises(ConfigError) as caught:
        version("p", "0.2.0", None, "rocm7")
    assert [problem.reference for problem in caught.value.problems] == ["no-commit", "bad-rocm"]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("rocm.7.2", "rocm7.2"), ("rocm.7.14.1.torch.2.9", "rocm7.14"), ("rocm7.2.3", "rocm7.2"), ("rocm.10", "rocm10"),
        ("rocm.10.0", "rocm10"), ("rocm.10.1", "rocm10.1"), ("rocm722", "rocm722"), ("g0a1b2c3.rocm722", "rocm722"),
        ("rocm.7.2.g0123456789ab", "rocm7.2"), ("rocm.7.2.trial", "rocm7.2"), ("cu129", ""), ("", ""), ("cpu", ""),
        ("rocm10", "rocm10"), ("rocm", ""),
    ],
)  # fmt: skip
def test_the_variant_of_a_label(label: str, expected: str) -> None:
    assert variant(label) == expected


@pytest.mark.parametrize(
    "page", [IndexPage(), IndexPage("rocm7.2"), IndexPage("", "rocm-probe"), IndexPage("rocm10", "rocm-probe")]
)
def test_an_index_page_round_trips(page: IndexPage) -> None:
    assert IndexPage.parse(str(page)) == page
    assert page.up.count("../") == str(page).count("/")


@pytest.mark.parametrize("text", ["", "other/x/", "simple/a/b/c/", "simple/rocm10/a/b/", "simple//a/", "simple/a/b/"])
def test_what_is_no_index_page(text: str) -> None:
    assert IndexPage.parse(text) is None


@pytest.mark.parametrize(
    ("tag", "distance", "expected"),
    [
        ("v0.12.0", 0, "0.12.0"), ("0.12.0", 7, "0.12.1.dev7+g0123456789ab"), ("v0.12.0rc1", 0, "0.12.0rc1"),
        ("v0.12.0rc1", 3, "0.12.0rc2.dev3+g0123456789ab"), ("v1.0.post1", 2, "1.0.post2.dev2+g0123456789ab"),
        ("v0.9", 1, "0.10.dev1+g0123456789ab"), ("v0.13.0.dev0", 4, "0.13.0.dev4+g0123456789ab"),
        ("v0.13.0.dev7", 4, "0.13.0.dev11+g0123456789ab"),
    ],
)  # fmt: skip
def test_a_version_as_setuptools_scm_has_it(tag: str, distance: int, expected: str) -> None:
    assert scm(Described(tag, distance, CLEAN.commit)) == expected


def test_every_commit_sorts_after_the_one_before() -> None:
    history = [("v0.11.0", 0), ("v0.11.0", 1), ("v0.11.0", 2), ("v0.11.0", 10), ("v0.12.0rc0", 0), ("v0.12.0rc0", 4)]
    history += [("v0.12.0rc1", 0), ("v0.12.0rc1", 1), ("v0.12.0", 0), ("v0.12.0", 1)]
    found = [Version(scm(Described(tag, distance, CLEAN.commit))) for tag, distance in history]
    assert found == sorted(found)
    assert len(set(found)) == len(found)
    assert all(each > Version("0.0.0+rocm") for each in found)


def test_a_tag_that_is_no_version() -> None:
    with pytest.raises(ConfigError, match="nightly-1 is no version"):
        scm(Described("nightly-1", 3, CLEAN.commit))
