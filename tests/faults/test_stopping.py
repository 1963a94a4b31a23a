"""Signals at any moment: nothing is left that ``reap`` does not find, and the rerun finishes what was begun."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.stand import DOCKERFILE, Stand, processes, soon

SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGKILL": -9}
LONG = DOCKERFILE.replace("sleep PAUSE", "sleep 4321")

MOMENTS: dict[str, Callable[[Stand], Callable[[str], bool]]] = {
    "run folder": lambda stand: lambda _err: bool(stand.run_folders()),
    "context": lambda stand: lambda _err: any(stand.state.glob("runs/*/base/context")),
    "running": lambda _stand: lambda err: "| the step begins" in err,
    "verifying": lambda _stand: lambda err: "[ci-base] done" in err,
}


def check_tags(stand: Stand) -> None:
    """Whatever has a content tag is an image of that identity."""
    for tag in stand.tags():
        if ":building-" not in tag:
            labels = stand.inspect(tag)["Config"]["Labels"]
            assert tag.endswith(labels["org.rocm-ci.identity"])


def check_nothing_runs(stand: Stand) -> None:
    soon(lambda: not processes(str(stand.folder)), f"still there: {processes(str(stand.folder))}")


def reap(stand: Stand) -> None:
    """Everything that is left is found and removed; a second time there is nothing."""
    reaped = stand.json("reap")
    assert reaped.code == 0, reaped.out
    assert stand.building() == []
    assert stand.json("reap").document["removed"] == []


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_leaves_nothing_and_the_rerun_finishes(stand: Stand, name: str, moment: str) -> None:
    stand.write(pause=1)
    running = stand.start("build-ci-base", "--json")
    reached = MOMENTS[moment](stand)
    soon(lambda: reached(running.err) or running.process.poll() is not None, f"no {moment}: {running.err}")
    running.process.send_signal(signal.Signals[name])
    ended = running.end()
    check_nothing_runs(stand)
    check_tags(stand)
    finished = {tag.rpartition(":")[2].partition("-v1-")[0] for tag in stand.tags() if ":building-" not in tag}
    if name != "SIGKILL":
        assert ended.code == SIGNALS[name], ended.err
        assert stand.building() == []
        assert stand.result()["outcome"] == "interrupted"
        assert ended.document["problems"][0]["hint"]
    reap(stand)
    again = stand.json("build-ci-base")
    assert again.code == 0, again.err
    for tier in finished:
        assert again.decisions.get(tier, "reuse") == "reuse"
    check_tags(stand)


@pytest.mark.parametrize("name", SIGNALS)
def test_the_engine_stops_working_for_a_run_that_is_gone(stand: Stand, name: str) -> None:
    """Nobody waits for the step any more, so the builder must not go on with it."""
    stand.write(LONG.replace("sleep 4321", f"sleep 4321; : {stand.name}"))
    running = stand.start("build-ci-base")
    running.until("| the step begins")
    assert [line for line in processes(stand.name).values() if "sleep 4321" in line]
    running.process.send_signal(signal.Signals[name])
    assert running.end().code == SIGNALS[name]
    check_nothing_runs(stand)
    soon(lambda: not _steps(stand), f"the step still runs: {_steps(stand)}")
    reap(stand)


def _steps(stand: Stand) -> list[str]:
    return [line for line in processes(stand.name).values() if "sleep 4321" in line]


def test_a_second_signal_does_not_disturb_the_clean_up(stand: Stand) -> None:
    stand.write(LONG)
    running = stand.start("build-ci-base", "--json")
    running.until("| the step begins")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        running.process.send_signal(number)
        time.sleep(0.05)
    assert running.end().code == 130
    check_nothing_runs(stand)
    assert stand.building() == []


def test_a_step_that_floods_its_log_stops_as_well(stand: Stand) -> None:
    stand.write(DOCKERFILE.replace("sleep PAUSE", "yes 'a line of the flood'"))
    running = stand.start("build-ci-base")
    running.until("a line of the flood")
    running.process.send_signal(signal.SIGTERM)
    ended = running.end()
    assert ended.code == 143, ended.err[-2000:]
    check_nothing_runs(stand)
    assert stand.building() == []


@pytest.mark.slow
def test_kills_at_many_moments_end_in_the_same_state(stand: Stand) -> None:
    """A kill every so often, from the first moments of a run to its last."""
    stand.write(pause=0.2)
    for step in range(6):
        running = stand.start("build-test")
        time.sleep(0.15 + step * 0.4)
        running.process.send_signal((signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[step % 3])
        running.end()
        check_nothing_runs(stand)
        check_tags(stand)
    reap(stand)
    ended = stand.json("build-test")
    assert ended.code == 0, ended.err
    assert stand.json("build-test").decisions == {"test": "reuse"}
    assert len(stand.tags()) == 3


def test_an_edit_in_mid_build_never_reaches_a_tag(stand: Stand) -> None:
    """Both at work: a file of the tier that is being built, and one of the tier after it."""
    stand.write(pause=2)
    running = stand.start("build-test", "--json")
    running.until("| the step begins")
    for name in ("second.txt", "test.txt"):
        (stand.folder / "recipe" / name).write_text("edited")
    ended = running.end()
    assert (ended.code, ended.references) == (2, ["changed-underneath"]), ended.err
    assert stand.content(stand.tag("ci-base"), "/opt/second.txt") == f"second of {stand.name}\n"
    assert not any(f"{stand.repository}:test-" in tag for tag in stand.tags())
    again = stand.json("build-test")
    assert again.decisions == {"base": "reuse", "ci-base": "build", "test": "build"}
    assert stand.content(again.document["tiers"][-1]["reference"].partition("@")[0], "/opt/second.txt") == "edited"


def test_reap_touches_nothing_else(stand: Stand, tmp_path: Path) -> None:
    """A ledger that names what is not its own is refused; the rest is removed all the same."""
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    run = stand.state / "runs" / "20260101T000000Z-00000000"
    run.mkdir(parents=True)
    (run / "own").write_text("left behind")
    (run / "link").symlink_to(tmp_path)
    names = {"own": str(run / "own"), "other": str(treasure), "linked": str(run / "link" / "treasure"), "up": str(run)}
    rows = [json.dumps({"will": {"kind": "folder", "name": name}}) for name in names.values()]
    (run / "ledger.jsonl").write_text("\n".join(rows) + "\n")
    ended = stand.json("reap")
    assert ended.code == 4
    refused = {row["name"] for row in ended.document["removed"] if row["problem"]}
    assert refused == {names["other"], names["linked"], names["up"]}
    assert treasure.is_dir()
    assert not (run / "own").exists()
