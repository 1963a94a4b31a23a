"""The tests that run inside images, run against programs that misbehave: each misbehaviour has its own words."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.without_engine

HERE = Path(__file__).resolve().parent
GPU = HERE.parent / "gpu"


class Suite:
    """A copy of the suite, away from this checkout's configuration, with a program named ``vllm`` on its PATH."""

    def __init__(self, folder: Path) -> None:
        self.home, self.bin, self.results = folder / "suite", folder / "bin", folder / "results"
        shutil.copytree(GPU, self.home, ignore=shutil.ignore_patterns("__pycache__"))
        self.bin.mkdir()
        self.program("vllm", f'exec {sys.executable} {HERE / "fake_vllm.py"} "$@"')
        self.segment = Path("/dev/shm") / f"rocm-ci-test-{uuid.uuid4().hex[:8]}"
        self.environ = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PYTHONPATH": f"{self.home / 'plugin'}:{self.home / 'site'}",
            "FAKE_SEGMENT": str(self.segment),
            "HIP_VISIBLE_DEVICES": "",
        }

    def program(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self, *arguments: str, fake: str = "well") -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "rocm_ci_watch", "-p", "no:cacheprovider", "-q",
             f"--rocm-ci-results={self.results}", *arguments],
            cwd=self.home, env=self.environ | {"FAKE_END": fake},
            capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def measured(self) -> dict[str, float]:
        lines = (self.results / "events.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        return {row["name"]: row["value"] for row in rows if row["event"] == "measured"}

    def children(self) -> list[str]:
        """Processes that still run from this copy of the suite, or for it."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if str(self.segment).encode() in path.read_bytes():
                    found.append((path.parent / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found


@pytest.fixture
def suite(tmp_path: Path) -> Iterator[Suite]:
    made = Suite(tmp_path)
    yield made
    made.segment.unlink(missing_ok=True)
    assert made.children() == [], "processes were left behind"


SHUTDOWN = ("test_shutdown.py", "--model=/nowhere", "--hang-limit=30", "--objective=1", "--slack=0.2")
IN_TIME = (*SHUTDOWN, "--objective=10")
"""For an end that is to be a good one: a machine may stand still for a second."""


def test_a_server_that_ends_well(suite: Suite) -> None:
    code, output = suite.run(*IN_TIME, "--drain-timeout=30")
    assert code == 0, output
    measured = suite.measured()
    assert set(measured) == {
        "shutdown_seconds", "all_gone_seconds", "client_seconds", "drain_seconds", "after_last_token_seconds",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fake", "said"),
    [
        ("exits-1", "the server ended with 1; 0 or -15 is right"),
        ("slow", "the objective is 1 s and 0.2 s of slack"),
        ("leaves-child", "the server left behind: processes: "),
        ("leaves-memory", "the server left behind: shared memory: rocm-ci-test-"),
        ("never-up", "the server ended with 3 before it was up"),
    ],
)
def test_a_bad_end(suite: Suite, fake: str, said: str) -> None:
    code, output = suite.run(*SHUTDOWN, "-k", "idle", fake=fake)
    assert code == 1
    assert said in output


def test_a_client_gives_up_and_that_time_is_not_the_servers(suite: Suite) -> None:
    patience = ("--client-patience=8", "--objective=5")
    code, output = suite.run(*SHUTDOWN, "-k", "request", *patience, fake="holds-stream")
    assert code == 0, output
    measured = suite.measured()
    assert measured["client_seconds"] > 5.2
    assert measured["shutdown_seconds"] > 5.2, "above the objective and its slack"


def test_report_judges_no_time_but_still_measures(suite: Suite) -> None:
    code, output = suite.run("test_shutdown.py", "--model=/nowhere", "--objective=report", "-k", "idle", fake="slow")
    assert code == 0, output
    assert suite.measured()["shutdown_seconds"] > 1.5


def test_a_hang_ends_in_stacks_and_the_ladder(suite: Suite) -> None:
    code, output = suite.run(*SHUTDOWN, "-k", "idle", "--hang-limit=3", fake="ignores-term")
    assert code == 1
    assert "no exit within 3 s of SIGTERM; stacks of pids" in output
    assert "ended by SIGINT, SIGTERM, SIGKILL; SIGKILL may leave VRAM held" in output
    assert "fake_vllm.py" in output
    assert "most recent call first" in output


@pytest.mark.parametrize(
    ("fake", "said"),
    [
        ("drops", "the running request did not complete"),
        ("refuses-late", "no new request was refused while the running one was drained"),
        ("accepts", "no new request was refused while the running one was drained"),
    ],
)
def test_a_drain_that_is_none(suite: Suite, fake: str, said: str) -> None:
    code, output = suite.run(*SHUTDOWN, "-k", "drain", "--drain-timeout=10", fake=fake)
    assert code == 1
    assert said in output


def test_limits_that_contradict_each_other_are_a_usage_error(suite: Suite) -> None:
    code, output = suite.run("test_shutdown.py", "--objective=4", "--slack=0.5", "--hang-limit=4.5")
    assert code == 4
    assert "--hang-limit=4.5 must be above --objective plus --slack, 4.5" in output


@pytest.mark.parametrize(
    ("fake", "said"),
    [
        ("rank-1-dies", "rank 1 died, or refuses: RemoteDisconnected"),
        ("rank-1-dies", "the first process to end was "),
        ("rank-1-hangs", "rank 1 hangs: no answer within 15 s"),
        ("rank-1-lies", "rank 1 answers wrong: token 0 is "),
        ("one-serves-all", "rank 1 finished 0 requests by its own count, 8 were sent to it"),
    ],
)
def test_a_rank_that_misbehaves(suite: Suite, fake: str, said: str) -> None:
    code, output = suite.run("test_data_parallel.py", "--model=/nowhere", "--request-limit=15", fake=fake)
    assert code == 1
    assert said in output


def test_ranks_that_behave(suite: Suite) -> None:
    code, output = suite.run("test_data_parallel.py", "--model=/nowhere")
    assert code == 0, output
    assert suite.measured()["agreement_rank_1"] == 1.0


# --- GPU memory -------------------------------------------------------------------------------


def smi(amount: int) -> str:
    return f"""echo '[{{"gpu": 0, "mem_usage": {{"used_vram": {{"value": {amount}, "unit": "MB"}}}}}}]'"""


def test_vram_that_does_not_come_back(suite: Suite, tmp_path: Path) -> None:
    flag = tmp_path / "asked"
    suite.program("amd-smi", f"if [ -e {flag} ]; then {smi(9000)}; else touch {flag}; {smi(300)}; fi")
    code, output = suite.run(*SHUTDOWN, "-k", "idle")
    assert code == 1
    assert "GPU 0 holds 9000 MB, 300 MB before" in output


def test_vram_that_comes_back(suite: Suite) -> None:
    suite.program("amd-smi", smi(300))
    code, output = suite.run(*IN_TIME, "-k", "idle")
    assert code == 0, output


# --- an example script ------------------------------------------------------------------------

EXAMPLE = """
import multiprocessing, os, subprocess, sys, time
def work(rank, how):
    print("Using Wanted manager", flush=True)
    if rank == 1 and how == "dies": os._exit(7)
    if rank == 1 and how == "hangs": time.sleep(60)
    if rank == 1 and how == "leaves":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[2])
    ranks = [multiprocessing.Process(target=work, args=(rank, sys.argv[1])) for rank in range(2)]
    for rank in ranks: rank.start()
    for rank in ranks: rank.join()
