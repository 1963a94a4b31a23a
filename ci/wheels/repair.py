"""Wheels with code for the host: auditwheel finds the platform tag from real symbol needs, and leaves ROCm outside.

auditwheel would copy every library it finds into the wheel, the whole of ROCm with it.  What
belongs to the ROCm installation, or is loaded by a package the wheel requires, is excluded by
the very names the binaries ask for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ..audit import libraries
from ..audit import wheel as audited
from ..errors import ContractError
from .tools import Tools

_HIP = re.compile(r"libamdhip64\.so\.(\d+)")


def repair(wheel: Path, rocm: str, into: Path, tools: Tools) -> Path:
    """The repaired wheel in ``into``: its tag, WHEEL and RECORD set by auditwheel.

    Raises ``ContractError`` for a wheel made for another ROCm than ``rocm``, ``FailedError`` with
    auditwheel's words when a library is neither found nor excluded.
    """
    outside = excluded(wheel)
    _same_rocm(wheel, rocm, outside)
    words = [word for name in outside for word in ("--exclude", name)]
    tools.run("auditwheel", "repair", "--wheel-dir", str(into), *words, str(wheel))
    found = sorted(into.glob("*.whl"))
    if len(found) != 1:
        hint = "run auditwheel show on it"
        raise ContractError("not-one-wheel", f"auditwheel made {len(found)} wheels of {wheel.name}", hint=hint)
    return found[0]


def excluded(wheel: Path) -> tuple[str, ...]:
    """The SONAMEs asked for that the ROCm installation or a required package brings, sorted."""
    table = libraries.shipped()
    patterns = [*table.rocm, *(name for preload in table.preloads for name in preload.libraries)]
    return tuple(sorted(name for name in needed(wheel) if libraries.matches(name, patterns)))


def needed(wheel: Path) -> set[str]:
    """Every SONAME a host binary of the wheel asks for."""
    hosts = (binary.host for binary in audited.read(wheel).binaries)
    return {name for host in hosts if host is not None for name in host.needed}


def _same_rocm(wheel: Path, rocm: str, names: Iterable[str]) -> None:
    """HIP's SONAME has ROCm's major version: another one is another installation's library."""
    for name in names:
        match = _HIP.fullmatch(name)
        if match and match[1] != rocm.partition(".")[0]:
            hint = f"compile it with ROCm {rocm}, or give --rocm {match[1]}.x if that is what it was made with"
            message = f"{wheel.name} asks for {name}, and its version says ROCm {rocm}"
            raise ContractError("wrong-rocm", message, hint=hint)
