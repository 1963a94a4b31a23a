"""Which release is the newer one: three values from git, and what each means to a channel."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci.errors import ConfigError, InfraError, SupersededError
from ci.publish.manifest import Release, Standing
from ci.publish.order import Relation, ancestry, overtaken
from ci.world.fakes import Ending, FakeRun
from ci.world.history import descends
from tests.publishing import by_letter, commit

A, B = commit("a"), commit("b")
HERE = Path("/repository")
YES, NO, LOST = (0, "", ""), (1, "", ""), (128, "", "fatal: Not a valid commit name")


def git(ahead: Ending, behind: Ending = NO, *, shallow: str = "false\n") -> FakeRun:
    """Git's answers on whether B came after A, and A after B."""
    base = ("git", "--no-replace-objects", "-C", str(HERE))
    return FakeRun(
        {
            (*base, "merge-base", "--is-ancestor", A, B): ahead,
            (*base, "merge-base", "--is-ancestor", B, A): behind,
            (*base, "rev-parse", "--is-shallow-repository"): (0, shallow, ""),
        }
    )


@pytest.mark.parametrize(
    ("answer", "shallow", "said"),
    [
        (YES, "false\n", True),
        (YES, "true\n", True),
        (NO, "false\n", False),
        (NO, "true\n", None),
        (NO, "--is-shallow-repository\n", None),
        (LOST, "false\n", None),
        ((-9, "", ""), "false\n", None),
    ],
)
def test_git_says_yes_no_or_nothing(answer: Ending, shallow: str, said: bool | None) -> None:
    assert descends(HERE, B, A, git(answer, shallow=shallow)) is said


@pytest.mark.parametrize(
    ("ahead", "behind", "shallow", "relation"),
    [
        (YES, NO, "false", "newer"),
        (NO, YES, "false", "older"),
        (NO, YES, "true", "older"),
        (NO, NO, "false", "diverged"),
    ],
)
def test_two_commits_are_compared_both_ways(ahead: Ending, behind: Ending, shallow: str, relation: Relation) -> None:
    assert ancestry(HERE, git(ahead, behind, shallow=shallow))(B, A) == relation


def test_one_commit_is_the_same_without_git() -> None:
    assert ancestry(HERE, FakeRun({}))(A, A) == "same"


@pytest.mark.parametrize(("ahead", "behind", "shallow"), [(NO, NO, "true"), (LOST, LOST, "false"), (NO, LOST, "false")])
def test_what_git_cannot_tell_is_infra(ahead: Ending, behind: Ending, shallow: str) -> None:
    with pytest.raises(InfraError) as raised:
        ancestry(HERE, git(ahead, behind, shallow=shallow))(B, A)
    (problem,) = raised.value.problems
    assert problem.reference == "unknown-ancestry"
    assert "git fetch --unshallow" in problem.hint
    assert raised.value.exit_code == 4


def made(letter: str) -> Release:
    return Release("local", "nightly", commit(letter), "1.0", "2026-01-01", "place")


def standing(letter: str, *withdrawn: str) -> Standing:
    return Standing(3, "run", "release", "at", commit(letter), "0" * 64, withdrawn=tuple(map(commit, withdrawn)))


def test_a_newer_commit_goes_on() -> None:
    assert overtaken(standing("a"), made("b"), by_letter) is None


def test_an_older_commit_is_superseded() -> None:
    late = overtaken(standing("b"), made("a"), by_letter)
    assert isinstance(late, SupersededError)
    assert (late.exit_code, late.problems[0].reference) == (5, "superseded")
    assert B[:12] in late.problems[0].message


def test_a_commit_that_was_taken_back_stays_so_and_newer_ones_go_on() -> None:
    late = overtaken(standing("a", "b"), made("b"), by_letter)
    assert late is not None
    assert late.problems[0].reference == "taken-back"
    assert overtaken(standing("a", "b"), made("c"), by_letter) is None


def test_another_branch_is_refused() -> None:
    with pytest.raises(ConfigError) as raised:
        overtaken(standing("a"), made("b"), lambda _ours, _theirs: "diverged")
    assert raised.value.problems[0].reference == "diverged"
