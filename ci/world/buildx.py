"""BuildKit through ``docker buildx``: the SDK has no BuildKit (docs/decisions/0001-buildx.md).

One generated JSON definition per build, ``rawjson`` progress, a metadata file, the least
``--allow``, stdin closed, a scrubbed environment, ``--builder`` always named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InfraError
from ..settings import Settings
from . import files
from .engine import Endpoint
from .process import Command, Finished, Run, run

_PATIENCE = 30.0
_BOOT = 300.0
"""Seconds for a builder that may have to pull the image it runs in."""


@dataclass(frozen=True, slots=True)
class Baked:
    """The end of one bake: the child's result and its metadata file (empty when it wrote none)."""

    finished: Finished
    metadata: Mapping[str, object]


def environment(settings: Settings, at: Endpoint) -> dict[str, str]:
    """What buildx sees: enough to find its plugins, credentials and the engine, nothing a definition could read."""
    kept = ("PATH", "HOME", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "BUILDX_CONFIG", "KUBECONFIG")
    env = {name: settings.host(name) for name in kept if settings.host(name)}
    if at.context:
        env["DOCKER_CONTEXT"] = at.context
    else:
        env["DOCKER_HOST"] = at.host
    return env


def builder(settings: Settings, at: Endpoint) -> str:
    """The builder's name: the one that was asked for, else the engine's own, which is called as its context."""
    return settings.get("ROCM_CI_BUILDER").value or at.context or "default"


def bake(
    folder: Path,
    target: str,
    *,
    builder: str,
    env: Mapping[str, str],
    on_line: Callable[[str, str], None],
    start: Run = run,
    file: str = "bake.json",
    allow: Sequence[str] = (),
    inactivity: float | None = None,
) -> Baked:
    """Build ``target`` of ``folder/file``; every path in it lies below ``folder``, or in what ``allow`` names.

    ``inactivity`` is the seconds it may be silent, None for a build: a step may have nothing to say for hours.
    """
    metadata = folder / file.replace("bake", "metadata", 1)
    allowed = [word for each in (f"fs.read={folder}", *allow) for word in ("--allow", each)]
    argv = (
        "docker", "buildx", "--builder", builder, "bake", "--file", file, "--progress", "rawjson",
        "--metadata-file", str(metadata), *allowed, target,
    )  # fmt: skip
    finished = start(Command(argv, cwd=folder, env=env, inactivity=inactivity), on_line)
    data = files.read_json(metadata)
    return Baked(finished, data if isinstance(data, dict) else {})


def version(env: Mapping[str, str], start: Run = run) -> str:
    """buildx's version, such as ``0.29.1``; ``InfraError`` where the plugin is missing."""
    done = start(Command(("docker", "buildx", "version"), env=env, deadline=5))
    if not done.ok:
        hint = "install docker-buildx 0.17 or newer, or run ./ci/bootstrap"
        raise InfraError("no-buildx", "docker buildx does not answer", context=done.tail(3), hint=hint)
    words = [*done.stdout.split(), "", ""]
    return words[1].removeprefix("v").split("+")[0]


def inspect(name: str, env: Mapping[str, str], start: Run = run, *, boot: bool = False) -> Finished:
    """What buildx says of a builder, for ``build.builder.read`` to understand; with ``boot``, it is started first."""
    words = ("--bootstrap",) if boot else ()
    deadline = _BOOT if boot else _PATIENCE
    return start(Command(("docker", "buildx", "inspect", *words, name), env=env, deadline=deadline))
