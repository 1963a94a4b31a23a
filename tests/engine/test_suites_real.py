"""``test`` for real, with planted children: what each ends as, with which exit code, and that nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests import plants
from tests.engine.conftest import ROOT, Cli, Ran, docker
from tests.engine.own import own
from tests.engine.suite_runs import BIN, INV, RUNTIMES, Play, Starter, Steps, Words, left_behind, step


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_many_ends_of_a_step(play: Play, runtime: str) -> None:
    """One run whose steps each end in another way: each is told apart, and the run takes the worst."""
    good = (
        "import pytest\ndef test_a(measure): measure('speed', 3.5, 'GB/s')\n"
        "@pytest.mark.skip(reason='no fabric')\ndef test_b(): pass\n"
    )
    hidden = "import os, atexit\natexit.register(lambda: os._exit(0))\ndef test_a(): assert 1 == 2\n"
    steps = {
        "good": {"commands": plants.pytest_of(good)},
        "hidden": {"commands": plants.pytest_of(hidden)},
        "empty-first": {
            "commands": [*plants.pytest_of("def test_a(): pass\n", "-k", "nothing"), plants.python("print('second')")]
        },
        "all-skipped": {
            "commands": plants.pytest_of("import pytest\n@pytest.mark.skip(reason='why')\ndef test_a(): pass\n")
        },
        "noise": {"commands": [plants.python("import sys; sys.stdout.buffer.write(b'\\xff\\xfe broken \\x00\\n')")]},
        "gpu": {"needs": {"gpus": 1}, "commands": [plants.python("pass")]},
    }
    ran = play(steps, runtime=runtime, check=1)
    ends = {row["name"]: row["outcome"] for row in ran.json["steps"]}
    assert ends == {
        "good": "ok", "hidden": "failed", "empty-first": "empty", "all-skipped": "ok", "noise": "ok", "gpu": "skipped",
    }  # fmt: skip
    assert step(ran, "good")["counts"] | {"run": 1, "passed": 1, "skipped": 1} == step(ran, "good")["counts"]
    assert step(ran, "good")["skipped"] == {"no fabric": 1}
    assert [each["value"] for each in step(ran, "good")["measured"]] == [3.5]
    assert any("ended with 0, but JUnit has 1 failure" in each for each in step(ran, "hidden")["reasons"])
    outcomes = [each["outcome"] for each in step(ran, "empty-first")["commands"]]
    assert [each["outcome"] for each in step(ran, "all-skipped")["commands"]] == ["ok", "skipped"]
    assert outcomes == ["ok", "empty", "ok"], "the command after the empty one runs, and the step is not green"
    assert step(ran, "gpu")["reasons"] == ["needs 1 GPU: the image has no GPU runtime"]
    log = Path(step(ran, "noise")["commands"][0]["folder"], "log.txt")
    assert "broken" in log.read_text()
    folder = Path(ran.json["run_folder"])
    assert json.loads((folder / "result.json").read_text())["exit_code"] == 1
    assert set(json.loads((folder / "durations.json").read_text())) == {"good", "hidden", "all-skipped"}
    assert "pytest" in json.loads((folder / "versions-test.json").read_text())["packages"]
    assert json.loads((folder / "environment.json").read_text())["runtime"] == runtime


def test_a_hang_ends_with_evidence_and_the_name_of_the_test(cli: Cli, tmp_path: Path, words: Words) -> None:
    """Both runtimes at once: their limit is long, so that the test has begun by then on a busy machine too."""
    deaf = (
        "import signal, subprocess, sys, time\n"
        "def test_hangs():\n"
        "    for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)\n"
        "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'], start_new_session=True)\n"
        "    time.sleep(1000)\n"
    )
    limits = {"minutes": 0.5, "grace_seconds": 1}
    steps: Steps = {
        "hangs": {"commands": plants.pytest_of(deaf), "limits": limits},
        "next": {"commands": [plants.python("pass")]},
    }
    shared = ("test", "all", "--stack", str(plants.write(tmp_path / "plant", steps)), "--json")
    path = f"{BIN}:{os.environ['PATH']}"
    with ThreadPoolExecutor() as both:
        runs = [both.submit(cli, *shared, *words(runtime), check=124, PATH=path) for runtime in RUNTIMES]
        for run in runs:
            is_the_hang(run.result())
    assert left_behind(cli.state) == []


def is_the_hang(ran: Ran) -> None:
    row = step(ran, "hangs")
    assert row["outcome"] == "timeout"
    assert "test_hangs" in row["reasons"][0]
    assert "SIGKILL was needed, which may leave VRAM held" in row["reasons"][0]
    assert row["commands"][-1]["ended"]["rungs"] == ["SIGINT", "SIGTERM", "SIGKILL"]
    folder = Path(row["commands"][-1]["folder"])
    assert json.loads((folder / "evidence.json").read_text())
    assert "test_hangs" in (folder / "log.txt").read_text(), "the stacks of the hanging test are in its log"
    assert step(ran, "next")["outcome"] == "ok", "the next step has a sandbox of its own"


def test_silence_is_a_limit_of_its_own_and_an_honest_flood_is_none(play: Play) -> None:
    steps = {
        "silent": {
            "commands": [plants.python("import time; time.sleep(60)")],
            "limits": {"minutes": 2, "silent_minutes": 0.05, "grace_seconds": 2},
        },
        "flood": {"commands": [plants.python("for n in range(300000): print(n)")]},
    }
    ran = play(steps, check=124)
    assert "its limit of inactivity" in step(ran, "silent")["reasons"][0]
    assert step(ran, "flood")["outcome"] == "ok"
    log = Path(step(ran, "flood")["commands"][0]["folder"], "log.txt").read_text()
    assert log.splitlines()[-1] == "299999"


def test_a_gpu_that_is_required_and_missing_is_red(play: Play) -> None:
    steps = {
        "gpu": {"needs": {"gpus": 1}, "commands": [plants.python("pass")]},
        "any": {"commands": [plants.python("pass")]},
    }
    ran = play(steps, "--require-gpu", runtime="native", check=6)
    assert ran.json["outcome"] == "empty"
    assert "a GPU was required, and gpu did not run: needs 1 GPU" in ran.json["reasons"][0]


def test_a_run_in_which_everything_was_skipped_is_empty(play: Play) -> None:
    ran = play({"gpu": {"needs": {"gpus": 1}, "commands": [plants.python("pass")]}}, runtime="native", check=6)
    assert ran.json["reasons"] == ["nothing was run"]


def test_the_deadline_of_a_run_bounds_what_comes_last(play: Play) -> None:
    long = {"minutes": 0.05, "grace_seconds": 0.5}
    steps = {name: {"commands": [plants.python("import time; time.sleep(30)")], "limits": long} for name in ("a", "b")}
    ran = play(steps, "--deadline", "2.3", runtime="native", check=124)
    assert "deadline" in step(ran, "a")["reasons"][0]
    refused = play(steps, "--deadline", "1", runtime="native", check=2)
    assert "more than the deadline of 60 s" in refused.stderr


def test_shards_at_once_run_every_test_once(play: Play) -> None:
    code = "import pytest\n@pytest.mark.parametrize('n', range(7))\ndef test_n(n): pass\n"
    steps = {"many": {"commands": plants.pytest_of(code), "shards": 3}, "one": {"commands": [plants.python("pass")]}}
    ran = play(steps, "--jobs", "2", check=0)
    assert [row["shard"] for row in ran.json["steps"] if row["name"] == "many"] == ["1/3", "2/3", "3/3"]
    assert sum(row["counts"]["run"] for row in ran.json["steps"]) == 7


def test_steps_run_at_once_from_any_folder(cli: Cli, tmp_path: Path, python_image: str) -> None:
    """Each is a call of this very tool: it is found where it lies, not in the folder we are called from."""
    stack = plants.write(tmp_path / "plant", {"one": {"commands": [plants.python("pass")]}})
    words = ("--stack", str(stack), "--image", python_image, "--jobs", "2", "--json")
    environ = {**cli.environ, "ROCM_CI_STATE": str(cli.state)}
    done = subprocess.run(
        (*INV, *words),
        cwd=ROOT / "docs" / "how-to",
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [row["outcome"] for row in json.loads(done.stdout)["steps"]] == ["ok"]


def test_what_is_left_out_is_told_with_its_reason(play: Play) -> None:
    skips = [{"test": "test_planted.py::test_b", "reason": "CUDA only", "until": "2099-01-01"}]
    code = "def test_a(): pass\ndef test_b(): assert 0\n"
    commands = plants.pytest_of(code, "--rootdir={cache}")  # wherever this checkout is, ids begin at the file
    ran = play({"some": {"commands": commands, "skips": skips}}, runtime="native", check=0)
    row = step(ran, "some")
    assert (row["counts"]["run"], row["counts"]["failed"]) == (1, 0)
    assert "left out: test_planted.py::test_b: CUDA only (until 2099-01-01)" in row["reasons"]


def test_a_secret_reaches_the_step_that_declares_it_and_no_other(cli: Cli, tmp_path: Path) -> None:
    told = plants.python("import os, sys; sys.exit(os.environ.get('HF_TOKEN') != 'for-steps')")
    kept = plants.python("import os, sys; sys.exit('HF_TOKEN' in os.environ)")
    steps: dict[str, dict[str, object]] = {
        "told": {"commands": [told], "secrets": ["HF_TOKEN"]},
        "kept": {"commands": [kept]},
    }
    words = ("test", "all", "--stack", str(plants.write(tmp_path / "plant", steps)), "--runtime", "native", "--json")
    ran = cli(*words, HF_TOKEN="for-steps")
    assert [row["outcome"] for row in ran.json["steps"]] == ["ok", "ok"]
    fork = replace(cli, environ={**cli.environ, "BUILDKITE": "true", "BUILDKITE_PULL_REQUEST": "7"})
    untrusted = fork(*words, "--only", "told", check=1, HF_TOKEN="for-steps")
    assert "no step gets HF_TOKEN: untrusted" in untrusted.stderr


def test_an_image_that_cannot_be_built_is_shown_as_a_build_shows_it(cli: Cli, tmp_path: Path, busy_root: str) -> None:
    assert busy_root
    stack = plants.write(tmp_path / "plant", {"one": {"commands": [plants.python("pass")]}})
    stack.write_text(own(stack.read_text()))
    (tmp_path / "plant" / "Dockerfile.plant").write_text(
        "ARG ROOT=x\nFROM ${ROOT} AS t\nRUN echo so it broke && false\n"
    )
    ran = cli("test", "all", "--stack", str(stack), check=1)
    assert "so it broke" in ran.stderr
    assert "failed" in ran.stderr
    assert "run-failed" in ran.stderr


# --- from outside -----------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_step_and_leaves_nothing(
    cli: Cli, start: Starter, runtime: str, number: int, code: int
) -> None:
    at_work = start(runtime=runtime)
    at_work.child.send_signal(number)
    ended, out = at_work.end()
    assert ended == code
    told = json.loads(out)
    assert (told["outcome"], at_work.result["exit_code"]) == ("interrupted", code)
    assert at_work.result["steps"] == told["steps"]
    (row,) = told["steps"]
    assert (row["outcome"], row["reasons"]) == ("interrupted", ["stopped with SIGINT"])
    assert row["commands"][0]["ended"]["rungs"] == ["SIGINT"]
    assert left_behind(cli.state) == []


def test_a_kill_leaves_a_container_that_reap_removes(cli: Cli, start: Starter) -> None:
    at_work = start()
    at_work.child.kill()
    at_work.end()
    assert at_work.container
    assert cli("reap", "--json").json["removed"][0]["kind"] == "container"
    assert left_behind(cli.state) == []


def test_a_container_killed_from_outside_is_the_worlds_fault(cli: Cli, start: Starter) -> None:
    at_work = start()
    docker("kill", at_work.container)
    code, out = at_work.end()
    assert code == 4
    row = json.loads(out)["steps"][0]
    assert "stopped or killed from outside" in row["reasons"][0]
    assert left_behind(cli.state) == []


def test_native_runs_inside_the_built_image(python_image: str) -> None:
    """As a pod does it: no engine, no git, no network, and a checkout that brings its own conftest and settings."""
    inside = ("python3", "-m", "ci", "test", "rocm-distributed-tests", "--runtime", "native", "--json")
    told = docker(
        "run", "--rm", "--init", "--network=none", "--shm-size=1g", "-v", f"{ROOT}:/repo:ro", "-w", "/tmp",
        "-e", "PYTHONPATH=/repo", "-e", "PYTHONDONTWRITEBYTECODE=1",
        python_image, *inside, "--only", "all-to-all", "--only", "probe",
    )  # fmt: skip
    steps = {row["name"]: row for row in json.loads(told)["steps"]}
    assert (steps["all-to-all"]["outcome"], steps["all-to-all"]["counts"]["passed"]) == ("ok", 2)
    assert steps["probe"]["reasons"] == ["needs 1 GPU: the image has no GPU runtime"]
