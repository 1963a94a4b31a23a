"""Lists of tags are whole or unknown, and a tag goes without the digest under it."""

from __future__ import annotations

import json

import pytest

from ci.errors import InfraError
from ci.world.fakes import FakeClock, FakeSend
from ci.world.http import Headers, Request, Response, Unreachable
from ci.world.registry import Absent, Registry, Unknown
from ci.world.registry_tags import TOMBSTONE
from tests.memory_registry import INDEX, Hook, MemoryRegistry
from tests.unit.registry_replies import (
    API,
    BROKEN,
    JSON,
    MISSING,
    NO_RIGHT,
    PAGE_200,
    REPO,
    USER,
    Reply,
    errors,
    token,
)

HOST = "reg.example"
TAGS = f"https://{HOST}/v2/{REPO}/tags/list"
FIRST = f"{TAGS}?n=1000"
SECOND = f"{TAGS}?n=1000&last=b"
NEXT = f'<{SECOND.removeprefix(f"https://{HOST}")}>; rel="next"'


def client(send: FakeSend | MemoryRegistry) -> Registry:
    return Registry(HOST, send=send, clock=FakeClock(), credentials=lambda _: USER, jitter=lambda: 0.5)


def made(reply: Reply) -> Response:
    return Response(reply.status, Headers(reply.headers), reply.body)


def page(*names: str, link: str = "") -> Response:
    body = json.dumps({"name": REPO, "tags": names}).encode()
    return Response(200, Headers({**API, **JSON, **({"Link": link} if link else {})}), body)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (page("b", "a"), (), ("a", "b")),
        (page("a", "b", link=NEXT), page("c"), ("a", "b", "c")),
        (page("a", "b", link=f"<{SECOND}>;rel=next"), page("c"), ("a", "b", "c")),
        (page("a", "b", link=NEXT), (made(BROKEN), page("c")), ("a", "b", "c")),
        (page("a", link='</v2/x>; rel="prev", ' + NEXT), page("c"), ("a", "c")),
        (page(), (), ()),
        (made(MISSING), (), Absent()),
    ],
)
def test_all_tags_are_listed(first: Response, second: Response | tuple[Response, ...], expected: object) -> None:
    send = FakeSend({("GET", FIRST): first, ("GET", SECOND): second})
    assert client(send).tags(REPO) == expected


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (page("a", link=NEXT), made(BROKEN), "status 500"),
        (page("a", link=NEXT), made(MISSING), "does not come to an end"),
        (page("a", link=NEXT), made(NO_RIGHT), "unauthorized"),
        (page("a", link=NEXT), made(PAGE_200), "not with a list of tags"),
        (page("a", link=NEXT), Unreachable("cut", "the body was cut off"), "the body was cut off"),
        (page("a", link=NEXT), page("a", link=NEXT), "does not come to an end"),
        (page(link=NEXT), page("a"), "does not come to an end"),
        (
            page("a", link='<https://elsewhere.example/v2/x>; rel="next"'),
            (),
            "goes on at elsewhere.example/v2/x",
        ),
        (page("a", link='<//elsewhere.example/x?a=secret>; rel="next"'), (), "which is another place"),
        (page("a", link=f'<http://{HOST}/v2/{REPO}/tags/list?last=a>; rel="next"'), (), "which is another place"),
        (page("a", link='</v2/other/tags/list?last=a>; rel="next"'), (), "which is another place"),
        (page("a", link="next"), (), "does not say where"),
        (made(Reply(200, {**API, **JSON}, b"{}")), (), "not with a list of tags"),
        (made(Reply(200, {**API, **JSON}, b'{"tags": [1]}')), (), "not with a list of tags"),
        (made(BROKEN), (), "status 500"),
    ],
)
def test_an_error_on_any_page_is_no_list_at_all(
    first: Response, second: Response | Unreachable | tuple[Response, ...], words: str
) -> None:
    seen = client(FakeSend({("GET", FIRST): first, ("GET", SECOND): second})).tags(REPO)
    assert isinstance(seen, Unknown)
    assert words in seen.reason
    assert "secret" not in seen.reason


def test_many_pages_become_one_list() -> None:
    memory = MemoryRegistry(page=3)
    names = [f"nightly-{number:02}" for number in range(11)]
    for name in names:
        memory.image(REPO, name, {})
    assert client(memory).tags(REPO) == tuple(names)
    assert len(memory.requests) == 4


