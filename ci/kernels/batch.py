"""Many compiles through few ``docker exec``: to start one costs a tenth of what a small compile takes.

A worker per job goes through all tasks and takes those that no other has: making a folder
either succeeds for one of them or fails.  Each task is a file with one quoted argument list.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ..world import files
from ..world.clock import Clock, SystemClock
from ..world.crew import Done, RunAll
from ..world.process import Command, Finished
from .workshop import OUTPUT, Bench

WORKER = """\
for task; do
  mkdir "$0/$task.taken" 2>/dev/null || continue
  echo "begin $task"
  sh "$0/$task.sh" >"$0/$task.stdout" 2>"$0/$task.stderr" </dev/null
  echo "end $task $?"
done
"""


class Batch:
    """The compiles of one run in one container; ``staging`` is the folder it knows as ``OUTPUT``."""

    def __init__(self, bench: Bench, staging: Path, done: Done, clock: Clock | None = None) -> None:
        self._bench = bench
        self._staging = staging
        self._done = done
        self._clock = clock or SystemClock()
        self._begun: dict[int, float] = {}
        self._ended: set[int] = set()
        self._commands: Sequence[Command] = ()
        self._broken: Finished | None = None

    def run(self, words: Sequence[tuple[str, ...]], jobs: int, start: RunAll) -> None:
        """Run every argument list of ``words``; ``done`` hears of each, also of those no worker came back from."""
        self._commands = [self._bench.command(each) for each in words]
        with files.disk_errors(f"cannot write {self._staging}"):
            for place, each in enumerate(words):
                (self._staging / f"{place}.sh").write_text(f"exec {shlex.join(each)}\n")
        tasks = tuple(str(place) for place in range(len(words)))
        worker = self._bench.command(("sh", "-c", WORKER, OUTPUT, *tasks))
        start([worker] * min(jobs, len(words)), jobs, self._worker_ended, self._heard)
        for place, command in enumerate(self._commands):
            if place not in self._ended:
                end = self._broken
                text = (end.stderr if end else "") or "the container ended before the compiler did"
                self._done(place, Finished(command, (end.code if end else 0) or 1, "", text), 0.0)

    def _worker_ended(self, _place: int, finished: Finished, _seconds: float) -> None:
        if not finished.ok:
            self._broken = finished

    def _heard(self, _worker: int, stream: str, line: str) -> None:
        if stream != "stdout":
            return
        word, _, rest = line.partition(" ")
        numbers = [int(each) for each in rest.split()]
        if word == "begin":
            self._begun[numbers[0]] = self._clock.monotonic()
            return
        place, code = numbers
        self._ended.add(place)
        seconds = self._clock.monotonic() - self._begun[place]
        said = (self._said(place, name) for name in ("stdout", "stderr"))
        self._done(place, Finished(self._commands[place], code, *said), seconds)

    def _said(self, place: int, stream: str) -> str:
        path = self._staging / f"{place}.{stream}"
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
