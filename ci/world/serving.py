"""A package index of a store, served on the loopback as a web server would, for as long as a context lasts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from ..errors import CiError, InfraError
from .store import METADATA, Store

_JSON = "application/vnd.pypi.simple.v1+json"
_BLOCK = 1 << 20


@dataclass
class Served:
    """What is served at ``url``; ``sent`` are the paths that went out to their last bytes, ``troubles`` the store's."""

    url: str
    sent: set[str] = field(default_factory=set)
    troubles: list[CiError] = field(default_factory=list)


@contextmanager
def serve(store: Store, *, negotiates: bool) -> Iterator[Served]:
    """Serve ``store``: of a folder its ``index.html``, and ``index.json`` to who asks for it where it ``negotiates``.

    Without that it is the plain web server most people have.
    """
    served = Served("")
    try:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, store, served, negotiates))
    except OSError as error:
        raise InfraError("serving", f"cannot serve {store.name} on the loopback: {error.strerror}") from None
    served.url = f"http://127.0.0.1:{server.server_port}"
    # shutdown() waits for the end of a poll
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD with files of a store."""

    def __init__(self, store: Store, served: Served, negotiates: bool, *arguments: Any) -> None:
        self._store = store
        self._served = served
        self._negotiates = negotiates
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Send a file."""
        self._guarded(body=True)

    def do_HEAD(self) -> None:
        """Say how large a file is."""
        self._guarded(body=False)

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing: progress owns the terminal."""

    def _guarded(self, *, body: bool) -> None:
        """What the store raises is kept for whoever waits; the client sees its connection end."""
        self.close_connection = True
        try:
            self._answer(body=body)
        except CiError as error:
            self._served.troubles.append(error)
        except OSError:
            return  # the client went away, or a file did

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        asks = self._negotiates and _JSON in self.headers.get("Accept", "")
        if path.endswith("/") or not path:
            path += "index.json" if asks else "index.html"
        outside = ".." in path.split("/")
        found = None if outside else self._store.stored(path)
        if found is None:
            self.send_error(404)
            return
        with self._store.opened(path) as stream:
            self.send_response(200)
            self.send_header("Content-Type", _type(path))
            self.send_header("Content-Length", str(found.size))
            self.end_headers()
            if body:
                self._send(path, stream)

    def _send(self, path: str, stream: IO[bytes]) -> None:
        """Send all of it; noted just before its end, since the client goes on the moment it has that."""
        block = stream.read(_BLOCK)
        while following := stream.read(_BLOCK):
            self.wfile.write(block)
            block = following
        self._served.sent.add(path)
        self.wfile.write(block)


def _type(path: str) -> str:
    if path.endswith(".html"):
        return "text/html; charset=utf-8"
    if path.endswith(".json"):
        return _JSON
    return "text/plain; charset=utf-8" if path.endswith(METADATA) else "application/octet-stream"
