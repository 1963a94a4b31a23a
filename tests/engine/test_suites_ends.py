"""``test`` whose children, images, shards and doors misbehave: outcome, exit code, words, and nothing left."""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.settings import capture
from ci.suites import shard
from ci.world import files
from ci.world.gpus import allotted, inventory
from ci.world.leases import held, leased
from tests import nodes, plants
from tests.engine.conftest import Cli, docker
from tests.engine.own import FAMILY, own
from tests.engine.suite_runs import CI, INV, NOX, RUNTIMES, Play, Starter, at_work, left_behind, step

SMALL = {"small": {"shm_mb": 64, "memory_mb": 256, "pids": 40}}
LEAVES = (
    "import subprocess; [subprocess.Popen(['sleep', '600'], start_new_session=True) for _ in range(3)]; print('bye')"
)
BOMB = "import os, time\nwhile True:\n    if os.fork() == 0: time.sleep(600)"


# --- children ---------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_forks_away_and_holds_the_output_is_ended(play: Play, runtime: str) -> None:
    ran = play({"forks": {"commands": [plants.python(LEAVES)]}}, runtime=runtime, check=0)
    assert step(ran, "forks")["reasons"] == []
    assert "left behind" in ran.stderr


def test_a_container_has_walls(play: Play) -> None:
    """A fork bomb, a memory hog and a crash each end as their own step's failure, and the next step is well."""
    core = "import os, resource; print('limits', resource.getrlimit(resource.RLIMIT_CORE), flush=True); os.abort()"
    steps = {
        "bomb": {"bounds": "small", "commands": [plants.python(BOMB)]},
        "hog": {"bounds": "small", "commands": [plants.python("x = []\nwhile True: x.append(bytearray(1 << 24))")]},
        "core": {"commands": [plants.python(core)]},
        "well": {"commands": [plants.python("pass")]},
    }
    ran = play(steps, check=1, bounds=SMALL)
    assert {row["name"]: row["outcome"] for row in ran.json["steps"]} == {
        "bomb": "failed", "hog": "failed", "core": "failed", "well": "ok",
    }  # fmt: skip
    assert step(ran, "hog")["commands"][0]["ended"]["out_of_memory"]
    assert step(ran, "hog")["reasons"][0].startswith("out of memory")
    assert step(ran, "core")["reasons"][0].startswith("ended by SIGABRT")
    assert "limits (0, 0)" in ran.stderr
    assert "Resource temporarily unavailable" in ran.stderr


# --- what is not there ------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_folders_and_programs_that_are_not_there(play: Play, runtime: str) -> None:
    steps = {
        "folder": {"commands": [plants.python("pass")], "workdir": "/moved/upstream"},
        "program": {"commands": [{"run": ["no-such-program"]}]},
        "data": {"commands": [{"run": ["/etc/passwd"]}]},
        "well": {"commands": [plants.python("pass")]},
    }
    ran = play(steps, runtime=runtime, check=2)
    assert step(ran, "folder")["outcome"] == "config"
    assert "no folder /moved/upstream" in step(ran, "folder")["reasons"][0]
    assert step(ran, "program")["reasons"] == ["ended with 127: there is no such program in the image"]
    assert step(ran, "data")["reasons"] == ["ended with 126: the program cannot be executed"]
    assert step(ran, "well")["outcome"] == "ok"


def test_an_image_without_python_has_no_evidence_and_the_same_outcome(play: Play, busy_root: str) -> None:
    steps = {"fails": {"commands": [{"run": ["sh", "-c", "exit 3"]}]}}
    ran = play(steps, "--runtime", "docker", "--image", busy_root, check=1)
    assert step(ran, "fails")["reasons"] == ["ended with 3"]
    assert "warning: fails: the evidence is incomplete" in ran.stderr
    assert "warning: the versions inside the image are not known" in ran.stderr


