"""The registry in memory answers as a real one does, and tags go by tombstone on both."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import pytest

from ci.world.http import Headers, Request, Response, Send, send
from ci.world.registry import Absent, Found, Registry, digest_of
from tests.engine.test_registry_real import HastyClock
from tests.memory_registry import INDEX, MANIFEST, MemoryRegistry, parts, push

KEPT = ("content-type", "docker-content-digest", "docker-distribution-api-version")
BYTES = "application/octet-stream"
MADE = parts({"a": "b"}, b"one", b"two")
NOWHERE = "sha256:" + "0" * 64


class Talk:
    """A conversation with a registry, and what it answered, without what differs by nature."""

    def __init__(self, through: Send, url: str) -> None:
        self._send = through
        self._url = url
        self.heard: list[object] = []

    def say(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> Headers:
        headers = {"Accept": f"{INDEX}, {MANIFEST}", **({"Content-Type": kind} if kind else {})}
        answer = self._send(Request(method, urljoin(self._url, path), headers, body))
        place = answer.headers.get("location", "")
        ended = "" if "/uploads/" in place else urlsplit(place).path
        kept = [answer.headers.get(name) for name in KEPT]
        self.heard.append((method, answer.status, told(answer), kept, ended))
        return answer.headers

    def upload(self, body: bytes, digest: str, *, pieces: bool = False) -> None:
        place = self.say("POST", "/v2/a/b/blobs/uploads/", b"")["location"]
        if pieces:
            for piece in (body[:1], body[1:]):
                place = self.say("PATCH", place, piece, BYTES)["location"]
        self.say("PUT", f"{place}&digest={digest}", b"" if pieces else body, BYTES)

    def images(self) -> None:
        for number, blob in enumerate(MADE.blobs):
            self.upload(blob, digest_of(blob), pieces=bool(number % 2))
        image, proof = MADE.manifests
        self.say("PUT", f"/v2/a/b/manifests/{digest_of(image)}", image, MANIFEST)
        self.say("PUT", "/v2/a/b/manifests/lacks", MADE.index, INDEX)
        self.say("PUT", f"/v2/a/b/manifests/{digest_of(image)}", proof, MANIFEST)
        self.say("PUT", f"/v2/a/b/manifests/{digest_of(proof)}", proof, MANIFEST)
        for tag in ("x", "y"):
            self.say("PUT", f"/v2/a/b/manifests/{tag}", MADE.index, INDEX)
        lost = image.replace(digest_of(b"one").encode(), NOWHERE.encode())
        self.say("PUT", "/v2/a/b/manifests/lost", lost, MANIFEST)

    def reads(self) -> None:
        for method in ("GET", "HEAD"):
            for name in ("x", MADE.digest, digest_of(MADE.manifests[0]), "nothing", NOWHERE):
                self.say(method, f"/v2/a/b/manifests/{name}")
            for name in (digest_of(b"one"), NOWHERE):
                self.say(method, f"/v2/a/b/blobs/{name}")
        for path in ("/v2/", "/v2/a/b/tags/list", "/v2/no/body/tags/list", "/v2/no/body/manifests/x"):
            self.say("GET", path)

    def ends(self) -> None:
        self.upload(b"three", NOWHERE)
        for start in (f"mount={digest_of(b'one')}&from=a/b", f"mount={NOWHERE}&from=a/b"):
            self.say("POST", f"/v2/c/d/blobs/uploads/?{start}", b"")
        self.say("HEAD", f"/v2/c/d/blobs/{digest_of(b'one')}")
        self.say("GET", "/v2/c/d/tags/list")
        self.say("DELETE", self.say("POST", "/v2/a/b/blobs/uploads/", b"")["location"])
        for name in ("x", NOWHERE, MADE.digest, MADE.digest):
            self.say("DELETE", f"/v2/a/b/manifests/{name}")
        self.say("GET", "/v2/a/b/manifests/y")
        self.say("GET", "/v2/a/b/tags/list")


def told(answer: Response) -> object:
    """The body, or the codes of the errors in it: every registry has its own words."""
    if answer.status < 400 or not answer.body:
        return answer.body.strip()
    return [row["code"] for row in json.loads(answer.body)["errors"]]


def test_the_registry_in_memory_answers_as_a_real_one(registry: str) -> None:
    real, memory = Talk(send, f"http://{registry}"), Talk(MemoryRegistry(), f"http://{registry}")
    for talk in (real, memory):
        talk.images()
        talk.reads()
        talk.ends()
    for told_here, told_there in zip(memory.heard, real.heard, strict=True):
        assert told_here == told_there


@dataclass
class Killed:
    """A `send` that dies with the write number ``at``, before it is done."""

    through: Send
    at: int = 0

    def __call__(self, request: Request) -> Response:
        self.at -= request.method not in {"GET", "HEAD"}
        if self.at == 0 and request.method not in {"GET", "HEAD"}:
            raise KeyboardInterrupt
        return self.through(request)


Client = Callable[[int], Registry]


@pytest.fixture(params=["memory", "real"])
def client(request: pytest.FixtureRequest) -> Client:
    """Makes clients of one registry that deletes, in memory and for real; they die with a write, or with none."""
    real = request.param == "real"
    host = request.getfixturevalue("registry") if real else "127.0.0.1:5000"
    through = send if real else MemoryRegistry()
    return lambda at: Registry(host, send=Killed(through, at), clock=HastyClock(), credentials=lambda _: None)


@pytest.fixture
def either(client: Client) -> Registry:
    return client(0)


def listed(registry: Registry, repository: str) -> Mapping[str, str]:
    names = registry.tags(repository)
    assert isinstance(names, tuple)
    seen = {name: registry.head(repository, name) for name in names}
    return {name: found.digest for name, found in seen.items() if isinstance(found, Found)}


def test_a_tag_goes_and_the_digest_under_it_stays(either: Registry) -> None:
    tags = ("base-v1-abc", "nightly", "release")
    digests = {tag: push(either, "team/app", tag, MADE) for tag in tags}
    assert listed(either, "team/app") == digests
    either.drop("team/app", "nightly", "retain 7 2026-01-01")
    assert listed(either, "team/app") == {tag: MADE.digest for tag in tags if tag != "nightly"}
    assert either.manifest("team/app", MADE.digest) != Absent()
    for tag in ("nightly", "release", "base-v1-abc"):  # once more, and until none is left
        either.drop("team/app", tag, "retain 8 2026-01-01")
    assert either.tags("team/app") == ()
    assert either.tags("team/nobody") == Absent()
    assert either.manifest("team/app", MADE.digest) != Absent()


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_drop_that_was_killed_is_finished_by_the_next(client: Client, at: int) -> None:
    for tag in ("nightly", "release"):
        push(client(0), "team/app", tag, MADE)
    with pytest.raises(KeyboardInterrupt):
        client(at).drop("team/app", "nightly", "first")
    left = listed(client(0), "team/app")
    assert sorted(left) == ["nightly", "release"]
    assert (left["nightly"] == MADE.digest) == (at < 3)
    client(0).drop("team/app", "nightly", "second")
    assert listed(client(0), "team/app") == {"release": MADE.digest}


def test_a_digest_goes_with_every_tag(either: Registry) -> None:
    for tag in ("nightly", "release"):
        push(either, "team/app", tag, MADE)
    for _ in range(2):
        either.delete("team/app", MADE.digest)
    assert either.tags("team/app") == ()
    with pytest.raises(ValueError, match="is no digest"):
        either.delete("team/app", "nightly")
