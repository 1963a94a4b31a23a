"""The rule that needs a process: install the wheel into a new environment and import it for real."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from ..errors import ConfigError, InfraError
from ..world.process import Command, Run
from .facts import Facts, Finding, Verdict

RULE = "imports"
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_MINUTES = 60.0


def check_name(module: str) -> None:
    """Refuse what cannot be imported before anything is made; raises ``ConfigError``."""
    if not _MODULE.fullmatch(module):
        raise ConfigError("bad-module", f"--import wants a module, not {module!r}", hint="for example rocm_probe")


Scratch = Callable[[str], AbstractContextManager[Path]]
"""Given a purpose, an empty folder that is gone afterwards; a run with a ledger gives one that stands in it."""


def imports(facts: Facts, module: str, run: Run, environ: Mapping[str, str], scratch: Scratch) -> Verdict:
    """Whether ``import module`` works where nothing but the wheel and its requirements is installed.

    Raises ``InfraError`` when the environment cannot be made, or the requirements cannot be had:
    then nothing is known about the wheel.
    """
    if facts.wheel is None:
        return Verdict(RULE, "skipped", why="not a wheel")
    if not module:
        return Verdict(RULE, "skipped", why="no module was given (--import)")
    with scratch("a clean environment") as folder:
        finding = _tried(facts.wheel.path, module, folder, run, environ)
    return Verdict(RULE, "broken" if finding else "kept", (finding,) if finding else ())


def _tried(wheel: Path, module: str, folder: Path, run: Run, environ: Mapping[str, str]) -> Finding | None:
    python = str(folder / "venv" / "bin" / "python")
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet")
    whole = str(wheel.absolute())

    def step(*argv: str, minutes: float = 5) -> tuple[bool, str]:
        done = run(Command(argv, cwd=folder, env=dict(environ), deadline=minutes * _MINUTES))
        return done.ok, done.tail()

    made, said = step(sys.executable, "-m", "venv", str(folder / "venv"))
    if not made:
        hint = "install what makes environments: apt-get install python3-venv"
        raise InfraError("no-venv", "cannot make a clean environment to import the wheel in", hint=hint, context=said)
    fits, said = step(*pip, "--no-deps", "--no-index", whole)
    if not fits:
        hint = "its tags do not fit this Python, or it cannot be unpacked; the installer's words are above"
        return Finding(
            wheel.name, f"pip does not install it under Python {sys.version_info[0]}.{sys.version_info[1]}", hint, said
        )
    complete, said = step(*pip, whole, minutes=60)
    if not complete:
        hint = "check the network and the pip configuration (PIP_INDEX_URL, PIP_FIND_LINKS), then audit it again"
        raise InfraError("no-requirements", f"cannot install what {wheel.name} requires", hint=hint, context=said)
    imported, said = step(python, "-I", "-c", f"import {module}")
    if not imported:
        return Finding(wheel.name, f"import {module} fails where only it and its requirements are installed", "", said)
    return None
