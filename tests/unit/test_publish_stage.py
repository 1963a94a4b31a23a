"""Staging: everything under names that stay, its manifest last, continued after a kill, refused where names clash."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ci.errors import ContractError, InfraError
from ci.publish import cached, index
from ci.publish.cached import SET, WheelSet, cached_path
from ci.publish.images import Origin
from ci.publish.make import Candidate
from ci.publish.manifest import MANIFEST, Release
from ci.publish.places import CACHE
from ci.publish.stage import stage
from ci.world.fakes import FakeClock
from ci.world.http import Request, Response
from ci.world.registry import Registry
from ci.world.store import Folder
from tests import wheels
from tests.staging import (
    COMMIT,
    HOST,
    NIGHTLY,
    REPOSITORY,
    Killed,
    Watched,
    World,
    Writes,
    path_of,
    references,
    registry_writes,
)
from tests.staging import part as part_of

HOME = f"nightly/{COMMIT}"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def refused(world: World, candidate: Candidate) -> ContractError:
    """The error of a staging that must not write anything."""
    before, writes = world.tree(), len(world.memory.writes)
    with pytest.raises(ContractError) as caught:
        stage(world.places(), candidate)
    assert world.tree() == before
    assert len(world.memory.writes) == writes
    return caught.value


def test_everything_lies_where_it_belongs(world: World) -> None:
    candidate = world.candidate()
    release = stage(world.places(), candidate)
    assert release == candidate.release == world.places().released(COMMIT)
    tree = world.tree()
    for row in release.wheels:
        data = candidate.files[row.sha256].read_bytes()
        assert tree[f"nightly/{path_of(row)}"] == data
        assert tree[f"cache/{cached.cached_path(row)}"] == data
        for place in (f"nightly/{path_of(row)}", f"cache/{cached.cached_path(row)}"):
            assert b"Metadata-Version" in tree[f"{place}.metadata"]
    sets = {key: cached.find(world.places().cache, key) for key in {row.part for row in release.wheels}}
    assert sorted(len(found.wheels) for found in sets.values() if found) == [1, 2]
    for path, page in index.of_set(release).items():
        assert tree[f"{HOME}/simple/{path}"] == page
    for image in release.images:
        assert world.tags[f"{'' if image.name == 'main' else 'base-'}nightly-{COMMIT}"] == image.digest
    assert not any(tag in {"nightly", "base-nightly"} for tag in world.tags), "what moves is moved by a switch"


def test_manifests_are_written_last(world: World) -> None:
    writes = Writes()
    registry_writes(world.memory, writes)
    stage(world.places(Watched(world.place, writes)), world.candidate())
    assert writes.done[-1] == f"{HOME}/{MANIFEST}"
    for number, path in enumerate(writes.done):
        if path.endswith(f"/{SET}"):
            later = [other for other in writes.done[number:] if other.startswith(path.removesuffix(SET))]
            assert later == [path]
    tagged = [number for number, path in enumerate(writes.done) if "/manifests/" in path]
    listed = writes.done.index(f"{HOME}/simple")
    assert max(n for n, path in enumerate(writes.done) if path.endswith(".metadata")) < min(tagged)
    assert max(tagged) < listed < len(writes.done) - 1


def test_a_second_staging_writes_nothing(world: World) -> None:
    candidate = world.candidate()
    stage(world.places(), candidate)
    writes = Writes()
    registry_writes(world.memory, writes)
    stage(world.places(Watched(world.place, writes)), replace(candidate, files={}))
    assert writes.done == [f"{HOME}/simple"], "which finds that it is published"


def test_wheels_of_the_cache_need_no_file_of_this_host(world: World) -> None:
    candidate = world.candidate()
    stage(world.places(), candidate)
    other = "d" * 40
    release = replace(candidate.release, commit=other)
    writes = Writes()
    stage(world.places(Watched(world.place, writes)), Candidate(release, {}))
    assert not [path for path in writes.done if path.startswith("cache/")]
    assert Folder(world.place).read(f"nightly/{other}/{MANIFEST}") == release.encode()


def test_a_wheel_that_nobody_has(world: World) -> None:
    candidate = world.candidate()
    gone = candidate.release.wheels[1]
    with pytest.raises(InfraError) as caught:
        stage(world.places(), replace(candidate, files={k: v for k, v in candidate.files.items() if k != gone.sha256}))
    assert caught.value.problems[0].reference == "no-wheel"
    assert gone.filename in str(caught.value)
    assert world.places().release(COMMIT) is None


def test_a_cache_somebody_emptied_does_not_matter_where_the_set_is_there(world: World) -> None:
    candidate = world.candidate()
    stage(world.places(), candidate)
    before = {path: data for path, data in world.tree().items() if path.startswith("nightly/")}
    Folder(world.place).discard("cache")
    assert stage(world.places(), replace(candidate, files={})) == candidate.release
    assert world.tree() == before


def test_an_equal_release_is_adopted_with_its_day_and_its_suites(world: World) -> None:
    candidate = world.candidate()
    first = stage(world.places(), candidate)
    later = replace(candidate.release, date="2026-02-02", suites=())
    assert stage(world.places(), Candidate(later, candidate.files)) == first
    assert world.places().released(COMMIT).date == "2026-01-01"


def test_another_release_of_the_commit_is_refused_and_what_differs_is_named(world: World) -> None:
    stage(world.places(), world.candidate())
    paths = world.wheels()
    wheels.write(paths[2].parent, "probe-plain", "1.0", files={"more.py": "1"})
    again = world.candidate(paths)
    other = again.release.images[0]._replace(digest="sha256:" + "0" * 64)
    release = replace(again.release, images=(other, *again.release.images[1:]), pins={"x": "2"})
    error = refused(world, Candidate(release, again.files))
    found = [each for each in error.problems if each.reference == "other-release"]
    text = "\n".join(f"{each.message}\n{each.context}" for each in found)
    assert len(found) == 3
    stood = world.places().released(COMMIT)
    for part in ("image main", "wheel probe_plain-1.0-py3-none-any.whl", "pins", other.digest):
        assert part in text
    assert stood.images[0].digest in text
    assert stood.wheels[2].sha256 in text
    assert again.release.wheels[2].sha256 in text


def test_a_tag_that_stays_and_names_another_image_is_a_hard_stop(world: World) -> None:
    candidate = world.candidate()
    world.tags[f"nightly-{COMMIT}"] = candidate.release.images[1].digest
    error = refused(world, candidate)
    assert references(error.problems) == ["other-image"]
    assert candidate.release.images[0].digest in error.problems[0].context
    assert candidate.release.images[1].digest in error.problems[0].context


def test_a_set_of_the_cache_with_other_wheels_is_a_hard_stop(world: World) -> None:
    candidate = world.candidate()
    row = candidate.release.wheels[0]
    theirs = WheelSet(row.part, (row._replace(sha256="0" * 64),))
    Folder(world.place).create(f"cache/{row.part}/{SET}", theirs.encode())
    error = refused(world, candidate)
    assert references(error.problems) == ["other-set"]
    assert "0" * 64 in error.problems[0].context
    assert row.sha256 in error.problems[0].context


def test_all_clashes_at_once(world: World) -> None:
    candidate = world.candidate()
    world.tags[f"nightly-{COMMIT}"] = candidate.release.images[1].digest
    world.tags[f"base-nightly-{COMMIT}"] = candidate.release.images[0].digest
    row = candidate.release.wheels[0]
    Folder(world.place).create(f"cache/{row.part}/{SET}", WheelSet(row.part, ()).encode())
    other = replace(candidate.release, stack="vllm", images=(), wheels=())
    Folder(world.place).create(f"{HOME}/{MANIFEST}", other.encode())
    found = references(refused(world, candidate).problems)
    assert set(found) == {"other-release", "other-set", "other-image"}
    assert found.count("other-image") == 2


def test_a_registry_that_cannot_tell_stops_before_anything_is_written(world: World) -> None:
    def ill(_request: Request) -> Response:
        return Response(500)

    world.memory.hook = ill
    with pytest.raises(InfraError):
        stage(world.places(), world.candidate())
    assert world.tree() == {}


def test_an_image_that_is_gone_from_the_registry(world: World) -> None:
    candidate = world.candidate()
    del world.memory.manifests[REPOSITORY][candidate.release.images[0].digest]
    with pytest.raises(InfraError) as caught:
        stage(world.places(), candidate)
    assert caught.value.problems[0].reference == "no-image"
    assert world.places().release(COMMIT) is None


def test_images_are_copied_from_where_they_are(world: World, tmp_path: Path) -> None:
    candidate = world.candidate()
    here = World(tmp_path / "b")
    here.memory.tags[REPOSITORY] = {}
    registry = Registry("other.test", send=world.memory, clock=FakeClock(), credentials=lambda _host: None)
    stage(here.places(), candidate, Origin(registry, REPOSITORY, tmp_path))
    assert here.tags[f"nightly-{COMMIT}"] == candidate.release.images[0].digest
    assert here.memory.manifests[REPOSITORY].items() <= world.memory.manifests[REPOSITORY].items()


def test_a_release_of_versions_gets_tags_of_versions(world: World) -> None:
    channel = replace(NIGHTLY, name="release", word="latest", fixed="version")
    candidate = world.candidate()
    stage(world.places(channel=channel), candidate)
    assert world.tags["v0.1.0"] == candidate.release.images[0].digest
    assert world.tags["base-v0.1.0"] == candidate.release.images[1].digest


def test_a_wheel_that_was_written_to_meanwhile(world: World) -> None:
    candidate = world.candidate()
    wheels.write(world.folder / "built", "probe-plain", "1.0", files={"more.py": "1"})
    with pytest.raises(ContractError) as caught:
        stage(world.places(), candidate)
    assert caught.value.problems[0].reference == "wheel-changed"
    assert world.places().release(COMMIT) is None


def test_a_wheel_that_was_cut_off_in_the_store_is_stored_again(world: World) -> None:
    candidate = world.candidate()
    stage(world.places(), candidate)
    want = world.tree()
    row = candidate.release.wheels[1]
    for path in (f"nightly/{path_of(row)}", f"cache/{cached.cached_path(row)}"):
        (world.place / path).write_bytes(b"half")
    (world.place / f"nightly/{path_of(candidate.release.wheels[0], '.metadata')}").unlink()
    stage(world.places(), candidate)
    assert world.tree() == want


def test_a_damaged_cache_is_thrown_away_and_nothing_vouches_for_it(world: World) -> None:
    candidate = world.candidate()
    stage(world.places(), candidate)
    row = candidate.release.wheels[0]
    world.places().store.discard(COMMIT)
    damaged = world.place / CACHE / cached_path(row)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    with pytest.raises(InfraError, match="than it was made with"):
        stage(world.places(), candidate)
    assert world.places().release(COMMIT) is None
    assert not damaged.exists()
    assert stage(world.places(), candidate) == candidate.release


def test_wheel_3_of_5_is_refused(world: World) -> None:
    paths = [wheels.write(world.folder / "built", f"part-{number}", "1.0+rocm.7.2") for number in range(5)]
    candidate = world.candidate(paths)

    class Refusing(Watched):
        def within(self, prefix: str) -> Refusing:
            return Refusing(self.base / prefix, self.writes, f"{self.prefix}{prefix}/")

        def take(self, source: Path, path: str) -> None:
            if len([each for each in self.writes.done if each.endswith(".whl")]) == 2:
                raise InfraError("store", "the bucket says 507", hint="look at its quota")
            super().take(source, path)

    with pytest.raises(InfraError) as caught:
        stage(world.places(Refusing(world.place, Writes())), candidate)
    (problem,) = caught.value.problems
    assert "part_2-1.0+rocm.7.2" in problem.message
    assert "507" in problem.message
    assert "look at its quota" in problem.hint
    assert "nothing of this release can be seen yet" in problem.hint
    assert "2 of 5" in problem.context
    assert not [path for path in world.tree() if path.endswith((MANIFEST, SET))]
    assert not any(tag.startswith("nightly") for tag in world.tags)
    assert stage(world.places(), candidate) == candidate.release


def undisturbed(folder: Path) -> tuple[World, list[str]]:
    """A world in which the release was staged at once, and what was written for it."""
    world, writes = World(folder), Writes()
    registry_writes(world.memory, writes)
    stage(world.places(Watched(world.place, writes)), world.candidate())
    return world, writes.done


def test_killed_after_every_write_and_run_again(tmp_path: Path) -> None:
    calm, written = undisturbed(tmp_path / "calm")
    for last in range(1, len(written) + 1):
        world, writes = World(tmp_path / str(last)), Writes(last)
        registry_writes(world.memory, writes)
        candidate = world.candidate()
        with pytest.raises(Killed):
            stage(world.places(Watched(world.place, writes)), candidate)
        assert (world.places().release(COMMIT) is not None) is (last == len(written)), "the manifest is the last write"
        writes.last = 0
        release = stage(world.places(Watched(world.place, writes)), candidate)
        assert release == candidate.release
        assert world.tree() == calm.tree(), written[last - 1]
        assert world.tags == calm.tags
        once = [path for path in writes.done if not path.endswith("/simple")]
        assert sorted(once) == sorted(set(once)), f"written twice after a kill after {written[last - 1]}"


def test_another_staging_of_the_same_between_any_two_writes(tmp_path: Path) -> None:
    calm, written = undisturbed(tmp_path / "calm")
    for moment, what in enumerate(written, 1):
        if what == f"{HOME}/simple":  # whoever writes the pages of a folder has its lock
            continue
        world = World(tmp_path / str(moment))
        candidate = world.candidate()
        theirs = replace(candidate.release, date="2026-02-02")
        ended: list[Release] = []

        def other(number: int, world: World = world, theirs: Release = theirs) -> None:
            if number == moment:  # noqa: B023 - called within this turn
                world.memory.hook = None
                ended.append(stage(world.places(), Candidate(theirs, candidate.files)))  # noqa: B023

        writes = Writes(after=other)
        registry_writes(world.memory, writes)
        ours = stage(world.places(Watched(world.place, writes)), candidate)
        assert [ours] == ended, "both end with the release that stands"
        assert ours.date == ("2026-01-01" if moment == len(written) else "2026-02-02")
        tree, want = world.tree(), calm.tree()
        assert tree.keys() == want.keys()
        assert {path for path in tree if tree[path] != want[path]} <= {f"{HOME}/{MANIFEST}"}
        assert world.tags == calm.tags


def test_a_release_without_wheels_and_one_without_images(world: World) -> None:
    bare = world.candidate([])
    stage(world.places(), bare)
    assert set(world.tree()) == {f"{HOME}/{MANIFEST}"}, "an index of nothing says nothing"
    other = replace(world.candidate().release, commit="e" * 40, images=(), suites=())
    places = replace(world.places(), registry=None, place=None)
    assert stage(places, Candidate(other, world.candidate().files)) == other


def test_the_set_of_another_key_is_refused(world: World) -> None:
    key = part_of(Path("x"))
    Folder(world.place).create(f"cache/{key}/{SET}", WheelSet("other", ()).encode())
    with pytest.raises(ContractError) as caught:
        cached.find(world.places().cache, key)
    assert caught.value.problems[0].reference == "other-key"
    broken = json.dumps({"schema": 1, "key": key, "wheels": [{"nothing": 1}]}).encode()
    with pytest.raises(ContractError):
        WheelSet.decode(broken, HOST)