@pytest.fixture
def bare() -> Iterator[str]:
    """An image without a shell."""
    name = f"{FAMILY}/bare-{secrets.token_hex(4)}:1"
    docker("import", "-", name, stdin=b"\0" * 10240)
    yield name
    docker("rmi", "-f", name, check=False)


def test_an_image_without_a_shell_breaks_the_contract(play: Play, bare: str) -> None:
    ran = play({"any": {"commands": [{"run": ["true"]}]}}, "--runtime", "docker", "--image", bare, check=3)
    assert "has no sh" in step(ran, "any")["reasons"][0]


def test_an_image_that_vanishes_between_plan_and_start(start: Starter, busy_root: str, cli: Cli) -> None:
    name = f"{FAMILY}/vanishes-{secrets.token_hex(4)}:1"
    made = docker("import", "-", name, stdin=_archive_of(busy_root))
    waits = "echo 'at work'; until [ -e {results}/go ]; do sleep 0.05; done"
    steps = {"first": {"commands": [{"run": ["sh", "-c", waits]}]}, "second": {"commands": [{"run": ["true"]}]}}
    running = start(CI, steps, "--image", name, image=False)
    docker("rmi", "-f", name)
    next(cli.state.glob("runs/*/steps/first/whole-1/1")).joinpath("go").touch()
    code, out = running.end()
    docker("rmi", "-f", made, check=False)  # without its name, but kept for as long as the first step ran in it
    first, second = json.loads(out)["steps"]
    assert (code, first["outcome"], second["outcome"]) == (4, "ok", "infra")
    assert "is not in the engine" in second["reasons"][0]
    assert second["reasons"][-1].startswith("hint: build or pull it first")
    assert len(second["tries"]) == 1, "an infra error before the first test is tried once more, and shown"
    assert left_behind(cli.state) == []


def _archive_of(image: str) -> bytes:
    """The files of ``image`` as an archive, with a byte of its own so that the new image has a digest of its own."""
    made = docker("create", image, "x")
    try:
        data = subprocess.run(["docker", "export", made], capture_output=True, check=True).stdout
    finally:
        docker("rm", made)
    archive = io.BytesIO(data)
    with tarfile.open(fileobj=archive, mode="a") as tar:
        own = tarfile.TarInfo(f"opt/{secrets.token_hex(4)}")
        tar.addfile(own)
    return archive.getvalue()


# --- shards -----------------------------------------------------------------------------------

TESTS = "import os, pytest, time\n@pytest.mark.parametrize('n', range(COUNT))\ndef test_n(n):\n    BODY\n"
WAITS = "while not os.path.exists('{results}/go'): time.sleep(0.05)"


def shards(count: int, tests: int, *options: str, body: str = "pass") -> dict[str, object]:
    code = TESTS.replace("COUNT", str(tests)).replace("BODY", body)
    return {"commands": plants.pytest_of(code, *options), "shards": count}


def test_shards_that_are_all_empty_are_empty(play: Play) -> None:
    ran = play({"none": shards(2, 3, "-k", "nothing")}, "--jobs", "2", check=6)
    assert [row["outcome"] for row in ran.json["steps"]] == ["empty", "empty"]
    assert all("no test was collected" in row["reasons"][0] for row in ran.json["steps"])


def test_fewer_tests_than_shards_is_said_and_green(play: Play) -> None:
    ran = play({"few": shards(3, 2)}, "--jobs", "2", check=0)
    nothing = [row for row in ran.json["steps"] if "nothing to do: there are fewer tests than shards" in row["reasons"]]
    assert len(nothing) == 1
    assert sum(row["counts"]["run"] for row in ran.json["steps"]) == 2


