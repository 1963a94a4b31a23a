"""A door in front of an S3 server that passes everything on, but what it is told to spoil.

Conditional writes go through one at a time: S3 promises that, and moto looks first and writes then.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.unit.registry_replies import Reply


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


XML = {"Content-Type": "application/xml"}


def error(status: int, code: str) -> Reply:
    """An error as S3 writes one."""
    return Reply(
        status, XML, f"<?xml version='1.0'?>\n<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    )


LOST = Reply(fault="cut")
"""The server does as it is asked, and nobody hears the answer."""


@dataclass
class Front:
    """``spoil(asked)``: what to answer, None: what the server does; a reply that hangs does so until ``released``."""

    url: str
    behind: str
    spoil: Callable[[Asked], Reply | None] = lambda _asked: None
    asked: list[Asked] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    conditional: threading.Lock = field(default_factory=threading.Lock)

    def perform(self, asked: Asked) -> Reply:
        """What the server behind answers."""
        to = urlsplit(self.behind)
        connection = http.client.HTTPConnection(to.hostname or "", to.port, timeout=60)
        try:
            connection.request(asked.method, asked.path, asked.body, asked.headers)
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    front: Front

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Tests are quiet."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, body)
        self.front.asked.append(asked)
        reply = self.front.spoil(asked)
        if reply is not None and reply.fault == "hang":
            self.front.released.wait()
        if reply is None or reply is LOST:
            with self.front.conditional if headers.keys() & {"if-match", "if-none-match"} else nullcontext():
                done = self.front.perform(asked)
            reply = reply or done
        if reply.fault:
            self.close_connection = True
        else:
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        headers = {name.lower(): value for name, value in reply.headers.items()}
        headers.pop("transfer-encoding", None)
        if self.command != "HEAD":
            headers["content-length"] = str(len(reply.body))
        headers.setdefault("content-length", "0")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what these tests are about."""


@contextmanager
def front(behind: str) -> Iterator[Front]:
    """Serve the S3 server at the URL ``behind`` on a free port of the loopback."""

    class Handler(_Handler):
        """One class per server: the standard library makes the instances."""

    server = _Server(("127.0.0.1", 0), Handler)
    Handler.front = Front(f"http://127.0.0.1:{server.server_port}", behind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Handler.front
    finally:
        Handler.front.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
