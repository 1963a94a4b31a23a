"""One look at a place: every wheel as an entry, read anew only where our notes do not vouch for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import ContractError, Problem
from ..world.store import Listing, Store
from .entries import Entry
from .seen import Seen
from .wheelfile import Facts, facts

_YOUNG = 1_000_000_000
"""Nanoseconds in which a file can change without its time stamps doing so, with room to spare."""


class Read(NamedTuple):
    """A wheel that was read: its entry and the metadata to put beside it."""

    entry: Entry
    metadata: bytes


@dataclass(frozen=True)
class Look:
    """The wheels of a place; ``fresh`` are those that were read now, by path, ``before`` is how many had a note."""

    listing: Listing
    before: int
    entries: list[Entry] = field(default_factory=list)
    fresh: dict[str, bytes] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether our notes vouched for every wheel and know no other: they can stay as they are."""
        return not self.fresh and self.before == len(self.entries)

    def notes(self, store: Store, now: float) -> list[Seen]:
        """What to remember, once the fresh metadata files are in place."""
        found = []
        for entry in self.entries:
            path = f"{entry.path}.metadata"
            beside = store.stored(path) if entry.path in self.fresh else self.listing.metadata.get(path)
            mark = self.listing.wheels[entry.path].mark
            trusted = entry.path not in self.fresh or not _young(mark, now)
            found.append(Seen(mark if trusted else "", beside.mark if beside else "", entry))
        return found


def look(store: Store, old: Mapping[str, Seen]) -> Look:
    """Look at every wheel; ``ContractError`` with all that cannot be indexed."""
    found = Look(store.listing(), len(old))
    problems: list[Problem] = []
    for path, stored in found.listing.wheels.items():
        note = old.get(path)
        beside = found.listing.metadata.get(f"{path}.metadata")
        if note and note.mark == stored.mark and beside and note.metadata_mark == beside.mark:
            found.entries.append(note.entry)
            continue
        try:
            read = entry_of(facts(path, store.opened), path, stored.size)
        except ContractError as error:
            problems += error.problems
            continue
        found.entries.append(read.entry)
        found.fresh[path] = read.metadata
    if problems:
        raise ContractError.of(map(_beside, sorted(problems, key=lambda each: (str(each.place), each.message))))
    return found


def _beside(problem: Problem) -> Problem:
    """The problem of one wheel among others, which it keeps from being indexed."""
    return problem._replace(hint=f"{problem.hint}; to index the others meanwhile, move it elsewhere")


def entry_of(read: Facts, path: str, size: int) -> Read:
    """The entry of a wheel at ``path``."""
    entry = Entry(
        read.name.project,
        read.name.version,
        path.rpartition("/")[2],
        path,
        read.sha256,
        size,
        read.requires_python,
        hashlib.sha256(read.metadata).hexdigest(),
    )
    return Read(entry, read.metadata)


def _young(mark: str, now: float) -> bool:
    """Whether a file may still change within the same tick of the clock, unseen by its marks."""
    changed = mark.rpartition(".")[2]
    return changed.isdigit() and int(now * 1e9) - int(changed) < _YOUNG