def test_shards_that_plan_from_other_durations_are_red(start: Starter, cli: Cli) -> None:
    """The file they plan from changes after the first two have planned, before the third begins."""
    running = start(CI, {"many": shards(3, 6, body=WAITS)}, "--jobs", "2", ready="")
    runs = cli.state / "runs"

    def plans() -> list[Path]:
        return list(runs.glob("*/steps/many/*/2/shards.json"))

    running.until(lambda: len(plans()) == 2, "no two shards planned")
    planned = json.loads(plans()[0].read_text())
    ids, before = planned["collected"], tuple(map(tuple, planned["shards"]))
    weights = [{each: 100.0 if each == heavy else 0.1 for each in ids} for heavy in ids]
    other = next(each for each in weights if shard.plan(ids, each, 3) != before)
    files.write_json(next(runs.glob("*/planned-from.json")), {"many": other})

    def all_go() -> bool:
        """Whether all have planned; those that have may run their tests, which wait for it."""
        found = plans()
        for each in found:
            each.parent.with_name("1").joinpath("go").touch()  # the results of the command that wrote the tests
        return len(found) == 3

    running.until(all_go, "the third shard did not plan")
    code, out = running.end()
    assert code == 1
    assert json.loads(out)["outcome"] == "failed"
    assert any("did not plan" in each for each in json.loads(out)["reasons"])
    assert left_behind(cli.state) == []


# --- several at once --------------------------------------------------------------------------


def child_runs(state: Path, parent: Path) -> list[Path]:
    return [path for path in sorted((state / "runs").glob("*")) if path != parent]


def test_one_of_several_calls_is_killed(start: Starter, cli: Cli) -> None:
    steps = {"victim": {"commands": [at_work()]}, "other": {"commands": [at_work("time.sleep(3)")]}}
    running = start(CI, steps, "--jobs", "2", ready="[victim] at work")
    victim = next(path for path in child_runs(cli.state, running.run) if (path / "steps" / "victim").is_dir())
    os.kill(json.loads((victim / "owner.json").read_text())["pid"], signal.SIGKILL)
    code, out = running.end()
    rows = {row["name"]: row for row in json.loads(out)["steps"]}
    assert code == 70
    assert {name: row["outcome"] for name, row in rows.items()} == {"victim": "internal", "other": "ok"}
    assert rows["victim"]["reasons"][0].startswith("its process ended by SIGKILL")
    assert "inv reap" in rows["victim"]["reasons"][1]
    assert [each["kind"] for each in cli("reap", "--json").json["removed"]] == ["container"]
    assert left_behind(cli.state) == []


def test_ctrl_c_ends_all_of_several_calls_though_one_floods_its_log(start: Starter, cli: Cli) -> None:
    flood = "signal.signal(signal.SIGINT, lambda *_: (print(*['y' * 80] * 20000, sep='\\n'), sys.exit()))"
    floods = plants.python(f"import signal, sys, time; {flood}; print('at work', flush=True); time.sleep(300)")
    steps = {"floods": {"commands": [floods]}, "sleeps": {"commands": [at_work()]}}
    running = start(CI, steps, "--jobs", "2", ready="[floods] at work")
    running.hears("[sleeps] at work")
    running.signal_group(signal.SIGINT)
    code, _ = running.end()
    rows = {row["name"]: row for row in running.result["steps"]}
    assert (code, {row["outcome"] for row in rows.values()}) == (130, {"interrupted"})
    assert rows["floods"]["commands"][0]["ended"]["rungs"] == ["SIGINT"]
    assert running.said.read_text().count("y" * 80) == 20000
    assert left_behind(cli.state) == []


# --- signals at the doors ---------------------------------------------------------------------

TWICE = (signal.SIGINT, signal.SIGINT)
ENDS = {
    "ctrl-c": (True, (signal.SIGINT,)),
    "ctrl-c twice": (True, TWICE),
    "SIGTERM": (False, (signal.SIGTERM,)),
    "SIGKILL": (False, (signal.SIGKILL,)),
}
CODES = {
    ("inv", "ctrl-c"): 130,
    ("inv", "ctrl-c twice"): 130,
    ("inv", "SIGTERM"): 143,
    ("nox", "ctrl-c"): 130,
    ("nox", "ctrl-c twice"): 130,
    ("nox", "SIGTERM"): -15,
    ("nox", "SIGKILL"): -9,
}


