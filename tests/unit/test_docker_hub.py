"""Tags on Docker Hub: whole lists or none, one tag at a time, and no secret in a message."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from ci.errors import ConfigError, InfraError
from ci.world.credentials import Credentials
from ci.world.docker_hub import DockerHub
from ci.world.fakes import Answer, FakeClock, FakeSend, Script
from ci.world.http import Headers, Response, Unreachable
from ci.world.registry import Absent, Unknown

API = "https://hub.docker.com/v2"
LIST = ("GET", f"{API}/namespaces/team/repositories/app/tags?page_size=100")
SECOND = f"{API}/namespaces/team/repositories/app/tags?page=2&page_size=100"
LOGIN = ("POST", f"{API}/auth/token")
DELETE = ("DELETE", f"{API}/repositories/team/app/tags/nightly/")
ONE = ("GET", f"{API}/namespaces/team/repositories/app/tags/nightly")
USER = Credentials("ada", "secret-horse")
JSON = Headers({"Content-Type": "application/json"})


def reply(status: int, content: object = None, **headers: str) -> Response:
    body = b"" if content is None else json.dumps(content).encode()
    return Response(
        status, Headers({**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}), body
    )


def page(*names: str, count: int, following: str | None = None) -> Response:
    return reply(200, {"count": count, "next": following, "results": [{"name": name} for name in names]})


TOKEN = reply(200, {"access_token": "secret-token"})
NEWER = reply(200, {"access_token": "secret-newer"})
GONE = reply(404, {"message": "object not found"})
NO = reply(401, {"detail": "secret-horse is wrong"})
WEB = Response(200, Headers({"Content-Type": "text/html"}), b"<html>")


def hub(script: Script, user: Credentials | None = USER) -> tuple[DockerHub, FakeSend, FakeClock]:
    fake, clock = FakeSend(script), FakeClock()
    return DockerHub(send=fake, clock=clock, credentials=lambda _: user, jitter=lambda: 0.5), fake, clock


def listed(first: Answer | Sequence[Answer], second: Answer | Sequence[Answer] = GONE) -> Script:
    return {LOGIN: TOKEN, LIST: first, ("GET", SECOND): second}


TWO = page("b", "c", count=3, following=SECOND)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (listed(page("b", "a", count=2)), ("a", "b")),
        (listed(TWO, page("a", count=3)), ("a", "b", "c")),
        (listed(page(count=0)), ()),
        (listed(GONE), Absent()),
        (listed((reply(503), page("a", count=1))), ("a",)),
    ],
)
def test_all_tags_are_listed(script: Script, expected: object) -> None:
    assert hub(script)[0].tags("team/app") == expected


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (listed(TWO, reply(500)), "status 500"),
        (listed(TWO, Unreachable("cut", "the body was cut off")), "cut off"),
        (listed(TWO, GONE), "its list of tags changed"),
        (listed(TWO, page("a", count=4)), "3 tags of 4 were listed"),
        (listed(TWO, page("c", "b", count=3, following=SECOND)), "does not come to an end"),
        (
            listed(page("a", count=2, following="https://elsewhere.example/v2?a=secret")),
            "at elsewhere.example/v2, which",
        ),
        (listed(page("a", count=2, following=SECOND.replace("https", "http"))), "which is another place"),
        (listed(reply(200, {"results": [{"name": 1}], "count": 1})), "no name"),
        (listed(reply(200, {"results": []})), "not with a list"),
        (listed(WEB), "not with a list"),
        (listed(Response(404, WEB.headers, WEB.body)), "status 404"),
        (listed(reply(429)), "status 429"),
        (listed(reply(429, Retry_After="3600")), "asks to wait 3600 s"),
        (listed(NO), "unauthorized: status 401"),
        (listed(reply(403)), "unauthorized: status 403"),
        ({LOGIN: NO}, "unauthorized: status 401"),
        ({LOGIN: reply(200, {"detail": "secret-horse"})}, "without a token"),
        ({LOGIN: reply(200, {"access_token": "secret\nhorse"})}, "without a token"),
    ],
)
def test_an_error_on_any_page_is_no_list_at_all(script: Script, words: str) -> None:
    seen = hub(script)[0].tags("team/app")
    assert isinstance(seen, Unknown)
    assert words in seen.reason
    assert "secret" not in seen.reason


def test_a_429_is_waited_out_as_long_as_it_says() -> None:
    client, fake, clock = hub(listed((reply(429, Retry_After="7"), page("a", count=1))))
    assert client.tags("team/app") == ("a",)
    assert clock.sleeps == [7.5]
    assert [request.method for request in fake.requests] == ["POST", "GET", "GET"]


def test_the_login_is_used_again_and_replaced_when_it_runs_out() -> None:
    script: Script = {LOGIN: (TOKEN, NEWER), LIST: (page("a", count=1), NO, page("b", count=1))}
    client, fake, _ = hub(script)
    assert [client.tags("team/app"), client.tags("team/app")] == [("a",), ("b",)]
    assert json.loads(fake.requests[0].body or b"") == {"identifier": "ada", "secret": "secret-horse"}
    given = [request.headers.get("Authorization", "").removeprefix("Bearer secret-") for request in fake.requests]
    assert given == ["", "token", "token", "", "newer"]


def test_a_stranger_sees_what_is_public_and_no_absence() -> None:
    public, fake, _ = hub({LIST: page("a", count=1)}, None)
    assert public.tags("team/app") == ("a",)
    assert "Authorization" not in fake.requests[0].headers
    assert isinstance(hub({LIST: GONE}, None)[0].tags("team/app"), Unknown)


@pytest.mark.parametrize("removed", [reply(204), GONE, (reply(503), reply(204))])
def test_one_tag_is_dropped_and_looked_for(removed: Answer | Sequence[Answer]) -> None:
    client, fake, _ = hub({LOGIN: TOKEN, DELETE: removed, ONE: GONE})
    client.drop("team/app", "nightly", "retain")
    assert fake.requests[-1].method == "GET"
    assert {request.headers["Authorization"] for request in fake.requests[1:]} == {"Bearer secret-token"}


@pytest.mark.parametrize(
    ("script", "reference", "words"),
    [
        ({DELETE: reply(403)}, "hub-drop-denied", "status 403"),
        ({DELETE: NO}, "hub-drop-denied", "status 401"),
        ({DELETE: reply(500)}, "hub-drop", "status 500"),
        ({DELETE: reply(405)}, "hub-drop", "status 405"),
        ({DELETE: reply(204), ONE: reply(200, {"name": "nightly"})}, "hub-drop", "still there"),
        ({DELETE: reply(204), ONE: reply(500)}, "hub-drop", "status 500"),
    ],
)
def test_a_drop_that_fails_is_said(script: Script, reference: str, words: str) -> None:
    with pytest.raises(InfraError, match=words) as caught:
        hub({LOGIN: TOKEN, **script})[0].drop("team/app", "nightly", "retain")
    (problem,) = caught.value.problems
    assert problem.reference == reference
    assert "docker.io/team/app:nightly was not dropped" in problem.message
    assert "secret" not in str(problem)


@pytest.mark.parametrize("user", [None, Credentials("", identity_token="secret-refresh")])
def test_nobody_drops_without_a_login(user: Credentials | None) -> None:
    client, fake, _ = hub({}, user)
    with pytest.raises(InfraError, match="nobody is logged in"):
        client.drop("team/app", "nightly", "retain")
    assert fake.requests == []


def test_names_are_those_of_docker_hub() -> None:
    official = ("GET", f"{API}/namespaces/library/repositories/app/tags?page_size=100")
    assert hub({LOGIN: TOKEN, official: page("a", count=1)})[0].tags("app") == ("a",)
    with pytest.raises(ConfigError, match="is no repository of Docker Hub"):
        hub({})[0].tags("a/b/c")
