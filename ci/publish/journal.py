"""What was published, entry by entry: one created document each, in the store and on this host.

An entry is written before what it tells of is done.  It came true only if the channel then stood at it:
``history`` follows the standing back from one to the one before and leaves out what was never reached.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import NamedTuple

from ..errors import ContractError
from ..names import JournalName
from ..world import files
from ..world.versioned import broken, decoded, encoded
from .manifest import Standing
from .places import Places

RELEASE, PROMOTE, ROLLBACK = "release", "promote", "rollback"
UNDONE, REPAIR = "undone", "repair"
"""Kinds of entries: a switch that failed was put back; pointers were brought to what the channel stood at."""


class Move(NamedTuple):
    """A pointer and what it showed and shows, None for nothing; equal where it stayed. ``commit`` is the new one's."""

    pointer: str
    old: str | None
    new: str | None
    commit: str


class Removed(NamedTuple):
    """What a retention took away: its name, the digest it held or empty, and why it went."""

    what: str
    digest: str
    why: str


@dataclass(frozen=True)
class Entry:
    """One entry. ``sequence`` and ``run`` are those of the standing it tells of, ``at`` is UTC.

    ``moves`` has every pointer there was or is to be; ``removed`` what a retention took away; ``after`` is the
    run of the standing before, empty where there was none.
    """

    sequence: int
    run: str
    kind: str
    at: str
    commit: str
    moves: tuple[Move, ...]
    removed: tuple[Removed, ...] = ()
    after: str = ""

    @property
    def name(self) -> JournalName:
        """Where it lies in a channel."""
        return JournalName(self.sequence, self.run)

    def encode(self) -> bytes:
        """The one way to write it down."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        rows = {name: [row._asdict() for row in own[name]] for name in ("moves", "removed")}
        return encoded({**own, **rows})

    @classmethod
    def decode(cls, data: bytes, where: str) -> Entry:
        """The entry that ``encode`` wrote; ``where`` names it in errors."""
        document = decoded(data, where)
        try:
            moves = tuple(Move(**row) for row in document["moves"])
            removed = tuple(Removed(**row) for row in document["removed"])
            return cls(**{**document, "moves": moves, "removed": removed})
        except (KeyError, TypeError) as error:
            raise broken(where, str(error)) from None


def write(places: Places, entry: Entry) -> None:
    """Write an entry down, first on this host; raises ``ContractError`` where another one has its name."""
    path, data = str(entry.name), entry.encode()
    files.write_whole(places.journal / path.rpartition("/")[2], data)
    if not places.store.create(path, data):
        hint = "no two runs share a name; somebody else wrote it, nothing was changed"
        raise ContractError("journal-taken", f"{places.store.name}/{path} is there with other bytes", hint=hint)


def entry(places: Places, sequence: int, run: str) -> Entry | None:
    """One entry, None where it is not there."""
    path = str(JournalName(sequence, run))
    data = places.store.read(path)
    return Entry.decode(data, f"{places.store.name}/{path}") if data is not None else None


def entries(places: Places) -> tuple[Entry, ...]:
    """All of them, by sequence and run, also those of what never came true."""
    names = (JournalName.parse(stored.path) for stored in places.store.below("journal"))
    found = (entry(places, name.sequence, name.run) for name in names if name)
    return tuple(sorted((each for each in found if each), key=lambda each: (each.sequence, each.run)))


def history(places: Places, standing: Standing) -> tuple[Entry, ...]:
    """The releases the channel stood at up to ``standing``, oldest first, each time it came to one.

    A switch that was put back is none.
    """
    return came_true(entries(places), standing)


def came_true(known_entries: Iterable[Entry], standing: Standing) -> tuple[Entry, ...]:
    """The ``history`` in these entries."""
    known = {(each.sequence, each.run): each for each in known_entries}
    found: list[Entry] = []
    sequence, run = standing.sequence, standing.run
    while each := known.get((sequence, run)):
        found.append(each)
        sequence, run = sequence - 1, each.after
    found.reverse()
    undone = {each.sequence for each in found if each.kind == UNDONE}
    return tuple(each for each in found if not {each.sequence, each.sequence + 1} & undone)
