"""Retention on a registry in memory and a folder: what is gone, what never goes, and what a fault or a kill leaves."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci.errors import ContractError, InfraError
from ci.names import ArtifactTag, ContentTag
from ci.publish.channel import Retain
from ci.publish.retain import removed, retain, scope_of
from ci.publish.retention import Kind
from ci.report import retentions
from ci.world import store_lease
from ci.world.credentials import Credentials
from ci.world.docker_hub import DockerHub
from ci.world.http import Headers, Request, Response
from ci.world.registry import Registry
from tests.memory_registry import INDEX
from tests.publishing import Killed, Recorder, killed_at
from tests.shelves import NIGHTLY, RELEASE, REPOSITORY, World, commit, identity, manifests_below

Make = Callable[[], World]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three nightlies of one base image, one a day."""
    world = World(tmp_path_factory.mktemp("three"))
    world.release("nightly", 1, wheel="wheels 1")
    world.release("nightly", 2, wheel="wheels 2")
    world.release("nightly", 3, wheel="wheels 2")
    return world


@pytest.fixture
def nightlies(base: World, tmp_path: Path) -> Make:
    """Make a world with three nightlies a month ago: the first is to go."""

    def make() -> World:
        world = base.copy(tmp_path / str(next(numbers)), NIGHTLY, RELEASE)
        world.later(30)
        return world

    numbers = count()
    return make


def whole(world: World) -> None:
    """Everything that has a name can be pulled."""
    for tag, digest in world.tags.items():
        assert manifests_below(world.memory, digest) <= world.manifests, tag
    for name in ("nightly", "release"):
        for stored in world.places(name).store.below(""):
            if stored.path.endswith("release.json"):
                release = world.places(name).released(stored.path.partition("/")[0])
                for row in release.images:
                    assert manifests_below(world.memory, row.digest) <= world.manifests, stored.path


def state(world: World) -> tuple[dict[str, str], set[str], set[str]]:
    return dict(world.tags), world.manifests, world.files


def test_what_is_left(nightlies: Make) -> None:
    world = nightlies()
    gone = world.image("main 1", "test").digest
    done = retain(world.scope(), world.run(), apply=True)
    assert done.applied
    assert done.spared == ()
    bases, mains = [world.image("base", "base").digest], [world.image(f"main {n}", "test").digest for n in (2, 3)]
    assert set(world.tags) == {
        "nightly", "base-nightly", str(ContentTag("base", identity("base"))),
        *(f"{front}nightly-{commit(number)}" for number in (2, 3) for front in ("", "base-")),
        *(str(ContentTag("test", identity(f"main {number}"))) for number in (2, 3)),
        *(digest.replace(":", "-") for digest in (*bases, *mains)),
    }  # fmt: skip
    assert gone not in world.manifests
    kept = set().union(*(manifests_below(world.memory, digest) for digest in world.tags.values()))
    assert world.manifests == kept, "nothing is left that nobody can reach, and nothing is gone that somebody can"
    assert not [path for path in world.files if commit(1) in path or identity("wheels 1") in path]
    assert [path for path in world.files if identity("wheels 2") in path]
    whole(world)


def test_what_went_can_be_asked_for(nightlies: Make) -> None:
    world = nightlies()
    assert removed(world.places()) == ()
    digest = world.image("main 1", "test").digest
    run = world.run()
    retain(world.scope(), run, apply=True)
    taken = {row.what: row for row in removed(world.places())}
    row = taken[f"image:registry.test:5000/{REPOSITORY}:nightly-{commit(1)}"]
    assert (row.run, row.digest, row.at) == (run, digest, "2026-02-03T00:00:00Z")
    assert "released 2026-01-02" in row.why
    assert f"image:registry.test:5000/{REPOSITORY}@{digest}" in taken
    assert f"release:nightly/{commit(1)}" in taken
    assert f"wheels:{identity('wheels 1')}" in taken
    shown = retentions.removed("release-status", "nightly", removed(world.places()))
    assert f"nightly-{commit(1)}" in shown.text
    assert len(shown.document["removed"]) == len(taken)


