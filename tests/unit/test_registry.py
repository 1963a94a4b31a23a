"""The registry client against a fake `send` and a fake clock."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

import pytest

from ci.errors import ConfigError
from ci.world.fakes import FakeClock, FakeSend, Unexpected
from ci.world.http import Headers, Request, Response, Unreachable, address, redirected
from ci.world.registry import Absent, Found, Registry, Unknown
from ci.world.registry_auth import challenges
from ci.world.registry_session import base_url
from tests.unit.registry_cases import CASES
from tests.unit.registry_replies import (
    API,
    BARE_404,
    BASIC,
    GOOD,
    LOGIN,
    NO_WAY,
    REPO,
    USER,
    Case,
    Reply,
    by_digest,
    errors,
    head,
    on_head,
    outcome,
    token,
    with_token,
)

URL = "http://localhost:5000"


class Script:
    """A case's replies as a function of the request, with time passing as it would."""

    def __init__(self, case: Case, clock: FakeClock) -> None:
        self.case = case
        self.clock = clock
        self.given: dict[tuple[str, str], int] = {}

    def __call__(self, request: Request) -> Response:
        if not self.case.listening:
            raise Unreachable("refused", "connection refused")
        key = (request.method, urlsplit(request.url).path)
        if key not in self.case.script:
            raise Unexpected(f"{key} is not in the script of {self.case.name}")
        replies = self.case.script[key]
        number = self.given.get(key, 0)
        self.given[key] = number + 1
        return self.answer(replies[min(number, len(replies) - 1)], request)

    def answer(self, reply: Reply, request: Request) -> Response:
        where = address(request.url)
        if reply.fault in {"hang", "drip"}:
            self.clock.advance(request.timeout.total)
            raise Unreachable("timeout", f"{where}: no complete answer within {request.timeout.total:g} s")
        if reply.fault == "close":
            raise Unreachable("closed", f"{where}: the connection was closed without a whole answer")
        if reply.fault == "cut":
            raise Unreachable("cut", f"{where}: the body was cut off")
        if len(reply.body) > request.max_body:
            raise Unreachable("too-large", f"{where} sends more than {request.max_body} bytes")
        headers = {name: value.replace("{url}", URL) for name, value in reply.headers.items()}
        body = b"" if request.method == "HEAD" else reply.body
        return Response(reply.status, Headers({"Content-Length": str(len(reply.body)), **headers}), body)


def open_case(case: Case) -> tuple[Registry, FakeSend, FakeClock]:
    clock = FakeClock()
    send = FakeSend(Script(case, clock))
    registry = Registry(
        URL,
        send=send,
        clock=clock,
        credentials=lambda _: case.user,
        deadline=case.deadline,
        jitter=lambda: 0.5,
    )
    return registry, send, clock


def asked(send: FakeSend, path: str) -> list[Request]:
    return [request for request in send.requests if urlsplit(request.url).path == path]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_answer_has_one_meaning(case: Case) -> None:
    registry, send, clock = open_case(case)
    case.check(outcome(case, registry))
    assert len(send.requests) == (case.asked if case.listening else 4)
    assert tuple(clock.sleeps) == case.waits
    assert clock.passed <= case.deadline


def test_names_of_cases_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_a_hang_leaves_time_to_ask_again() -> None:
    case = Case("", head, on_head(Reply(fault="hang"), GOOD), None)
    registry, send, _ = open_case(case)
    assert isinstance(head(registry), Found)
    assert len(send.requests) == 2


def test_a_head_without_length_asks_for_the_body() -> None:
    headers = Headers(GOOD.headers)
    url = f"{URL}/v2/{REPO}/manifests/tag"
    send = FakeSend({("HEAD", url): Response(200, headers), ("GET", url): Response(200, headers, GOOD.body)})
    registry = Registry("localhost:5000", send=send, clock=FakeClock(), credentials=lambda _: None)
    found = registry.head(REPO, "tag")
    assert isinstance(found, Found)
    assert found.size == len(GOOD.body)


