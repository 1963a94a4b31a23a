"""Sandboxes for tests, of both kinds, and a program that attends a command in one as a run would."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ci.errors import CiError
from ci.settings import capture
from ci.world import buildx
from ci.world.clock import Clock, SystemClock
from ci.world.container import Container
from ci.world.engine import Engine, endpoint
from ci.world.ledger import Ledger
from ci.world.native import Native
from ci.world.process import listen
from ci.world.sandbox import Ended, Limits, Sandbox, Spec, Stopping, never

KINDS = ("container", "native")

FOREVER = "while :; do sleep 0.05; done"
HELD = "which may leave VRAM held"
RUNGS = ("SIGINT", "SIGTERM", "SIGKILL")
DETACHED = "busybox setsid sh -c '(%s exec sleep %s) &' >/dev/null 2>&1 </dev/null; echo left"


def marked() -> str:
    """A number of seconds nobody else sleeps: names a process across the walls of a container."""
    return f"7{secrets.randbelow(10**8):08d}"


@dataclass
class Box:
    """A sandbox that was begun, what it said, and what its commands wrote."""

    kind: str
    image: str
    said: list[str] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    sandbox: Sandbox = field(init=False)
    clock: Clock = field(default_factory=SystemClock)
    stopping: Stopping = never
    show: Callable[[str], None] = lambda _text: None
    on_line: Callable[[str], object] = lambda _line: None
    on_limit: Callable[[str], object] = lambda _kind: None

    def say(self, text: str) -> None:
        """Keep what the sandbox says."""
        self.said.append(text)
        self.show(text)

    def begin(self, name: str = "", **options: object) -> None:
        """Begin it with these options of a ``Spec``."""
        name = name or f"rocm-ci-test-{secrets.token_hex(6)}"
        spec = Spec(name, self.image, **options)  # type: ignore[arg-type]
        settings = capture()
        if self.kind == "container":
            engine = Engine(endpoint(settings))
            env = buildx.environment(settings, engine.at)
            self.sandbox = Container(spec, engine, env, self.say, clock=self.clock, stopping=self.stopping)
        else:
            self.sandbox = Native(spec, settings, self.say, clock=self.clock, stopping=self.stopping)
        self.sandbox.begin()

    def run(
        self, *argv: str, env: Mapping[str, str] | None = None, cwd: str = "", limits: Limits | None = None
    ) -> Ended:
        """Attend a command; one word is a script."""
        words = ("sh", "-c", *argv) if len(argv) == 1 else argv

        def on_line(stream: str, line: str) -> None:
            self.lines.append((stream, line))
            self.on_line(line)

        def on_limit(kind: str) -> None:
            self.on_limit(kind)

        limits = limits or Limits(120, grace_seconds=5)
        return self.sandbox.attend(
            words,
            env=env or {},
            cwd=cwd,
            limits=limits,
            on_line=on_line,
            on_limit=on_limit,
        )

    def text(self) -> list[str]:
        """The lines, of both streams."""
        return [line for _, line in self.lines]


def main(kind: str, image: str, state: str, script: str) -> int:
    """Attend ``script`` as a run does: ledger, signals, clean-up, exit code; lines and log go to stdout."""

    def show(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    ledger = Ledger.begin(Path(state), f"20260101T000000Z-{os.getpid()}", "test")
    box = Box(kind, image, show=show, on_line=show, on_limit=lambda kind: show(f"evidence: {kind}"))
    name = f"rocm-ci-{ledger.folder.name}"
    try:
        with listen():
            thing = ledger.will_make("container", name) if kind == "container" else None
            try:
                box.begin(name)
                ended = box.run(script, limits=Limits(120, grace_seconds=2))
            finally:
                if thing:
                    ledger.clear(thing, lambda: show(f"end: {box.sandbox.end(2)}"), show)
                else:
                    show(f"end: {box.sandbox.end(2)}")
            show(f"ended: {ended}")
            return ended.code if ended.code is not None else 4
    except CiError as error:
        show(f"{type(error).__name__}: {error}")
        return error.exit_code
    finally:
        ledger.end()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