def test_content_nightly_and_release_tags_share_a_digest_and_only_the_nightly_tag_goes(nightlies: Make) -> None:
    world = nightlies()
    world.switch("release", world.stage("release", 1, {"main": world.image("main 1", "test")}))
    digest = world.tags["v1.1"]
    sharing = {tag for tag, each in world.tags.items() if each == digest}
    content = str(ContentTag("test", identity("main 1")))
    assert sharing == {content, f"nightly-{commit(1)}", "v1.1", "latest"}
    retain(world.scope(), world.run(), apply=True)
    assert {tag for tag, each in world.tags.items() if each == digest} == sharing - {f"nightly-{commit(1)}"}
    assert digest.replace(":", "-") in world.tags, "its manifest of inputs"
    whole(world)


def test_without_apply_nothing_is_written(nightlies: Make) -> None:
    world = nightlies()
    before, recorder = state(world), world.recorded()
    done = retain(world.scope(), world.run(), apply=False)
    assert not done.applied
    assert [fate for fate in done.fates if fate.goes]
    assert (state(world), recorder.writes) == (before, [])
    shown = retentions.answer("retain", done)
    assert shown.document["plan"]
    assert f"nightly-{commit(1)}  released 2026-01-02" in shown.text
    assert shown.text.endswith("next: inv retain --channel nightly --apply")
    assert {row["name"] for row in shown.document["goes"]} == {fate.name for fate in done.fates if fate.goes}


def test_a_second_time_there_is_nothing_to_do(nightlies: Make) -> None:
    world = nightlies()
    retain(world.scope(), world.run(), apply=True)
    recorder = world.recorded()
    done = retain(world.scope(), world.run(), apply=True)
    assert not [fate for fate in done.fates if fate.goes]
    assert recorder.writes == [], "not even the lease was taken"
    assert "removed nothing" in retentions.answer("retain", done).text


def test_what_goes_is_written_down_before_anything_is_gone(nightlies: Make) -> None:
    world = nightlies()
    image, writes = world.image("main 1", "test").digest, world.recorded().writes
    retain(world.scope(), world.run(), apply=True)
    written = next(number for number, each in enumerate(writes) if each.startswith("create journal"))
    assert [each for each in writes[:written] if "lease" not in each] == [
        each for each in writes[:written] if "DELETE" in each
    ]
    assert sum("DELETE" in each for each in writes[:written]) == 1, "of a digest that nothing has"
    assert writes[written + 1] == f"remove {commit(1)}/release.json", "nobody may go back to half a release"
    dropped = max(number for number, each in enumerate(writes) if each.startswith("PUT"))
    assert writes.index(f"DELETE {image[:24]}") > dropped, "tags go first"


# --- faults


def failing(method: str, url: str) -> Callable[[Request], Response | None]:
    """A registry that is well but for one request."""
    broken = Response(500, Headers({}), b"broken")
    return lambda request: broken if (request.method, request.url) == (method, url) else None


def test_an_error_on_any_request_of_the_look_removes_nothing(nightlies: Make) -> None:
    world = nightlies()
    world.memory.image(f"{REPOSITORY}/cache", "test", {}, b"cache")
    world.memory.requests.clear()
    retain(world.scope(), world.run(), apply=False)
    asked = {(request.method, request.url) for request in world.memory.requests}
    assert {method for method, _ in asked} == {"GET", "HEAD"}
    assert len(asked) > 30
    before = state(world)
    for request in sorted(asked):
        recorder, world.memory.hook = world.recorded(), failing(*request)
        with pytest.raises(InfraError) as raised:
            retain(world.scope(), world.run(), apply=True)
        assert raised.value.exit_code == 4, request
        assert "nothing is removed" in raised.value.problems[0].hint
        assert (state(world), recorder.writes) == (before, []), request


