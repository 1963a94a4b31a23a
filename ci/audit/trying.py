"""Import modules in an image, for real: in a container of it without a network and without a GPU."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from ..errors import ConfigError, DeadlineError, InfraError
from ..world.containers import engine_failed
from ..world.process import Finished
from ..world.sandbox import Spec
from .image_facts import Tried

Ask = Callable[[Sequence[str], float], Finished]
"""``Sandbox.probe``: run a program inside and give its end, ``DeadlineError`` past so many seconds."""

SECONDS = 300.0
"""The longest time of one import."""

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def spec(name: str, image: str, labels: dict[str, str]) -> Spec:
    """The container: what an import writes is gone with it."""
    env = {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return Spec(name, image, env=env, shm_mb=512, pids=4096, labels=labels, workdir="/")


def check_name(module: str) -> None:
    """Refuse what cannot be imported; raises ``ConfigError``."""
    if not _MODULE.fullmatch(module):
        raise ConfigError("bad-module", f"a module is wanted, not {module!r}", hint="for example rocm_probe")


def imports(ask: Ask, python: str, modules: Iterable[str], seconds: float = SECONDS) -> tuple[Tried, ...]:
    """Import each module in a process of its own, and say how that ended; ``InfraError`` where the engine fails."""
    return tuple(_tried(ask, python, module, seconds) for module in modules)


def _tried(ask: Ask, python: str, module: str, seconds: float) -> Tried:
    try:
        done = ask((python, "-c", f"import {module}"), seconds)
    except DeadlineError:
        return Tried(module, python, f"does not end within {seconds:g} s")
    if done.code in {126, 127}:
        return Tried(module, python, "cannot be tried, there is no such program,", done.tail(3))
    if engine_failed(done):
        raise InfraError("engine", f"cannot try import {module}", context=done.tail(3), hint="run inv doctor")
    return Tried(module, python, "" if done.ok else _how(done), "" if done.ok else done.tail(10))


def _how(done: Finished) -> str:
    """128 + a signal is how docker tells of a crash."""
    return f"crashes (signal {done.code - 128})" if done.code > 128 else f"fails (exit {done.code})"
