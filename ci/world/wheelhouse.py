"""Local wheel folders, served read-only on the engine's bridge while a build runs.

A RUN step cannot see a folder of the host.  Served over HTTP the folder is a mirror like
any other: requirements are locked by hash, so it can change nothing but speed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ..errors import InfraError


@contextmanager
def serve(folders: Sequence[Path], address: str) -> Iterator[Mapping[Path, str]]:
    """Serve each folder on ``address``, port chosen by the system; gives folder → URL."""
    servers: list[ThreadingHTTPServer] = []
    try:
        urls = {}
        for folder in folders:
            server = _listen(folder, address)
            servers.append(server)
            # shutdown() waits for the end of a poll, and a build should not wait half a second for that
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            urls[folder] = f"http://{address}:{server.server_port}/"
        yield urls
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _listen(folder: Path, address: str) -> ThreadingHTTPServer:
    try:
        return ThreadingHTTPServer((address, 0), partial(_Quiet, directory=str(folder)))
    except OSError as error:
        hint = "the engine may run on another host; use an index URL instead of a local folder in pip's configuration"
        raise InfraError("wheelhouse", f"cannot serve {folder} on {address}: {error.strerror}", hint=hint) from None


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files; says nothing, because progress owns the terminal."""

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""
