"""``vllm serve`` in a process session of its own: started, waited for, stopped, and what it left behind.

Its output goes to a file: a pipe nobody reads stops the server.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import processes
from asking import MODEL, Client

PORT_TAKEN = re.compile(r"address already in use|EADDRINUSE|Errno 98", re.IGNORECASE)
STARTS = 3
"""How often a start is tried when somebody took the free port in between."""
SHARED_MEMORY = Path("/dev/shm")
GRACE = 5.0
"""Seconds that each rung of a stop may take, and that the rest may outlive the server's first process."""


class NotUp(Exception):
    """The server ended, or was not healthy in time; the text has the end of its output."""


class Serve(NamedTuple):
    """How to start the server under test: the model, its arguments, and the seconds it may take to be up."""

    model: Path
    arguments: tuple[str, ...]
    limit: float


class Server(NamedTuple):
    """A running server; ``shared`` is what shared memory held before its start."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    shared: frozenset[str]

    @property
    def client(self) -> Client:
        """Asks this server."""
        return Client(self.port)

    def family(self, known: Sequence[processes.Process] = ()) -> list[processes.Process]:
        """Every process of the server, and those of ``known`` that still run."""
        return processes.family(processes.table(), self.process.pid, [each.name for each in known])

    def tail(self, lines: int = 40) -> str:
        """The end of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Leftovers(NamedTuple):
    """What is still there after the end of a server; all empty is what a test wants."""

    processes: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    shared: tuple[str, ...] = ()

    def __str__(self) -> str:
        kinds = (("processes", self.processes), ("ports", self.ports), ("shared memory", self.shared))
        return "; ".join(f"{kind}: {', '.join(map(str, found))}" for kind, found in kinds if found)


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def shared_segments(folder: Path = SHARED_MEMORY) -> frozenset[str]:
    """The names in shared memory."""
    return frozenset(each.name for each in folder.iterdir()) if folder.is_dir() else frozenset()


def default_arguments(has_gpu: bool) -> tuple[str, ...]:
    """Small and quick to start; on the CPU float32, because its bfloat16 may need instructions that are not there."""
    dtype = "bfloat16" if has_gpu else "float32"
    return (
        f"--dtype={dtype}", "--enforce-eager", "--max-model-len=4096", "--max-num-seqs=4",
        f"--gpu-memory-utilization={0.05 if has_gpu else 0.2}",
    )  # fmt: skip


def has_gpu(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a ROCm GPU can be used: there is the device node, and the mask does not hide all."""
    return Path("/dev/kfd").exists() and environ.get("HIP_VISIBLE_DEVICES") not in {"", "-1"}


def launch(model: Path, arguments: Sequence[str], log: Path) -> Server:
    """Start it once, on a port that was free."""
    program = shutil.which("vllm")
    if program is None:
        raise NotUp("there is no program `vllm` on the PATH of this image")
    port = free_port()
    argv = [program, "serve", str(model), "--host=127.0.0.1", f"--port={port}", f"--served-model-name={MODEL}"]
    shared = shared_segments()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*argv, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Server(process, port, log, shared)


def await_health(server: Server, limit: float) -> None:
    """Return once it is healthy; ``NotUp`` if it ended or the limit came first."""
    end = time.monotonic() + limit
    while not server.client.healthy(limit=10):
        left = end - time.monotonic()
        if left <= 0:
            raise NotUp(f"the server was not healthy within {limit:g} s; its output ends:\n{server.tail()}")
        if processes.wait([server.process.pid], min(left, 0.5)):
            raise NotUp(f"the server ended with {server.process.wait()} before it was up:\n{server.tail()}")


@contextmanager
def serving(model: Path, arguments: Sequence[str], folder: Path, limit: float) -> Iterator[Server]:
    """A healthy server; afterwards none of its processes is left, whatever happened inside."""
    for attempt in range(1, STARTS + 1):
        server = launch(model, arguments, folder / f"serve-{attempt}.log")
        try:
            await_health(server, limit)
        except NotUp:
            stop(server)
            if attempt == STARTS or not PORT_TAKEN.search(server.tail(200)):
                raise
        else:
            break
    try:
        yield server
    finally:
        leave(server)


def leave(server: Server) -> None:
    """Let it end as it is meant to, and then by force what has not."""
    if server.process.poll() is None:
        known = server.family()
        server.process.terminate()
        processes.wait([server.process.pid], 4 * GRACE)
        stop(server, known)
    else:
        stop(server)


def stop(server: Server, known: Sequence[processes.Process] = ()) -> tuple[str, ...]:
    """End whatever still runs, by the ladder; the signals that were needed."""
    needed = processes.end(server.family(known), GRACE)
    if server.process.returncode is None:
        server.process.wait()
    return needed


def settle(look: Callable[[], bool], limit: float = GRACE) -> bool:
    """Whether ``look`` becomes true within ``limit`` seconds; for what nobody can be blocked on."""
    end = time.monotonic() + limit
    while not look():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def leftovers(server: Server, known: Sequence[processes.Process], limit: float = GRACE) -> Leftovers:
    """What of the server is still there ``limit`` seconds after its first process has ended."""
    processes.wait_all([each.pid for each in processes.alive(server.family(known))], limit)
    settle(lambda: shared_segments() <= server.shared, limit)
    return Leftovers(
        tuple(map(str, processes.alive(server.family(known)))),
        (server.port,) if listens(server.port) else (),
        tuple(sorted(shared_segments() - server.shared)),
    )
