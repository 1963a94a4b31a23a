"""The code objects that ship with the package: ``objects/<arch>/<file>.hsaco``."""

from __future__ import annotations

from pathlib import Path

HOME = Path(__file__).resolve().parent / "objects"


class NoObject(Exception):
    """There is no code object for the device present."""


def base_arch(full: str) -> str:
    """``gfx942`` of ``gfx942:sramecc+:xnack-``: objects are built for every mode of a target."""
    return full.partition(":")[0]


def shipped(home: Path = HOME) -> tuple[str, ...]:
    """The archs there are objects for."""
    return tuple(sorted(path.name for path in home.glob("gfx*") if any(path.glob("*.hsaco"))))


def load(name: str, arch: str, home: Path = HOME) -> bytes:
    """The code object of file ``name`` for a device of ``arch``; raises ``NoObject`` with what there is."""
    path = home / base_arch(arch) / f"{name}.hsaco"
    if not path.is_file():
        there = ", ".join(shipped(home)) or "none"
        raise NoObject(f"no code object {name} for {base_arch(arch)}; this package has: {there}")
    return path.read_bytes()
