"""``test`` while the engine dies, or the disk of its run folder is full: infra, in words, and nothing left."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import plants
from tests.faults.daemon import Daemon
from tests.faults.stand import ROOT, Running, processes, soon

IMAGE = "rocm-ci-faults/suites:1"
RECORDS = '{"event": "begin", "pid": 1, "pytest": "9", "python": "3"}'
WHOLE = (
    '{"event": "collected", "ids": ["a.py::test_a"]}\n{"event": "start", "id": "a.py::test_a"}\n'
    '{"event": "end", "id": "a.py::test_a", "outcome": "passed", "seconds": 1, "reason": ""}\n'
    '{"event": "finish", "code": 0}'
)
JUNIT = (
    '<testsuites><testsuite name="pytest" tests="1" errors="0" failures="0" skipped="0">'
    '<testcase classname="a" name="test_a" time="1"/></testsuite></testsuites>'
)
PYTEST = f"""\
#!/bin/sh
# What pytest leaves behind, were it to collect until somebody says go.
for word in "$@"; do case $word in --rocm-ci-results=*) folder=${{word#*=}};; esac; done
[ -n "$folder" ] || exit 0
echo '{RECORDS}' > $folder/events.jsonl
echo 'collecting'
until [ -e $folder/go ]; do sleep 0.1; done
echo '{WHOLE}' >> $folder/events.jsonl
echo '{JUNIT}' > $folder/junit.xml
"""


def image(**files: str) -> bytes:
    """A root image: a static busybox, links to it, and programs of ours."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for folder in ("bin", "opt", "tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        archive.add("/bin/busybox", "bin/busybox")
        for applet in ("sh", "cat", "sleep", "echo", "dd", "yes", "head", "true", "["):
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
        for name, text in files.items():
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.mode, entry.size = 0o755, len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return data.getvalue()


class Runs:
    """``test`` at one engine, its state in a folder of its own."""

    def __init__(self, folder: Path, host: str, state: Path) -> None:
        self.folder, self.host, self.state = folder, host, state

    def load(self, data: bytes) -> None:
        subprocess.run(["docker", "--host", self.host, "import", "-", IMAGE], input=data, check=True)

    def start(self, verb: str, *words: str) -> Running:
        env = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
        }
        env |= {"DOCKER_HOST": self.host, "ROCM_CI_STATE": str(self.state)}
        argv = [sys.executable, "-m", "ci", verb, "--json", *words]
        child = subprocess.Popen(
            argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        return Running(child)

    def test(self, commands: list[dict[str, Any]], name: str = IMAGE, *, native: bool = False) -> Running:
        stack = plants.write(self.folder / "plant", {"step": {"commands": commands}})
        where = ("--runtime", "native") if native else ("--image", name)
        return self.start("test", "all", "--stack", str(stack), *where)

    def reap(self) -> list[str]:
        """What it removed; afterwards there is nothing left of anything."""
        ended = self.start("reap").end()
        assert ended.code == 0, ended.err
        kinds = [row["kind"] for row in ended.document["removed"]]
        argv = ["docker", "--host", self.host, "ps", "--all", "--quiet", "--filter", "label=org.rocm-ci.run"]
        names = [path.name for path in (self.state / "runs").glob("*")]
        left = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
        ours = [each for each in left if any(name in self._inspect(each) for name in names)]
        assert ours == []
        assert self.start("reap").end().document["removed"] == []
        soon(lambda: not processes(str(self.state)), f"still there: {processes(str(self.state))}")
        return kinds

    def _inspect(self, container: str) -> str:
        argv = ["docker", "--host", self.host, "inspect", container]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


# --- the engine -------------------------------------------------------------------------------


@pytest.fixture
def doomed_runs(daemon: Daemon, tmp_path: Path) -> Runs:
    """An engine of the test's own, with an image whose python3 is a script."""
    daemon.start()
    made = Runs(tmp_path, daemon.host, tmp_path / "state")
    made.load(image(python3=PYTEST))
    return made


def test_an_engine_that_is_restarted_in_mid_test(doomed_runs: Runs, daemon: Daemon) -> None:
    """What had begun may have run anything: it is not begun again."""
    running = doomed_runs.test([{"run": ["sh", "-c", "echo working; sleep 600"]}])
    running.until("working\n")
    daemon.kill()
    daemon.start()
    ended = running.end()
    (row,) = ended.document["steps"]
    assert (ended.code, row["outcome"], row["tries"]) == (4, "infra", []), ended.err
    assert row["commands"][0]["ended"]["lost"]
    assert doomed_runs.reap() in ([], ["container"])


def running_folder(runs: Runs, place: str) -> Path:
    """The results folder of the first command of a try."""
    (run,) = (runs.state / "runs").glob("*")
    return run / "steps" / "step" / place / "1"


def test_an_engine_that_dies_before_the_first_test(doomed_runs: Runs, daemon: Daemon) -> None:
    """The step waits for it to come back, is begun once more, and both tries are told."""
    running = doomed_runs.test([{"pytest": ["a.py"]}])
    running.until("collecting\n")
    daemon.kill()
    running.until("it is begun once more")
    daemon.start()
    second = running_folder(doomed_runs, "whole-2")
    soon((second / "events.jsonl").exists, f"no second try: {running.err}")
    (second / "go").touch()
    ended = running.end()
    (row,) = ended.document["steps"]
    assert (ended.code, row["outcome"], len(row["tries"])) == (0, "ok", 1), ended.err
    assert "engine" in row["tries"][0]
    assert doomed_runs.reap() == ["container"]


# --- the disk ---------------------------------------------------------------------------------


@pytest.fixture
def full(engine_host: str, tmp_path: Path) -> Iterator[Runs]:
    """A state folder on a disk of 8 MB, at the engine of this machine."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small disk")
    state = Path(tempfile.mkdtemp(prefix="rf-", dir="/tmp"))
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(state)], check=False)
    if done.returncode:
        pytest.skip("needs the right to mount")
    yield Runs(tmp_path, engine_host, state)
    subprocess.run(["umount", "--lazy", str(state)], check=True)
    state.rmdir()


FILLS = {
    "output": "yes 'a line of the flood' | head -c 20000000",
    "a file, and fails": "dd if=/dev/zero of={results}/big bs=1M; exit 1",
    "a file, and is content": "dd if=/dev/zero of={results}/big bs=1M; exit 0",
}


@pytest.mark.parametrize("what", FILLS)
def test_a_run_folder_whose_disk_is_full(full: Runs, busy: str, what: str) -> None:
    ended = full.test([{"run": ["sh", "-c", FILLS[what]]}], busy).end()
    (row,) = ended.document["steps"]
    assert (ended.code, row["outcome"]) == (4, "infra"), ended.err
    assert row["reasons"][0].startswith("the disk of the run folder is full; free space")
    assert "ROCM_CI_STATE" in row["reasons"][0]
    for each in full.state.glob("runs/*/steps/*/*/*"):
        for name in ("big", "log.txt"):
            (each / name).unlink(missing_ok=True)  # the remedy
    full.reap()


ALMOST = """\
def test_a():
    with open('{cache}/big', 'wb', buffering=0) as stream:
        try:
            while True: stream.write(bytes(1 << 16))
        except OSError:
            stream.truncate(stream.tell() - (1 << 19))
    assert not 'no room'
"""


def test_a_test_that_fails_on_a_full_disk_accuses_nobody(full: Runs) -> None:
    """It may have failed for that: the failure is told after the disk, and the product is not blamed."""
    ended = full.test(plants.pytest_of(ALMOST), native=True).end()
    (row,) = ended.document["steps"]
    assert (ended.code, row["outcome"], row["counts"]["failed"]) == (4, "infra", 1), ended.err
    assert row["reasons"][0].startswith("the disk of the run folder is full")
    assert any("test_a failed" in each for each in row["reasons"][1:])
    full.reap()


def test_a_disk_that_is_full_before_the_start(full: Runs, busy: str) -> None:
    with pytest.raises(OSError, match="No space"):
        (full.state / "big").write_bytes(bytes(9 << 20))
    ended = full.test([{"run": ["sh", "-c", "true"]}], busy).end()
    assert ended.code == 4, ended.err
    assert "set ROCM_CI_STATE" in json.dumps(ended.document)
    (full.state / "big").unlink()
    full.reap()
