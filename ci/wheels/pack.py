"""From a project and its code objects to a wheel: a build in a copy, then tags and RECORD set together.

The same sources, objects and version give the same bytes: one time stamp, sorted members, no
umask.  Nothing is ever renamed: the ``wheel`` tool rewrites file name, WHEEL and RECORD as one.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..audit import wheel as audited
from ..audit.naming import MADE
from ..errors import ContractError, EmptyError
from ..names import WheelVersion
from ..world import files
from .repair import repair
from .source import Source
from .tools import Tools


@dataclass(frozen=True, slots=True)
class Made:
    """What a wheel says of its making, kept inside it as ``rocm-ci.json``; ``torch`` is a version or ``none``."""

    project: str
    version: WheelVersion
    commit: str
    torch: str
    archs: tuple[str, ...]
    compiler: str

    def to_json(self) -> dict[str, Any]:
        """The document in the wheel."""
        return {
            "schema": 1,
            "project": self.project,
            "version": str(self.version),
            "commit": self.commit,
            "rocm": self.version.rocm,
            "torch": self.torch,
            "archs": list(self.archs),
            "compiler": self.compiler,
        }


def pack(source: Source, made: Made, objects: Path | None, folder: Path, tools: Tools) -> Path:
    """Make the wheel in the empty ``folder``; ``objects`` has ``<arch>/<name>.hsaco``, None for a project without.

    Raises ``FailedError`` when a tool fails, ``ContractError`` when the result is not one wheel.
    """
    tree, out = folder / "tree", folder / "built"
    with files.disk_errors(f"cannot copy {source.root}"):
        _copy(source, str(made.version), tree)
        if objects is not None:
            _lay(objects, tree / source.objects)
    tools.run("build", "--wheel", "--no-isolation", "--outdir", str(out), str(tree))
    wheel = _single(out)
    wheel = _noted(wheel, made, folder / "open", tools)
    if _has_host_code(wheel):
        return repair(wheel, made.version.rocm, folder / "repaired", tools)
    return _tagged(wheel, source.platform, tools)


def archs(objects: Path) -> tuple[str, ...]:
    """The archs there are objects for, sorted; ``EmptyError`` for none."""
    found = tuple(sorted(path.name for path in objects.glob("gfx*") if any(path.glob("*.hsaco"))))
    if not found:
        hint = "nox -s hip-compile makes them: <folder>/<arch>/<name>.hsaco"
        raise EmptyError("no-objects", f"there is no code object below {objects}", hint=hint)
    return found


def _copy(source: Source, version: str, tree: Path) -> None:
    for name in source.files():
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.root / name, target)
        target.chmod(_mode((source.root / name).stat().st_mode))
    text = files.read_text(tree / "pyproject.toml")
    (tree / "pyproject.toml").write_text(source.versioned(text, version), encoding="utf-8")


def _mode(mode: int) -> int:
    """What a checkout would give it, whatever umask this host has."""
    return 0o755 if mode & 0o100 else 0o644


def _lay(objects: Path, target: Path) -> None:
    """Copy the code objects, and nothing else that may lie there."""
    for file in sorted(objects.glob("gfx*/*.hsaco")):
        place = target / file.parent.name / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
        place.chmod(0o644)


def _single(folder: Path) -> Path:
    found = sorted(folder.glob("*.whl"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        hint = "one project makes one wheel; look at its build backend's settings"
        raise ContractError("not-one-wheel", f"the build made {len(found)} wheels: {names}", hint=hint)
    return found[0]


def _noted(wheel: Path, made: Made, folder: Path, tools: Tools) -> Path:
    """Put ``rocm-ci.json`` into the wheel; ``wheel pack`` writes RECORD anew."""
    tools.run("wheel", "unpack", "--dest", str(folder), str(wheel))
    (tree,) = folder.iterdir()
    (info,) = tree.glob("*.dist-info")
    (info / MADE).write_text(json.dumps(made.to_json(), indent=2) + "\n", encoding="utf-8")
    said = (info / "WHEEL").read_text(encoding="utf-8")
    (info / "WHEEL").write_text(said.replace("Root-Is-Purelib: true", "Root-Is-Purelib: false"), encoding="utf-8")
    for path in tree.rglob("*"):
        path.chmod(0o755 if path.is_dir() else _mode(path.stat().st_mode))
    wheel.unlink()
    tools.run("wheel", "pack", "--dest-dir", str(wheel.parent), str(tree))
    return _single(wheel.parent)


def _has_host_code(wheel: Path) -> bool:
    return any(binary.host is not None for binary in audited.read(wheel).binaries)


def _tagged(wheel: Path, platform: str, tools: Tools) -> Path:
    """Give a wheel that holds only data and Python its explicit platform; auditwheel calls such a wheel invalid."""
    tools.run("wheel", "tags", "--remove", "--platform-tag", platform, str(wheel))
    return _single(wheel.parent)
