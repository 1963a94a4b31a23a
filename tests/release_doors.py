"""A door in front of a registry or an S3 server: it passes on, notes, spoils, or lets a test act around a request."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from tests.unit.registry_replies import Reply

READS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived; header names in lower case, ``path`` as it was sent, ``where`` is which door."""

    where: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def writes(self) -> bool:
        """Whether it may change something."""
        return self.method not in READS

    @property
    def name(self) -> str:
        """Method and path, as a person writes them."""
        return f"{self.method} {unquote(self.path)}"


Act = Callable[[Asked, Callable[[], Reply]], Reply]
"""``act(asked, perform)``: what to answer; ``perform()`` is what the server behind answers."""


def straight(_asked: Asked, perform: Callable[[], Reply]) -> Reply:
    """Pass everything on."""
    return perform()


CLOSE = Reply(fault="close")
"""No answer: the connection is closed."""


@dataclass
class Door:
    """``host`` to ask; ``act`` may be changed by a test; ``done`` has every request with the status it got."""

    where: str
    host: str
    behind: int
    act: Act = straight
    done: list[tuple[Asked, int]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    conditional: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """The same as a URL."""
        return f"http://{self.host}"

    def answer(self, asked: Asked) -> Reply:
        """What ``act`` makes of a request; what the server behind answered is noted, 0 where it was not asked."""
        statuses: list[int] = []

        def perform() -> Reply:
            # moto looks first and writes then, where S3 promises that both are one
            with self.conditional if asked.headers.keys() & {"if-match", "if-none-match"} else nullcontext():
                reply = self._perform(asked)
            statuses.append(reply.status)
            with self.lock:
                self.done.append((asked, reply.status))
            return reply

        try:
            return self.act(asked, perform)
        finally:
            if not statuses:
                with self.lock:
                    self.done.append((asked, 0))

    def _perform(self, asked: Asked) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.behind, timeout=60)
        try:
            headers = {name: value for name, value in asked.headers.items() if name != "transfer-encoding"}
            headers["content-length"] = str(len(asked.body))
            connection.request(asked.method, asked.path, asked.body, headers)
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    door: Door

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Tests are quiet."""

    def handle(self) -> None:
        """Tell an engine that tries TLS that this is plain http, in the way that makes it try that."""
        if self.rfile.peek(1)[:1] == b"\x16":  # type: ignore[attr-defined]
            self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        else:
            super().handle()

    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.door.where, self.command, self.path, headers, self._body())
        try:
            reply = self.door.answer(asked)
        except OSError:
            reply = CLOSE  # as a server that died
        if reply.fault == "close":
            self.close_connection = True
            return
        with suppress(OSError):
            self._send(reply)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, reply: Reply) -> None:
        """``cut``: the length of the whole body is promised, half of it comes, and the connection is reset."""
        self.send_response(reply.status)
        headers = {name.lower(): value for name, value in reply.headers.items()}
        headers.pop("transfer-encoding", None)
        if self.command != "HEAD":
            headers["content-length"] = str(len(reply.body))
        headers.setdefault("content-length", "0")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if reply.fault == "cut":
            self.wfile.write(reply.body[: len(reply.body) // 2])
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(reply.body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what these tests are about."""


@contextmanager
def door(where: str, behind: int) -> Iterator[Door]:
    """A door to what listens at port ``behind`` of the loopback."""

    class Handler(_Handler):
        """One class per server: the standard library makes the instances."""

    server = _Server(("127.0.0.1", 0), Handler)
    Handler.door = Door(where, f"127.0.0.1:{server.server_port}", behind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Handler.door
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
