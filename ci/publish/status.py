"""``release-status``: what each pointer of a channel shows, what it should, and how fresh and how proven that is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import CiError, ConfigError, ContractError, InfraError, Outcome, Problem, worst
from . import journal, lease, pointers
from .journal import Entry
from .manifest import Release, Standing
from .places import Places
from .retention import time_of

_CAME = (journal.RELEASE, journal.PROMOTE)
_SHOWN = 5
"""Entries of the journal that are shown."""


class Pointer(NamedTuple):
    """A pointer: what it should show and what it does, None for nothing; ``wrong`` says why these differ.

    ``unread`` is why nobody could look; then ``seen`` tells nothing.
    """

    name: str
    wanted: str | None
    seen: str | None
    wrong: str = ""
    unread: str = ""


class Finding(NamedTuple):
    """Something that makes a channel red."""

    outcome: Outcome
    problem: Problem


@dataclass(frozen=True)
class Status:
    """How a channel is.

    ``age`` is in seconds since its release came to it by the clock of this host, below zero for a time to come;
    ``run`` is at work on the channel now; ``entries`` are the last of its journal, newest first.
    """

    channel: str
    standing: Standing | None = None
    release: Release | None = None
    age: float | None = None
    pointers: tuple[Pointer, ...] = ()
    run: str = ""
    entries: tuple[Entry, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The worst finding, or ok."""
        return worst(found.outcome for found in self.findings) if self.findings else Outcome.OK


def statuses(channels: Iterable[Places]) -> tuple[Status, ...]:
    """The status of every channel that ever had a release; of all, which are empty, where none had."""
    found = tuple(status(places) for places in channels)
    return tuple(each for each in found if each.outcome is not Outcome.EMPTY) or found


def status(places: Places) -> Status:
    """How a channel is; what cannot be read is a finding, and nothing else of it is known then."""
    name = places.channel.name
    try:
        found = places.standing()
        while found:
            seen = _status(places, found[0])
            before, found = found, places.standing()
            if found == before:  # else it was switched while we looked
                return seen
        return Status(name, findings=(_empty(places),))
    except (InfraError, ContractError, ConfigError) as error:
        return Status(name, findings=tuple(_findings(error)))


def _status(places: Places, standing: Standing) -> Status:
    known = journal.entries(places)
    holder = lease.holder(places)
    release = places.released(standing.commit)
    since = time_of(_released_at(standing, known))
    age = (places.clock.now() - since).total_seconds() if since else None
    rows = _pointers(places, standing, release, known)
    return Status(
        channel=places.channel.name,
        standing=standing,
        release=release,
        age=age,
        pointers=rows,
        run=holder.run if holder and not holder.released and not holder.dead else "",
        entries=tuple(reversed(known[-_SHOWN:])),
        findings=(*_of_pointers(places, standing, rows), *_of_age(places, standing, age)),
    )


def _released_at(standing: Standing, known: Sequence[Entry]) -> str:
    """When the release itself came: neither a rollback nor a switch that was put back makes it newer."""
    times = [each.at for each in known if each.commit == standing.commit and each.kind in _CAME]
    return min(times, default=standing.at)


def _pointers(places: Places, standing: Standing, release: Release, known: Sequence[Entry]) -> tuple[Pointer, ...]:
    aim = pointers.wanted(places, release, pointers.listed(places, standing))
    names = pointers.names(places, standing, aim)
    rows = (_pointer(places, standing, name, aim, known) for name in names)
    return tuple(row for row in rows if row.wanted or row.seen or row.unread)


def _pointer(places: Places, standing: Standing, name: str, aim: Mapping[str, str], known: Sequence[Entry]) -> Pointer:
    wanted = aim.get(name)
    try:
        seen = pointers.seen(places, [name])[name]
    except InfraError as error:
        return Pointer(name, wanted, None, unread=str(error))
    return Pointer(name, wanted, seen, _wrong(standing, name, seen, known) if seen != wanted else "")


def _wrong(standing: Standing, name: str, seen: str | None, known: Sequence[Entry]) -> str:
    """What a pointer shows that does not show what it should, as far as the journal tells."""
    moves = [(entry, move) for entry in known for move in entry.moves if move.pointer == name]
    last = next(
        (move for entry, move in moves if (entry.sequence, entry.run) == (standing.sequence, standing.run)), None
    )
    commit = next((move.commit for _, move in reversed(moves) if move.new == seen and seen and move.commit), "")
    whose = f"release {commit[:12]}" if commit else "what no release of this channel had"
    if last and last.old == seen:
        return (
            f"shows {whose if seen else 'nothing'}, as before the last switch: that was cut off, or written over late"
        )
    return f"shows {whose}: somebody wrote it after the switch" if seen else "is not there: somebody removed it"


def _of_pointers(places: Places, standing: Standing, rows: Iterable[Pointer]) -> Iterator[Finding]:
    name = places.channel.name
    for row in rows:
        if row.unread:
            hint = "run the same command again, or inv doctor"
            yield Finding(Outcome.INFRA, Problem("unread-pointer", f"{row.name} cannot be read: {row.unread}", hint))
        elif row.wrong:
            hint = f"inv rollback --channel {name} --to {standing.commit[:12]} brings every pointer back to it"
            context = f"should show {row.wanted or 'nothing'}\nshows       {row.seen or 'nothing'}"
            yield Finding(Outcome.CONTRACT, Problem("mixed-pointer", f"{row.name} {row.wrong}", hint, context))


def _of_age(places: Places, standing: Standing, age: float | None) -> Iterator[Finding]:
    hours = places.channel.fresh_hours
    if hours and age is None:
        message = f"channel {places.channel.name} does not say when it was switched: {standing.at!r}"
        yield Finding(Outcome.CONTRACT, Problem("no-time", message, next_step(places)))
    elif hours and age is not None and age > hours * 3600:
        message = f"channel {places.channel.name} is {age / 3600:.0f} hours old, its policy allows {hours}"
        yield Finding(Outcome.FAILED, Problem("stale", message, next_step(places)))


def _empty(places: Places) -> Finding:
    message = f"nothing was ever released in channel {places.channel.name}"
    return Finding(Outcome.EMPTY, Problem("never-released", message, next_step(places)))


def next_step(places: Places) -> str:
    """The command that gives the channel a release, or a newer one, and what it does."""
    name = places.channel.name
    if places.channel.images:
        return f"inv promote HEAD --to {name} lets it stand at that commit's images"
    if places.channel.promoted:
        return f"inv promote NIGHTLY --to {name} gives it a release"
    return f"inv release-nightly --channel {name} gives it a release"


def _findings(error: CiError) -> Iterator[Finding]:
    return (Finding(error.outcome, problem) for problem in error.problems)
