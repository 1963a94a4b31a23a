"""Suites of planted steps, run by the real command line, in front or behind a door; and what is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import plants
from tests.engine.conftest import ROOT, Cli, Ran, docker
from tests.faults.stand import processes

RUNTIMES = ("docker", "native")
BIN = Path(sys.executable).parent
CI = (sys.executable, "-m", "ci", "test", "all")
INV = (str(BIN / "inv"), "test", "all")
NOX = (str(BIN / "nox"), "-s", "shutdown-timeout", "--")
SUITES: Mapping[tuple[str, ...], str] = {NOX: "shutdown-timeout"}
PATIENCE = 180.0

Steps = Mapping[str, Mapping[str, Any]]
Play = Callable[..., Ran]
Words = Callable[[str], tuple[str, ...]]


def at_work(rest: str = "time.sleep(300)") -> dict[str, Any]:
    """A command that says so once it works, and then does ``rest``."""
    quiet = "signal.signal(signal.SIGINT, signal.SIG_DFL)"  # no traceback of its own
    return plants.python(f"import signal, sys, time; {quiet}; print('at work', flush=True); {rest}")


def step(ran: Ran, name: str) -> dict[str, Any]:
    """The first row of a step."""
    row: dict[str, Any] = next(each for each in ran.json["steps"] if each["name"] == name)
    return row


def left_behind(state: Path) -> list[str]:
    """Containers of this state's runs, what their ledgers hold open, and processes that know the state folder."""
    runs = {path.name.lower() for path in (state / "runs").glob("*")}
    names = docker("ps", "-a", "--format", "{{.Names}}").splitlines()
    found = [name for name in names if any(run in name for run in runs)]
    for ledger in (state / "runs").glob("*/ledger.jsonl"):
        rows = [json.loads(line) for line in ledger.read_text().splitlines()]
        wills = [row["will"] for row in rows if "will" in row]
        gone = [row["gone"] for row in rows if "gone" in row]
        found += [str(each) for each in wills if each not in gone]
    return found + list(processes(str(state)).values())


@dataclass
class Started:
    """``test`` in the background behind a door, in a process group of its own."""

    child: subprocess.Popen[str]
    state: Path
    said: Path
    told: Path

    def until(self, what: Callable[[], object], why: str) -> None:
        """Wait until ``what()`` is true."""
        end = time.monotonic() + PATIENCE
        while not what():
            if self.child.poll() is not None or time.monotonic() > end:
                pytest.fail(f"{why}; exit {self.child.poll()}: {self.said.read_text()[-3000:]}")
            time.sleep(0.1)

    def hears(self, text: str) -> None:
        """Wait for ``text`` on stderr."""
        self.until(
            lambda: text in self.said.read_text() + self.told.read_text(), f"never said {text!r}"
        )  # Nox joins both

    @property
    def run(self) -> Path:
        """The run folder of the call itself, which alone plans for those it makes."""
        folders = sorted((self.state / "runs").glob("*"), key=lambda path: not (path / "planned-from.json").exists())
        return folders[0]

    @property
    def container(self) -> str:
        """The container at work."""
        names = docker("ps", "--format", "{{.Names}}").splitlines()
        return next(name for name in names if self.run.name.lower() in name)

    def signal_group(self, number: int) -> None:
        """As a terminal does it: everybody in the foreground hears it."""
        os.killpg(self.child.pid, number)

    def end(self) -> tuple[int, str]:
        """Exit code and stdout."""
        code = self.child.wait(PATIENCE)
        return code, self.told.read_text()

    def until_gone(self) -> None:
        """Wait for what outlived the door: nobody passes its exit code on."""
        end = time.monotonic() + PATIENCE
        while left := processes(str(self.state)):
            assert time.monotonic() < end, left
            time.sleep(0.1)

    @property
    def result(self) -> dict[str, Any]:
        """``result.json``."""
        found: dict[str, Any] = json.loads((self.run / "result.json").read_text())
        return found


@dataclass
class Starter:
    """Starts ``test`` in the background; ``end`` kills what a failed test left."""

    cli: Cli
    folder: Path
    words: Words
    started: list[Started] = field(default_factory=list)

    def __call__(
        self,
        door: tuple[str, ...] = CI,
        steps: Steps | None = None,
        *options: str,
        runtime: str = "docker",
        **more: Any,
    ) -> Started:
        environ, ready = more.pop("environ", {}), more.pop("ready", "at work\n")
        image = self.words(runtime) if more.pop("image", True) else ("--runtime", runtime)
        stack = more.pop("stack", None) or plants.write(
            self.folder / "plant", steps or {"sleeps": {"commands": [at_work()]}}, SUITES.get(door, "all"), **more
        )
        env = {**self.cli.environ, "ROCM_CI_STATE": str(self.cli.state), "PYTHONPATH": str(ROOT)}
        env |= {"PATH": f"{BIN}:{os.environ['PATH']}", **environ}
        said, told = self.folder / "stderr", self.folder / "stdout"
        with said.open("w") as stderr, told.open("w") as stdout:
            child = subprocess.Popen(
                [*door, "--stack", str(stack), "--json", *image, *options],
                cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True, process_group=0,
                preexec_fn=_as_in_a_terminal,  # noqa: PLW1509 - one system call
            )  # fmt: skip
        self.started.append(Started(child, self.cli.state, said, told))
        if ready:
            self.started[-1].hears(ready)
        return self.started[-1]

    def end(self) -> None:
        """Kill what still runs."""
        for each in self.started:
            with each.child as child:
                child.kill()


def _as_in_a_terminal() -> None:
    """A script's background job is started with SIGINT ignored, and Nox obeys that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
