"""The one table of libraries a wheel may and may not ask for: ``docker/libraries.yaml``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, NamedTuple

from .. import documents
from ..recipe.stack import HOME
from ..world import files

_WORDS = {"type": "array", "items": {"type": "string", "minLength": 1}}
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["system", "rocm", "preloads", "forbidden"],
    "properties": {
        "system": _WORDS,
        "rocm": _WORDS,
        "preloads": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["libraries"],
                "properties": {"libraries": _WORDS, "recorded": _WORDS, "folder": {"type": "string", "minLength": 1}},
            },
        },
        "forbidden": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["names", "in", "why"],
                "properties": {
                    "names": _WORDS,
                    "in": {"enum": ["requires", "needed", "member"]},
                    "why": {"type": "string", "minLength": 1},
                },
            },
        },
    },
}


class Preload(NamedTuple):
    """Libraries that ``distribution`` loads before ours; the release of those ``recorded`` must be written down.

    They lie in ``folder``, as seen from site-packages.
    """

    distribution: str
    libraries: tuple[str, ...]
    recorded: tuple[str, ...]
    folder: str = ""


class Forbidden(NamedTuple):
    """Names that must not be in ``place`` (requires, needed or member), and why."""

    names: tuple[str, ...]
    place: str
    why: str


@dataclass(frozen=True, slots=True)
class Libraries:
    """The table."""

    system: tuple[str, ...]
    rocm: tuple[str, ...]
    preloads: tuple[Preload, ...]
    forbidden: tuple[Forbidden, ...]

    def refused(self, place: str, name: str) -> Forbidden | None:
        """The entry that forbids ``name`` there, if one does."""
        return next((each for each in self.forbidden if each.place == place and matches(name, each.names)), None)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether ``name`` is one of ``patterns``."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@cache
def shipped() -> Libraries:
    """The table that ships with the tool."""
    path = HOME / "libraries.yaml"
    document = documents.read(files.read_text(path), path.name)
    documents.refuse((*document.problems, *documents.check(document, _SCHEMA)))
    data = document.value
    return Libraries(
        tuple(data["system"]),
        tuple(data["rocm"]),
        tuple(
            Preload(name, tuple(entry["libraries"]), tuple(entry.get("recorded", ())), entry.get("folder", ""))
            for name, entry in data["preloads"].items()
        ),
        tuple(Forbidden(tuple(entry["names"]), entry["in"], entry["why"]) for entry in data["forbidden"]),
    )
