"""Unit tests touch nothing but their own folder: any real process, socket or engine call raises."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ci.check.rules import Finding
    from tests.unit.check_recipe import Check


class TouchedTheWorld(AssertionError):
    """A unit test reached for something real; hand it a fake from ``ci.world.fakes``."""


@pytest.fixture(autouse=True)
def guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the doors to the outside raise, and hide the developer's environment."""

    def refuse(*_arguments: Any, **_options: Any) -> Any:
        raise TouchedTheWorld("a unit test tried to start a process or open a socket")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    for name in ("system", "fork", "posix_spawn", "posix_spawnp", "execv", "execve"):
        monkeypatch.setattr(os, name, refuse)
    for name in ("connect", "connect_ex", "bind", "listen"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in list(os.environ):
        if name.startswith(("ROCM_CI_", "DOCKER_", "PIP_")) or name in {"PYTORCH_ROCM_ARCH", "NIC_BACKEND", "CI"}:
            monkeypatch.delenv(name)


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """``check(lines, files=..., stack=...)``: the findings of the tiny recipe with a defect in it."""
    from tests.unit.check_recipe import found, plant

    def perform(lines: str = "", **options: Any) -> tuple[Finding, ...]:
        plants = {name: options.pop(name) for name in ("files", "stack", "dockerfile") if name in options}
        path = plant(tmp_path, lines, **plants)
        monkeypatch.chdir(path.parent.parent / "src")
        return found(str(path), **options)

    return perform
