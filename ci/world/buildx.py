"""BuildKit through ``docker buildx``: the SDK has no BuildKit (docs/decisions/0001-buildx.md).

One generated JSON definition per build, ``rawjson`` progress, a metadata file, the least
``--allow``, stdin closed, a scrubbed environment, ``--builder`` always named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InfraError
from ..settings import Settings
from . import files
from .engine import Endpoint
from .process import Command, Finished, Run, run


@dataclass(frozen=True, slots=True)
class Baked:
    """The end of one bake: the child's result and its metadata file (empty when it wrote none)."""

    finished: Finished
    metadata: Mapping[str, object]


def environment(settings: Settings, at: Endpoint) -> dict[str, str]:
    """What buildx sees: enough to find its plugins, credentials and the engine, nothing a definition could read."""
    kept = ("PATH", "HOME", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY")
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
) -> Baked:
    """Build ``target`` of ``folder/bake.json``; every path in it lies below ``folder``."""
    metadata = folder / "metadata.json"
    argv = (
        "docker", "buildx", "--builder", builder, "bake", "--file", "bake.json", "--progress", "rawjson",
        "--metadata-file", str(metadata), "--allow", f"fs.read={folder}", target,
    )  # fmt: skip
    finished = start(Command(argv, cwd=folder, env=env), on_line)
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
