"""The table of fates: what stays and what goes, and the reason a person is given."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from ci.names import ArtifactTag, ContentTag, run_id
from ci.publish import journal
from ci.publish.channel import Retain
from ci.publish.gather import gather
from ci.publish.journal import Entry, Move
from ci.publish.manifest import ImageRow
from ci.publish.retention import UNKNOWN_AGE, Fate, Kind, plan
from ci.publish.rollback import rollback
from ci.world.registry import digest_of
from tests.memory_registry import INDEX, MANIFEST
from tests.shelves import NIGHTLY, RELEASE, REPOSITORY, World, commit, identity


@cache
def five(folder: Path, word: str, index: str, fixed: str) -> World:
    """Five nightlies, one a day; how long they are kept is written down nowhere."""
    folder.mkdir()
    world = World(folder, replace(NIGHTLY, word=word, index=index, fixed=fixed), RELEASE)
    for number in range(1, 6):
        world.release("nightly", number, wheel=f"wheels {number // 2}")
    return world


def nightlies(folder: Path, **more: object) -> World:
    """Five nightlies, a month ago: 4 and 5 stay."""
    made = replace(NIGHTLY, **more)  # type: ignore[arg-type]
    shape = (made.word, made.index, made.fixed)
    world = five(folder.parent / "-".join(shape), *shape).copy(folder, made, RELEASE)
    world.later(30)
    return world


def fate(world: World, kind: Kind, name: str) -> Fate:
    found = [each for each in plan(gather(world.scope())) if (each.kind, each.name) == (kind, name)]
    assert len(found) == 1, f"{kind} {name}: {found}"
    return found[0]


def stays(world: World, kind: Kind, name: str, why: str) -> None:
    found = fate(world, kind, name)
    assert not found.goes, found
    assert why in found.why


def goes(world: World, kind: Kind, name: str) -> None:
    found = fate(world, kind, name)
    assert found.goes, found
    assert found.why


# --- releases


def test_old_releases_go_with_their_tags_and_their_wheels(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    for number in (1, 2, 3):
        goes(world, Kind.RELEASE, commit(number))
        goes(world, Kind.TAG, f"nightly-{commit(number)}")
        goes(world, Kind.TAG, f"base-nightly-{commit(number)}")
    stays(world, Kind.RELEASE, commit(5), "the channel stands at it")
    stays(world, Kind.RELEASE, commit(4), "the release before it, for a rollback")
    stays(world, Kind.TAG, f"nightly-{commit(4)}", "the release before it, for a rollback")
    stays(world, Kind.TAG, "nightly", "a pointer of nightly")
    stays(world, Kind.TAG, "base-nightly", "a pointer of nightly")


@pytest.mark.parametrize(("keep", "oldest"), [(0, 4), (2, 4), (3, 3), (5, 1), (9, 1)])
def test_the_newest_stay_whatever_their_age(tmp_path: Path, keep: int, oldest: int) -> None:
    world = nightlies(tmp_path, retain=Retain(keep, 7))
    found = {each.name for each in plan(gather(world.scope())) if each.kind is Kind.RELEASE and not each.goes}
    assert found == {commit(number) for number in range(oldest, 6)}


@pytest.mark.parametrize(("days", "oldest"), [(0, 4), (32, 4), (33, 3), (34, 2), (35, 1)])
def test_the_young_stay_however_many(tmp_path: Path, days: int, oldest: int) -> None:
    """The third was released 32 days ago: it is not younger than 32 days."""
    world = nightlies(tmp_path, retain=Retain(0, days))
    found = {each.name for each in plan(gather(world.scope())) if each.kind is Kind.RELEASE and not each.goes}
    assert found == {commit(number) for number in range(oldest, 6)}
    if days == 35:
        stays(world, Kind.RELEASE, commit(1), "younger than 35 days")


def test_withdrawn_releases_do_not_take_the_place_of_good_ones(tmp_path: Path) -> None:
    world = nightlies(tmp_path, retain=Retain(3, 0))
    rollback(world.places(), commit(3), world.run())
    world.release("nightly", 6)
    assert [number for number in range(1, 7) if fate(world, Kind.RELEASE, commit(number)).goes] == [1, 4, 5]
    stays(world, Kind.RELEASE, commit(2), "one of the newest 3")


def test_a_release_that_was_never_switched_to_has_no_age(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    world.stage("nightly", 9, {"main": world.image("main 9", "test")})
    stays(world, Kind.RELEASE, commit(9), UNKNOWN_AGE)
    stays(world, Kind.TAG, f"nightly-{commit(9)}", UNKNOWN_AGE)


@pytest.mark.parametrize(
    ("at", "why"), [("yesterday", UNKNOWN_AGE), ("", UNKNOWN_AGE), ("2027-01-01T00:00:00Z", "young")]
)
def test_a_time_that_tells_nothing_or_is_to_come_keeps(tmp_path: Path, at: str, why: str) -> None:
    world = nightlies(tmp_path)
    world.stage("nightly", 9, {"main": world.image("main 9", "test")})
    places = world.places()
    journal.write(places, Entry(2, world.run(), "release", at, commit(9), ()))
    stays(world, Kind.RELEASE, commit(9), why)


def test_the_index_keeps_what_it_lists(tmp_path: Path) -> None:
    stays(nightlies(tmp_path, index="every"), Kind.RELEASE, commit(1), "the index lists it")


def test_a_protected_tag_keeps_its_whole_release(tmp_path: Path) -> None:
    world = nightlies(tmp_path, retain=Retain(0, 0, (f"base-nightly-*{2}",)))
    why = "protected by base-nightly-*2"
    stays(world, Kind.RELEASE, commit(2), why)
    stays(world, Kind.TAG, f"nightly-{commit(2)}", why)
    stays(world, Kind.TAG, f"base-nightly-{commit(2)}", why)
    stays(world, Kind.TAG, str(ContentTag("test", identity("main 2"))), "a release that stays is made of it")
    goes(world, Kind.RELEASE, commit(1))


def test_patterns_are_shell_patterns_of_the_whole_tag_and_know_case(tmp_path: Path) -> None:
    world = nightlies(tmp_path, retain=Retain(0, 0, ("ightly-*", "NIGHTLY-*", "nightly-")))
    goes(world, Kind.TAG, f"nightly-{commit(1)}")


def test_a_set_without_its_manifest_is_somebody_elses_work(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    world.places().store.write(f"{commit(8)}/{'0' * 64}/probe.whl", b"")
    world.places().store.remove(f"{commit(1)}/release.json")
    for number in (1, 8):
        stays(world, Kind.RELEASE, commit(number), "not whole: somebody may be staging it")
    stays(world, Kind.TAG, f"nightly-{commit(1)}", "not whole")


def test_what_is_being_staged_elsewhere_stays(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    world.places("release").store.write(f"{commit(1)}/{'0' * 64}/probe.whl", b"")
    stays(world, Kind.RELEASE, commit(1), "it is being staged for release")


def test_a_switch_under_way_keeps_what_it_goes_to_and_every_value_it_wrote_down(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    old = world.image("main 2", "test").digest
    move = Move(f"image:x:{NIGHTLY.word}", None, old, commit(1))
    journal.write(world.places(), Entry(6, world.run(), "release", "2020-01-01T00:00:00Z", commit(1), (move,)))
    stays(world, Kind.RELEASE, commit(1), "a switch to it is under way, or was cut off")
    goes(world, Kind.RELEASE, commit(2))
    stays(world, Kind.TAG, str(ContentTag("test", identity("main 2"))), "reached: a release that stays has it")


def test_what_a_rollback_would_bring_back_stays(tmp_path: Path) -> None:
    """The first release took the tag of somebody's image: going back from it puts that there again."""
    world = World(tmp_path)
    theirs = world.memory.image(REPOSITORY, "theirs", {}, b"theirs")
    world.memory.tags[REPOSITORY] = {"nightly": theirs}
    world.release("nightly", 1)
    world.memory.tags[REPOSITORY][str(ArtifactTag("test", "0" * 64))] = theirs
    world.places().store.write("journal/00000001-20260101T000000Z-99999999.json", Entry(
        1, "20260101T000000Z-99999999", "retain", "", "", (), (journal.Removed("image:x:theirs", theirs, ""),)
    ).encode())  # fmt: skip
    stays(world, Kind.MANIFEST, theirs, "reached: a release that stays has it")


