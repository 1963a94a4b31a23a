"""Pointers of images: moved together to what a commit names and nobody builds, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci.build.roots import Made
from ci.errors import CiError, ContractError, InfraError, SupersededError
from ci.names import ReleaseTag
from ci.publish import journal, pointing
from ci.publish.decide import Path as Way
from ci.publish.rollback import rollback
from ci.publish.status import status
from ci.report import releases, statuses
from ci.world.http import Headers, Request, Response
from ci.world.store_lease import LEASE
from tests.lockstep import Lockstep, every_order
from tests.pointing import BUILT, IMAGES, Pointing
from tests.publishing import Hasty, Killed, Recorder, Rule, commit, killed_at, run_id


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small writes: that each waits for the disk is for the tests of the store."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


@pytest.fixture
def world(tmp_path: Path) -> Pointing:
    return Pointing(tmp_path)


def digests(world: Pointing, letter: str) -> dict[str, str]:
    """What the pointers show at a commit."""
    built = world.build(letter)
    return {name: built[tier] for name, tier in IMAGES.items()}


def refused(world: Pointing, letter: str, kind: type[CiError]) -> CiError:
    """The error of a promotion that leaves store and registry as they were, but for the lease."""
    before = world.end()
    with pytest.raises(kind) as caught:
        world.promote(letter)
    assert world.end() == before
    return caught.value


# --- one promotion ----------------------------------------------------------------------------


def test_pointers_move_to_the_very_images_and_nothing_else_is_written(world: Pointing) -> None:
    shown = digests(world, "a")
    before = {digest: world.registry.manifests[BUILT][digest] for digest in shown.values()}
    blobs, recorder = dict(world.registry.blobs[BUILT]), Recorder()
    done = world.promote("a", recorder)
    assert world.moving() == shown
    tags = world.registry.tags[world.repository]
    assert {name: tags[f"{name}-{commit('a')}"] for name in IMAGES} == shown
    assert {digest: world.registry.manifests[BUILT][digest] for digest in shown.values()} == before
    assert world.registry.blobs[BUILT] == blobs, "a retag is a PUT of the same bytes"
    assert sorted(tag for tag, _ in recorder.tags) == sorted([*IMAGES, *(f"{name}-{commit('a')}" for name in IMAGES)])
    (entry,) = journal.entries(world.places())
    assert (entry.kind, [(move.old, move.new) for move in entry.moves]) == (
        "promote", [(None, shown["base"]), (None, shown["ci_base"])],
    )  # fmt: skip
    assert [row.name for row in done.release.images] == ["base", "ci_base"]
    world.settled()


def test_the_parent_moves_before_what_descends_from_it(world: Pointing) -> None:
    world.build("a")
    recorder = Recorder()
    world.promote("a", recorder)
    assert [tag for tag, _ in recorder.tags][-2:] == ["base", "ci_base"]


def test_once_more_it_says_so_and_writes_nothing(world: Pointing) -> None:
    world.build("a")
    world.promote("a")
    recorder = Recorder()
    done = world.promote("a", recorder)
    assert done.switched.already
    assert [write for write in recorder.writes if LEASE not in write] == []
    text = releases.answer("promote", done).text
    assert text.startswith(f"# nightly {commit('a')[:12]}\n")
    assert "Promoted before; nothing was to be done" in text
    assert "No install line" not in text, "it has no wheels"


def test_the_plan_names_every_pointer_and_writes_nothing(world: Pointing) -> None:
    shown = digests(world, "a")
    recorder = Recorder()
    found = pointing.outlook(world.asked("a", recorder))
    assert (recorder.writes, world.standing()) == ([], None)
    assert [(part.name, part.path, part.digest) for part in found.parts] == [
        (name, Way.THERE, shown[name]) for name in IMAGES
    ]
    assert {move.pointer.rpartition(":")[2]: (move.old, move.new) for move in found.moves} == {
        name: (None, digest) for name, digest in shown.items()
    }
    world.promote("a")
    assert pointing.outlook(world.asked("a")).there


def test_images_of_another_repository_are_copied_with_their_digests(tmp_path: Path) -> None:
    world = Pointing(tmp_path, own=False)
    shown = digests(world, "a")
    world.promote("a")
    assert world.moving() == shown
    assert world.registry.tags[BUILT].keys().isdisjoint(IMAGES), "where it was built nothing moves"


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize("there", [(), ("base",)])
def test_what_was_not_published_is_never_built(world: Pointing, there: tuple[str, ...]) -> None:
    if there:
        world.build("a", *there)
    error = refused(world, "a", ContractError)
    assert [problem.reference for problem in error.problems] == ["not-published"] * (2 - len(there))
    assert "inv build-ci-base --push" in error.problems[-1].hint


def test_a_registry_that_cannot_tell_is_not_one_that_has_nothing(world: Pointing) -> None:
    world.build("a")

    def hook(request: Request) -> Response | None:
        return Response(400, Headers({}), b"") if "ci-base-v1" in request.url else None

    world.registry.hook = hook
    error = refused(world, "a", InfraError)
    assert [problem.reference for problem in error.problems] == ["could-not-tell"]


def test_a_content_tag_that_somebody_moved_is_not_believed(world: Pointing) -> None:
    world.build("a", "base")
    world.build("a", "ci-base", label="0" * 64)
    assert [each.reference for each in refused(world, "a", ContractError).problems] == ["moved-tag"]


def test_a_root_that_is_not_here_leaves_it_unknown(world: Pointing) -> None:
    world.build("a")
    asked = world.asked("a")
    work: Any = asked.work
    work.roots = dict[str, Made]
    with pytest.raises(InfraError) as caught:
        world.run(asked)
    assert {each.reference for each in caught.value.problems} == {"no-identity"}
    assert "inv build-ci-base --push" in caught.value.problems[-1].hint


def test_an_older_commit_comes_too_late_even_where_its_images_are_gone(world: Pointing) -> None:
    world.build("b")
    world.promote("b")
    assert [each.reference for each in refused(world, "a", SupersededError).problems] == ["superseded"]
    with pytest.raises(SupersededError):
        pointing.outlook(world.asked("a"))


def test_a_commit_is_promoted_once_with_its_arguments(world: Pointing) -> None:
    world.build("a")
    world.promote("a")
    asked = world.asked("a")
    work: Any = asked.work
    work.stack = replace(work.stack, pins={"EPOCH": "2099-01"})
    with pytest.raises(ContractError, match="with other arguments"):
        world.run(asked)


# --- kills, races, the way back ---------------------------------------------------------------


def test_killed_after_any_write_the_same_command_ends_the_same(tmp_path: Path) -> None:
    def begun(name: str) -> Pointing:
        made = Pointing(tmp_path / name, trees=tmp_path / "trees")
        for letter in "an":
            made.build(letter)
        made.promote("a")
        return made

    undisturbed, recorder = begun("whole"), Recorder()
    undisturbed.promote("n", recorder)
    assert len(recorder.writes) == 9, recorder.writes
    for number in range(1, len(recorder.writes) + 1):
        made = begun(str(number))
        rule = Rule(made)
        with pytest.raises(Killed):
            made.promote("n", killed_at(number, around=rule))
        assert rule.found == number
        made.promote("n", clock=Hasty())
        made.settled()
        assert made.end() == undisturbed.end(), number


def test_a_refused_write_puts_every_pointer_back(tmp_path: Path) -> None:
    for number in range(5, 9):
        made = Pointing(tmp_path / str(number))
        for letter in "an":
            made.build(letter)
        made.promote("a")
        shown = made.moving()
        with pytest.raises(InfraError):
            made.promote("n", Recorder(refused=lambda each, bad=number: each == bad))  # type: ignore[misc]
        assert made.moving() == shown, number
        made.promote("n", clock=Hasty())
        made.settled()


def test_in_every_order_of_two_jobs_the_newer_stands(tmp_path: Path) -> None:
    ends: list[str] = []

    def attempt(choose: Callable[[Sequence[str]], str]) -> None:
        made = Pointing(tmp_path / str(len(ends)), trees=tmp_path / "trees")
        for letter in "abn":
            made.build(letter)
        made.promote("a")
        step = Lockstep(choose)
        jobs = {name: made.asked(name, step.recorder(name), step.clock(name)) for name in "bn"}
        step.run({name: lambda job=job: made.run(job) for name, job in jobs.items()})  # type: ignore[misc]
        assert step.ends["n"] is None, step.ends["n"]
        late = step.ends["b"]
        assert late is None or isinstance(late, SupersededError)
        stands = made.standing()
        assert stands is not None
        assert stands.commit == commit("n")
        made.settled()
        ends.append("late" if late else "first")

    assert every_order(attempt, switches=1) == len(ends) > 5
    assert set(ends) == {"late", "first"}


def test_a_rollback_brings_the_digests_of_before_back(world: Pointing) -> None:
    for letter in "an":
        world.build(letter)
        world.promote(letter)
    rollback(world.places(), commit("a")[:9], run_id(70))
    assert world.moving() == digests(world, "a")
    world.settled()
    assert [each.reference for each in refused(world, "n", SupersededError).problems] == ["taken-back"]


def test_no_release_of_images_alone_is_found_by_an_empty_version(world: Pointing) -> None:
    world.build("a")
    world.promote("a")
    with pytest.raises(CiError) as caught:
        rollback(world.places(), "v", run_id(70))
    assert caught.value.problems[0].reference == "unknown-release"


def test_its_status_is_told_by_commit(world: Pointing) -> None:
    world.build("a")
    empty: Any = statuses.answer("release-status", (status(world.places()),)).text
    assert "inv promote HEAD --to nightly" in empty
    world.promote("a")
    found = status(world.places())
    assert found.findings == ()
    text = statuses.answer("release-status", (found,)).text
    assert text.startswith(f"nightly  {commit('a')}\n")
    assert f"= image:{world.places().reference('ci_base')}" in text


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "image", "made"),
    [("ci_base", "ci_base", ""), ("base", "base", ""), (f"ci_base-{'a' * 40}", "ci_base", "a" * 40)],
)
def test_tags_without_a_word(text: str, image: str, made: str) -> None:
    tag = ReleaseTag.parse(text, "")
    assert tag == ReleaseTag(image, "", commit=made)
    assert str(tag) == text
    assert tag is not None
    assert tag.moving is not bool(made)


@pytest.mark.parametrize("text", ["ci-base", f"base-v1-{'a' * 64}", f"base-{'a' * 39}", "v1.2", "Base", ""])
def test_what_is_no_such_tag(text: str) -> None:
    assert ReleaseTag.parse(text, "") is None
