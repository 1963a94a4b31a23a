"""Add wheels to an index that is there: one project's pages change, however many wheels there are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..errors import ConfigError, ContractError
from ..names import IndexPage
from ..world.store import PAGES, Store
from . import checks, extras, pages
from .entries import Entry
from .index import TRIES, Result, Say, busy, make
from .look import Read, entry_of
from .wheelfile import facts, named


class _Unusable(Exception):
    """There is no index that these wheels could be added to: all of it is made."""


def add(store: Store, wheels: Iterable[Path], say: Say, *, replace: bool = False) -> Result:
    """Copy ``wheels`` into the place and list them; a first wheel or a new variant makes the whole index.

    All of them are checked before the first is copied.  A project's pages are replaced one by
    one, each complete.  Raises what ``make`` raises.
    """
    read = [_read(wheel) for wheel in wheels]
    with store.alone(say):
        for _ in range(TRIES):
            turn = store.turn()
            usable = True
            try:
                known, grown = _state(store, [entry for _, (entry, _) in read])
            except _Unusable:
                known, grown, usable = (), {}, False
            places = _places(store, [entry for _, (entry, _) in read], grown, replace)
            for (wheel, (_, metadata)), entry in zip(read, places, strict=True):
                store.take(wheel, entry.path)
                store.write(f"{entry.path}.metadata", metadata)
            if not usable:
                break
            mine = store.claim(turn)
            if mine:
                result = _listed(store, known, _merged(grown, places), tuple(places))
                if store.turn() == mine:
                    return result
            say(f"{store.name} changed meanwhile; looking again")
        else:
            raise busy(store)
    return make(store, say, replace=replace)


def _read(wheel: Path) -> tuple[Path, Read]:
    """A wheel of this machine, checked."""
    if not wheel.is_file():
        raise ConfigError("no-file", f"there is no file {wheel}", hint="name the wheel to add")
    found = facts(wheel.name, lambda _: wheel.open("rb"))
    return wheel, entry_of(found, wheel.name, wheel.stat().st_size)


_Groups = dict[str, dict[str, Entry]]
"""Project to file name to entry."""


def _state(store: Store, new: Sequence[Entry]) -> tuple[tuple[str, ...], _Groups]:
    """The variants of the index, and what the projects of ``new`` list now; raises ``_Unusable``."""
    try:
        root = _page(store, IndexPage())
        if root is None or not {entry.variant for entry in new} <= {"", *root[pages.VARIANTS]}:
            raise _Unusable
        return tuple(root[pages.VARIANTS]), {entry.project: _entries(store, entry.project) for entry in new}
    except (ValueError, KeyError, TypeError, ContractError):  # somebody else's page, or a damaged one
        raise _Unusable from None


def _places(store: Store, new: Sequence[Entry], grown: _Groups, replace: bool) -> list[Entry]:
    """``new`` with the path each will have: where it is already, else at the top. Raises for what must not be added."""
    placed, changed = [], []
    for entry in new:
        old = grown.get(entry.project, {}).get(entry.filename)
        here = entry if old is None or old.external else entry._replace(path=old.path)
        if (old and old.sha256 != entry.sha256) or _differs(store, here):
            changed.append(entry)
        placed.append(here)
    problems = [] if replace else list(checks.changes(changed))
    for group in _merged(grown, placed).values():
        problems += checks.twice(group)
    external = [old for entry in placed if (old := grown.get(entry.project, {}).get(entry.filename)) and old.external]
    problems += checks.twice([*external, *placed] if external else [])
    if problems:
        raise ContractError.of(problems)
    return placed


def _differs(store: Store, entry: Entry) -> bool:
    """Whether a file of that name is there with other bytes."""
    if store.stored(entry.path) is None:
        return False
    with store.opened(entry.path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() != entry.sha256  # type: ignore[arg-type]


def _merged(grown: _Groups, new: Iterable[Entry]) -> dict[str, list[Entry]]:
    """What every project lists with the new entries."""
    groups = {project: dict(group) for project, group in grown.items()}
    for entry in new:
        groups.setdefault(entry.project, {})[entry.filename] = entry
    return {project: list(group.values()) for project, group in groups.items()}


def _entries(store: Store, project: str) -> dict[str, Entry]:
    """What a project's page lists and is still there, by file name."""
    page = IndexPage("", project)
    rows = (_page(store, page) or {"files": []})["files"]
    found = [_entry(project, page, row) for row in rows]
    return {entry.filename: entry for entry in found if entry.external or store.stored(entry.path)}


def _entry(project: str, page: IndexPage, row: Mapping[str, Any]) -> Entry:
    """An entry read back from a JSON page; ``ValueError`` for one that does not belong on that page."""
    url = str(row["url"])
    metadata = row["core-metadata"]
    name = named(row["filename"])
    if name.project != project:
        raise ValueError(f"{row['filename']} on the page of {project}")
    return Entry(
        project,
        name.version,
        row["filename"],
        url if "://" in url else unquote(url.removeprefix(page.up)),
        row["hashes"]["sha256"],
        row.get("size", -1),
        row.get("requires-python", ""),
        metadata["sha256"] if metadata else "",
    )


def _listed(store: Store, known: tuple[str, ...], grown: Mapping[str, list[Entry]], new: tuple[Entry, ...]) -> Result:
    """Replace the pages of the grown projects, each before a page that names it for the first time."""
    yanked = extras.load(store).yanked
    count = 0
    for name in ("", *known):
        names = {item["name"] for item in (_page(store, IndexPage(name)) or {"projects": []})["projects"]}
        fresh = set()
        for project, entries in grown.items():
            marked = [entry._replace(yanked=yanked.get(entry.filename)) for entry in entries]
            fitting = [entry for entry in marked if not name or entry.fits(name)]
            if fitting:
                store.update(pages.project(IndexPage(name, project), fitting))
                fresh |= {project} - names
        if fresh:
            store.update(pages.root(IndexPage(name), names | fresh, () if name else known))
        count = count or len(names | fresh)
    notices = [notice for entries in grown.values() for notice in checks.notices(entries)]
    shown = tuple(entry._replace(yanked=yanked.get(entry.filename)) for entry in new)
    return Result(-1, count, known, len(new), shown, notices=tuple(notices))


def _page(store: Store, page: IndexPage) -> dict[str, Any] | None:
    """A JSON page as it stands, None where there is none."""
    data = store.read(f"{PAGES}/{str(page).partition('/')[2]}index.json")
    return None if data is None else json.loads(data)