@pytest.mark.parametrize("page", [0, 1, 2])
def test_an_error_on_any_page_of_tags_removes_nothing(nightlies: Make, page: int) -> None:
    world = nightlies()
    before = state(world)
    names = sorted(world.tags)
    third = len(names) // 3

    def pages(request: Request) -> Response | None:
        if not request.url.partition("?")[0].endswith(f"{REPOSITORY}/tags/list"):
            return None
        number = next((n for n in range(3) if f"last={names[n * third - 1]}&" in request.url and n), 0)
        if number == page:
            return Response(503, Headers({}), b"")
        assert number < page
        shown = names[number * third : (number + 1) * third]
        link = f'</v2/{REPOSITORY}/tags/list?last={shown[-1]}&n=9>; rel="next"'
        body = '{"name": "x", "tags": ["' + '","'.join(shown) + '"]}'
        kind = {"Content-Type": "application/json", "Docker-Distribution-Api-Version": "registry/2.0", "Link": link}
        return Response(200, Headers(kind), body.encode())

    world.memory.hook = pages
    with pytest.raises(InfraError):
        retain(world.scope(), world.run(), apply=True)
    assert (state(world), world.memory.writes) == (before, [])


@pytest.mark.parametrize(
    "path",
    [
        "release/standing.json",
        f"release/{commit(1)}/release.json",
        "release/journal/00000001-20260101T000000Z-00000009.json",
        "nightly/standing.json",
        f"nightly/{commit(3)}/release.json",
    ],
)
def test_a_document_that_cannot_be_read_removes_nothing(nightlies: Make, path: str) -> None:
    world = nightlies()
    world.places().whole.write(path, b"half a docu")
    before = state(world)
    with pytest.raises(ContractError):
        retain(world.scope(), world.run(), apply=True)
    assert (state(world), world.memory.writes) == (before, [])


def test_a_registry_that_deletes_nothing_is_noticed_before_anything_is_gone(nightlies: Make) -> None:
    world = nightlies()
    world.memory.deletes = False
    before = state(world)
    with pytest.raises(InfraError) as raised:
        retain(world.scope(), world.run(), apply=True)
    assert raised.value.problems[0].reference == "registry-delete-off"
    assert state(world) == before
    assert removed(world.places()) == ()


def test_a_registry_that_says_it_deleted_and_did_not_is_found_out(nightlies: Make) -> None:
    world = nightlies()
    digest = world.image("main 1", "test").digest

    def deaf(request: Request) -> Response | None:
        return Response(202, Headers({}), b"") if request.method == "DELETE" and request.url.endswith(digest) else None

    world.memory.hook = deaf
    with pytest.raises(InfraError) as raised:
        retain(world.scope(), world.run(), apply=True)
    problem = raised.value.problems[0]
    assert problem.reference == "not-removed"
    assert digest in problem.context
    world.memory.hook = None
    retain(world.scope(), world.run(), apply=True)
    assert digest not in world.manifests


def test_whoever_lost_the_lease_removes_nothing_more(nightlies: Make) -> None:
    world = nightlies()

    def stolen(_number: int, what: str) -> None:
        if what.startswith("create journal"):
            holder = replace(store_lease.Holder.me("20260101T000000Z-0000000f"), count=9)
            (world.folder / "store/nightly/lease.json").write_bytes(holder.encode())

    before = state(world)
    world.recorded(Recorder(after=stolen))
    with pytest.raises(InfraError) as raised:
        retain(world.scope(), world.run(), apply=True)
    assert raised.value.problems[0].reference == "lease-lost"
    assert state(world) == before


# --- Docker Hub


def hub_over(world: World, requests: list[str]) -> DockerHub:
    """The part of Docker Hub's API that retention needs, for the tags of the world."""

    def hub(request: Request) -> Response:
        requests.append(f"{request.method} {request.url}")
        name = request.url.rstrip("/").rpartition("/")[2]
        content: dict[str, object] = {"access_token": "t0ken"}
        if "tags?" in request.url:
            content = {"count": len(world.tags), "next": None, "results": [{"name": tag} for tag in world.tags]}
        elif request.method == "DELETE":
            world.tags.pop(name, None)
        elif request.method == "GET" and name not in world.tags:
            return Response(404, Headers({}), b"{}")
        return Response(200, Headers({"Content-Type": "application/json"}), json.dumps(content).encode())

    return DockerHub(send=hub, clock=world.clock, credentials=lambda _host: Credentials("user", "secret"))