"""


def run_example(suite: Suite, how: str, start: str, *more: str) -> tuple[int, str]:
    (suite.home / "there.py").write_text(EXAMPLE)
    return suite.run(
        "test_example.py", f"--example={suite.home / 'there.py'}", f"--example-args={how}", f"--example-args={start}",
        "--backend-proof=Using Wanted", "--group-limit=60", *more,
    )  # fmt: skip


@pytest.mark.parametrize("start", ["spawn", "fork"])
def test_an_example_that_does_all(suite: Suite, start: str) -> None:
    code, output = run_example(suite, "well", start)
    assert code == 0, output


@pytest.mark.parametrize("start", ["spawn", "fork"])
def test_a_dead_rank_though_the_script_ends_with_0(suite: Suite, start: str) -> None:
    code, output = run_example(suite, "dies", start)
    assert code == 1
    assert "died: exit status 7" in output
    assert "rank 1 (pid" in output


def test_a_hung_rank_is_named_and_its_stack_shown(suite: Suite) -> None:
    code, output = run_example(suite, "hangs", "spawn", "--group-limit=15")  # on a busy machine ranks begin late
    assert code == 1
    assert "the group hung: it had not ended after 15 s" in output
    assert "was still running" in output
    assert "in work" in output


def test_a_process_that_outlives_the_script_is_found_in_a_session_of_its_own(suite: Suite) -> None:
    code, output = run_example(suite, "leaves", "spawn")
    assert code == 1
    assert "processes outlived the script: " in output


NAMED_ODDLY = """
import os, processes
open("/proc/self/comm", "w").write("a) S 1 (b")
if pid := os.fork(): os.waitpid(pid, 0)
print(os.getpid(), processes.read(os.getpid()).start, flush=True)
os._exit(0)
"""


def test_a_family_log_says_when_each_was_started(suite: Suite, tmp_path: Path) -> None:
    log = tmp_path / "children.jsonl"
    environ = suite.environ | {
        "ROCM_WATCH_CHILDREN": str(log),
        "PYTHONPATH": f"{suite.home / 'site'}:{suite.home}",
    }
    said = subprocess.check_output([sys.executable, "-c", NAMED_ODDLY], env=environ, text=True, timeout=60)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    born = {row["pid"]: row["ticks"] for row in rows if row["event"] == "born"}
    assert born == {int(pid): int(ticks) for pid, ticks in map(str.split, said.splitlines())}
    assert len(born) == 2


def test_another_backend_than_asked_for(suite: Suite) -> None:
    code, output = run_example(suite, "well", "fork", "--backend-proof=Using Other")
    assert code == 1
    assert "the backend asked for is not known to be in use" in output


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ("--example=/nowhere/data_parallel.py",),
            1,
            "there is no /nowhere/data_parallel.py in this image: it has moved",
        ),
        (("--example=there.py", "--needs-module=no_such_thing"), 0, "this image has no module no_such_thing"),
        ((), 0, "no --example given"),
    ],
)
def test_an_example_that_cannot_run(suite: Suite, arguments: tuple[str, ...], code: int, said: str) -> None:
    (suite.home / "there.py").write_text(EXAMPLE)
    found, output = suite.run("test_example.py", "-rs", *arguments)
    assert (found, said in output) == (code, True), output


# --- evidence ---------------------------------------------------------------------------------


def gather(suite: Suite, seconds: float, **environ: str) -> dict[str, Any]:
    suite.results.mkdir()
    done = subprocess.run(
        [sys.executable, suite.home / "evidence.py", f"--seconds={seconds}", f"--out={suite.results}"],
        env=suite.environ | environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == ""
    assert (suite.results / "evidence.txt").read_text().startswith("Evidence of ")
    document: dict[str, Any] = json.loads((suite.results / "evidence.json").read_text())
    return document


def test_evidence_shows_processes_asks_for_stacks_and_hides_secrets(suite: Suite) -> None:
    words = ["-c", "import time; print(flush=True); time.sleep(60)", "--api-key=TOPSECRET"]
    pipes: dict[str, Any] = {"env": suite.environ, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen([sys.executable, *words], **pipes) as child,
        subprocess.Popen([sys.executable, "-S", *words], **pipes) as deaf,
    ):
        assert child.stdout and deaf.stdout and child.stderr  # noqa: PT018 - they are pipes
        child.stdout.readline()
        deaf.stdout.readline()
        document = gather(suite, 20, HF_TOKEN="TOPSECRET")
        assert deaf.poll() is None, "it was sent a signal that it does not hear"
        child.kill()
        deaf.kill()
        assert "most recent call first" in child.stderr.read()
    sections = document["sections"]
    assert child.pid in sections["stacks"][0]["asked"]
    assert deaf.pid in sections["stacks"][1]["python_without_a_handler"]
    (row,) = [row for row in sections["tree"] if row.get("pid") == child.pid]
    assert row["state"] in ("R", "S"), "on a busy machine it may not have begun to sleep"
    assert row["parent"] == os.getpid()
    assert [
        row["command"].endswith("--api-key=***") for row in sections["commands"] if row.get("pid") == child.pid
    ] == [True]
    assert "TOPSECRET" not in json.dumps(document)
    assert all(sections[name] for name in ("memory", "shared_memory", "limits", "mounts", "kernel", "gpus"))


def test_somebody_elses_python_is_not_asked(suite: Suite) -> None:
    words = [
        sys.executable,
        "-c",
        "import faulthandler, time; faulthandler.register(10); print(flush=True); time.sleep(60)",
    ]
    with subprocess.Popen(words, env={}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as stranger:
        assert stranger.stdout
        stranger.stdout.readline()
        document = gather(suite, 20)
        stranger.kill()
    assert stranger.pid not in document["sections"]["stacks"][0]["asked"]


def test_a_hanging_tool_costs_its_own_answer_alone(suite: Suite) -> None:
    suite.program("amd-smi", 'trap "" TERM; [ "$1" = version ] && echo 25.3 || sleep 60')
    document = gather(suite, 20)
    said = {row["asked"]: row["code"] for row in document["sections"]["gpus"] if "asked" in row}
    assert said["amd-smi version"] == 0
    assert said["amd-smi metric --json"] == "did not end in time"
    assert document["sections"]["mounts"]


def test_evidence_that_cannot_be_written_changes_nothing(suite: Suite) -> None:
    done = subprocess.run(
        [sys.executable, suite.home / "evidence.py", "--seconds=5", "--out=/proc/nowhere"],
        env=suite.environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "/proc/nowhere" in done.stderr
