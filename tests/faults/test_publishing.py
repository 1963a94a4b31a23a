"""Pushing to a real registry that fails on the way: no success is claimed, and the rerun finishes."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.front import Front, front
from tests.faults.stand import Stand
from tests.images import listed
from tests.servers import registry
from tests.unit.registry_replies import API, JSON, MISSING, Reply, errors

DENIED = Reply(403, {**API, **JSON}, errors("DENIED", "you may not write here"))
BROKEN = Reply(500, {**API, **JSON}, errors("UNKNOWN", "the store is ill"))
GONE = Reply(fault="close")


@pytest.fixture
def behind(tmp_path: Path, needs_registry: None) -> Iterator[int]:
    """The port of a registry of this test."""
    del needs_registry
    with registry(tmp_path, delete=False) as port:
        yield port


@pytest.fixture
def door(behind: int) -> Iterator[Front]:
    """A door to it that spoils nothing yet."""
    with front(behind, lambda _method, _path: None) as opened:
        yield opened


def at(port: int) -> tuple[str, str]:
    return "--registry", f"127.0.0.1:{port}/team"


def in_registry(stand: Stand, port: int, tag: str) -> str:
    """The digest the registry has for a content tag; empty where it has none."""
    path = f"http://127.0.0.1:{port}/v2/team/{stand.repository}/manifests/{tag.rpartition(':')[2]}"
    kinds = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
    try:
        with urllib.request.urlopen(urllib.request.Request(path, headers={"Accept": kinds})) as answer:
            return str(answer.headers["Docker-Content-Digest"])
    except urllib.error.HTTPError as error:
        with error:
            if error.code != 404:
                raise
        return ""


def writes(method: str, path: str) -> bool:
    """A request that stores something for the image itself, not for the cache."""
    return method in {"POST", "PATCH", "PUT"} and "/cache/" not in path


def test_what_is_pushed_is_what_was_built_and_a_bare_engine_reuses_it(stand: Stand, behind: int) -> None:
    pushed = stand.json("build-base", "--push", *at(behind))
    assert pushed.code == 0, pushed.err
    (tier,) = pushed.document["tiers"]
    assert in_registry(stand, behind, stand.tag("base")) == tier["digest"] == stand.inspect(stand.tag("base"))["Id"]
    assert [kept["state"] for kept in tier["cache"]] == ["written"]
    stand.clean()
    again = stand.json("build-base", *at(behind))
    assert again.decisions == {"base": "reuse"}
    assert again.document["tiers"][0]["digest"] == tier["digest"]


def rebuilt(stand: Stand, behind: int) -> tuple[str, str]:
    """Publish an image, then build another one of its identity here: both digests."""
    first = stand.json("build-base", "--push", *at(behind))
    assert first.code == 0, first.err
    stand.clean()
    second = stand.json("build-base")
    assert second.decisions == {"base": "build"}, second.err
    digests = (first.document["tiers"][0]["digest"], second.document["tiers"][0]["digest"])
    assert digests[0] != digests[1]
    return digests


def late(door: Front, stand: Stand) -> None:
    """Hide what is published from the first look, as if somebody published it while we built."""
    seen: list[str] = []

    def spoil(method: str, path: str) -> Reply | None:
        if method == "HEAD" and f"{stand.repository}/manifests/base-" in path and not seen:
            seen.append(path)
            return MISSING
        return None

    door.spoil = spoil


def test_the_first_image_of_an_identity_wins(stand: Stand, behind: int, door: Front) -> None:
    theirs, ours = rebuilt(stand, behind)
    late(door, stand)
    ended = stand.json("build-base", "--push", *at(door.port))
    assert ended.code == 0, ended.err
    assert ended.decisions == {"base": "adopt"}
    assert ended.document["tiers"][0]["digest"] == theirs
    assert in_registry(stand, behind, stand.tag("base")) == theirs
    assert stand.inspect(stand.tag("base"))["Id"] == theirs
    assert ours not in listed("--all", "--no-trunc", "--quiet", host=stand.host)


def test_an_adoption_that_fails_leaves_our_image_alone(stand: Stand, behind: int, door: Front) -> None:
    """The engine answers 200 and tells of the error inside; the older image of the name is no success."""
    _, ours = rebuilt(stand, behind)
    late(door, stand)
    hide = door.spoil
    door.spoil = lambda method, path: BROKEN if f"{stand.repository}/manifests/sha256:" in path else hide(method, path)
    ended = stand.json("build-base", "--push", *at(door.port))
    assert ended.code == 4, ended.out
    assert ended.references[0] in {"engine", "engine-stream"}
    assert stand.inspect(stand.tag("base"))["Id"] == ours
    door.spoil = lambda _method, _path: None
    assert stand.json("build-base", "--push", *at(door.port)).decisions == {"base": "reuse"}


@pytest.mark.parametrize("reply", [DENIED, GONE], ids=["denied", "gone"])
def test_a_push_that_breaks_claims_nothing_and_is_made_up_for(
    stand: Stand, behind: int, door: Front, reply: Reply
) -> None:
    begun: list[str] = []

    def spoil(method: str, path: str) -> Reply | None:
        """The first upload begins, then nothing can be written any more."""
        if writes(method, path):
            begun.append(path)
        return reply if len(begun) > 1 and writes(method, path) else None

    door.spoil = spoil
    ended = stand.json("build-base", "--push", *at(door.port))
    assert begun
    assert ended.code == 4, ended.out
    assert ended.references[0] in {"engine-stream", "push"}
    assert stand.result()["outcome"] == "infra"
    tag = stand.tag("base")
    assert [name for name in stand.tags() if name != tag] == []
    assert in_registry(stand, behind, tag) == ""
    door.spoil = lambda _method, _path: None
    again = stand.json("build-base", "--push", *at(door.port))
    assert again.code == 0, again.err
    assert again.decisions == {"base": "reuse"}
    assert in_registry(stand, behind, tag) == again.document["tiers"][0]["digest"]


def test_an_accepted_push_that_cannot_be_seen_is_no_success(stand: Stand, door: Front) -> None:
    pushed: list[str] = []

    def spoil(method: str, path: str) -> Reply | None:
        if method == "PUT" and "/manifests/base-" in path:
            pushed.append(path)
        return MISSING if pushed and method == "HEAD" and "/manifests/base-" in path else None

    door.spoil = spoil
    ended = stand.json("build-base", "--push", *at(door.port))
    assert (ended.code, ended.references) == (4, ["push-unverified"]), ended.err


def test_a_cache_that_cannot_be_kept_does_not_decide(stand: Stand, behind: int, door: Front) -> None:
    door.spoil = lambda method, path: DENIED if "/cache/" in path and method in {"POST", "PUT", "PATCH"} else None
    ended = stand.json("build-base", "--push", *at(door.port))
    assert ended.code == 0, ended.err
    (tier,) = ended.document["tiers"]
    assert tier["outcome"] == "ok"
    assert [kept["state"] for kept in tier["cache"]] == ["failed"]
    assert in_registry(stand, behind, stand.tag("base")) == tier["digest"]
    stand.clean()
    stand.write(pause=1)
    shown = stand.run("build-ci-base", "--push", *at(door.port))
    assert shown.code == 0, shown.err
    assert "not written, the image is fine" in shown.out


def test_a_cache_that_cannot_be_read_does_not_decide(stand: Stand, door: Front) -> None:
    door.spoil = lambda method, path: BROKEN if "/cache/" in path and method in {"GET", "HEAD"} else None
    ended = stand.json("build-base", *at(door.port))
    assert ended.code == 0, ended.err
    assert any("cache" in warning for warning in ended.document["tiers"][0]["warnings"])


@pytest.mark.parametrize("tier", ["base", "ci-base"])
def test_a_tag_that_somebody_moved_is_not_reused(stand: Stand, tier: str) -> None:
    assert stand.run("build-ci-base").code == 0
    moved = stand.tag(tier)
    if tier == "base":
        stand.docker("image", "rm", stand.tag("ci-base"))
    stand.docker("tag", stand.root, moved)
    for verb in ("build-ci-base", "plan"):
        ended = stand.json(verb)
        assert (ended.code, ended.references) == (3, ["moved-tag"]), ended.err
        assert moved in ended.document["problems"][0]["message"]


def test_two_builds_of_one_identity_are_one(stand: Stand) -> None:
    stand.write(pause=3)
    one = stand.start("build-ci-base", "--json")
    one.until("| the step begins")
    other = stand.start("build-ci-base", "--json")
    other.until("another run on this host works on")
    first, second = one.end(), other.end()
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert first.decisions == {"base": "build", "ci-base": "build"}
    assert second.decisions in ({"base": "reuse", "ci-base": "reuse"}, {"ci-base": "reuse"})
    assert second.document["tiers"][-1]["digest"] == first.document["tiers"][-1]["digest"]
    assert "another run on this host" in json.dumps(second.document["tiers"][-1]["reasons"])


def test_whoever_pushes_last_at_the_same_moment_is_adopted(stand: Stand, behind: int, door: Front) -> None:
    """Ours is accepted, then theirs: what the registry shows in the end is what both hosts have."""
    theirs, ours = rebuilt(stand, behind)
    late(door, stand)
    hide, tag = door.spoil, stand.tag("base").rpartition(":")[2]
    looks: list[str] = []

    def spoil(method: str, path: str) -> Reply | None:
        """Hide theirs until ours was accepted, which is when theirs comes again."""
        if method == "PUT" and path.endswith(tag):
            return Reply(201, {**API, "Docker-Content-Digest": ours, "Location": path})
        if method == "HEAD" and path.endswith(tag):
            looks.append(path)
            return MISSING if len(looks) <= 3 and not any(way == "PUT" for way, _ in door.asked) else None
        return hide(method, path)

    door.spoil = spoil
    ended = stand.json("build-base", "--push", *at(door.port))
    assert ended.code == 0, ended.err
    assert any(way == "PUT" for way, _ in door.asked)
    assert ended.decisions == {"base": "adopt"}
    assert ended.document["tiers"][0]["digest"] == theirs == stand.inspect(stand.tag("base"))["Id"]
