"""A real HTTP server on the loopback that misbehaves as it is told."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from tests.unit.registry_replies import Reply, Script


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived; ``connection`` tells kept-alive ones from new ones."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass(slots=True)
class FaultServer:
    """The server's address, its script, which a test may change, and what was asked."""

    url: str
    script: Script
    asked: list[Asked] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    given: dict[tuple[str, str], int] = field(default_factory=dict)

    def reply(self, method: str, path: str) -> Reply:
        """The next reply of the script; 418 shows a request that nobody announced."""
        key = (method, urlsplit(path).path)
        replies = self.script.get(key, (Reply(418, body=f"{key} is not in the script".encode()),))
        number = self.given.get(key, 0)
        self.given[key] = number + 1
        return replies[min(number, len(replies) - 1)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: FaultServer

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Tests are quiet."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = self.client_address[1]
        self.faults.asked.append(Asked(self.command, self.path, dict(self.headers), body, connection))
        reply = self.faults.reply(self.command, self.path)
        if reply.fault == "hang":
            self.faults.released.wait()
        if reply.fault in {"hang", "close"}:
            self.close_connection = True
            return
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        headers = {"Content-Length": str(len(reply.body)), **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value.replace("{url}", self.faults.url))
        self.end_headers()
        if self.command == "HEAD":
            return
        if reply.fault == "cut":
            self.wfile.write(reply.body[: len(reply.body) // 2])
            self.close_connection = True
        elif reply.fault == "drip":
            self._drip(reply.body)
        else:
            self.wfile.write(reply.body)

    def _drip(self, body: bytes) -> None:
        """A byte now and then, always sooner than a read would time out."""
        self.close_connection = True
        for byte in body:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.faults.released.wait(0.1):
                return


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up in mid-answer is what these tests are about."""


@contextlib.contextmanager
def fault_server(script: Script, *, certificate: Path | None = None) -> Iterator[FaultServer]:
    """A server on a free port of 127.0.0.1, gone at the end of the block.

    It speaks TLS where ``certificate`` names a file with a certificate and its key.
    """

    class Handler(_Handler):
        """One class per server: the standard library makes the instances."""

    server = _Server(("127.0.0.1", 0), Handler)
    scheme = "http"
    if certificate is not None:
        scheme = "https"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    faults = Handler.faults = FaultServer(f"{scheme}://127.0.0.1:{server.server_address[1]}", script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield faults
    finally:
        faults.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
