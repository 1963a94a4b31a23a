"""The switch: under the lease the channel's standing moves first, then its tags, its index last.

Until the last pointer has moved each shows what the channel stands at or what it stood at before, never
a third thing.  A fault on the way puts all of it back; a process that is killed leaves it, and the next run
of the same release goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..errors import CiError, ContractError, InfraError, Problem
from ..world.process import holding_signals
from ..world.store_lease import Lease
from . import images, journal, pointers, present
from .journal import Entry, Move
from .lease import held
from .manifest import STANDING, Release, Standing
from .order import Ancestry, overtaken
from .places import Places
from .pointers import Pages


@dataclass(frozen=True)
class Switched:
    """Where a channel stands now; ``moves`` has every pointer, ``already`` whether it stood there before."""

    standing: Standing
    moves: tuple[Move, ...]
    already: bool


class Turn(NamedTuple):
    """A change of what a channel stands at, worked out and not begun; ``mark`` is the one of ``before``."""

    before: Standing | None
    mark: str
    standing: Standing
    moves: tuple[Move, ...]
    pages: Pages
    """Of the index as it is to be."""
    shown: Pages
    """Of the index as it is."""


def switch(places: Places, release: Release, run: str, kind: str, compare: Ancestry) -> Switched:
    """Let the channel stand at ``release``, or find that it does and repair what differs.

    Raises ``SupersededError`` where it stands at a newer one or took this one back, ``ContractError`` where a
    part of it is not there, ``InfraError`` where something cannot be told or moved; the message says what stands.
    """
    with held(places, run) as lease:
        while True:
            done = _once(places, lease, release, kind, compare)
            if done:
                return done


def following(places: Places, current: tuple[Standing, str] | None, release: Release, run: str, kind: str) -> Standing:
    """What follows the current standing when ``release`` is published."""
    commit = release.commit
    before = current[0] if current else Standing(0, "", "", "", "", "")
    others = tuple(each for each in before.listed if each != commit) if places.channel.index == "every" else ()
    return Standing(
        before.sequence + 1, run, kind, moment(places), commit, release.digest, before.commit, before.withdrawn,
        (*others, commit),
    )  # fmt: skip


def advance(
    places: Places, lease: Lease, current: tuple[Standing, str] | None, standing: Standing, release: Release
) -> Switched | None:
    """Move the channel to ``standing``, which is at ``release``; everything goes back where that fails.

    None where the channel does not stand at ``current`` any more: whoever lost the lease to us had one write on
    its way.  Nothing was moved then; look again.
    """
    listed = tuple(release if commit == release.commit else places.released(commit) for commit in standing.listed)
    if current:
        _settle(places, lease, current[0], pointers.wanted(places, release, listed), pointers.pages(listed))
    turn = prepared(places, current, standing, release, listed)
    try:
        lease.check()
        journal.write(places, _entry(standing, turn.moves, turn.before.run if turn.before else ""))
        if not _stand(places, lease, turn):
            return None
        _perform(places, lease, standing, turn.moves, turn.pages)
    except (CiError, Exception) as error:
        _explain(error, _put_back(places, lease, turn))
        raise
    return Switched(standing, turn.moves, already=False)


def prepared(
    places: Places,
    current: tuple[Standing, str] | None,
    standing: Standing,
    release: Release,
    listed: Sequence[Release],
) -> Turn:
    """The change to ``standing``, with what every pointer shows now; writes nothing."""
    aim = pointers.wanted(places, release, listed)
    before, mark = current or (None, "")
    names = pointers.names(places, before, aim, _aim(places, before))
    moves = pointers.differences(places, names, aim, release.commit)
    return Turn(before, mark, standing, moves, pointers.pages(listed), pointers.shown(places))


def repair(places: Places, lease: Lease, standing: Standing) -> tuple[Move, ...]:
    """Bring every pointer to what the channel stands at; gives what each showed."""
    moves = outstanding(places, standing)
    _repair(places, lease, standing, moves)
    return moves


def outstanding(places: Places, standing: Standing) -> tuple[Move, ...]:
    """Every pointer with what it shows and what it should while the channel stands there; writes nothing."""
    aim = pointers.standing_at(places, standing)
    return pointers.differences(places, pointers.names(places, standing, aim), aim, standing.commit)


def moment(places: Places) -> str:
    """The time, as documents have it."""
    return f"{places.clock.now():%Y-%m-%dT%H:%M:%SZ}"


def _once(places: Places, lease: Lease, release: Release, kind: str, compare: Ancestry) -> Switched | None:
    """One go at a switch, from what stands now; None as in ``advance``."""
    current = places.standing()
    if current and current[0].commit != release.commit:
        late = overtaken(current[0], release, compare)
        if late:
            _finish(places, lease, current[0])
            raise late
    present.demand(places, release)
    if current and current[0].commit == release.commit:
        return _again(places, lease, current[0], release)
    return advance(places, lease, current, following(places, current, release, lease.run, kind), release)


def _again(places: Places, lease: Lease, standing: Standing, release: Release) -> Switched:
    if standing.manifest != release.digest:
        hint = "a commit is released once; make a new commit for other bytes"
        message = f"channel {places.channel.name} stands at another release of {release.commit[:12]}"
        raise ContractError("other-release", message, hint=hint)
    return Switched(standing, repair(places, lease, standing), already=True)


def _finish(places: Places, lease: Lease, standing: Standing) -> None:
    """Do what whoever moved the channel may have been cut off from; that we are too late is true without it."""
    try:
        repair(places, lease, standing)
    except (ContractError, InfraError) as error:
        places.say(f"not every pointer follows {standing.commit[:12]}: {error}")


def _aim(places: Places, standing: Standing | None) -> dict[str, str]:
    """What the channel stands at; nothing where its release is gone, which must not keep it there for ever."""
    if standing is None:
        return {}
    try:
        return pointers.standing_at(places, standing)
    except ContractError as error:
        places.say(f"{error}; what was cut off there cannot be finished")
        return {}


def _settle(places: Places, lease: Lease, standing: Standing, aim: Mapping[str, str], pages: Pages) -> None:
    """Bring pointers that show neither the old nor the new release to the old one first.

    A switch to the old one was cut off, or somebody moved them by hand.
    """
    old = _aim(places, standing)
    if not old:
        return
    names = pointers.names(places, standing, old, aim)
    moves = pointers.differences(places, names, old, standing.commit)
    index = pointers.index_pointer(places)
    settled = {index} if _between(places, standing, pages) else set()
    strays = [
        move for move in moves if move.old not in {move.new, aim.get(move.pointer)} and move.pointer not in settled
    ]
    lost = {each for each in strays if each.new and each.pointer != index and not images.digest_at(places, each.new)}
    for move in lost:
        places.say(f"{move.pointer} cannot be brought to {move.new} first: the registry has it no more")
    _repair(places, lease, standing, tuple(move for move in strays if move not in lost))


def _between(places: Places, standing: Standing, new: Pages) -> bool:
    """Whether each page of the index is the old release's or the new one's: a bucket changes page by page."""
    now, old = pointers.shown(places), pointers.pages(pointers.listed(places, standing))
    return all(now.get(path) in {old.get(path), new.get(path)} for path in {*now, *old, *new})


def _repair(places: Places, lease: Lease, standing: Standing, moves: tuple[Move, ...]) -> None:
    if all(move.old == move.new for move in moves):
        return
    try:
        lease.check()
        entry = replace(_entry(standing, moves, standing.run), run=lease.run, kind=journal.REPAIR, at=moment(places))
        if not journal.entry(places, entry.sequence, entry.run):  # ours, of a switch that somebody was faster than
            journal.write(places, entry)
        _perform(places, lease, standing, moves, pointers.pages(pointers.listed(places, standing)))
    except (CiError, Exception) as error:
        _explain(error, _half(places, "what differed was not repaired"))
        raise


def _entry(standing: Standing, moves: tuple[Move, ...], after: str) -> Entry:
    told = (standing.sequence, standing.run, standing.kind, standing.at, standing.commit)
    return Entry(*told, moves, after=after)


def _stand(places: Places, lease: Lease, turn: Turn) -> bool:
    """Move the truth; False where it is not what it was."""
    lease.check()
    data = turn.standing.encode()
    done = places.store.swap(STANDING, data, turn.mark) if turn.before else places.store.create(STANDING, data)
    if not done and places.standing() == ((turn.before, turn.mark) if turn.before else None):
        hint = "conditional writes do not work there; give a store that has them"
        raise InfraError("store-refuses", f"{places.store.name}/{STANDING} cannot be moved by its mark", hint=hint)
    return done


def _perform(places: Places, lease: Lease, standing: Standing, moves: Sequence[Move], pages: Pages) -> None:
    """Move the pointers that differ, then look at all of them again.

    A tag is dropped in the name of ``standing``: whoever goes on after a kill finishes that very drop.
    """
    note = f"{standing.sequence} {standing.run}"
    for move in moves:
        if move.old != move.new:
            lease.check()
            pointers.put(places, move, pages, note)
    now = pointers.seen(places, [move.pointer for move in moves])
    off = _lines(move._replace(old=now[move.pointer]) for move in moves)
    if off:
        lease.check()  # that somebody took it says more
        hint = "somebody else writes the same names, or what we read lags; run the same command again"
        message = "pointers do not show what they were moved to"
        raise InfraError("pointers-differ", message, context="\n".join(off), hint=hint)


def _lines(moves: Iterable[Move]) -> tuple[str, ...]:
    """What does not show what it should."""
    off = (move for move in moves if move.old != move.new)
    return tuple(f"{move.pointer} shows {move.old or 'nothing'}, not {move.new or 'nothing'}" for move in off)


def _put_back(places: Places, lease: Lease, turn: Turn) -> Problem:
    """Undo a switch that failed, as far as it came; what to say about it. A lease that is lost ends that."""
    stands = turn.before
    try:
        with holding_signals():
            lease.check()
            current = places.standing()
            if current and current[0] == turn.standing:
                _back(places, lease, turn, current[1])
            else:
                stands = current[0] if current else None
    except (CiError, Exception) as error:  # noqa: BLE001 - the first error goes on, and is told with this one
        return _half(places, f"what was moved was not put back: {error}")
    where = f"release {stands.commit[:12]}" if stands else "no release"
    hint = f"nothing of {turn.standing.commit[:12]} is visible in it; the same command again tries once more"
    return Problem("switch-undone", f"channel {places.channel.name} stands at {where}, as before", hint)


def _back(places: Places, lease: Lease, turn: Turn, mark: str) -> None:
    """Truth first, then the pointers; a channel's first standing goes last, without it nobody would know of them."""
    showing = pointers.seen(places, [move.pointer for move in turn.moves])
    commit = turn.before.commit if turn.before else ""
    moves = tuple(Move(each.pointer, showing[each.pointer], each.old, commit) for each in turn.moves)
    made = turn.standing
    standing = replace(
        turn.before or made, sequence=made.sequence + 1, run=made.run, kind=journal.UNDONE, at=moment(places),
        before=made.commit,
    )  # fmt: skip
    journal.write(places, replace(_entry(standing, moves, made.run), commit=commit))
    if turn.before and not _stand(places, lease, Turn(made, mark, standing, moves, turn.shown, turn.pages)):
        raise InfraError("standing-moved", f"{places.store.name}/{STANDING} was moved meanwhile")
    _perform(places, lease, standing, moves, turn.shown)
    if not turn.before:
        lease.check()
        places.store.remove(STANDING)


def _half(places: Places, why: str) -> Problem:
    """What to say of pointers that were left as they are: what the channel stands at, and what does not follow it."""
    name = places.channel.name
    hint = "the same command again repairs it, unless a newer release stands; inv release-status shows every pointer"
    try:
        current = places.standing()
        off = _lines(outstanding(places, current[0])) if current else ()
    except (CiError, Exception) as error:  # noqa: BLE001 - as above
        context = f"{why}\nwhat it stands at cannot be told: {error}"
        return Problem("switch-half", f"channel {name} may be half-moved", hint, context)
    where = f"release {current[0].commit[:12]}" if current else "no release"
    follow = f"{len(off)} of its pointers do not follow it" if off else "every pointer follows it"
    return Problem("switch-half", f"channel {name} stands at {where}, and {follow}", hint, "\n".join((why, *off)))


def _explain(error: BaseException, problem: Problem) -> None:
    if isinstance(error, CiError):
        error.problems = (*error.problems, problem)
    else:
        error.add_note(f"{problem.message}\n{problem.context}\n{problem.hint}")
