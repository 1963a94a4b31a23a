"""The project a wheel is made from: a folder with ``pyproject.toml`` and, maybe, code objects beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..documents import Document, check, refuse
from ..errors import ConfigError, Place
from ..world import files
from ..world.history import listed

PLATFORM = "manylinux_2_28_x86_64"
"""The tag of a wheel without any host ELF file: the oldest system that ROCm's runtime, which it loads, runs on."""

_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "platform": {"type": "string", "pattern": "^[a-z0-9_]+$", "description": f"for example {PLATFORM}"},
        "rocm": {"type": "string", "description": "the ROCm of a project that compiles nothing, for example 7.2"},
    },
}
_VERSION = re.compile(r"""(?m)^version\s*=\s*(?:"[^"\n]*"|'[^'\n]*')""")
_LEFT_OUT = {"build", "dist"}


@dataclass(frozen=True, slots=True)
class Source:
    """A project: ``release`` is the version it says, ``objects`` where code objects go, relative to ``root``.

    ``rocm`` is the version it says it is for; empty where the compiler tells.
    """

    root: Path
    name: str
    release: str
    objects: str
    platform: str
    build_requires: tuple[str, ...]
    rocm: str = ""

    @classmethod
    def read(cls, root: Path) -> Source:
        """The project in ``root``; ``ConfigError`` where its ``pyproject.toml`` does not say what is needed."""
        import tomllib

        path = root / "pyproject.toml"
        place = Place(str(path))
        try:
            document = tomllib.loads(files.read_text(path))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError("syntax", f"not valid TOML: {error}", place=place) from None
        project = document.get("project", {})
        ours = document.get("tool", {}).get("rocm-ci", {})
        refuse(check(Document(str(path), ours.get("wheel", {}), {(): place}), _SCHEMA))
        if not isinstance(project.get("name"), str) or not isinstance(project.get("version"), str):
            hint = "write name and version under [project]; a dynamic version cannot get the ROCm label"
            raise ConfigError("no-version", f"{path} has no name and version of its own", hint=hint, place=place)
        return cls(
            root,
            project["name"],
            project["version"],
            ours.get("kernels", {}).get("objects", "build/objects"),
            ours.get("wheel", {}).get("platform", PLATFORM),
            tuple(document.get("build-system", {}).get("requires", ("setuptools",))),
            ours.get("wheel", {}).get("rocm", ""),
        )

    def files(self) -> tuple[str, ...]:
        """What belongs to the project: all git would commit, outside of git all there is; never old objects."""
        known = listed(self.root)
        found = files.walk(self.root) if known is None else known
        return tuple(path for path in found if self._belongs(path))

    def _belongs(self, path: str) -> bool:
        parts = PurePosixPath(path).parts
        return not (path.startswith(f"{self.objects}/") or _LEFT_OUT & set(parts[:1]) or parts[0].startswith("."))

    def versioned(self, text: str, version: str) -> str:
        """``pyproject.toml`` with its version replaced; proven by reading it back."""
        import tomllib

        for match in _VERSION.finditer(text):
            changed = f'{text[: match.start()]}version = "{version}"{text[match.end() :]}'
            if tomllib.loads(changed).get("project", {}).get("version") == version:
                return changed
        place = Place(str(self.root / "pyproject.toml"))
        hint = 'write version = "X" on a line of its own under [project]'
        raise ConfigError("no-version", "the version cannot be replaced", hint=hint, place=place)
