"""What is asked of registries and what they say: the vocabulary of the table of cases."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ci.errors import InfraError
from ci.world.credentials import Credentials
from ci.world.registry import Found, Registry, Unknown, digest_of

REPO = "team/app"
OCI = "application/vnd.oci.image.manifest.v1+json"
BODY = json.dumps({"schemaVersion": 2, "mediaType": OCI, "config": {}, "layers": []}).encode()
DIGEST = digest_of(BODY)
OTHER = digest_of(b"something else")
THERE = Found(DIGEST, OCI, len(BODY))
BLOB = b'{"architecture": "amd64"}'

MANIFEST = f"/v2/{REPO}/manifests/tag"
BLOBS = f"/v2/{REPO}/blobs/"
UPLOADS = f"/v2/{REPO}/blobs/uploads/"
API = {"Docker-Distribution-Api-Version": "registry/2.0"}
JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}
USER = Credentials("ada", "correct horse")


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, or the way in which there is none; ``{url}`` in a header is the server's."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    fault: Literal["", "cut", "hang", "drip", "close"] = ""


Script = Mapping[tuple[str, str], tuple[Reply, ...]]


def errors(code: str, message: str = "") -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


def token(name: str = "secret-token", **more: object) -> Reply:
    return Reply(200, JSON, json.dumps({"token": name, **more}).encode())


GOOD = Reply(200, {**API, "Content-Type": OCI, "Docker-Content-Digest": DIGEST}, BODY)
GOOD_BLOB = Reply(200, {**API, "Content-Type": "application/octet-stream"}, BLOB)
MISSING = Reply(404, {**API, **JSON}, errors("MANIFEST_UNKNOWN", "manifest unknown"))
BARE_404 = Reply(404, JSON)
PAGE_404 = Reply(404, HTML, b"<html>not here</html>")
PAGE_200 = Reply(200, HTML, b"<html>please log in</html>")
BUSY = Reply(429, {**JSON, "Retry-After": "7"}, errors("TOOMANYREQUESTS"))
BROKEN = Reply(500, {}, b"oops")
BEARER = 'Bearer realm="{url}/token",service="reg",scope="repository:team/app:pull"'
LOGIN = Reply(401, {**API, **JSON, "WWW-Authenticate": BEARER}, errors("UNAUTHORIZED"))
BASIC = Reply(401, {**API, **JSON, "WWW-Authenticate": 'Basic realm="reg"'}, errors("UNAUTHORIZED"))
NO_WAY = Reply(401, {**API, **JSON}, errors("UNAUTHORIZED"))
NO_RIGHT = Reply(403, {**API, **JSON}, errors("DENIED", "requested access is denied"))
PONG = Reply(200, {**API, **JSON}, b"{}")
STARTED = Reply(202, {**API, "Location": UPLOADS + "1?state=secret"})
STORED = Reply(201, {**API, "Docker-Content-Digest": DIGEST})
PAGE_403 = Reply(403, HTML, b"<html>blocked by the firewall</html>")


@dataclass(frozen=True, slots=True)
class Case:
    """One situation.

    The last reply of a list is repeated.  ``waits`` are the fake clock's sleeps with a
    jitter of 0.5; ``asked`` counts all requests, token server included.
    """

    name: str
    ask: Callable[[Registry], object]
    script: Script
    expect: object
    words: tuple[str, ...] = ()
    status: int | None = None
    asked: int = 1
    waits: tuple[float, ...] = ()
    user: Credentials | None = None
    deadline: float = 30.0
    listening: bool = True

    def check(self, answer: object) -> None:
        """Compare an answer, or the error that was raised, with what is expected."""
        text = str(answer)
        if isinstance(self.expect, type):
            assert isinstance(answer, self.expect), text
        else:
            assert answer == self.expect
        if isinstance(answer, Unknown):
            assert answer.status == self.status
        for word in self.words:
            assert word in text
        assert "correct horse" not in text
        assert "secret" not in text


def outcome(case: Case, registry: Registry) -> object:
    """What the question of ``case`` gives; an error counts as an answer."""
    try:
        return case.ask(registry)
    except InfraError as error:
        return error


def head(registry: Registry) -> object:
    return registry.head(REPO, "tag")


def manifest(registry: Registry) -> object:
    return registry.manifest(REPO, "tag")


def by_digest(registry: Registry) -> object:
    return registry.manifest(REPO, DIGEST)


def blob(registry: Registry) -> object:
    return registry.blob(REPO, digest_of(BLOB))


def ping(registry: Registry) -> object:
    return registry.ping()


def can_push(registry: Registry) -> object:
    return registry.can_push(REPO)


def put_manifest(registry: Registry) -> object:
    return registry.put_manifest(REPO, "tag", BODY, OCI)


def put_blob(registry: Registry) -> object:
    return registry.put_blob(REPO, BLOB)


def on_head(*replies: Reply) -> Script:
    return {("HEAD", MANIFEST): replies}


def on_get(*replies: Reply) -> Script:
    return {("GET", MANIFEST): replies}


def with_token(*replies: Reply, tokens: tuple[Reply, ...] = (token(),)) -> Script:
    """The token flow before the manifest's HEAD."""
    return {**on_head(LOGIN, *replies), ("GET", "/token"): tokens}
