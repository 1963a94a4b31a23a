"""What may become a release, and what of it is checked: a real repository, a folder, a registry in memory."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ci.errors import ConfigError, ContractError, InfraError
from ci.publish import journal, promote
from ci.publish.manifest import Release, SuiteRow
from ci.publish.promote import Transfer
from ci.publish.switch import switch
from ci.publish.told import state, told
from ci.world.history import commit_of, commits_between, points_at
from ci.world.store import Folder
from tests.publishing import World, by_letter, run_id

pytestmark = pytest.mark.without_engine
VERSION = "0.2.0+rocm.7.14"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "place")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with two commits, the second at the tag of its version."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for subject in ("Begin", "Go | on"):
        git(folder, "commit", "--quiet", "--allow-empty", "--message", subject)
    git(folder, "tag", "rocm-probe-v0.2.0")
    return folder


def git(folder: Path, *words: str) -> str:
    name = ("-c", "user.name=A Test", "-c", "user.email=test@localhost")
    done = subprocess.run(("git", *name, *words), cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def released(world: World, commit: str, version: str = VERSION, suites: tuple[SuiteRow, ...] | None = None) -> Release:
    """A release of ``commit`` that the nightly channel stands at; by default its suite ran on its images."""
    release = world.staged("a", version=version)
    digests = tuple(sorted(row.digest for row in release.images))
    rows = (SuiteRow("rocm-tests", "ok", 4, 0, 0, "cpu", digests),) if suites is None else suites
    old, new = world.folder / release.commit, world.folder / commit
    old.rename(new)
    (new / "release.json").unlink()
    release = replace(release, commit=commit, suites=rows)
    Folder(world.folder).create(f"{commit}/release.json", release.encode())
    for row in release.images:
        tags = world.registry.tags["team/rocm-ci/local"]
        tags[str(world.channel.staying(row.name, commit, ""))] = row.digest
    switch(world.places(), release, run_id(1), journal.RELEASE, by_letter)
    return release


def asked(world: World, clone: Path, wanted: str) -> Transfer:
    places = world.places()
    channel = replace(
        places.channel,
        name="release",
        promoted=True,
        git_tag="rocm-probe-v{version}",
        word="latest",
        fixed="version",
        index="every",
        suites={"rocm-tests": 4},
    )
    target = replace(places, channel=channel, store=places.whole.within("release"))
    return Transfer(places, target, wanted, clone)


def refused(world: World, clone: Path, wanted: str) -> list[str]:
    with pytest.raises(ContractError) as caught:
        promote.chosen(asked(world, clone, wanted))
    return [problem.reference for problem in caught.value.problems]


def test_a_proven_release_at_its_tag_may_be_promoted(world: World, clone: Path) -> None:
    release = released(world, git(clone, "rev-parse", "HEAD"))
    assert promote.chosen(asked(world, clone, release.commit[:9])) == release
    shown = promote.outlook(asked(world, clone, VERSION))
    assert [(move.pointer.rpartition(":")[2], move.old, bool(move.new)) for move in shown.moves] == [
        ("base-latest", None, True),
        ("latest", None, True),
        ("release", None, True),
    ]
    assert not (world.root / "release").exists()


def test_a_nightly_never_becomes_a_release(world: World, clone: Path) -> None:
    commit = git(clone, "rev-parse", "HEAD")
    released(world, commit, f"0.2.0.dev7+rocm.7.14.g{commit[:12]}")
    assert refused(world, clone, commit) == ["not-a-release"]


@pytest.mark.parametrize("mend", ["elsewhere", "missing"])
def test_the_tag_must_stand_at_the_commit(world: World, clone: Path, mend: str) -> None:
    commit = git(clone, "rev-parse", "HEAD")
    released(world, commit)
    git(clone, "tag", "--delete", "rocm-probe-v0.2.0")
    if mend == "elsewhere":
        git(clone, "tag", "rocm-probe-v0.2.0", "HEAD~1")
    assert refused(world, clone, commit) == ["no-tag"]


@pytest.mark.parametrize("row", [None, ("failed", 4), ("ok", 3), ("ok", 4)])
def test_its_suites_must_have_run_on_its_images(world: World, clone: Path, row: tuple[str, int] | None) -> None:
    other = ("sha256:" + "0" * 64,)
    rows = () if row is None else (SuiteRow("rocm-tests", row[0], row[1], 0, 0, "cpu", other if row[1] == 4 else ()),)
    commit = git(clone, "rev-parse", "HEAD")
    released(world, commit, suites=rows)
    assert refused(world, clone, commit) == ["unproven"]


def test_only_a_channel_for_it_is_promoted_to(world: World, clone: Path) -> None:
    released(world, git(clone, "rev-parse", "HEAD"))
    places = world.places()
    with pytest.raises(ConfigError, match="nothing is promoted to it"):
        promote.chosen(Transfer(places, places, VERSION, clone))


def test_images_alone_are_no_release(world: World, clone: Path) -> None:
    release = released(world, git(clone, "rev-parse", "HEAD"))
    wanted = asked(world, clone, release.commit)
    channel = replace(wanted.source.channel, images={"base": "base"})
    with pytest.raises(ConfigError, match="images alone"):
        promote.chosen(wanted._replace(source=replace(wanted.source, channel=channel)))


def test_a_name_stands_for_a_commit_or_for_none(clone: Path) -> None:
    second = git(clone, "rev-parse", "HEAD")
    assert {commit_of(clone, name) for name in ("HEAD", second[:9], "rocm-probe-v0.2.0")} == {second}
    assert commit_of(clone, "HEAD~1") == git(clone, "rev-parse", "HEAD~1")
    assert [commit_of(clone, name) for name in ("nothing", "0" * 40, "--all", "HEAD:x")] == ["", "", "", ""]


def test_git_tells_commits_and_tags_or_that_it_cannot(clone: Path) -> None:
    first, second = git(clone, "rev-parse", "HEAD~1"), git(clone, "rev-parse", "HEAD")
    assert commits_between(clone, first, second) == ((second, "Go | on"),)
    assert commits_between(clone, "0" * 40, second) is None
    assert points_at(clone, "rocm-probe-v0.2.0") == second
    assert points_at(clone, "nothing") == ""


def test_an_error_tells_how_far_a_release_came(world: World) -> None:
    release = world.staged("b")
    (world.folder / release.commit / "release.json").unlink()
    with pytest.raises(InfraError) as caught, told(world.places(), release.commit):
        raise InfraError("x", "the wire was cut")
    text = caught.value.problems[0].context
    assert "channel nightly stands at nothing" in text
    assert "not staged whole: 2 wheels there, no release.json" in text


def test_how_far_it_came_may_be_unknown(world: World) -> None:
    world.folder.mkdir(parents=True)
    (world.folder / "standing.json").write_text("{")
    (line,) = lines(world)
    assert line.startswith(f"how far it came is not known: {world.folder}/standing.json is not what this tool writes")


def lines(world: World) -> Iterator[str]:
    return state(world.places(), "a" * 40)
