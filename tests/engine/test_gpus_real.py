"""The inventory and the leases with real programs and real processes: what hangs, who dies, whose turn it is.

``GUARD`` is no measurement: it is how long a test waits for what should have happened by itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from ci.settings import capture
from ci.world import files
from ci.world.gpus import Node, inventory
from ci.world.leases import held
from ci.world.ledger import Ledger
from tests.nodes import MACHINES, MISSING, tools, tree

ROOT = Path(__file__).resolve().parents[2]
GUARD = 60
pytestmark = pytest.mark.without_engine


# --- tools --------------------------------------------------------------------------------------


def look(folder: Path, monkeypatch: pytest.MonkeyPatch, machine: str, seconds: float = GUARD, **scripts: str) -> Node:
    programs = tools(folder / "bin", machine, **scripts)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return inventory(capture({}, {}), tree(folder / "root", machine), seconds=seconds)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    node = look(tmp_path, monkeypatch, machine)
    assert (node.source, node.problems) == ("amd-smi", ())
    assert len(node.gpus) in {4, 8}
    assert len({gpu.key for gpu in node.gpus}) == len(node.gpus)


def test_neither_tool_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = look(tmp_path, monkeypatch, "mi300x", amd_smi=MISSING, rocm_smi=MISSING)
    assert (node.source, len(node.gpus), node.problems) == ("sysfs", 8, ())


@pytest.mark.parametrize(
    ("script", "reference"),
    [
        ("exit 1", "smi-failed"),
        ("echo 'ERROR: driver not loaded' >&2; exit 1", "smi-failed"),
        ("echo 'GPU: 0'", "smi-garbage"),
        ("head -c 100000 /dev/zero", "smi-garbage"),
        ("printf '\\377\\376[{'", "smi-garbage"),
        ("kill -9 $$", "smi-failed"),
    ],
)
def test_a_tool_that_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reference: str) -> None:
    node = look(tmp_path, monkeypatch, "mi355x", amd_smi=script)
    assert (node.source, [problem.reference for problem in node.problems]) == ("rocm-smi", [reference])


def test_a_tool_that_hangs_and_ignores_signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a child that holds its pipes: both are gone afterwards."""
    pids = tmp_path / "pids"
    pids.mkdir()
    script = f"trap '' INT TERM\nsleep 600 &\ntouch {pids}/$$ {pids}/$!\nwait\nwait"
    node = look(tmp_path, monkeypatch, "mi300x", seconds=5, amd_smi=script)
    assert (node.source, len(node.gpus)) == ("rocm-smi", 8)
    assert node.problems[0].message == "amd-smi did not answer within 5 s: driver hung?"
    end = time.monotonic() + GUARD
    while left := [path.name for path in pids.iterdir() if _runs(int(path.name))]:
        assert time.monotonic() < end, left
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


# --- leases -------------------------------------------------------------------------------------

TAKE = """
import os, signal, sys
from pathlib import Path
from ci.world.leases import leased
from tests.nodes import eight

state, count, used = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
print("asks", flush=True)

def say(message):
    print("waits", flush=True)

with leased(state, eight(), count, run=sys.argv[4], verb="test", lasts=60, patience=60, say=say) as gpus:
    for gpu in gpus:
        (used / str(gpu.index)).mkdir()  # an error where somebody else has it
    print("has", *[gpu.index for gpu in gpus], flush=True)
    sys.stdin.readline()
    for gpu in gpus:
        (used / str(gpu.index)).rmdir()
print("done", flush=True)
"""


