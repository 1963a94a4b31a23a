"""``python -m ci doctor`` against the real engine, and against things that hang or are not there.

``GUARD`` is no measurement: it is how long a test waits for a process that should have ended by itself.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ci.errors import DeadlineError
from ci.world import probes
from ci.world.process import Command

ROOT = Path(__file__).resolve().parents[2]
GUARD = 60
HIDDEN = ("ROCM_CI_", "DOCKER_", "PIP_")


def doctor(
    *options: str, folder: Path = ROOT, hanging: Collection[str] = (), **environ: str
) -> tuple[int, Mapping[str, Mapping[str, Any]], str]:
    """Exit code, findings by check, and the outcome; asked again where others than ``hanging`` were too slow."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)}
    argv = [sys.executable, "-m", "ci", "doctor", "--json", *options]
    env = {**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environ}
    for _ in range(3):
        done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=GUARD, check=False)
        assert done.stderr == ""
        document = json.loads(done.stdout)
        found = {each["check"]: each for each in document["findings"]}
        if not {name for name, each in found.items() if "did not answer" in each["message"]} - set(hanging):
            break
    return done.returncode, found, document["outcome"]


@contextmanager
def silent(family: socket.AddressFamily, address: Any) -> Iterator[socket.socket]:
    """A server that accepts and never answers."""
    with socket.socket(family) as server:
        server.bind(address)
        server.listen(50)
        held: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    held.append(server.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for each in held:
            each.close()


def program(folder: Path, name: str, text: str) -> str:
    """A ``PATH`` with ``folder`` first, in which ``name`` does what the script says."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_the_real_engine(tmp_path: Path) -> None:
    code, found, outcome = doctor(ROCM_CI_STATE=str(tmp_path / "state"))
    assert {name for name in ("engine", "image-store", "buildx", "builder") if found[name]["state"] != "ok"} == set()
    assert "unix:///var/run/docker.sock (default)" in found["engine"]["message"]
    assert found["clock"]["message"].startswith("agrees with the engine")
    assert (code, outcome) == (0, "ok")


def test_nothing_is_written(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    doctor(folder=home, HOME=str(home), ROCM_CI_STATE=str(tmp_path / "state"))
    assert list(tmp_path.rglob("*")) == [home]


def test_no_engine(tmp_path: Path) -> None:
    code, found, outcome = doctor(DOCKER_HOST="unix:///nonexistent", ROCM_CI_STATE=str(tmp_path))
    assert (code, outcome, found["engine"]["state"]) == (4, "infra", "fail")
    assert "DOCKER_HOST" in found["engine"]["message"]
    assert "./ci/bootstrap" in found["engine"]["remedy"]
    assert found["disk"]["remedy"] == "see engine"


def test_an_engine_that_never_answers(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    with silent(socket.AF_UNIX, str(path)):
        code, found, _ = doctor(hanging=("engine",), DOCKER_HOST=f"unix://{path}", ROCM_CI_STATE=str(tmp_path))
    assert code == 4
    assert found["engine"]["message"] == f"unix://{path} (DOCKER_HOST) did not answer within 4 s"
    assert found["git"]["state"] == "ok"


def test_a_registry_that_never_answers(tmp_path: Path) -> None:
    with silent(socket.AF_INET, ("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}/team"
        code, found, _ = doctor("--registry", place, hanging=("registry", "trust"), ROCM_CI_STATE=str(tmp_path))
    assert (code, found["registry"]["state"]) == (4, "fail")
    assert place.removesuffix("/team") in found["registry"]["message"]


def test_a_docker_command_that_never_ends(tmp_path: Path) -> None:
    """It ignores polite signals and has a child that holds its pipes: both are gone afterwards."""
    pids = tmp_path / "pids"
    pids.mkdir()
    script = f"trap '' INT TERM\nsleep 600 &\ntouch {pids}/$$ {pids}/$!\nwait\nwait"
    path = program(tmp_path / "bin", "docker", script)
    code, found, _ = doctor(hanging=("buildx", "cache"), PATH=path, ROCM_CI_STATE=str(tmp_path))
    assert (code, found["buildx"]["state"]) == (4, "fail")
    assert "did not answer" in found["buildx"]["message"]
    numbers = [int(each.name) for each in pids.iterdir()]
    assert len(numbers) in {4, 8, 12}  # the checks "buildx" and "cache" ask it, at each visit
    until_gone(numbers)


LEAVES = """
import pathlib, sys, threading, time
from ci.world import probes
from ci.world.process import Command
argv = ("sh", "-c", "trap '' INT TERM; sleep 600 & echo $$ $! > $0.new; mv $0.new $0; wait; wait", sys.argv[1])
threading.Thread(target=lambda: probes.ask(Command(argv), 600), daemon=True).start()
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.01)
"""


def test_who_leaves_while_a_program_is_asked_takes_it_along(tmp_path: Path) -> None:
    """A check may begin to ask so late that the visit is over before its program's own time is."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", LEAVES, tmp_path / "pids"], env=env, timeout=GUARD, check=True)
    until_gone([int(word) for word in (tmp_path / "pids").read_text().split()])


