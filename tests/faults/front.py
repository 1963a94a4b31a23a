"""A door in front of a real registry that passes everything on, but what it is told to spoil."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.unit.registry_replies import Reply

Spoil = Callable[[str, str], Reply | None]
"""``spoil(method, path)``: what to answer instead of the registry, or None."""


@dataclass
class Front:
    """``port`` to ask, the spoiler, which a test may change, and what was asked."""

    port: int
    spoil: Spoil
    asked: list[tuple[str, str]] = field(default_factory=list)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what these tests are about."""


@contextmanager
def front(behind: int, spoil: Spoil, port: int = 0) -> Iterator[Front]:
    """Serve the registry at port ``behind``, spoiled, at ``port`` of the loopback."""

    class Handler(_Handler):
        backend = behind

    server = _Server(("127.0.0.1", port), Handler)
    Handler.front = Front(server.server_port, spoil)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Handler.front
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    front: Front
    backend: int

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self._pass_on
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Tests are quiet."""

    def handle(self) -> None:
        """Tell an engine that tries TLS that this is plain http, in the way that makes it try that."""
        if self.rfile.peek(1)[:1] == b"\x16":  # type: ignore[attr-defined]
            self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        else:
            super().handle()

    def _pass_on(self) -> None:
        body = self._body()
        self.front.asked.append((self.command, self.path))
        reply = self.front.spoil(self.command, self.path)
        if reply is None:
            self._ask(body)
        elif reply.fault == "close":
            self.close_connection = True
        else:
            self._answer(reply.status, dict(reply.headers), reply.body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _ask(self, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.backend, timeout=30)
        kept = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
        kept["Content-Length"] = str(len(body))
        try:
            connection.request(self.command, self.path, body, kept)
            answer = connection.getresponse()
            headers = {name: value for name, value in answer.getheaders() if name.lower() != "transfer-encoding"}
            self._answer(answer.status, headers, answer.read())
        except OSError:
            self.close_connection = True  # as a registry that died
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        with suppress(OSError):
            self.send_response(status)
            if self.command != "HEAD":
                headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
                headers["Content-Length"] = str(len(body))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