def test_a_token_is_asked_once_per_scope_and_again_when_it_is_old() -> None:
    case = Case("", head, with_token(GOOD, tokens=(token(expires_in=100),)), None, user=USER)
    registry, send, clock = open_case(case)
    head(registry)
    head(registry)
    assert len(asked(send, "/token")) == 1
    clock.advance(95)
    assert isinstance(head(registry), Found)  # sent without a token; the script does not mind
    assert "Authorization" not in send.requests[-1].headers


def test_a_token_request_names_service_and_scope_and_only_it_gets_the_password() -> None:
    case = Case("", head, with_token(GOOD), None, user=USER)
    registry, send, _ = open_case(case)
    head(registry)
    (request,) = asked(send, "/token")
    assert parse_qs(urlsplit(request.url).query) == {"service": ["reg"], "scope": ["repository:team/app:pull"]}
    password = base64.b64encode(b"ada:correct horse").decode()
    assert request.headers["Authorization"] == f"Basic {password}"
    assert send.requests[-1].headers["Authorization"] == "Bearer secret-token"
    assert "secret" not in repr(send.requests)
    assert password not in repr(send.requests)


def test_an_https_registry_cannot_lure_the_password_to_plain_http() -> None:
    login = Headers({"WWW-Authenticate": 'Bearer realm="http://auth.example/token"'})
    send = FakeSend(lambda _: Response(401, login))
    registry = Registry("reg.example", send=send, clock=FakeClock(), credentials=lambda _: USER)
    assert "is not https" in str(registry.head(REPO, "tag"))
    assert len(send.requests) == 1


def test_a_wrong_password_is_not_sent_twice_for_one_question() -> None:
    case = Case("", head, on_head(BASIC), None, user=USER)
    registry, send, _ = open_case(case)
    head(registry)
    head(registry)
    assert len(send.requests) == 3


@pytest.mark.parametrize("way", ["basic", "bearer"])
def test_a_registry_that_repeats_what_it_was_sent_does_not_give_it_away(way: str) -> None:
    """The reason ends in logs: neither password nor token is in it."""
    offer = 'Basic realm="x"' if way == "basic" else f'Bearer realm="{URL}/token"'
    granted = b'{"token": "secret-token"}'

    def send(request: Request) -> Response:
        said = request.headers.get("Authorization", "")
        if "/token" in request.url:
            return Response(200, Headers(), granted)
        if not said:
            return Response(401, Headers({"WWW-Authenticate": offer}))
        return Response(403, Headers(API), errors("DENIED", f"you sent {said} of ada, correct horse"))

    registry = Registry("localhost:5000", send=send, clock=FakeClock(), credentials=lambda _: USER)
    found = registry.manifest(REPO, "tag")
    assert isinstance(found, Unknown)
    assert "you sent" in found.reason
    for secret in ("correct horse", "secret-token", base64.b64encode(b"ada:correct horse").decode()):
        assert secret not in found.reason


def test_what_could_not_be_told_names_the_address_once() -> None:
    def send(request: Request) -> Response:
        raise Unreachable("refused", f"{address(request.url)}: connection refused; nothing listens there")

    registry = Registry("localhost:5000", send=send, clock=FakeClock(), credentials=lambda _: None)
    answer = registry.manifest(REPO, "tag")
    assert isinstance(answer, Unknown)
    assert answer.reason.count("localhost:5000/v2/") == 1
    assert "/manifests/tag: connection refused; nothing listens there (" in answer.reason


def test_a_registry_proves_itself_once() -> None:
    case = Case("", head, {**on_head(BARE_404), ("GET", "/v2/"): (NO_WAY,)}, None)
    registry, send, _ = open_case(case)
    assert head(registry) == head(registry) == Absent()
    assert len(asked(send, "/v2/")) == 1


def test_an_upload_that_leaves_tls_is_no_right_to_push() -> None:
    send = FakeSend(lambda _: Response(202, Headers({"Location": "http://reg.example/upload?state=secret"})))
    registry = Registry("reg.example", send=send, clock=FakeClock(), credentials=lambda _: None)
    answer = registry.can_push(REPO)
    assert isinstance(answer, Unknown)
    assert "from https to reg.example/upload over plain http" in answer.reason
    assert len(send.requests) == 1


