"""Names that a recipe's users know from elsewhere, and what they are here: ``renamed.yaml`` beside ``pins.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .. import documents
from ..errors import Problem
from ..recipe.stack import HOME, shown
from ..settings import PREFIX
from ..world import files
from .material import Case, text

FILE = "renamed.yaml"
SAME, NONE = "same", "none"
"""What stands for the name that is kept, and for no counterpart."""

_HEADS: Mapping[str, str] = {
    "environment": "Environment and build arguments",
    "targets": "Bake targets",
    "stages": "Dockerfile stages",
    "tags": "Tags",
    "labels": "Labels",
    "metadata": "Build meta-data",
    "artifacts": "Artifacts, files and index paths",
    "commands": "Scripts",
}


def read(recipe: Path) -> documents.Document:
    """The table of a recipe; its ``value`` is empty where there is no such file, or not a good one."""
    path = recipe / FILE
    if not path.exists():
        return documents.Document(shown(path), {}, {})
    odd = list[Problem]()
    content = text(path, odd)
    if odd:
        return documents.Document(shown(path), {}, {}, tuple(odd))
    document = documents.read(content, shown(path))
    schema = json.loads(files.read_text(HOME / "renamed.schema.json"))
    problems = (*document.problems, *documents.check(document, schema))
    problems = problems or tuple(_problems(document))
    value = {} if problems else document.value
    return documents.Document(document.file, value, document.places, problems, document.keys)


def _problems(document: documents.Document) -> Iterator[Problem]:
    for section, table in document.value.items():
        for name, entry in table.items() if isinstance(table, dict) else ():
            if entry["ours"] == NONE and "why" not in entry:
                place = document.key(section, name)
                yield Problem("no-reason", f"{name} has no counterpart, and no reason", "say why: ...", place=place)


def table(case: Case) -> Iterator[Problem]:
    """The table of renamed names, where there is one, can be read."""
    yield from read(case.recipe).problems


def old_names(case: Case) -> Iterator[Problem]:
    """No variable of the environment has a name that counts elsewhere and not here."""
    known: Mapping[str, Any] = read(case.recipe).value.get("environment", {})
    for name in sorted(case.settings.names):
        entry = _entry(known, name)
        if entry is None or entry["ours"] == SAME:
            continue
        ours, why = entry["ours"], entry.get("why", "")
        instead = "nothing stands for it" if ours == NONE else f"use {ours}"
        yield Problem("renamed", f"environment variable {name} is not read: {instead}", why or "do not set it")


def _entry(known: Mapping[str, Any], name: str) -> Any:
    """What the table says of a name: by itself first, then by a pattern."""
    if name in known or name.startswith(PREFIX):
        return known.get(name)
    return next((entry for pattern, entry in known.items() if fnmatchcase(name, pattern)), None)


def tables(document: documents.Document) -> str:
    """The whole table as Markdown, a heading for each section."""
    parts = []
    for section, head in _HEADS.items():
        rows = [f"## {head}", "", "| upstream | here | |", "| --- | --- | --- |"]
        for name, entry in document.value.get(section, {}).items():
            rows.append(f"| `{_cell(name)}` | {_ours(entry['ours'])} | {_cell(entry.get('why', ''))} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _ours(text: str) -> str:
    return {SAME: "the same", NONE: "none"}.get(text, f"`{_cell(text)}`")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
