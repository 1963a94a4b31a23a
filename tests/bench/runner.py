"""The test runner: what one step in a sandbox takes above ``docker run`` of the same command.

Ours is a process of its own for each step, so that the start of Python and of the Docker SDK count: ledger,
container, command, the engine's word on how it ended, SIGTERM to what is left, removal.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ci.settings import capture
from ci.world import buildx
from ci.world.container import Container
from ci.world.engine import Engine, endpoint
from ci.world.ledger import Ledger
from ci.world.process import listen
from ci.world.sandbox import RUN_LABEL, Limits, Spec

from . import recipes
from .goals import Measured
from .measure import Process, environment, in_turn

if TYPE_CHECKING:
    from .scenes import Bench

TOP = Path(__file__).resolve().parents[2]
ROUNDS = 21
COMMAND = ("sh", "-c", "exit 0")


def runner(bench: Bench) -> dict[str, Measured]:
    """One step of a command that does nothing, a process each, in turn with ``docker run``."""
    recipes.make_root()
    step = (sys.executable, "-m", "tests.bench.runner", recipes.ROOT, str(bench.state))
    plain = ("docker", "run", "--rm", "--init", recipes.ROOT, *COMMAND)
    found = in_turn({"ours": Process(step, TOP, bench.env), "docker": Process(plain, TOP, environment())}, ROUNDS)
    return {"runner-step": Measured(found["ours"].above(found["docker"]))}


def main(image: str, state: str) -> int:
    """Run one step as a run does; gives the exit code of its command."""
    name = f"rocm-ci-bench-{os.getpid()}"
    settings = capture()
    engine = Engine(endpoint(settings))
    ledger = Ledger.begin(Path(state), f"20260101T000000Z-bench-{os.getpid()}", "test")
    spec = Spec(name, image, labels={RUN_LABEL: ledger.folder.name})
    sandbox = Container(spec, engine, buildx.environment(settings, engine.at), _say)
    thing = ledger.will_make("container", name)
    with listen():
        try:
            sandbox.begin()
            ended = sandbox.attend(
                COMMAND, env={}, cwd="", limits=Limits(60, 60), on_line=lambda *_: None, on_limit=lambda _: None
            )
        finally:
            ledger.clear(thing, lambda: _end(sandbox), _say)
    ledger.end()
    return 4 if ended.code is None else ended.code


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _end(sandbox: Container) -> None:
    sandbox.end()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