def test_docker_hub_drops_tags_through_its_own_api_and_no_digest_is_deleted(nightlies: Make) -> None:
    world, asked = nightlies(), list[str]()
    before = world.manifests
    done = retain(replace(world.scope(), hub=hub_over(world, asked)), world.run(), apply=True)
    assert f"nightly-{commit(1)}" not in world.tags
    assert str(ContentTag("test", identity("main 1"))) not in world.tags
    assert {"nightly", "base-nightly", f"nightly-{commit(2)}"} <= set(world.tags)
    assert world.manifests == before
    assert world.memory.writes == []
    assert not [fate for fate in done.fates if fate.kind is Kind.MANIFEST]
    assert sum(each.startswith("DELETE") for each in asked) == 4
    whole(world)


def test_docker_hub_is_known_by_its_host(nightlies: Make) -> None:
    places = nightlies().places()
    hub = Registry("docker.io", send=nightlies().memory, clock=places.clock, credentials=lambda _host: None)
    for registry, expected in ((hub, True), (places.registry, False), (None, False)):
        scope = scope_of(replace(places, registry=registry), [], ())
        assert isinstance(scope.hub, DockerHub) == expected


# --- others at work meanwhile


def test_what_came_into_use_before_the_lease_was_ours_stays(nightlies: Make) -> None:
    world = nightlies()
    digest = world.image("main 1", "test").digest

    def meanwhile(_number: int, what: str) -> None:
        if what.endswith(store_lease.LEASE):
            world.memory.tags[REPOSITORY]["somebody-uses-it"] = digest

    world.recorded(Recorder(after=meanwhile))
    done = retain(world.scope(), world.run(), apply=True)
    assert digest in world.manifests
    assert f"nightly-{commit(1)}" not in world.tags
    assert any(fate.name == digest and not fate.goes for fate in done.fates)
    whole(world)


def test_a_digest_that_came_into_use_while_its_tags_went_is_spared(nightlies: Make) -> None:
    world = nightlies()
    digest = world.image("main 1", "test").digest

    def meanwhile(request: Request) -> None:
        if request.method == "PUT":
            world.memory.tags[REPOSITORY]["somebody-uses-it"] = digest

    world.memory.hook = meanwhile
    done = retain(world.scope(), world.run(), apply=True)
    assert digest in {fate.name for fate in done.spared}
    assert "stays after all: reached: somebody-uses-it stays" in retentions.answer("retain", done).text
    assert world.tags["somebody-uses-it"] == digest
    whole(world)


def test_a_tag_that_moved_meanwhile_is_not_taken(nightlies: Make) -> None:
    world = nightlies()
    other = world.image("main 3", "test").digest

    def meanwhile(_number: int, what: str) -> None:
        if what.endswith(store_lease.LEASE):
            world.memory.tags[REPOSITORY][f"nightly-{commit(1)}"] = other

    world.recorded(Recorder(after=meanwhile))
    retain(world.scope(), world.run(), apply=True)
    assert world.tags[f"nightly-{commit(1)}"] == other
    whole(world)


# --- kills


def undisturbed(nightlies: Make) -> tuple[tuple[dict[str, str], set[str], set[str]], int]:
    world = nightlies()
    writes = world.recorded().writes
    retain(world.scope(), world.run(), apply=True)
    return state(world), len(writes)


def test_killed_after_any_write_the_next_one_ends_the_same(nightlies: Make) -> None:
    expected, writes = undisturbed(nightlies)
    assert writes > 20
    for number in range(1, writes + 1):
        world = nightlies()
        world.recorded(killed_at(number))
        with pytest.raises(Killed):
            retain(world.scope(), world.run(), apply=True)
        kept_by_name(world)
        world.recorded()
        retain(world.scope(), world.run(), apply=True)
        assert state(world) == expected, f"killed after write {number}"


def test_killed_twice_the_third_one_ends_the_same(nightlies: Make) -> None:
    expected, writes = undisturbed(nightlies)
    for number in range(6, writes, 3):
        world = nightlies()
        for last in (number, 5):
            world.recorded(killed_at(last))
            with suppress(Killed):  # the second has less to do
                retain(world.scope(), world.run(), apply=True)
        world.recorded()
        retain(world.scope(), world.run(), apply=True)
        assert state(world) == expected, f"killed after write {number}"


