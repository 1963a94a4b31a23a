"""A copy between registries: whole, in the right order, sent once, and nothing half published."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ci.errors import CiError, ContractError, InfraError
from ci.world.credentials import Credentials
from ci.world.fakes import FakeClock
from ci.world.http import Headers, Request, Response, Unreachable
from ci.world.registry import Found, Registry, digest_of
from ci.world.registry_copy import copy
from tests.memory_registry import INDEX, MANIFEST, Hook, MemoryRegistry

LAYER = b"a layer"
FROM, TO = "team/app", "release/app"


@dataclass
class Both:
    """Two registries with an image and what hangs on it in the first."""

    scratch: Path
    source: MemoryRegistry = field(default_factory=MemoryRegistry)
    target: MemoryRegistry = field(default_factory=MemoryRegistry)
    said: list[str] = field(default_factory=list)
    digest: str = ""

    def copy(self) -> Found:
        here, there = (client(f"{name}.example", send) for name, send in (("a", self.source), ("b", self.target)))
        return copy(here, FROM, self.digest, there, TO, say=self.said.append, scratch=self.scratch)

    def hang(self, subject: str, body: bytes) -> str:
        """Hang an artifact on a digest by fallback tag; its digest."""
        stored, blobs = self.source.manifests[FROM], self.source.blobs[FROM]
        blobs |= {digest_of(b"{}"): b"{}", digest_of(body): body}
        rows = [{"mediaType": "x", "digest": digest_of(blob), "size": len(blob)} for blob in (b"{}", body)]
        artifact = json.dumps({"schemaVersion": 2, "config": rows[0], "layers": rows[1:]}).encode()
        entry = {"mediaType": MANIFEST, "digest": digest_of(artifact), "size": len(artifact)}
        index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
        stored |= {digest_of(artifact): (MANIFEST, artifact), digest_of(index): (INDEX, index)}
        self.source.tags[FROM][subject.replace(":", "-")] = digest_of(index)
        return digest_of(artifact)


def client(host: str, send: MemoryRegistry, user: Credentials | None = None) -> Registry:
    return Registry(host, send=send, clock=FakeClock(), credentials=lambda _: user, jitter=lambda: 0.5)


@pytest.fixture
def both(tmp_path: Path) -> Both:
    made = Both(tmp_path / "scratch")
    made.digest = made.source.image(FROM, "nightly", {"a": "b"}, LAYER, b"another layer")
    return made


def test_all_that_belongs_to_the_image_is_there_and_the_index_comes_last(both: Both) -> None:
    artifact = both.hang(both.digest, b"recipe")
    deeper = both.hang(artifact, b"signature of the recipe")
    assert both.copy() == Found(both.digest, INDEX, len(both.source.manifests[FROM][both.digest][1]))
    assert both.target.blobs[TO] == both.source.blobs[FROM]
    taken = both.target.manifests[TO]
    assert {artifact, deeper, both.digest} < set(taken)
    assert {digest: taken[digest] for digest in taken if digest in both.source.manifests[FROM]}.keys() == {
        digest for digest in both.source.manifests[FROM] if digest not in both.source.tags[FROM].values()
    } | {both.digest}
    assert set(both.target.tags[TO]) == {both.digest.replace(":", "-"), artifact.replace(":", "-")}
    puts = [request.url for request in both.target.writes if "/manifests/" in request.url]
    assert puts[-1].endswith(both.digest)
    last_blob = max(number for number, request in enumerate(both.target.writes) if "/blobs/" in request.url)
    assert all("/manifests/" in request.url for request in both.target.writes[last_blob + 1 :])
    assert last_blob + 1 + len(puts) == len(both.target.writes)
    assert list(both.scratch.iterdir()) == []


def test_nothing_is_sent_twice(both: Both) -> None:
    both.hang(both.digest, b"recipe")
    both.copy()
    sent = len(both.target.writes)
    both.copy()
    assert len(both.target.writes) == sent
    assert both.said[-1] == "all 7 blobs are there"
    assert both.said[:-1] == [f"copied {number} of 7 blobs, 0 MB" for number in range(1, 8)]


def test_what_the_target_has_beside_the_image_stays_listed(both: Both) -> None:
    mine = both.hang(both.digest, b"recipe")
    there = Both(both.scratch)
    there.digest = there.source.image(FROM, "nightly", {"a": "b"}, LAYER, b"another layer")
    theirs = there.hang(there.digest, b"their signature")
    for held in (there.source.manifests, there.source.tags, there.source.blobs):
        held[TO] = held.pop(FROM)  # type: ignore[assignment]
    both.target = there.source
    both.copy()
    listed = both.target.tags[TO][both.digest.replace(":", "-")]
    rows = json.loads(both.target.manifests[TO][listed][1])["manifests"]
    assert [row["digest"] for row in rows] == [theirs, mine]


def test_an_image_without_attestations_is_one_manifest(both: Both) -> None:
    index = json.loads(both.source.manifests[FROM][both.digest][1])
    both.digest = index["manifests"][0]["digest"]
    assert both.copy().media_type == MANIFEST
    assert set(both.target.manifests[TO]) == {both.digest}


def test_artifacts_that_list_each_other_end(both: Both) -> None:
    first = both.hang(both.digest, b"recipe")
    both.source.tags[FROM][first.replace(":", "-")] = both.source.tags[FROM][both.digest.replace(":", "-")]
    both.copy()
    assert first in both.target.manifests[TO]


Change = Callable[[Both], None]


def gone(both: Both) -> None:
    del both.source.manifests[FROM][both.digest]


def gone_blob(both: Both) -> None:
    del both.source.blobs[FROM][digest_of(LAYER)]


def other_bytes(both: Both) -> None:
    both.source.blobs[FROM][digest_of(LAYER)] = b"A LAYER"


def more_bytes(both: Both) -> None:
    both.source.blobs[FROM][digest_of(LAYER)] = LAYER * 2


def not_an_image(both: Both) -> None:
    body = json.dumps({"schemaVersion": 2, "layers": [{"digest": "../../secret", "size": 1}]}).encode()
    both.digest = digest_of(body)
    both.source.manifests[FROM][both.digest] = (MANIFEST, body)


def on(side: str, method: str, part: str, answer: Response | BaseException) -> Change:
    hook: Hook = lambda request: answer if request.method == method and part in request.url else None  # noqa: E731
    return lambda both: setattr(getattr(both, side), "hook", hook)


def disk_full(both: Both) -> None:
    both.scratch.write_bytes(b"a file where the folder should be")


BROKEN = Response(500)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (gone, ContractError, ("a.example/team/app@sha256:", "does not exist")),
        (not_an_image, ContractError, ("a.example/team/app@sha256:", "without digest and size")),
        (gone_blob, InfraError, (f"a.example/team/app@{digest_of(LAYER)} was not pulled", "BLOB_UNKNOWN")),
        (other_bytes, InfraError, (f"a.example/team/app@{digest_of(LAYER)}", f"the body is {digest_of(b'A LAYER')}")),
        (more_bytes, InfraError, (f"a.example/team/app@{digest_of(LAYER)}", "more than the 7 bytes")),
        (on("source", "GET", "/manifests/", BROKEN), InfraError, ("a.example/team/app@sha256:", "status 500")),
        (on("source", "GET", "/manifests/sha256-", BROKEN), InfraError, ("a.example/team/app@sha256-", "status 500")),
        (on("source", "GET", "/blobs/", Unreachable("cut", "cut off")), InfraError, ("not pulled", "4 attempts")),
        (on("target", "HEAD", "/blobs/", BROKEN), InfraError, ("b.example/release/app@sha256:", "status 500")),
        (on("target", "POST", "/blobs/", BROKEN), InfraError, ("b.example/release/app@sha256:", "was not pushed")),
        (on("target", "PUT", "/blobs/", Response(413)), InfraError, ("b.example/release/app@sha256:", "status 413")),
        (disk_full, InfraError, ("cannot make", "scratch")),
    ],
)
def test_what_fails_before_all_blobs_are_there_publishes_nothing(
    both: Both, change: Change, kind: type[CiError], words: tuple[str, ...]
) -> None:
    change(both)
    with pytest.raises(kind) as caught:
        both.copy()
    for word in words:
        assert word in str(caught.value)
    assert both.target.manifests.get(TO, {}) == {}
    assert not both.scratch.is_dir() or list(both.scratch.iterdir()) == []


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_every_attempt_to_send_is_a_fresh_upload(both: Both, method: str) -> None:
    failed: list[str] = []

    def once(request: Request) -> BaseException | None:
        if request.method != method or "/blobs/" not in request.url or failed:
            return None
        failed.append(request.url)
        return Unreachable("closed", "the connection was closed")

    both.target.hook = once
    both.copy()
    starts = [request for request in both.target.writes if request.method == "POST"]
    assert len(starts) == len(both.source.blobs[FROM]) + 1
    assert both.target.blobs[TO] == both.source.blobs[FROM]


def test_a_token_that_ends_in_the_middle_is_replaced(both: Both) -> None:
    """Each is good for two requests, whatever the registry said of it."""
    left = {"count": 0, "number": 0}

    def guard(request: Request) -> Response | None:
        if "/token" in request.url:
            left.update(count=2, number=left["number"] + 1)
            return Response(200, body=json.dumps({"token": f"t{left['number']}", "expires_in": 3600}).encode())
        left["count"] -= 1
        if request.headers.get("Authorization") == f"Bearer t{left['number']}" and left["count"] >= 0:
            return None
        challenge = 'Bearer realm="https://auth.example/token",service="b"'
        return Response(401, Headers({"WWW-Authenticate": challenge}))

    both.target.hook = guard
    assert both.copy().digest == both.digest
    assert both.target.blobs[TO] == both.source.blobs[FROM]
    assert left["number"] > 3


def test_on_one_host_a_blob_that_is_not_mounted_is_sent(both: Both) -> None:
    refused: Hook = lambda request: Response(403) if "mount=" in request.url else None  # noqa: E731
    for hook, sends in ((None, 0), (refused, 5)):
        both.source.manifests.pop(TO, None)
        both.source.blobs.pop(TO, None)
        both.source.writes.clear()
        both.source.hook = hook
        host = client("a.example", both.source)
        copy(host, FROM, both.digest, host, TO, say=both.said.append, scratch=both.scratch)
        assert both.source.blobs[TO] == both.source.blobs[FROM]
        assert len([request for request in both.source.writes if request.file]) == sends