class User:
    """A process that takes GPUs when it can and holds them until told."""

    def __init__(self, folder: Path, count: int, name: str = "run-1") -> None:
        (folder / "used").mkdir(exist_ok=True)
        argv = [sys.executable, "-c", TAKE, str(folder / "state"), str(count), str(folder / "used"), name]
        self.process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def hears(self, word: str) -> str:
        """Its next line, which begins so; how often it waits for somebody else before is its own business."""
        assert self.process.stdout
        lines = (line.strip() for line in self.process.stdout)
        line = next((line for line in lines if line.startswith(word) or line != "waits"), "its end")
        assert line.startswith(word), f"{line!r} is not {word!r}"
        return line

    def waits(self) -> None:
        self.hears("asks")
        self.hears("waits")

    def has(self) -> set[int]:
        return {int(word) for word in self.hears("has").split()[1:]}

    def ends(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@contextmanager
def crowd() -> Iterator[list[User]]:
    """Processes that are gone afterwards, whatever happens."""
    users: list[User] = []
    try:
        yield users
    finally:
        for user in users:
            with suppress(ProcessLookupError):
                os.killpg(user.process.pid, signal.SIGKILL)
            user.process.wait(GUARD)
            for stream in (user.process.stdin, user.process.stdout):
                _close(stream)


def _close(stream: IO[str] | None) -> None:
    if stream:
        with suppress(BrokenPipeError):
            stream.close()


def test_two_processes_share_a_node_and_no_device(tmp_path: Path) -> None:
    with crowd() as users:
        for _ in range(2):
            users.append(User(tmp_path, 4))
        given = []
        for user in users:
            user.hears("asks")
            given.append(user.has())
        assert given[0] | given[1] == set(range(8))
        assert not given[0] & given[1]


def test_eight_processes_are_served_in_the_order_they_came(tmp_path: Path) -> None:
    """The second wants all eight: nobody who came later gets one before it, though seven are free."""
    with crowd() as users:
        users.append(User(tmp_path, 1))
        users[0].hears("asks")
        assert users[0].has() == {0}
        for count in (8, 3, 5, 8, 1, 6, 2):
            users.append(User(tmp_path, count))
            users[-1].waits()
        assert [lease.wanted for lease in held(tmp_path / "state")] == [1, 8, 3, 5, 8, 1, 6, 2]
        users[0].ends()
        assert users[1].has() == set(range(8))
        users[1].ends()
        three, five = users[2].has(), users[3].has()
        assert (len(three), len(five), three & five) == (3, 5, set())
        users[2].ends()
        users[3].ends()
        assert users[4].has() == set(range(8))
        users[4].ends()
        one, six = users[5].has(), users[6].has()
        assert (len(one), len(six), one & six) == (1, 6, set())
        users[5].ends()
        users[6].ends()
        assert len(users[7].has()) == 2
        users[7].ends()
        assert [user.process.wait(GUARD) for user in users] == [0] * 8
    assert held(tmp_path / "state") == ()
    assert list((tmp_path / "state/leases").iterdir()) == []


def test_eight_processes_at_once(tmp_path: Path) -> None:
    """In whatever order they come: a device that two have is an error in one of them."""
    with crowd() as users:
        users += [User(tmp_path, 3) for _ in range(8)]
        for user in users:
            user.ends()
        assert [user.process.wait(GUARD) for user in users] == [0] * 8


def test_kill_9_gives_its_devices_to_the_next(tmp_path: Path) -> None:
    with crowd() as users:
        users.append(User(tmp_path, 8))
        users[0].hears("asks")
        users[0].has()
        users.append(User(tmp_path, 8))
        users[1].waits()
        for path in (tmp_path / "used").iterdir():
            path.rmdir()  # the dead cannot, and the next one has them in the moment of its death
        users[0].process.kill()
        users[0].process.wait(GUARD)
        assert users[1].has() == set(range(8))


def test_a_child_of_the_dead_keeps_nothing(tmp_path: Path) -> None:
    """It outlives its parent; the lock was not its own."""
    script = TAKE.replace(
        'print("has"', 'import subprocess; child = subprocess.Popen(["sleep", "600"])\n    print("has"'
    )
    script = script.replace('print("has", ', 'print("has", child.pid, ')
    state, used = tmp_path / "state", tmp_path / "used"
    used.mkdir()
    argv = [sys.executable, "-c", script, str(state), "8", str(used), "run-1"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        argv, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        try:
            assert parent.stdout
            parent.stdout.readline()
            child = int(parent.stdout.readline().split()[1])
            assert len(held(state)) == 1
            parent.kill()
            parent.wait(GUARD)
            assert _runs(child)
            assert held(state) == ()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(parent.pid, signal.SIGKILL)


def test_sigterm_gives_them_back(tmp_path: Path) -> None:
    script = TAKE.replace("with leased", "from ci.world.process import listen\nwith listen(), leased")
    (tmp_path / "used").mkdir()
    argv = [sys.executable, "-c", script, str(tmp_path / "state"), "8", str(tmp_path / "used"), "run-1"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        argv, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.readline()
        process.terminate()
        process.wait(GUARD)
    assert list((tmp_path / "state/leases").iterdir()) == []


# --- containers that share the state folder -----------------------------------------------------

NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")


def inside(code: str, *arguments: str) -> Mapping[str, object]:
    """What a Python in a process namespace of its own prints: it sees none of our processes."""
    argv = [*NAMESPACE, sys.executable, "-c", code, *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=GUARD, check=False)
    assert done.returncode == 0, done.stderr
    said: Mapping[str, object] = json.loads(done.stdout)
    return said


LOOK = """
import json, os, sys
from pathlib import Path
from ci.world.ledger import abandoned
from ci.world.leases import held
state = Path(sys.argv[1])
print(json.dumps({
    "pid": os.getpid(),
    "abandoned": [ledger.folder.name for ledger in abandoned(state)],
    "held": [lease.run for lease in held(state)],
}))
"""


def test_a_container_sees_that_our_run_and_our_lease_live(tmp_path: Path) -> None:
    state = files.state(str(tmp_path / "state"))
    ledger = Ledger.begin(state, "ours", "test")
    ledger.will_make("container", "ours")
    with crowd() as users:
        users.append(User(tmp_path, 2, "ours"))
        users[0].hears("asks")
        users[0].has()
        said = inside(LOOK, str(state))
        assert int(str(said["pid"])) < 10
        assert (said["abandoned"], said["held"]) == ([], ["ours"])
        users[0].process.kill()
        users[0].process.wait(GUARD)
        os.close(ledger._lock)
        said = inside(LOOK, str(state))
        assert (said["abandoned"], said["held"]) == (["ours"], ["ours"])  # its container may still use them
        for thing in ledger.open_things():
            ledger.gone(thing)
        said = inside(LOOK, str(state))
        assert (said["abandoned"], said["held"]) == ([], [])
