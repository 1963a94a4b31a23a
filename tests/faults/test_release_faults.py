"""A release whose registry or bucket fails at any of its requests: never half-moved, told as it is, made up for."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.engine.s3_front import error
from tests.faults.stand import Ended
from tests.release_doors import CLOSE, Asked
from tests.release_scene import SAYS_HALF, Scene
from tests.release_stand import standing
from tests.release_world import TAGS, Kept
from tests.unit.registry_replies import API, JSON, Reply, errors

Answer = Callable[[Asked, Callable[[], Reply]], Reply]

STAGED = "store PUT nightly/COMMIT/release.json"
TOLD = re.compile(r"channel nightly (stands at [0-9a-f]{12}|may be half-moved)|how far it came is not known")
BROKEN = (
    "store GET nightly/standing.json",
    "registry HEAD manifests/test-v1-SHA",
    "store PUT cache/SHA/SHA/WHEEL",
    "store PUT COPY nightly/COMMIT/SHA/WHEEL",
    "registry PUT manifests/nightly-COMMIT",
    "store PUT nightly/COMMIT/release.json",
    "store PUT nightly/standing.json",
    "registry PUT manifests/nightly",
    "store PUT nightly/simple/PAGE",
)
SILENT = (
    "registry HEAD manifests/test-v1-SHA",
    "store PUT nightly/COMMIT/release.json",
    "registry PUT manifests/nightly",
    "store PUT nightly/simple/PAGE",
)
AWAY = ("store PUT nightly/standing.json", "registry PUT manifests/nightly", "store PUT nightly/simple/PAGE")
RUNS = 40


def refused(asked: Asked, _perform: Callable[[], Reply]) -> Reply:
    """Who asks has no right to it any more."""
    return error(403, "ExpiredToken") if asked.where == "store" else Reply(403, {**API, **JSON}, errors("DENIED"))


def status(code: int, **headers: str) -> Answer:
    """An answer without a meaning, with these headers."""
    said = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(asked: Asked, _perform: Callable[[], Reply]) -> Reply:
        if asked.where == "store":
            reply = error(code, "SlowDown" if code == 429 else "InternalError")
            return Reply(code, {**reply.headers, **said}, reply.body)
        return Reply(code, {**API, **JSON, **said}, errors("TOOMANYREQUESTS" if code == 429 else "UNKNOWN"))

    return answer


def closed(_asked: Asked, _perform: Callable[[], Reply]) -> Reply:
    """The server does nothing and hangs up."""
    return CLOSE


def lost(_asked: Asked, perform: Callable[[], Reply]) -> Reply:
    """The server does it, and nobody hears so."""
    perform()
    return CLOSE


def cut(_asked: Asked, perform: Callable[[], Reply]) -> Reply:
    """Half of the body arrives."""
    reply = perform()
    return Reply(reply.status, reply.headers, reply.body, "cut") if reply.body else reply


ONCE: Mapping[str, Answer] = {
    "429 at once": status(429, Retry_After="0"),
    "429 in a second": status(429, Retry_After="1"),
    "500": status(500),
    "closed": closed,
    "lost": lost,
    "cut": cut,
}


def kind(label: str) -> str:
    """Requests that differ in a wheel or a page alone are of one kind."""
    label = re.sub(r"simple/.*", "simple/PAGE", label)
    label = re.sub(r"/SHA/[^/]*\.whl", "/SHA/WHEEL", label)
    return re.sub(r"uploads/UPLOAD.*", "uploads/UPLOAD", label)


def kinds(scene: Scene) -> list[str]:
    """Of a release, in the order they are asked first."""
    return list(dict.fromkeys(map(kind, scene.requests)))


@contextmanager
def spoiled(scene: Scene, spoils: Callable[[str], bool], answer: Answer) -> Iterator[list[str]]:
    """Answer what ``spoils`` says of the kind of a request; gives those that were."""
    hit: list[str] = []

    def around(asked: Asked, perform: Callable[[], Reply]) -> Reply:
        name = kind(scene.stand.label(asked))
        if not spoils(name):
            return perform()
        hit.append(name)
        return answer(asked, perform)

    scene.stand.around(around)
    try:
        yield hit
    finally:
        scene.stand.around()


def wrong(scene: Scene, ended: Ended) -> Iterator[str]:
    """What must not be after a release that a fault met."""
    stands = scene.world.standing
    at = stands.commit if stands else ""
    astray = scene.world.astray(at)
    if ended.code not in {0, 4}:
        yield f"exit {ended.code}"
    if "Traceback" in ended.err:
        yield "traceback"
    if ended.code == 0 and at != scene.second:
        yield "claims what is not"
    if astray and not (ended.code == 4 and SAYS_HALF.search(ended.out)):
        yield f"half-moved without a word: {astray[:3]}"
    if ended.code == 4 and not all(each.get("hint") for each in ended.document["problems"]):
        yield "no hint"


def untold(scene: Scene, ended: Ended) -> Iterator[str]:
    """What a message lacks that ends a release after its first look at the channel."""
    stands = scene.world.standing
    if not TOLD.search(ended.out):
        yield "does not say how far it came"
    for said in re.findall(r"channel nightly stands at (?:release )?([0-9a-f]{12})", ended.out):
        if stands and not stands.commit.startswith(said):
            yield f"says that the channel stands at {said}"


def in_preflight(name: str) -> bool:
    """Asked before the channel is looked at: nothing was done then, and nothing is told of it."""
    return bool(re.search(r"store GET nightly/standing|registry (POST|DELETE) blobs/uploads/", name))


def world_of(scene: Scene, name: str) -> Kept:
    """The world in which a request of this kind is asked soonest."""
    asked = kinds(scene)
    return scene.before if asked.index(name) <= asked.index(STAGED) else scene.staged


@pytest.mark.slow
@pytest.mark.parametrize("fault", ONCE)
def test_a_fault_once_at_every_request(scene: Scene, fault: str) -> None:
    """Each kind of request is met once; a release goes through, or ends as it should and the next goes on."""
    scene.begin(scene.before)
    met: set[str] = set()
    lock = threading.Lock()

    def spoils(name: str) -> bool:
        with lock:
            new = name not in met and (fault != "lost" or (" GET " not in name and " HEAD " not in name))
            met.add(name)
            return new

    found: list[str] = []
    codes: list[int] = []
    with spoiled(scene, spoils, ONCE[fault]) as hit:
        while len(codes) < RUNS and (not codes or codes[-1]):
            ended = scene.stand.run(check=None)
            codes.append(ended.code)
            found += [f"{each} after {hit[-1]}" for each in wrong(scene, ended)]
    assert found == []
    assert codes[-1] == 0, f"{len(codes)} runs, and none got through"
    assert STAGED in met
    scene.done()


def one_by_one(scene: Scene, names: Iterable[str], answer: Answer) -> Iterator[str]:
    """A release for each kind of request, all of whose requests get this answer; then one without, to the same end."""
    for name in names:
        scene.begin(world_of(scene, name))
        with spoiled(scene, name.__eq__, answer) as hit:
            ended = scene.stand.run(check=None)
        if not hit:  # asked only where the engine has not everything already
            continue
        yield from (f"{each}: {name}" for each in wrong(scene, ended))
        if ended.code == 4 and not in_preflight(name):
            yield from (f"{each}: {name}" for each in untold(scene, ended))
        if ended.code == 4 and STAGED not in scene.stand.writes():
            scene.stage() if world_of(scene, name) is scene.before else scene.finish()
        else:
            scene.stand.run()
            scene.done()


@pytest.mark.slow
def test_a_right_that_ends_at_any_request_of_the_stage(scene: Scene) -> None:
    asked = kinds(scene)
    assert list(one_by_one(scene, asked[: asked.index(STAGED) + 1], refused)) == []


@pytest.mark.slow
def test_a_right_that_ends_at_any_request_of_the_switch(scene: Scene) -> None:
    asked = kinds(scene)
    assert list(one_by_one(scene, asked[asked.index(STAGED) + 1 :], refused)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_a_server_that_is_broken_for_good(scene: Scene, name: str) -> None:
    assert name in kinds(scene)
    assert list(one_by_one(scene, [name], status(500))) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SILENT)
def test_no_answer_in_time(scene: Scene, name: str) -> None:
    over = threading.Event()

    def silent(_asked: Asked, _perform: Callable[[], Reply]) -> Reply:
        over.wait()
        return CLOSE

    try:
        assert list(one_by_one(scene, [name], silent)) == []
    finally:
        over.set()


@pytest.mark.slow
@pytest.mark.parametrize("performed", [True, False], ids=["answered", "not answered"])
@pytest.mark.parametrize("name", AWAY)
def test_the_world_goes_away_while_pointers_move(scene: Scene, name: str, performed: bool) -> None:
    """Nothing can be put back then; it is told, and the next run does what is left."""
    scene.begin(scene.staged)
    gone = threading.Event()

    def around(asked: Asked, perform: Callable[[], Reply]) -> Reply:
        first = not gone.is_set() and kind(scene.stand.label(asked)) == name
        if first:
            gone.set()
        if not gone.is_set() or (first and performed):
            return perform()
        return CLOSE

    scene.stand.around(around)
    ended = scene.stand.run(check=None)
    scene.stand.around()
    assert gone.is_set()
    assert ended.code == 4, ended.out
    assert [*wrong(scene, ended), *untold(scene, ended)] == []
    assert SAYS_HALF.search(ended.out), ended.out
    scene.world.consistent()
    scene.finish()


def test_the_third_of_five_wheels_is_refused(tmp_path: Path, busy: str) -> None:
    with standing(tmp_path, busy) as stand:
        wheels: list[str] = []

        def around(asked: Asked, perform: Callable[[], Reply]) -> Reply:
            if asked.method == "PUT" and asked.path.endswith(".whl") and asked.path not in wheels:
                wheels.append(asked.path)
            return refused(asked, perform) if len(wheels) > 2 and asked.path == wheels[2] else perform()

        stand.around(around)
        ended = stand.run(check=4)
        stand.around()
        (problem,) = ended.document["problems"]
        assert unquote(wheels[2]).rpartition("/")[2] in problem["message"] + problem["context"]
        assert "channel nightly stands at nothing" in problem["context"]
        assert "not staged whole: 0 wheels there" in problem["context"]
        assert stand.world.standing is None
        assert not stand.world.tags().keys() & set(TAGS.values())
        stand.run()
        stand.world.whole(stand.head)
        assert [name for name, count in stand.uploads().items() if count > 1] == []
