"""One HTTP request, one response: the `send` seam.

Knows nothing about registries.  It promises four things `requests` alone does not:
the whole exchange ends by a deadline (name resolution and a server that drips bytes
included), a cut-off body is an error, a body has a size limit, and neither a
redirect nor a ``.netrc`` moves a password to where it was not meant to go.
"""

from __future__ import annotations

import functools
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal
from urllib.parse import urljoin, urlsplit

from .clock import Clock, SystemClock

if TYPE_CHECKING:
    import requests

MAX_BODY = 8 * 1024 * 1024
MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LOOK = 0.5
"""Seconds of one wait: a signal in the very moment it begins does not end it."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

Trouble = Literal["dns", "refused", "tls", "timeout", "cut", "closed", "too-large", "redirect", "broken"]


class Unreachable(Exception):
    """No usable response: ``reason`` says why in plain words, ``kind`` for programs.

    It never carries a query string, header or body, which may hold a secret.
    """

    def __init__(self, kind: Trouble, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason

    @property
    def lasting(self) -> bool:
        """Whether asking again cannot help."""
        return self.kind in {"tls", "too-large", "redirect"}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds: to connect, between two bytes, and for everything together."""

    connect: float = 5.0
    read: float = 10.0
    total: float = 15.0


class Headers(Mapping[str, str]):
    """Response headers; names are looked up without regard to case."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = {name.lower(): value for name, value in (values or {}).items()}

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({sorted(self._values)})"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked; ``max_body`` limits the bytes of an answer that is held in memory.

    ``file`` is sent as the body, piece by piece.  ``into`` is given the body of a 200 piece by
    piece, once for each such answer, and is to read it to its end; the response then has none.
    With either, ``timeout.total`` is the time that may pass without a byte.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    timeout: Timeouts = field(default_factory=Timeouts)
    max_body: int = MAX_BODY
    file: Path | None = None
    into: Callable[[Iterator[bytes]], None] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """What was answered, read to its end."""

    status: int
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""


Send = Callable[[Request], Response]


def address(url: str) -> str:
    """``host:port/path`` of a URL: what may be shown, without user, password and query."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path


def send(request: Request) -> Response:
    """Do one request, following redirects of GET and HEAD; raises ``Unreachable``.

    The exchange runs in a thread of its own because neither name resolution nor the
    reading of headers can be given a deadline from inside.
    """
    future: Future[Response] = Future()
    watch = _Watch(SystemClock(), request.timeout.total)
    threading.Thread(target=_work, args=(request, future, watch), name="http", daemon=True).start()
    while not future.done():
        if watch.left <= 0:
            raise _late(request)
        wait((future,), timeout=min(watch.left, _LOOK))
    return future.result()


class _Watch:
    """The time an exchange has; a piece of a stream that moved begins it anew."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._end = clock.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that remain, never negative."""
        return max(0.0, self._end - self._clock.monotonic())

    def moved(self) -> None:
        """A piece has moved."""
        self._end = self._clock.monotonic() + self._seconds


class _Sent:
    """A file on its way out, in the shape that `requests` streams."""

    def __init__(self, stream: BinaryIO, size: int, watch: _Watch) -> None:
        self._stream = stream
        self._size = size
        self._watch = watch

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(65536), b"")

    def read(self, size: int = -1) -> bytes:
        """The next piece."""
        if self._watch.left <= 0:
            raise TimeoutError  # the caller has gone, and may be sending it anew
        self._watch.moved()
        return self._stream.read(size)


def redirected(request: Request, location: str) -> Request:
    """The request that follows a redirect to ``location``; refuses to leave TLS.

    Another origin does not get our ``Authorization``: blobs are served by stores that
    are not the registry.
    """
    url = urljoin(request.url, location)
    old, new = urlsplit(request.url), urlsplit(url)
    if new.scheme not in {"http", "https"}:
        raise Unreachable("redirect", f"{address(request.url)} redirects to a {new.scheme or 'nameless'} URL")
    if old.scheme == "https" and new.scheme == "http":
        raise Unreachable("redirect", f"{address(request.url)} redirects from https to plain http at {new.hostname}")
    headers = dict(request.headers)
    if (old.scheme, old.netloc) != (new.scheme, new.netloc):
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    return replace(request, url=url, headers=headers)


def _work(request: Request, future: Future[Response], watch: _Watch) -> None:
    try:
        future.set_result(_follow(request, watch))
    except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
        future.set_exception(error)


def _follow(request: Request, watch: _Watch) -> Response:
    for _ in range(MAX_REDIRECTS + 1):
        response = _once(request, watch)
        location = response.headers.get("location")
        if response.status not in REDIRECTS or location is None or request.method not in {"GET", "HEAD"}:
            return response
        request = redirected(request, location)
    raise Unreachable("redirect", f"{address(request.url)}: more than {MAX_REDIRECTS} redirects")


