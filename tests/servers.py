"""Servers that are programs, as tests start them: a registry, an S3 server, git's; each at a port of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

PATIENCE = 90.0
"""Seconds after which a server that does not listen is called one that never will."""


@contextmanager
def kept_port() -> Iterator[int]:
    """A port of the loopback at which nobody listens, and that nobody else is given before the block ends.

    It stays bound to a socket that never listens.  A server that sets SO_REUSEADDR may listen there all the same.
    """
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        yield keeper.getsockname()[1]


@contextmanager
def running(*argv: str, port: int) -> Iterator[None]:
    """Run a server; the block begins once it listens at ``port``, and at its end the server is killed.

    A server that ends before it listens fails the test with all it said.
    """
    with tempfile.TemporaryFile() as said:
        server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, process_group=0)
        try:
            _until_it_listens(server, port, said)
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)  # git's has a child
            server.wait()


def _until_it_listens(server: subprocess.Popen[bytes], port: int, said: IO[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    said.seek(0)
    pytest.fail(f"{server.args!r} does not listen, exit {server.poll()}\n{said.read().decode(errors='replace')}")


@contextmanager
def registry(folder: Path, *, delete: bool = True, more: str = "") -> Iterator[int]:
    """A real registry (CNCF distribution) that keeps its data in ``folder/registry``: its port.

    ``more`` are further lines of its configuration.
    """
    if shutil.which("docker-registry") is None:
        pytest.fail("docker-registry is not installed: apt-get install docker-registry")
    config, kept = folder / "registry.yml", f"filesystem: {{rootdirectory: {folder}/registry}}"
    with kept_port() as port:
        config.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{{kept}, delete: {{enabled: {str(delete).lower()}}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}'}}\n{more}"
        )
        with running("docker-registry", "serve", str(config), port=port):
            yield port


@contextmanager
def s3_server() -> Iterator[int]:
    """An S3 server with nothing in it, moto_server, which honours conditional puts: its port."""
    program = Path(sys.executable).with_name("moto_server")
    with kept_port() as port, running(str(program), "-H", "127.0.0.1", "-p", str(port), port=port):
        yield port


@contextmanager
def git_server(folder: Path) -> Iterator[str]:
    """Git's own server of the repositories in ``folder``: its URL."""
    with kept_port() as port:
        words = ("--export-all", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}", f"--base-path={folder}")
        with running("git", "daemon", *words, port=port):
            yield f"git://127.0.0.1:{port}"
