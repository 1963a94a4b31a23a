"""A step on several nodes, from the command line to a real Slurm and back."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import plants
from tests.engine.conftest import Cli, Ran
from tests.engine.slurm import Cluster, running

pytestmark = pytest.mark.without_engine

TALK = """
import os, socket, sys, time
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if rank == 0:
    time.sleep(1)
    with socket.create_server(place) as server:
        for _ in range(2 * world - 2):  # each peer's node asks first whether we can be reached
            with server.accept()[0] as peer:
                peer.sendall(b"sum")
else:
    with socket.create_connection(place, 5) as peer:
        assert peer.recv(3) == b"sum"
print("rank", rank, "of", world, "secret" if "HF_TOKEN" in os.environ else "clean")
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running() as made:
        yield made


@pytest.fixture
def play(cli: Cli, cluster: Cluster, tmp_path: Path) -> Callable[..., Ran]:
    """Run the one step ``ranks`` on two nodes."""

    def player(*commands: dict[str, object], check: int, runtime: str = "native", **more: object) -> Ran:
        steps = {"ranks": {"needs": {"nodes": 2}, "workdir": "/", "commands": list(commands), **more}}
        stack = plants.write(tmp_path / "plant", steps)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environ = {"SLURM_CONF": cluster.environ["SLURM_CONF"], "PATH": path, "HF_TOKEN": "hidden"}
        options = ("--stack", str(stack), "--runtime", runtime, "--json")
        return cli("test", "all", *options, check=check, cwd=None, **environ)

    return player


def test_two_ranks_talk_and_each_says_who_it_is(play: Callable[..., Ran]) -> None:
    ran = play({"run": [sys.executable, "-c", TALK]}, check=0, ready={"seconds": 30})
    (row,) = ran.json["steps"]
    assert (row["outcome"], row["where"]) == ("ok", "2 nodes")
    folder = Path(row["commands"][0]["folder"])
    assert "rank 0 of 2 clean" in (folder / "rank-0.log").read_text()
    assert "rank 1 of 2 clean" in (folder / "rank-1.log").read_text()


def test_each_rank_may_have_a_program_of_its_own_and_the_first_that_fails_is_named(play: Callable[..., Ran]) -> None:
    ran = play({"ranks": [["sleep", "600"], ["sh", "-c", "exit 3"]]}, {"run": ["true"]}, check=1)
    (row,) = ran.json["steps"]
    assert row["reasons"][0].startswith("rank 1 on n")
    assert "exit code 3" in row["reasons"][0]
    assert len(row["commands"]) == 1, "the next command would meet what this one left"


def test_without_native_or_slurm_it_is_skipped_with_the_reason(play: Callable[..., Ran]) -> None:
    ran = play({"run": ["true"]}, runtime="docker", check=6)
    assert ran.json["steps"][0]["reasons"] == [
        "needs 2 nodes: that takes Slurm, and --runtime native, because a rank runs in what its node gives it"
    ]