def kept_by_name(world: World) -> None:
    """Whatever was cut off: the releases that stay can be pulled, tag by tag."""
    for number in (2, 3):
        for tag in (f"nightly-{commit(number)}", f"base-nightly-{commit(number)}", "nightly", "base-nightly"):
            assert manifests_below(world.memory, world.tags[tag]) <= world.manifests
        assert world.places().released(commit(number)).images


# --- nothing that is kept ever loses what it reaches


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_leads_to_whatever_nothing_that_stays_loses_anything(base: World, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        rules = Retain(data.draw(st.integers(0, 3)), data.draw(st.sampled_from([0, 31, 40])))
        world = base.copy(Path(name), replace(NIGHTLY, retain=rules), RELEASE)
        world.later(30)
        _tangle(data, world)
        done = retain(world.scope(), world.run(), apply=True)
        tags = {fate.name: fate for fate in done.fates if fate.kind is Kind.TAG}
        assert {tag: fate.digest for tag, fate in tags.items() if not fate.goes} == world.tags
        assert {fate.name for fate in done.fates if fate.kind is Kind.MANIFEST and fate.goes}.isdisjoint(
            world.manifests
        )
        for digest in world.tags.values():
            assert manifests_below(world.memory, digest) <= world.manifests
        for number in (1, 2, 3):
            release = world.places().release(commit(number))
            for row in release.images if release else ():
                assert manifests_below(world.memory, row.digest) <= world.manifests


def _tangle(data: st.DataObject, world: World) -> None:
    """Tags of all sorts on any manifest, and indexes that hold any."""
    made = ("stranger", "latest", "v1.1", f"other-nightly-{commit(1)}", f"nightly-{commit(7)}", f"nightly-{commit(1)}")
    contents = [str(ContentTag("test", identity(f"main {n}"))) for n in (1, 2, 9)]
    artifacts = [str(ArtifactTag("test", str(n) * 64)) for n in (1, 2)]
    for _ in range(data.draw(st.integers(0, 5))):
        digests = st.sampled_from(sorted(world.manifests))
        about = data.draw(digests).replace(":", "-")
        tag = data.draw(st.sampled_from([*made, *contents, *artifacts, about]))
        if data.draw(st.booleans()):
            world.memory.tags[REPOSITORY][tag] = data.draw(digests)
            continue
        held = data.draw(st.lists(digests, min_size=1, max_size=3))
        rows = [{"mediaType": INDEX, "digest": digest, "size": 1} for digest in held]
        world.document(tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": rows})


def test_the_folder_takes_a_set_away_in_one_step(tmp_path: Path) -> None:
    world = World(tmp_path)
    store = world.places().store
    store.write("aa/bb/one", b"1")
    store.write("aa/two", b"2")
    store.write("ab", b"3")
    store.within("aa").publish({"index.html": b"page"})
    store.discard("aa")
    store.discard("aa")
    assert [each.path for each in store.below("")] == ["ab"]
    assert not (tmp_path / "store" / "nightly" / "aa").exists()


# --- a channel of images ----------------------------------------------------------------------


def test_pointers_of_images_stay_and_what_nobody_points_to_goes(tmp_path: Path) -> None:
    ci = replace(NIGHTLY, name="ci", word="", images={"base": "base", "ci_base": "ci-base"}, retain=Retain(1, 7))
    world = World(tmp_path, ci, NIGHTLY)
    digests = {}
    for number in (1, 2, 3):
        images = {"base": world.image("base", "base"), "ci_base": world.image(f"ci base {number}", "ci-base")}
        digests[number] = images["ci_base"].digest
        world.switch("ci", world.stage("ci", number, images))
    world.release("nightly", 9)
    others = {tag for tag in world.tags if "nightly" in tag}
    world.later(30)
    retain(world.scope("ci"), world.run(), apply=True)
    left = {tag for tag in world.tags if "sha256-" not in tag and "-v1-" not in tag}
    kept = {f"{name}-{commit(number)}" for name in ci.images for number in (2, 3)}
    assert left == {"base", "ci_base", *kept, *others}
    assert digests[1] not in world.manifests
    assert {digests[2], digests[3], world.tags["base"]} <= world.manifests
