"""What keeps a release from being made: trees, versions, suites, and all of it as one error. The rest needs git."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from ci.errors import CiError, ConfigError, EmptyError, InfraError, SupersededError
from ci.publish import trees, versions
from ci.publish.channel import Channels, WheelSource
from ci.publish.manifest import Release, WheelRow
from ci.publish.preflight import refuse, suite_errors
from ci.publish.trees import Past
from ci.suites.catalogue import Bounds, Exemption, Limits, Needs, Step
from ci.suites.plan import Planned, SuitePlan
from ci.world.history import History

ONE, TWO = "1" * 40, "2" * 40


def past(
    name: str, commit: str = ONE, *, top: str = "/repo", begins: str = "b", needed: bool = True, **more: object
) -> Past:
    folder = Path(top) / name
    found = History(folder, commit, 3, 0, bool(more.get("shallow")), frozenset(), frozenset(), more.get("changes", ()))  # type: ignore[arg-type]
    return Past(name, folder, found, Path(top), frozenset({begins}), needed)


def references(*pasts: Past) -> list[str]:
    return [problem.reference for problem in trees.problems(pasts)]


def test_good_trees() -> None:
    assert references(past("recipe"), past("project a")) == []
    installed = Past("recipe", Path("/lib"), None, None, frozenset(), False)
    assert references(past("source src"), installed) == [], "a recipe that was installed has no history"
    assert references(past("recipe"), past("source x", TWO, top="/other", begins="c")) == []


def test_each_tree_without_a_commit_that_needs_one() -> None:
    lost = [Past(name, Path("/x"), None, None, frozenset(), True) for name in ("recipe", "project a")]
    assert references(*lost) == ["no-commit", "no-commit"]


def test_a_repository_is_told_of_once() -> None:
    both = [past("recipe", shallow=True, changes=("a", "b")), past("project a", shallow=True, changes=("b", "c"))]
    found = list(trees.problems(both))
    assert [each.reference for each in found] == ["shallow-clone", "dirty-tree"]
    assert found[1].context == "a\nb\nc"
    other = past("source x", TWO, top="/other", begins="c", changes=("d",))
    assert references(*both, other) == ["shallow-clone", "dirty-tree", "dirty-tree"]
    many = next(trees.problems([past("recipe", changes=tuple(map(str, range(9))))]))
    assert many.context.endswith("and 4 more")


def test_two_clones_of_one_repository_at_two_commits() -> None:
    found = list(trees.problems([past("recipe"), past("source x", TWO, top="/clone"), past("project a")]))
    assert [each.reference for each in found] == ["different-commits"]
    assert f"{TWO[:12]} source x" in found[0].context


def release(version: str, commit: str = TWO, channel: str = "nightly") -> Release:
    return Release("s", channel, commit, version, "2026-11-19", "")


@pytest.mark.parametrize(
    ("ours", "stands", "expected"),
    [
        ("0.3.0.dev5+rocm.7.2", "0.3.0.dev4+rocm.7.2", []),
        ("0.3.0.dev10+rocm.7.2", "0.3.0.dev9+rocm.7.2", []),
        ("0.3.0.dev5+rocm.7.2", "0.3.0.dev5+rocm.7.14", []),
        ("0.3.0.dev5+rocm.7.2", "0.3.0+rocm.7.2", ["version-goes-back"]),
        ("0.3.0.dev5+rocm.7.2", "0.3.0.dev6+rocm.7.2", ["version-goes-back"]),
        ("0.3.0+rocm.7.2", "0.3.0.dev6+rocm.7.2", []),
    ],
)
def test_a_version_after_the_one_that_stands(ours: str, stands: str, expected: list[str]) -> None:
    found = versions.problems(ours, ONE, release(stands), ())
    assert [each.reference for each in found] == expected
    assert list(versions.problems(ours, TWO, release(stands), ())) == [], "the same commit is no other release"


def test_a_version_that_is_released() -> None:
    found = versions.problems("0.3.0.dev5", ONE, None, [release("0.3.0", channel="release")])
    assert [each.reference for each in found] == ["already-released"]
    assert list(versions.problems("0.3.0", ONE, None, [release("0.3.0", channel="release")])) == []


def test_the_wheel_a_release_is_named_after() -> None:
    channels = Channels("c.yaml", "My_Tool", {}, (WheelSource("p", ""),), {})
    rows = [WheelRow(name, version, "f", "s", 1, "", "m", "k") for name, version in (("other", "1"), ("my-tool", "2"))]
    assert versions.named(rows, channels) == "2"
    with pytest.raises(ConfigError) as caught:
        versions.named(rows[:1], channels)
    assert caught.value.problems[0].reference == "no-named-wheel"


def planned(*steps: tuple[str, str, str]) -> SuitePlan:
    """Steps as (name, tier, why it is skipped)."""
    rows = tuple(
        Planned(
            Step(
                name, "s", tier, (), Needs(), Limits(1, 1, 1), Bounds(), {}, (), (), "", 1, None,
                (Exemption("x", date(2026, 1, 1)),),
            ),
            skip,
        )
        for name, tier, skip in steps
    )  # fmt: skip
    return SuitePlan("proof", rows, (), ())


def test_suites_that_could_prove_something() -> None:
    assert list(suite_errors(planned(("a", "test", ""), ("b", "other", "needs 8 GPUs")), ("test", "base"))) == []


def test_suites_that_could_prove_nothing() -> None:
    (nothing,) = suite_errors(planned(("a", "test", "needs 8 GPUs"), ("b", "test", "no RDMA")), ("test",))
    assert isinstance(nothing, EmptyError)
    assert nothing.problems[0].context == "a: needs 8 GPUs\nb: no RDMA"
    (elsewhere,) = suite_errors(planned(("a", "test", ""), ("b", "other", "")), ("test",))
    assert isinstance(elsewhere, ConfigError)
    assert "runs in other" in elsewhere.problems[0].message


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([InfraError("a", "a"), ConfigError("b", "b"), EmptyError("c", "c")], ConfigError),
        ([EmptyError("a", "a"), InfraError("b", "b")], InfraError),
        ([EmptyError("a", "a"), SupersededError("b", "b")], SupersededError),
        ([EmptyError("a", "a")], EmptyError),
    ],
)
def test_all_errors_at_once(errors: list[CiError], kind: type[CiError]) -> None:
    with pytest.raises(CiError) as caught:
        refuse(errors)
    assert type(caught.value) is kind
    assert [each.reference for each in caught.value.problems] == [error.problems[0].reference for error in errors]


def test_no_errors_are_no_error() -> None:
    refuse([])
