"""Ctrl-C and SIGTERM at both doors while BuildKit works: typed end, nothing left, and the rerun finishes."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ci.world.ledger import Ledger
from tests import recipes
from tests.engine.conftest import Cli, docker, remove_images
from tests.engine.own import FAMILY, TINY, own
from tests.faults.stand import soon, wake

ROOT = Path(__file__).resolve().parents[2]
DOORS = {"python": (sys.executable, "-m", "ci"), "inv": (str(Path(sys.executable).parent / "inv"),)}
REPOSITORY = f"{FAMILY}/stops"
SECONDS = f"300.{secrets.randbelow(10**6):06}"
SLEEP = f"sleep {SECONDS}"


@pytest.fixture
def stack(tmp_path: Path, busy_root: str) -> Path:
    """The tiny stack with a step that takes its time, and goes on where its sleep alone is ended."""
    assert busy_root
    remove_images(REPOSITORY)
    dockerfile = recipes.DOCKERFILE.replace("LEVEL=1", f"LEVEL={os.getpid()}-{time.monotonic_ns()}")
    dockerfile = dockerfile.replace(
        "\nFROM ${BASE_IMAGE} AS ci_base", f"RUN {SLEEP} || true\n\nFROM ${{BASE_IMAGE}} AS ci_base"
    )
    return recipes.write(tmp_path, dockerfile, own(recipes.STACK).replace(TINY, REPOSITORY))


def processes(words: str) -> list[int]:
    """The processes with ``words`` in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if words in line and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


def wait_for(words: str) -> None:
    soon(lambda: processes(words), f"{words!r} never ran")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("door", list(DOORS))
def test_a_stopped_build_leaves_nothing_and_the_rerun_finishes(
    cli: Cli, stack: Path, door: str, number: signal.Signals
) -> None:
    options = ("build-base", "--stack", str(stack), "--source", f"src={stack.parents[1] / 'src'}", "--json")
    env = {**cli.environ, "ROCM_CI_STATE": str(cli.state), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*DOORS[door], *options],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as child:
        wait_for(SLEEP)
        assert processes(str(cli.state)), "buildx should be at work"
        os.killpg(child.pid, number)  # as a terminal and most CI systems do
        stdout, stderr = child.communicate(timeout=60)

    assert child.returncode == 128 + number, stderr
    assert "Traceback" not in stderr
    assert json.loads(stdout)["outcome"] == "interrupted"
    assert processes(str(cli.state)) == [], "buildx was left behind"
    soon(lambda: not processes(SLEEP), "BuildKit still works")  # it ends a step a moment after its client is gone
    assert docker("images", "-q", REPOSITORY) == "", "a half-made image has a name"

    (folder,) = (cli.state / "runs").iterdir()
    result = json.loads((folder / "result.json").read_text())
    assert (result["outcome"], result["exit_code"]) == ("interrupted", 128 + number)
    assert Ledger(folder).open_things() == ()
    assert not (folder / "owner.json").exists()
    assert cli("reap").stdout == "nothing was left behind\n"

    waker = threading.Thread(target=wake, args=(SECONDS,))
    waker.start()
    again = cli(*options)
    waker.join()
    assert again.tier("base")["decision"] == "build"
    assert cli(*options).tier("base")["decision"] == "reuse"