@pytest.mark.parametrize(("door", "how"), CODES)
def test_a_signal_at_a_door(start: Starter, cli: Cli, door: str, how: str) -> None:
    """Nox that is killed takes nobody along: our process hears of its death from the kernel."""
    running = start({"inv": INV, "nox": NOX}[door])
    group, numbers = ENDS[how]
    for number in numbers:
        os.kill(-running.child.pid if group else running.child.pid, number)
        time.sleep(0.2)
    code, _ = running.end()
    running.until_gone()
    assert code == CODES[door, how], running.said.read_text()[-2000:]
    signalled = 143 if "SIG" in how else 130
    assert (running.result["outcome"], running.result["exit_code"]) == ("interrupted", signalled)
    assert [row["outcome"] for row in running.result["steps"]] == ["interrupted"]
    assert "Traceback" not in running.said.read_text()
    assert left_behind(cli.state) == []


def test_what_was_not_begun_is_named(start: Starter) -> None:
    steps = {"first": {"commands": [plants.python("pass")]}, "sleeps": {"commands": [at_work()]}}
    running = start(CI, {**steps, "third": steps["first"], "fourth": steps["first"]})
    running.signal_group(signal.SIGTERM)
    code, out = running.end()
    assert code == 143
    assert [row["outcome"] for row in json.loads(out)["steps"]] == ["ok", "interrupted"]
    assert json.loads(out)["reasons"] == ["not begun: third, fourth"]


def test_ctrl_c_while_the_image_is_built(start: Starter, cli: Cli, tmp_path: Path, busy_root: str) -> None:
    stack = plants.write(tmp_path / "plant", {"any": {"commands": [plants.python("pass")]}})
    assert busy_root
    stack.write_text(own(stack.read_text()))
    step_of = f"RUN --network=none echo at work; sleep 600.{secrets.randbelow(10**6)}"
    (stack.parent / "Dockerfile.plant").write_text(f"ARG ROOT=x\nFROM ${{ROOT}} AS t\n{step_of}\n")
    running = start(CI, stack=stack, image=False, ready="| at work")
    running.signal_group(signal.SIGINT)
    code, out = running.end()
    assert (code, running.result["outcome"]) == (130, "interrupted")
    assert json.loads(out)["problems"][0]["reference"] == "interrupted"
    assert left_behind(cli.state) == []
    assert docker("images", "-q", f"{FAMILY}/plant") == ""


def test_ctrl_c_while_others_have_the_gpus(start: Starter, cli: Cli, tmp_path: Path) -> None:
    """We have them all: the step waits its turn."""
    root, path = nodes.tree(tmp_path / "node", "mi300x"), f"{nodes.tools(tmp_path / 'bin', 'mi300x')}:/usr/bin:/bin"
    settings = capture({}, {"PATH": path})
    gpus = allotted(settings, inventory(settings, root))
    stack = plants.write(tmp_path / "plant", {"gpu": {"needs": {"gpus": 1}, "commands": [at_work()]}}, runtime="rocm")
    door = (sys.executable, "-m", "tests.engine.gpu_node", str(root), "test", "all")
    with leased(cli.state, gpus, len(gpus), run="theirs", verb="test", lasts=600, patience=5, say=lambda _text: None):
        running = start(door, stack=stack, environ={"PATH": path}, ready="(run theirs, ")
        running.signal_group(signal.SIGINT)
        code, out = running.end()
        assert len(held(cli.state)) == 1, "its ticket is gone, ours is not"
    (row,) = json.loads(out)["steps"]
    assert (code, row["outcome"], row["commands"]) == (130, "interrupted", [])
    assert row["reasons"] == ["stopped by SIGINT while none of its commands ran"]
    assert left_behind(cli.state) == []