def _once(request: Request, watch: _Watch) -> Response:
    import requests
    import urllib3

    try:
        with ExitStack() as closing:
            answer = closing.enter_context(_open(request, _data(request, watch, closing)))
            body = _read(request, answer, watch)
            return Response(answer.status_code, Headers(answer.headers), body)
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        http.client.HTTPException,
        OSError,
    ) as error:
        raise _explained(request, error) from error


def _data(request: Request, watch: _Watch, closing: ExitStack) -> bytes | _Sent | None:
    """The body to send; a file without content is none, since of nothing a stream has no length."""
    size = request.file.stat().st_size if request.file else 0
    if request.file is None or not size:
        return request.body
    return _Sent(closing.enter_context(request.file.open("rb")), size, watch)


def _open(request: Request, data: bytes | _Sent | None) -> requests.Response:
    import requests

    session = _session()
    # identity: what a digest and Content-Length are about is then what is on the wire.
    headers = {"Accept-Encoding": "identity", "User-Agent": "rocm-ci", **request.headers}
    prepared = session.prepare_request(requests.Request(request.method, request.url, headers=headers, data=data))
    settings = session.merge_environment_settings(prepared.url, {}, True, None, None)
    if urlsplit(request.url).hostname in LOOPBACK:
        settings["proxies"] = {}  # as every container tool does: a proxy cannot reach our loopback
    limits = (request.timeout.connect, request.timeout.read)
    return session.send(prepared, timeout=limits, allow_redirects=False, **settings)


@functools.cache
def _session() -> requests.Session:
    """One session per process, for its kept-alive connections and nothing else."""
    from http.cookiejar import DefaultCookiePolicy

    import requests

    session = requests.Session()
    session.auth = _as_given
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


def _as_given(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep our own Authorization: without any `auth`, requests would put ~/.netrc over it."""
    return prepared


def _read(request: Request, answer: requests.Response, watch: _Watch) -> bytes:
    """The body, held to its limit; one that is wanted elsewhere goes there and leaves none here."""
    if request.into and answer.status_code == 200:
        request.into(_pieces(request, answer, watch, watch.moved))
        return b""
    chunks: list[bytes] = []
    size = 0
    for chunk in _pieces(request, answer, watch):
        chunks.append(chunk)
        size += len(chunk)
        if size > request.max_body:
            raise Unreachable("too-large", f"{address(request.url)} sends more than {request.max_body} bytes")
    return b"".join(chunks)


def _pieces(
    request: Request, answer: requests.Response, watch: _Watch, moved: Callable[[], None] = lambda: None
) -> Iterator[bytes]:
    """The body as it comes; ``read1`` returns what is there, so that dripping bytes meet the deadline."""
    while chunk := answer.raw.read1(65536, decode_content=True):
        if watch.left <= 0:
            raise _late(request)
        moved()
        yield chunk
    announced = answer.headers.get("content-length", "")
    received = answer.raw.tell()
    if request.method != "HEAD" and announced.isdigit() and received < int(announced):
        raise Unreachable("cut", f"{address(request.url)}: the body was cut off ({received} of {announced} bytes)")


def _late(request: Request) -> Unreachable:
    what = "no byte more" if request.file or request.into else "no complete answer"
    return Unreachable("timeout", f"{address(request.url)}: {what} within {request.timeout.total:g} s")


def _explained(request: Request, error: BaseException) -> Unreachable:
    """The first known cause, in our words: foreign messages contain whole URLs."""
    where = address(request.url)
    chain = tuple(causes(error))
    for kind, errors, words in _known_troubles():
        cause = next((cause for cause in chain if isinstance(cause, errors)), None)
        if cause is not None:
            detail = getattr(cause, "verify_message", "")
            return Unreachable(kind, f"{where}: {words}" + (f" ({detail})" if detail else ""))
    return Unreachable("broken", f"{where}: the request failed ({type(error).__name__})")


def _known_troubles() -> tuple[tuple[Trouble, tuple[type[BaseException], ...], str], ...]:
    """The causes we have words for; the more telling first, since one error wraps several."""
    import requests
    import urllib3.exceptions as under

    return (
        ("closed", (requests.exceptions.ProxyError,), "the proxy on the way does not answer or refuses"),
        ("dns", (socket.gaierror, under.NameResolutionError), "the host name cannot be resolved (DNS)"),
        ("tls", (ssl.SSLCertVerificationError,), "the TLS certificate is not trusted"),
        ("tls", (ssl.SSLError, requests.exceptions.SSLError), "no TLS; does it speak plain http?"),
        ("refused", (ConnectionRefusedError,), "connection refused; nothing listens there"),
        ("timeout", (TimeoutError, requests.Timeout, under.TimeoutError), "no answer in time"),
        ("cut", (http.client.IncompleteRead, under.IncompleteRead), "the body was cut off"),
        (
            "closed",
            (ConnectionError, http.client.HTTPException, under.ProtocolError),
            "the connection was closed without a whole answer",
        ),
    )


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it wraps and what caused it; requests and urllib3 wrap in ``args`` and ``reason``."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, BaseException) and id(item) not in seen:
            seen.add(id(item))
            yield item
            waiting += [*item.args, getattr(item, "reason", None), item.__cause__, item.__context__]
