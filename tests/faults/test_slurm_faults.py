"""Slurm itself fails under a job, or everything takes as long as it may; each of these takes its minute."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.errors import InfraError, Outcome
from ci.world.sandbox import Limits
from tests.engine.slurm import Cluster, running, until
from tests.engine.slurm_desk import DEAF, FOREVER, Desk, at, shell


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with running() as cluster:
        yield cluster


@pytest.fixture
def desk(slurm: Cluster, tmp_path: Path) -> Desk:
    return at(slurm, tmp_path)


@pytest.fixture
def watched(desk: Desk) -> Iterator[Desk]:
    """A desk whose cluster misses a node soon."""
    with desk.cluster.watchful():
        yield desk


def test_one_deadline_over_all_and_the_whole_ladder(desk: Desk) -> None:
    limits = Limits(8.0, grace_seconds=1.0, evidence_seconds=20.0)
    result = desk.run(DEAF, ("true",), DEAF, limits=limits, queue=7.0)
    assert (result.outcome, result.limit) == (Outcome.TIMEOUT, "deadline")
    assert result.rungs == ("SIGINT", "SIGTERM", "SIGKILL")
    assert [each.ended.limit for each in result.ranks] == ["deadline", "", "deadline"]
    assert "which may leave VRAM held" in desk.said[-1]
    desk.nothing_is_left()


def test_a_node_goes_down_under_the_job(watched: Desk) -> None:
    up: list[bool] = []

    def kill_once_all_are_up() -> None:
        up.append(True)
        if len(up) == 3:
            watched.cluster.stop("n2", signal.SIGKILL)

    watched.on_up = kill_once_all_are_up
    result = watched.run(*[shell("echo up; exec sleep 100000")] * 3)
    assert result.outcome is Outcome.INFRA
    assert any(reason.startswith("node n2 is ") for reason in result.reasons), result.reasons
    watched.nothing_is_left()


def how(desk: Desk, *commands: tuple[str, ...]) -> tuple[Outcome, tuple[str, ...]]:
    """How a job ended; Slurm may notice that a node is gone before it gives us any, or afterwards."""
    try:
        result = desk.run(*commands)
    except InfraError as error:
        return error.outcome, (str(error),)
    return result.outcome, result.reasons


def test_a_node_that_does_not_take_its_rank(watched: Desk) -> None:
    """Its daemon is gone, and the controller has not noticed yet."""
    watched.cluster.stop("n2", signal.SIGKILL)
    outcome, reasons = how(watched, ("true",), ("true",), ("true",))
    assert outcome is Outcome.INFRA
    assert any("n2" in reason or "DOWN" in reason for reason in reasons), reasons
    watched.nothing_is_left()


def test_the_controller_goes_away_under_the_job(desk: Desk) -> None:
    """The ranks are ended all the same; what Slurm could not be told stays in the ledger."""
    desk.on_up = lambda: desk.cluster.stop("slurmctld")
    result = desk.run(
        FOREVER, shell("echo up; sleep 1; exit 3"), limits=Limits(100.0, grace_seconds=1.0, evidence_seconds=1.0)
    )
    assert result.outcome is Outcome.INFRA
    assert result.reasons[0] == "Slurm does not tell what became of the job"
    assert result.ranks[1].ended.code == 3
    assert [thing.kind for thing in desk.ledger.open_things()] == ["slurm-job"]
    assert "is left behind for inv reap" in desk.said[-1]
    desk.cluster.start("slurmctld")
    until(desk.cluster.answers, "the controller")
    desk.cluster.ask("scancel", f"--name={desk.ledger.open_things()[0].name}")
    desk.ledger.gone(desk.ledger.open_things()[0])
    desk.nothing_is_left()
