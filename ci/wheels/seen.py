"""Our notes of wheels already read: nothing is hashed twice, and bytes that change under a name are noticed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..errors import ConfigError
from ..world.store import OURS, Store
from .entries import Entry

PATH = f"{OURS}/seen.json"
SCHEMA = 1


class Seen(NamedTuple):
    """A wheel as it was when its entry was made; both marks are empty where the file was too young to trust them."""

    mark: str
    metadata_mark: str
    entry: Entry


def load(store: Store) -> dict[str, Seen]:
    """The notes by path, none where a crash cut them short; ``ConfigError`` where a newer tool wrote them."""
    try:
        document = json.loads(store.read(PATH) or b"{}")
        schema = document.get("schema", SCHEMA)
        if schema == SCHEMA:
            rows = document.get("wheels", ())
            return {row[2][3]: Seen(row[0], row[1], Entry(*row[2])) for row in rows}
    except (ValueError, TypeError, IndexError, AttributeError):
        return {}
    hint = f"use that version, or remove {PATH} to have every wheel read again"
    raise ConfigError("newer-index", f"a newer version of this tool (schema {schema}) indexed {store.name}", hint=hint)


def save(store: Store, notes: Iterable[Seen]) -> None:
    """Write the notes, whole or not at all."""
    document = {"schema": SCHEMA, "wheels": list(notes)}  # named tuples become lists
    store.write(PATH, json.dumps(document, separators=(",", ":")).encode())


def changed(old: Mapping[str, Seen], new: Iterable[Entry]) -> list[Entry]:
    """The entries whose bytes are no longer those that were indexed under their file name."""
    before = {note.entry.filename: note.entry.sha256 for note in old.values()}
    return [entry for entry in new if before.get(entry.filename, entry.sha256) != entry.sha256]
