"""``index.yaml`` beside the wheels: what is yanked, and wheels that somebody else hosts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from ..audit import agreement
from ..documents import Document, check, read, refuse
from ..errors import ContractError, Place, Problem
from ..world.store import Store
from .entries import Entry
from .wheelfile import named

FILE = "index.yaml"
_DIGEST = {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "64 hex digits of SHA-256"}
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["schema"],
    "properties": {
        "schema": {"const": 1},
        "yanked": {"type": "object", "additionalProperties": {"type": "string"}},
        "external": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["url", "sha256"],
                "properties": {
                    "url": {"type": "string", "pattern": "^https?://[^/#?]+/[^#?]+$", "description": "an http(s) URL"},
                    "sha256": _DIGEST,
                    "size": {"type": "integer"},
                    "requires-python": {"type": "string"},
                    "metadata-sha256": _DIGEST,
                },
            },
        },
    },
}


@dataclass(frozen=True, slots=True)
class Extras:
    """File name to the reason it is yanked for, and the entries of files hosted elsewhere."""

    yanked: Mapping[str, str] = field(default_factory=dict)
    external: tuple[Entry, ...] = ()
    places: Mapping[str, Place] = field(default_factory=dict)

    def applied(self, entries: Iterable[Entry]) -> list[Entry]:
        """``entries`` with their yanked marks, and the external ones."""
        if not (self.yanked or self.external):
            return list(entries)
        marked = [entry._replace(yanked=self.yanked.get(entry.filename)) for entry in entries]
        return [*marked, *(entry._replace(yanked=self.yanked.get(entry.filename)) for entry in self.external)]

    def problems(self, entries: Iterable[Entry]) -> list[Problem]:
        """A yanked file that no entry has: a slip of the pen would leave it installable."""
        names = {entry.filename for entry in entries}
        hint = "write the file name exactly, or delete the line when the wheel is gone for good"
        return [
            Problem("nothing-to-yank", f"{name} is yanked but not in the index", hint, place=self.places[name])
            for name in self.yanked
            if name not in names
        ]


def load(store: Store) -> Extras:
    """What ``index.yaml`` says; nothing where there is none. ``ConfigError`` with all that is wrong in it."""
    data = store.read(FILE)
    if data is None:
        return Extras()
    document = read(data.decode("utf-8", "replace"), f"{store.name}/{FILE}")
    refuse((*document.problems, *check(document, SCHEMA)))
    yanked = document.value.get("yanked", {})
    rows = list(enumerate(document.value.get("external", ())))
    external, problems = [], []
    for number, row in rows:
        try:
            external.append(_entry(row))
        except ContractError as error:
            problem = error.problems[0]
            where = document.place("external", number, "url")
            problems.append(Problem(problem.reference, problem.message, problem.hint, place=where))
    refuse(problems)
    return Extras(yanked, tuple(external), {name: _place(document, name) for name in yanked})


def _place(document: Document, name: str) -> Place:
    return document.key("yanked", name)


def _entry(row: Mapping[str, Any]) -> Entry:
    parts = urlsplit(row["url"])
    path = unquote(parts.path)
    filename = PurePosixPath(path).name
    name = named(filename)
    for each in agreement.place(path, name.version):
        raise ContractError("wheel-disagrees", f"{each.subject}: {each.message}", hint=each.hint)
    url = urlunsplit(parts._replace(path=parts.path.replace("+", "%2B")))
    return Entry(
        name.project,
        name.version,
        filename,
        url,
        row["sha256"],
        row.get("size", -1),
        row.get("requires-python", ""),
        row.get("metadata-sha256", ""),
    )
