"""Workers that share the tasks of one container."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ci.kernels.batch import Batch
from ci.kernels.workshop import Bench
from ci.world.crew import Done, Heard
from ci.world.fakes import FakeClock
from ci.world.process import Command, Finished

BENCH = Bench(("docker", "exec", "box"), ("hipcc",), None, {}, "/out", contained=True)
TASKS = [("hipcc", "a b.hip"), ("hipcc", "$(reboot).hip"), ("hipcc", "c.hip")]


class Workers:
    """Two workers in turn; the second one's exec breaks before ``lost`` is done."""

    def __init__(self, staging: Path, clock: FakeClock, lost: set[int] | None = None) -> None:
        self.staging, self.clock, self.lost = staging, clock, lost or set()
        self.argv: tuple[str, ...] = ()

    def __call__(self, commands: Sequence[Command], jobs: int, done: Done, heard: Heard) -> None:
        assert len(commands) == min(jobs, len(TASKS))
        self.argv = commands[0].argv
        for task in range(len(TASKS)):
            heard(task % jobs, "stdout", f"begin {task}")
            self.clock.advance(0.5)
            if task not in self.lost:
                (self.staging / f"{task}.stderr").write_text(f"said {task}\n")
                heard(task % jobs, "stdout", f"end {task} {task}")
        code, text = (1, "Error response from daemon: container is gone\n") if self.lost else (0, "")
        done(0, Finished(commands[0], code, "", text), 1.0)


@pytest.mark.parametrize("jobs", [1, 2, 9])
def test_every_task_is_told_with_its_own_end(tmp_path: Path, jobs: int) -> None:
    clock = FakeClock()
    workers = Workers(tmp_path, clock)
    seen: list[tuple[int, int, str, float]] = []
    batch = Batch(
        BENCH, tmp_path, lambda place, end, seconds: seen.append((place, end.code, end.stderr, seconds)), clock
    )
    batch.run(TASKS, jobs, workers)
    assert seen == [(task, task, f"said {task}\n", 0.5) for task in range(3)]
    assert workers.argv[:5] == ("docker", "exec", "box", "sh", "-c")
    assert workers.argv[6:] == ("/out", "0", "1", "2")
    scripts = [(tmp_path / f"{task}.sh").read_text() for task in range(3)]
    assert scripts == ["exec hipcc 'a b.hip'\n", "exec hipcc '$(reboot).hip'\n", "exec hipcc c.hip\n"]


def test_a_task_nobody_came_back_from_has_failed(tmp_path: Path) -> None:
    seen: dict[int, Finished] = {}
    batch = Batch(BENCH, tmp_path, lambda place, end, _seconds: seen.update({place: end}), FakeClock())
    batch.run(TASKS, 2, Workers(tmp_path, FakeClock(), {0, 2}))
    assert {place: end.code for place, end in seen.items()} == {0: 1, 1: 1, 2: 1}
    assert seen[2].stderr.startswith("Error response from daemon")