def test_an_upload_moved_elsewhere_does_not_get_our_token() -> None:
    moved = "https://store.example/upload/1"

    def answer(request: Request) -> Response:
        if request.url == moved:
            return Response(204)
        if request.url.startswith("https://auth.example/"):
            return Response(200, Headers(), token().body)
        if "Authorization" in request.headers:
            return Response(202, Headers({"Location": moved}))
        return Response(401, Headers({"WWW-Authenticate": 'Bearer realm="https://auth.example/"'}))

    send = FakeSend(answer)
    Registry("reg.example", send=send, clock=FakeClock(), credentials=lambda _: USER).can_push(REPO)
    assert send.requests[-1].url == moved
    assert "Authorization" not in send.requests[-1].headers


def test_untrusted_tls_is_not_asked_twice() -> None:
    def answer(_: Request) -> Response:
        raise Unreachable("tls", "reg.example: the TLS certificate is not trusted")

    send = FakeSend(answer)
    registry = Registry("reg.example", send=send, clock=FakeClock(), credentials=lambda _: None)
    assert "not trusted (1 attempt)" in str(by_digest(registry))
    assert len(send.requests) == 1


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("localhost:5000", "http://localhost:5000"),
        ("127.0.0.1", "http://127.0.0.1"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("https://localhost:5000/", "https://localhost:5000"),
        ("localhost.example:5000", "https://localhost.example:5000"),
        ("reg.example", "https://reg.example"),
        ("http://10.0.0.7:5000", "http://10.0.0.7:5000"),
        ("docker.io", "https://registry-1.docker.io"),
    ],
)
def test_plain_http_is_for_the_loopback_or_on_request(given: str, url: str) -> None:
    assert base_url(given)[1] == url


@pytest.mark.parametrize(
    "given",
    ["", "https://", "reg.example/team", "ada:secret@reg.example", "reg.example:port", "ftp://reg.example", "a b"],
)
def test_a_bad_registry_address_is_a_config_error(given: str) -> None:
    with pytest.raises(ConfigError) as caught:
        base_url(given)
    assert caught.value.problems[0].reference == "registry-address"
    assert "secret" not in str(caught.value)


def test_challenges_are_taken_apart() -> None:
    header = 'Negotiate, Bearer realm="https://a/t?x=1",scope="repository:a/b:pull,push", Basic realm="q\\"x"'
    bearer, basic = challenges(header)
    assert (bearer.scheme, bearer.params["scope"]) == ("bearer", "repository:a/b:pull,push")
    assert (basic.scheme, basic.params) == ("basic", {"realm": 'q"x'})
    assert challenges("Negotiate") == challenges("") == ()


def test_a_redirect_keeps_the_password_at_home() -> None:
    request = Request("GET", "https://reg.example/v2/x", {"authorization": "Bearer x", "Accept": "y"})
    assert redirected(request, "/v2/z").headers == request.headers
    there = redirected(request, "https://store.example/blob?sig=1")
    assert (there.url, there.headers) == ("https://store.example/blob?sig=1", {"Accept": "y"})


@pytest.mark.parametrize("location", ["http://reg.example/v2/x", "http://other.example/?sig=secret", "file:///etc"])
def test_a_redirect_never_leaves_tls(location: str) -> None:
    with pytest.raises(Unreachable) as caught:
        redirected(Request("GET", "https://reg.example/v2/x"), location)
    assert caught.value.kind == "redirect"
    assert "secret" not in caught.value.reason


def test_the_fake_refuses_what_was_not_announced() -> None:
    send = FakeSend({("GET", URL): [Response(200)], ("GET", "x"): Unreachable("dns", "no such name")})
    assert send(Request("GET", URL)).status == 200
    with pytest.raises(Unexpected, match="asked 2 times, 1 announced"):
        send(Request("GET", URL))
    with pytest.raises(Unexpected, match="PUT"):
        send(Request("PUT", URL))
    with pytest.raises(Unreachable):
        send(Request("GET", "x"))
    assert len(send.requests) == 4


def test_login_cases_use_the_bearer_scheme() -> None:
    assert challenges(LOGIN.headers["WWW-Authenticate"])[0].params["service"] == "reg"
