"""A kernel project: every ``*.hip`` below a folder, and what its ``pyproject.toml`` says about compiling them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .. import documents
from ..errors import ConfigError, EmptyError, Place, Problem
from ..world import files

DEFAULT_FLAGS = ("-O3",)
_SKIPPED = frozenset({"build", "dist", "node_modules", "venv"})
_HEADERS = frozenset({"", ".h", ".hh", ".hpp", ".hxx", ".cuh", ".inc", ".inl", ".ipp", ".tpp", ".def", ".cu"})
_PLAIN = re.compile(r"[A-Za-z0-9_+=@][A-Za-z0-9_+=@./-]*", re.ASCII)
_OURS = re.compile(r"-o.*|-c|-S|-E|--genco|--offload-arch=.*|--cuda-.*|-M[A-Z]*|-Xclang|-x.*|--no-gpu-bundle-output")
_TEXTS = {"type": "array", "items": {"type": "string", "minLength": 1}}
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"include": _TEXTS, "flags": _TEXTS, "objects": {"type": "string", "minLength": 1}},
}


@dataclass(frozen=True, slots=True)
class Project:
    """Sources relative to ``root``; ``objects`` is where code objects go by default.

    ``names`` stands for the names of all headers, not for their bytes: a new one can take the place of
    one that is included, and no list of included files tells.  A source cannot: its name is the only one.
    """

    root: Path
    sources: tuple[str, ...]
    include: tuple[str, ...]
    flags: tuple[str, ...]
    objects: Path
    names: str

    def object_name(self, source: str, arch: str) -> str:
        """``gfx942/vector_add.hsaco``: where the code object of a source lies below the objects' folder."""
        return f"{arch}/{PurePosixPath(source).stem}.hsaco"


def find(folder: Path) -> Project:
    """The project in ``folder``; raises ``ConfigError`` with all problems, ``EmptyError`` without any source."""
    root = folder.absolute()
    if not root.is_dir():
        hint = "a project is a folder with *.hip files; name it with --project"
        raise ConfigError("no-project", f"there is no kernel project {folder}", hint=hint)
    table = _table(root / "pyproject.toml")
    include = tuple(table.get("include", ()))
    flags = tuple(table.get("flags", DEFAULT_FLAGS))
    listed = tuple(path for path in files.walk(root) if not _skipped(path))
    sources = tuple(path for path in listed if path.endswith(".hip"))
    problems = [*_name_problems(sources), *_option_problems(root, include, flags)]
    documents.refuse(problems)
    if not sources:
        hint = "name another folder with --project"
        raise EmptyError("no-sources", f"there is no *.hip below {folder}: nothing would be compiled", hint=hint)
    found = [path for path in listed if PurePosixPath(path).suffix.lower() in _HEADERS]
    names = hashlib.sha256(json.dumps(found).encode()).hexdigest()
    return Project(root, sources, include, flags, root / table.get("objects", "build/objects"), names)


def _table(path: Path) -> Mapping[str, Any]:
    """``[tool.rocm-ci.kernels]`` of a project, checked; empty where there is none."""
    import tomllib

    if not path.is_file():
        return {}
    try:
        whole = tomllib.loads(files.read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("syntax", f"not valid TOML: {error}", place=Place(str(path))) from None
    table = whole.get("tool", {}).get("rocm-ci", {}).get("kernels", {})
    place = Place(str(path))
    documents.refuse(documents.check(documents.Document(str(path), table, {(): place}), _SCHEMA))
    checked: Mapping[str, Any] = table
    return checked


def _skipped(path: str) -> bool:
    folders = PurePosixPath(path).parts[:-1]
    return any(part.startswith(".") or part in _SKIPPED for part in folders)


def _name_problems(sources: tuple[str, ...]) -> Iterator[Problem]:
    """hipcc hands names to a shell, and two objects of one name would overwrite each other."""
    taken: dict[str, str] = {}
    for source in sources:
        if not _PLAIN.fullmatch(source):
            hint = "letters, digits and _ + = @ . / - are safe with every compiler wrapper; rename it"
            yield Problem("odd-name", f"{source!r} is no name hipcc can be given", hint, place=Place(source))
        stem = PurePosixPath(source).stem
        if stem in taken:
            message = f"{taken[stem]} and {source} would both become {stem}.hsaco"
            yield Problem("name-clash", message, "rename one of them", place=Place(source))
        taken.setdefault(stem, source)


def _option_problems(root: Path, include: tuple[str, ...], flags: tuple[str, ...]) -> Iterator[Problem]:
    place = Place(str(root / "pyproject.toml"))
    for name in include:
        inside = (root / name).resolve().is_relative_to(root.resolve())
        if not inside or not (root / name).is_dir() or not _PLAIN.fullmatch(f"_/{name}"):
            hint = "an include folder is a folder inside the project, relative to it"
            yield Problem("no-include", f"include: there is no folder {name!r} in the project", hint, place=place)
    for flag in flags:
        if _OURS.fullmatch(flag):
            hint = "archs come from --arch; output and kind of output are hip-compile's own"
            yield Problem("owned-flag", f"flags: {flag} is not the project's to set", hint, place=place)
