"""Which Python of this machine a wheel can be tried with."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

from ..errors import InfraError
from ..wheels.wheelfile import named
from ..world.process import Command, Run
from .manifest import WheelRow

_HERE = sys.version_info[:2]
_KNOWN = tuple((3, minor) for minor in range(30, 7, -1))
_ASK = "import sys; print(sys.executable)"
_SECONDS = 60.0


def grouped(wheels: Sequence[WheelRow], run: Run, uv: str, env: Mapping[str, str]) -> dict[str, list[WheelRow]]:
    """The wheels by the interpreter to try them with: our own where it fits, else one that is on this machine.

    Raises ``InfraError`` with the first wheel that none here can try.
    """
    found: dict[tuple[int, int], str] = {_HERE: sys.executable}
    groups: dict[str, list[WheelRow]] = {}
    for row in wheels:
        _platform(row)
        versions = tuple(version for version in (_HERE, *_KNOWN) if _fits(row, version))
        python = next(filter(None, (_python(version, found, run, uv, env) for version in versions)), "")
        if not python:
            raise _none(row, versions)
        groups.setdefault(python, []).append(row)
    return groups


def _fits(row: WheelRow, version: tuple[int, int]) -> bool:
    """Whether a Python of that version takes the wheel, platform aside."""
    from packaging.specifiers import SpecifierSet
    from packaging.tags import compatible_tags, cpython_tags

    if not SpecifierSet(row.requires_python).contains(".".join(map(str, version)), prereleases=True):
        return False
    tags = named(row.filename).tags
    platforms = sorted({tag.platform for tag in tags})
    interpreter = f"cp{version[0]}{version[1]}"
    taken = (*cpython_tags(version, platforms=platforms), *compatible_tags(version, interpreter, platforms))
    return not tags.isdisjoint(taken)


def _platform(row: WheelRow) -> None:
    from packaging.tags import platform_tags

    platforms = {tag.platform for tag in named(row.filename).tags}
    if "any" not in platforms and platforms.isdisjoint(platform_tags()):
        hint = "run the release on a machine of that platform, with a C library that is new enough"
        raise InfraError("no-platform", f"{row.filename} cannot be tried on this machine", hint=hint)


def _python(
    version: tuple[int, int], found: dict[tuple[int, int], str], run: Run, uv: str, env: Mapping[str, str]
) -> str:
    """The interpreter of that version, empty where there is none; a name on PATH may be a shim that leads nowhere."""
    if version not in found:
        found[version] = next(_answers(".".join(map(str, version)), run, uv, env), "")
    return found[version]


def _answers(version: str, run: Run, uv: str, env: Mapping[str, str]) -> Iterator[str]:
    for argv in ((f"python{version}", "-I", "-c", _ASK), (uv, "python", "find", "--no-project", version)):
        try:
            done = run(Command(argv, env=env, deadline=_SECONDS))
        except InfraError:
            continue
        if done.ok and done.stdout.strip():
            yield done.stdout.strip()


def _none(row: WheelRow, versions: tuple[tuple[int, int], ...]) -> InfraError:
    wanted = ", ".join(".".join(map(str, version)) for version in versions) or "one that nobody knows"
    hint = f"put python{wanted.partition(',')[0]} on PATH, or: uv python install {wanted.partition(',')[0]}"
    message = f"{row.filename} cannot be tried here: it wants Python {wanted}"
    return InfraError("no-python", message, hint=hint)