def test_nothing_goes_where_nothing_was_ever_released(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    world.places().store.remove("standing.json")
    assert not [each for each in plan(gather(world.scope())) if each.goes]


# --- tags


@pytest.mark.parametrize(
    "tag",
    [
        f"nightly-rocm100-{commit(1)}",
        f"nightly-{commit(1)}x",
        f"nightly-{commit(1)[:39]}",
        f"xnightly-{commit(1)}",
        f"Nightly-{commit(1)}",
        f"other-nightly-{commit(1)}",
        f"main-nightly-{commit(1)}",
        f"dev-{commit(1)}",
        f"latest-{commit(1)}",
        "v1.1",
        "latest",
        "other-nightly",
        "building-test-run",
        f"sha256-{'0' * 64}.sig",
        "test-v1-0123",
    ],
)
def test_tags_that_are_not_exactly_ours_stay_and_keep_their_digest(tmp_path: Path, tag: str) -> None:
    world = nightlies(tmp_path)
    digest = world.image("main 1", "test").digest
    world.memory.tags[REPOSITORY][tag] = digest
    stays(world, Kind.TAG, tag, "not a tag of nightly")
    stays(world, Kind.TAG, str(ContentTag("test", identity("main 1"))), f"reached: {tag} stays")
    stays(world, Kind.MANIFEST, digest, f"reached: {tag} stays")
    goes(world, Kind.TAG, f"nightly-{commit(1)}")


def test_a_tag_that_somebody_moved_stays(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    world.memory.image(REPOSITORY, f"nightly-{commit(1)}", {"not": "ours"}, b"theirs")
    stays(world, Kind.TAG, f"nightly-{commit(1)}", "moved: it is not what was released under it")


def test_tags_by_version_go_with_their_release_only(tmp_path: Path) -> None:
    world = nightlies(tmp_path, fixed="version", word="stable")
    world.memory.tags[REPOSITORY]["v9"] = world.image("main 1", "test").digest
    goes(world, Kind.TAG, "v1.1")
    goes(world, Kind.TAG, "base-v1.1")
    stays(world, Kind.TAG, "v1.5", "the channel stands at it")
    stays(world, Kind.TAG, "v9", UNKNOWN_AGE)


def test_a_tag_of_another_channels_release_stays(tmp_path: Path) -> None:
    world = nightlies(tmp_path, fixed="version", word="stable")
    world.release("release", 1)
    stays(world, Kind.TAG, "v1.1", "a release of release has it")


def test_content_of_any_channels_release_stays(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    world.release("release", 1)
    content = str(ContentTag("test", identity("main 1")))
    stays(world, Kind.TAG, content, "a release that stays is made of it")
    stays(world, Kind.TAG, "v1.1", "a release of release has it")
    goes(world, Kind.TAG, f"nightly-{commit(1)}")
    stays(world, Kind.MANIFEST, world.tags[content], "reached: a release that stays has it")


def test_images_of_any_channels_release_stay_even_where_their_tags_are_gone(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    image = world.image("main 1", "test").digest
    world.stage("release", 1, {"main": ImageRow("main", "test", "0" * 64, image, 1)})
    del world.memory.tags[REPOSITORY]["v1.1"]
    stays(world, Kind.MANIFEST, image, "reached: a release that stays has it")
    stays(world, Kind.TAG, str(ContentTag("test", identity("main 1"))), "reached: a release that stays has it")


def test_content_goes_only_with_an_age(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    world.image("never released", "test")
    digest = world.image("main 1", "test").digest
    bundled = ArtifactTag("test", "1" * 64)
    world.memory.tags[REPOSITORY][str(bundled)] = digest
    stranger = ArtifactTag("test", "2" * 64)
    world.memory.image(REPOSITORY, str(stranger), {}, b"stranger")
    goes(world, Kind.TAG, str(ContentTag("test", identity("main 1"))))
    goes(world, Kind.TAG, str(bundled))
    stays(world, Kind.TAG, str(ContentTag("test", identity("never released"))), UNKNOWN_AGE)
    stays(world, Kind.TAG, str(stranger), UNKNOWN_AGE)


def test_a_content_tag_that_stands_for_another_digest_than_was_released_has_no_age(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    content = str(ContentTag("test", identity("main 1")))
    world.memory.image(REPOSITORY, content, {}, b"built again")
    stays(world, Kind.TAG, content, UNKNOWN_AGE)


def test_what_an_index_that_stays_holds_stays(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    inner = world.image("main 1", "test").digest
    kind, body = world.memory.manifests[REPOSITORY][inner]
    row = {"mediaType": kind, "digest": inner, "size": len(body)}
    outer = world.document("theirs", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [row]})
    assert outer != inner
    stays(world, Kind.TAG, str(ContentTag("test", identity("main 1"))), "reached: theirs stays")
    stays(world, Kind.MANIFEST, inner, "reached: theirs stays")
    stays(world, Kind.TAG, inner.replace(":", "-"), "reached: theirs stays")


def test_what_an_artifact_that_stays_is_about_stays(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    image = world.image("main 1", "test").digest
    subject = {"mediaType": INDEX, "digest": image, "size": 1}
    world.document("signature", {"schemaVersion": 2, "mediaType": MANIFEST, "layers": [], "subject": subject})
    stays(world, Kind.MANIFEST, image, "reached: signature stays")


def test_attestations_follow_their_image(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    gone, kept = world.image("main 1", "test").digest, world.image("main 5", "test").digest
    goes(world, Kind.TAG, gone.replace(":", "-"))
    goes(world, Kind.MANIFEST, world.tags[gone.replace(":", "-")])
    stays(world, Kind.TAG, kept.replace(":", "-"), "reached: a release that stays has it")
    stranger = f"sha256-{'7' * 64}"
    world.memory.image(REPOSITORY, stranger, {}, b"about what nobody knows")
    stays(world, Kind.TAG, stranger, UNKNOWN_AGE)


def test_an_attestation_about_nothing_we_know_keeps_what_it_holds(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    inner = world.image("main 1", "test").digest
    row = {"mediaType": INDEX, "digest": inner, "size": 1}
    stranger = f"sha256-{'7' * 64}"
    world.document(stranger, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [row]})
    stays(world, Kind.MANIFEST, inner, f"reached: {stranger} stays")


# --- caches


def test_the_cache_of_an_image_goes_when_only_releases_that_go_have_the_image(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    image = ImageRow("main", "test", "0" * 64, world.image("main 2", "test").digest, 1)
    old = world.stage("nightly", 2, {"main": image})
    kept = str(ContentTag("test", world.image("main 5", "test").identity))
    gone, branch, stranger = str(ContentTag("test", "0" * 64)), "test_3f1c9d21a0b4_main", f"test-v1-{'7' * 64}"
    for tag in (gone, kept, branch, stranger):
        world.memory.image(f"{REPOSITORY}/cache", tag, {}, b"cache")
    goes(world, Kind.CACHE_TAG, gone)
    stays(world, Kind.CACHE_TAG, kept, "a release that stays has the image it is of")
    stays(world, Kind.CACHE_TAG, branch, UNKNOWN_AGE)
    stays(world, Kind.CACHE_TAG, stranger, UNKNOWN_AGE)
    world.stage("release", 2, {"main": old.images[0]})
    stays(world, Kind.CACHE_TAG, gone, "a release that stays has the image it is of")


def test_wheel_sets_go_when_only_releases_that_go_were_made_of_them(tmp_path: Path) -> None:
    """Wheels 0: release 1; wheels 1: 2 and 3; wheels 2: 4 and 5, which stay."""
    world = nightlies(tmp_path)
    cache = world.places().cache
    cache.write(f"{'8' * 64}/manifest.json", b"{}")
    cache.write(f"{'9' * 64}/{'0' * 64}/probe.whl", b"")
    goes(world, Kind.WHEELS, identity("wheels 0"))
    goes(world, Kind.WHEELS, identity("wheels 1"))
    stays(world, Kind.WHEELS, identity("wheels 2"), "a release that stays was made of it")
    stays(world, Kind.WHEELS, "8" * 64, UNKNOWN_AGE)
    stays(world, Kind.WHEELS, "9" * 64, "not whole: somebody may be writing it")
    cache.remove(f"{identity('wheels 0')}/manifest.json")
    stays(world, Kind.WHEELS, identity("wheels 0"), "not whole: somebody may be writing it")
    world.stage("release", 1, {"main": world.image("main 1", "test")}, wheel="wheels 1")
    stays(world, Kind.WHEELS, identity("wheels 1"), "a release that stays was made of it")


# --- what an earlier retention left


def began(world: World, sequence: int, *rows: tuple[str, str]) -> None:
    run = run_id(world.clock.now(), f"{sequence:08x}")
    removed = tuple(journal.Removed(what, digest, "old") for what, digest in rows)
    journal.write(world.places(), Entry(sequence, run, "retain", "2026-01-01T00:00:00Z", commit(5), (), removed))


def test_only_the_last_retention_can_have_left_something(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    world.places().store.remove(f"{commit(1)}/release.json")
    began(world, 4, (f"release:nightly/{commit(1)}", ""))
    goes(world, Kind.RELEASE, commit(1))
    began(world, 5, ("release:nightly/other", ""))
    stays(world, Kind.RELEASE, commit(1), "not whole: somebody may be staging it")


def test_a_tombstone_that_was_left_under_our_tag_goes_another_one_stays(tmp_path: Path) -> None:
    world = nightlies(tmp_path)
    stone = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"org.rocm-ci.tombstone": "x"}}
    tags = [str(ContentTag("test", identity(text))) for text in ("main 1", "main 2")]
    for tag in tags:
        world.document(tag, stone)
    began(world, 5, (f"image:registry.test:5000/{REPOSITORY}:{tags[0]}", digest_of(b"what it was")))
    goes(world, Kind.TAG, tags[0])
    stays(world, Kind.TAG, tags[1], UNKNOWN_AGE)


def test_reasons_are_given_for_everything(tmp_path: Path) -> None:
    found = plan(gather(nightlies(tmp_path).scope()))
    assert all(each.why for each in found)
    assert {each.kind for each in found} == {Kind.RELEASE, Kind.TAG, Kind.MANIFEST, Kind.WHEELS}
