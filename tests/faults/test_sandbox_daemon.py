"""An engine that dies, restarts, falls silent or breaks off in mid-command; always one of the test's own."""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ci.errors import InfraError
from ci.world.container import Container
from ci.world.engine import Endpoint, Engine
from ci.world.ledger import Ledger
from ci.world.sandbox import Ended, Limits, Spec
from tests.faults.daemon import Daemon
from tests.faults.stand import ROOT, busy_root, processes, soon

FOREVER = "echo ready; while :; do sleep 0.05; done"
IMAGE = "rocm-ci-faults/sandbox:1"


class Attended:
    """A container at an engine of the test's own, in a ledger, and one command attended in a thread."""

    def __init__(self, host: str, state: Path, image: str = IMAGE) -> None:
        self.host = host
        self.state = state
        self.ledger = Ledger.begin(state, "20260101T000000Z-sandbox", "test")
        self.name = f"rocm-ci-faults-{secrets.token_hex(4)}"
        self.said: list[str] = []
        self.ready = threading.Event()
        self.ended: list[Ended] = []
        engine = Engine(Endpoint(host, "default"))
        env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DOCKER_HOST": host}
        self.sandbox = Container(Spec(self.name, image), engine, env, self.said.append)
        self.thing = self.ledger.will_make("container", self.name)

    def begin(self, script: str = FOREVER, limits: Limits | None = None) -> None:
        """Begin it and have the command said to be ready."""
        self.sandbox.begin()
        self.thread = threading.Thread(target=self._attend, args=(script, limits or Limits(600)), daemon=True)
        self.thread.start()
        assert self.ready.wait(60)

    def _attend(self, script: str, limits: Limits) -> None:
        argv = ("sh", "-c", script)
        ended = self.sandbox.attend(
            argv, env={}, cwd="", limits=limits, on_line=lambda *_: self.ready.set(), on_limit=lambda _kind: None
        )
        self.ended.append(ended)

    def end(self) -> Ended:
        """How the command ended."""
        self.thread.join(90)
        (ended,) = self.ended
        return ended

    def reap(self) -> tuple[int, str]:
        """Let the run be over, and have ``reap`` clear up."""
        self.ledger.end()
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self.state), "DOCKER_HOST": self.host}
        argv = [sys.executable, "-m", "ci", "reap"]
        done = subprocess.run(
            argv, cwd=ROOT, env={**env, "ROCM_CI_STATE": str(self.state)}, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def containers(self) -> str:
        """Its container, if there is one still."""
        argv = ["docker", "--host", self.host, "ps", "--all", "--quiet", "--filter", f"name={self.name}"]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def attended(daemon: Daemon, tmp_path: Path) -> Callable[[], Attended]:
    """Start the test's own engine, with the image in it."""

    def start() -> Attended:
        daemon.start()
        subprocess.run(["docker", "--host", daemon.host, "import", "-", IMAGE], input=busy_root(), check=True)
        return Attended(daemon.host, tmp_path / "state")

    return start


def nothing_is_left(made: Attended, folder: Path) -> None:
    code, output = made.reap()
    assert code == 0, output
    assert made.name in output
    assert made.containers() == ""
    soon(lambda: not processes(f"{folder}/data/containers"), "something still runs")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "told to stop"])
def test_an_engine_that_ends_in_mid_command(
    attended: Callable[[], Attended], daemon: Daemon, number: signal.Signals
) -> None:
    made = attended()
    made.begin()
    daemon.kill(number)
    ended = made.end()
    assert (ended.code, ended.limit, bool(ended.lost)) == (None, "", True), ended
    with pytest.raises(InfraError):
        made.sandbox.end(1)
    with pytest.raises(InfraError):
        made.sandbox.attend(
            ("true",), env={}, cwd="", limits=Limits(5), on_line=lambda *_: None, on_limit=lambda _kind: None
        )
    daemon.start()
    nothing_is_left(made, daemon.folder)


def test_an_engine_that_is_restarted_in_mid_command(attended: Callable[[], Attended], daemon: Daemon) -> None:
    """It is back before we ask what became of the command."""
    made = attended()
    asked = made.sandbox._engine.container
    back = threading.Event()

    def later(name: str) -> object:
        back.wait(60)
        return asked(name)

    made.begin()
    made.sandbox._engine.container = later  # type: ignore[assignment, method-assign]
    daemon.kill(signal.SIGTERM)
    daemon.start()
    back.set()
    ended = made.end()
    assert ended.code is None, ended
    assert "from outside" in ended.lost
    nothing_is_left(made, daemon.folder)


def test_an_engine_that_is_silent_at_the_limit(attended: Callable[[], Attended], daemon: Daemon) -> None:
    """The ladder finds nobody to tell, and does not wait for what cannot come."""
    made = attended()
    made.begin(limits=Limits(3))
    daemon.kill(signal.SIGSTOP)
    ended = made.end()
    assert (ended.code, ended.limit) == (None, "deadline"), ended
    assert "went away" in ended.lost
    assert ended.rungs == ("SIGINT", "SIGTERM", "SIGKILL")
    assert sum("cannot be sent" in line for line in made.said) == 3
    daemon.kill(signal.SIGCONT)
    nothing_is_left(made, daemon.folder)


# --- an answer that breaks off ----------------------------------------------------------------


class Line:
    """A socket in front of an engine, ``host`` its address; ``cut`` breaks off every answer that is still coming."""

    def __init__(self, folder: Path, behind: str, kind: str) -> None:
        self._behind = behind.removeprefix("unix://")
        self._pairs: list[socket.socket] = []
        if kind == "unix":
            self._server = socket.socket(socket.AF_UNIX)
            self._server.bind(str(folder / "line.sock"))
        else:
            self._server = socket.socket()
            self._server.bind(("127.0.0.1", 0))
        name = self._server.getsockname()
        self.host = f"unix://{name}" if kind == "unix" else f"tcp://127.0.0.1:{name[1]}"
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._behind)
                self._pairs += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()

    def cut(self) -> None:
        """Break off."""
        for one in self._pairs:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """No more of it."""
        self._server.close()
        self.cut()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture(params=["unix", "tcp"])
def line(request: pytest.FixtureRequest, engine_host: str, tmp_path: Path) -> Iterator[Line]:
    """A socket in front of the machine's engine."""
    made = Line(tmp_path, engine_host, request.param)
    yield made
    made.close()


@pytest.fixture
def distant(line: Line, engine_host: str, busy: str, tmp_path: Path) -> Iterator[Attended]:
    """A container of the machine's engine, asked for through the line; gone afterwards."""
    made = Attended(line.host, tmp_path / "state", busy)
    yield made
    subprocess.run(["docker", "--host", engine_host, "rm", "--force", made.name], check=False, capture_output=True)


def test_an_answer_that_breaks_off_is_no_success(line: Line, distant: Attended) -> None:
    """The engine is well and the command still runs; docker's exit code may well be 0."""
    distant.begin()
    line.cut()
    ended = distant.end()
    assert ended.code is None, ended
    assert ended.lost
    assert distant.sandbox.end(20) == ("SIGTERM",)


def test_a_step_at_a_distant_engine(distant: Attended) -> None:
    """Every call of a step, and the ladder, by either way to an engine."""
    distant.begin("echo ready; sleep 600", Limits(1, grace_seconds=5))
    assert distant.end().rungs == ("SIGINT",)
    assert distant.sandbox.end(20) == ()
    assert distant.sandbox.end(20) == ()
    assert distant.containers() == ""