def until_gone(pids: Collection[int]) -> None:
    """Wait for the end of processes that were killed: nobody waits for an orphan."""
    assert pids
    end = time.monotonic() + GUARD
    while left := [pid for pid in pids if alive(pid)]:
        assert time.monotonic() < end, left
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def test_all_of_it_hangs_at_once(tmp_path: Path) -> None:
    path = program(tmp_path / "bin", "docker", "trap '' INT TERM\nsleep 600")
    program(tmp_path / "bin", "git", "trap '' INT TERM\nsleep 600")
    sock = tmp_path / "engine.sock"
    with silent(socket.AF_UNIX, str(sock)), silent(socket.AF_INET, ("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
        engine = f"unix://{sock}"
        hanging = ("engine", "buildx", "registry", "git", "cache", "trust")
        state = str(tmp_path)
        code, found, _ = doctor(
            "--registry", place, hanging=hanging, PATH=path, DOCKER_HOST=engine, ROCM_CI_STATE=state
        )
    assert code == 4
    assert {name for name, each in found.items() if each["state"] == "fail"} == {"engine", "buildx", "registry"}
    assert found["git"]["state"] == "warn"


def test_a_misspelt_variable(tmp_path: Path) -> None:
    code, found, outcome = doctor(ROCM_CI_STAK="x", ROCM_CI_STATE=str(tmp_path))
    assert (code, outcome, found["settings"]["state"]) == (2, "config", "fail")


def test_a_stack_that_needs_more_disk_than_there_is(tmp_path: Path) -> None:
    text = (ROOT / "docker/stacks/local.yaml").read_text()
    (tmp_path / "huge.yaml").write_text(text.replace("disk_gb: 20", "disk_gb: 1000000"))
    for name in ("Dockerfile.local", "pins.json"):
        (tmp_path / name).write_bytes((ROOT / "docker" / name).read_bytes())
    code, found, _ = doctor("--stack", str(tmp_path / "huge.yaml"), ROCM_CI_STATE=str(tmp_path / "state"))
    assert (code, found["disk"]["state"]) == (4, "fail")
    assert "docker system df" in found["disk"]["remedy"]


def test_the_text_form(tmp_path: Path) -> None:
    env = {**os.environ, "DOCKER_HOST": "unix:///nonexistent", "ROCM_CI_STATE": str(tmp_path), "NO_COLOR": "1"}
    argv = [sys.executable, "-m", "ci", "doctor"]
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=GUARD, check=False)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("fail  engine")
    assert "→" in lines[1]
    assert lines[-1].startswith("1 problem")


def test_git_is_left_as_it_is(tmp_path: Path) -> None:
    """Not even the index is refreshed, as plain ``git status`` would."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("x")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    os.utime(tmp_path / "file", (1, 1))
    before = (tmp_path / ".git/index").read_bytes()
    patient = partial(probes.ask, seconds=GUARD)
    found = probes.repository(tmp_path, patient)
    assert found == probes.Repository(str(tmp_path))
    assert (tmp_path / ".git/index").read_bytes() == before
    (tmp_path / "file").write_text("y")
    assert probes.repository(tmp_path, patient) == probes.Repository(str(tmp_path), dirty=True)
    assert probes.repository(Path("/"), patient) is None


def test_a_program_past_its_time_is_ended() -> None:
    with pytest.raises(DeadlineError, match="did not answer within"):
        probes.ask(Command(("sh", "-c", "trap '' TERM; sleep 600 & wait; wait")), 0.2)
    done = probes.ask(Command(("sh", "-c", "echo out; echo err >&2; kill -9 $$")), GUARD)
    assert (done.code, done.stdout, done.stderr) == (-signal.SIGKILL, "out\n", "err\n")