def shared() -> MemoryRegistry:
    """Content, nightly and release tags of one digest."""
    memory = MemoryRegistry()
    for tag in ("base-v1-abc", "nightly", "release"):
        memory.image(REPO, tag, {"a": "b"}, b"layer")
    return memory


def test_a_tag_goes_alone_and_its_tombstone_with_it() -> None:
    memory = shared()
    before = dict(memory.manifests[REPO])
    client(memory).drop(REPO, "nightly", "retain 7 2026-01-01")
    assert sorted(memory.tags[REPO]) == ["base-v1-abc", "release"]
    assert memory.manifests[REPO] == before
    (stone,) = [json.loads(request.body or b"") for request in memory.writes if request.method == "PUT"]
    assert stone["annotations"] == {TOMBSTONE: "nightly retain 7 2026-01-01"}
    assert (stone["mediaType"], stone["manifests"]) == (INDEX, [])


def test_a_tag_that_is_not_there_is_dropped() -> None:
    memory = shared()
    client(memory).drop(REPO, "gone", "retain")
    assert [request.method for request in memory.writes] == ["DELETE"]


def problem(memory: MemoryRegistry) -> tuple[str, str]:
    with pytest.raises(InfraError) as caught:
        client(memory).drop(REPO, "nightly", "retain")
    (found,) = caught.value.problems
    return found.reference, found.message + found.hint


def test_no_tag_is_touched_where_nothing_can_be_deleted() -> None:
    memory = shared()
    memory.deletes = False
    before = dict(memory.tags[REPO])
    reference, words = problem(memory)
    assert reference == "registry-delete-off"
    assert "storage.delete.enabled" in words
    assert memory.tags[REPO] == before
    assert [request.method for request in memory.writes] == ["DELETE"]


def on(method: str, tail: str, answer: Response | BaseException) -> Hook:
    return lambda request: answer if request.method == method and request.url.endswith(tail) else None


@pytest.mark.parametrize(
    ("hook", "reference", "words"),
    [
        (on("DELETE", "", made(NO_RIGHT)), "registry-delete-denied", "an account that may delete: docker login"),
        (on("DELETE", "", made(BROKEN)), "registry-delete", "was not deleted"),
        (on("DELETE", "", made(PAGE_200)), "registry-delete", "text/html"),
        (on("DELETE", "", made(Reply(404, {"Content-Type": "text/html"}, b"<html>"))), "registry-delete", "text/html"),
        (on("HEAD", "/nightly", made(BROKEN)), "registry-drop", "status 500"),
        (on("PUT", "/nightly", made(NO_RIGHT)), "registry-push-denied", "was not pushed"),
    ],
)
def test_a_drop_that_fails_is_said_and_the_image_stays(hook: Hook, reference: str, words: str) -> None:
    memory = shared()
    digest = memory.tags[REPO]["release"]
    memory.hook = hook
    seen = problem(memory)
    assert seen[0] == reference
    assert words in seen[1]
    assert digest in memory.manifests[REPO]
    assert memory.tags[REPO]["release"] == digest


def test_a_lost_answer_to_a_delete_is_asked_again() -> None:
    memory = shared()

    def lost(request: Request) -> BaseException | None:
        if request.method != "DELETE":
            return None
        memory.hook = None
        memory.answer(request)
        return Unreachable("closed", "the connection was closed")

    memory.hook = lost
    digest = memory.tags[REPO]["nightly"]
    client(memory).delete(REPO, digest)
    assert memory.tags[REPO] == {}
    assert client(memory).head(REPO, digest) == Absent()


def test_the_right_to_delete_is_asked_for_by_its_name() -> None:
    scopes = []
    challenge = 'Bearer realm="https://auth.example/token",service="reg.example"'
    asks = Reply(401, {**API, **JSON, "WWW-Authenticate": challenge}, errors("UNAUTHORIZED"))

    def answer(request: Request) -> Response:
        if request.method == "GET":
            scopes.append(request.url.partition("scope=")[2])
            return made(token())
        return made(Reply(202) if "Authorization" in request.headers else asks)

    client(FakeSend(answer)).delete(REPO, "sha256:" + "0" * 64)
    assert scopes == ["repository%3Ateam%2Fapp%3Adelete"]
