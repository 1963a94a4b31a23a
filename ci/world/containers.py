"""Containers that stay up while programs are run in them, through the ``docker`` command line.

``docker exec`` is a child like any other: streamed, bounded and stopped by the process runner,
which no call of the SDK is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import InfraError
from .process import Command, Finished, Run, run

_PATIENCE = 120.0
"""Seconds the engine may take to start or remove a container."""


class Mount(NamedTuple):
    """A folder of this host inside the container."""

    source: Path
    target: str
    read_only: bool = True

    def __str__(self) -> str:
        mode = ",readonly" if self.read_only else ""
        return f'type=bind,"source={self.source}",target={self.target}{mode}'


class Workshop(NamedTuple):
    """A container to run programs in: no network, nothing to write but /tmp and what is mounted writable."""

    name: str
    image: str
    mounts: tuple[Mount, ...]
    user: str
    env: Mapping[str, str]

    def begin(self, start: Run = run) -> None:
        """Start it; raises ``InfraError`` when the engine cannot."""
        argv = (
            "docker", "run", "--detach", "--init", "--pull=never", "--network=none", "--read-only",
            "--tmpfs", "/tmp:exec,mode=1777", "--cap-drop=ALL", "--security-opt=no-new-privileges",  # noqa: S108
            "--user", self.user, "--name", self.name,
            *(word for mount in self.mounts for word in ("--mount", str(mount))),
            "--entrypoint", "sleep", self.image, "infinity",
        )  # fmt: skip
        done = start(Command(argv, env=self.env, deadline=_PATIENCE))
        if not done.ok:
            hint = "run inv doctor: the engine has to be on this host and able to see the mounted folders"
            raise InfraError("no-container", f"cannot start {self.image}", context=done.tail(5), hint=hint)

    def inside(self, folder: str) -> tuple[str, ...]:
        """What to put before an argument list, to have it run in ``folder`` of the container."""
        return ("docker", "exec", "--workdir", folder, self.name)

    def end(self, start: Run = run) -> None:
        """Kill what runs in it and remove it; no error where it is gone."""
        done = start(Command(("docker", "rm", "--force", "--volumes", self.name), env=self.env, deadline=_PATIENCE))
        if not done.ok and "No such container" not in done.stderr and "already in progress" not in done.stderr:
            raise InfraError("engine", f"cannot remove container {self.name}", context=done.tail(3), hint="inv reap")


def engine_failed(finished: Finished) -> bool:
    """Whether a ``docker exec`` ended by the engine's fault, not by the program's: docker has no code of its own."""
    marks = ("Error response from daemon", "Cannot connect to the Docker daemon", "error during connect", "OCI runtime")
    return not finished.ok and any(line.startswith(marks) for line in finished.stderr.splitlines())
