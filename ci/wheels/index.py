"""Make a package index of a place that holds wheels: look at all, check all, and only then write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as _replace

from ..errors import ContractError, EmptyError, InfraError
from ..world.clock import Clock, SystemClock
from ..world.store import Store
from . import checks, extras, pages, seen
from .entries import Entry
from .look import Look, look

TRIES = 3

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What an indexing run came to.

    ``new`` are the entries that were not listed before, ``gone`` the file names that no longer
    are, ``read`` the number of wheels that were opened; ``entries`` is -1 where nobody counted.
    """

    entries: int
    projects: int
    variants: tuple[str, ...]
    read: int
    new: tuple[Entry, ...]
    gone: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def make(store: Store, say: Say, *, replace: bool = False, plan: bool = False, clock: Clock | None = None) -> Result:
    """Index everything in ``store``; with ``plan`` write nothing and only say what it would come to.

    Raises ``ContractError`` with everything that is wrong and ``EmptyError`` without any wheel;
    the index that was there then stays.  ``replace`` accepts wheels whose bytes changed.
    """
    if plan:
        return _checked(store, replace)[2]
    first: Result | None = None
    with store.alone(say):
        for _ in range(TRIES):
            turn = store.turn()
            found, listed, result = _checked(store, replace)
            first = first or result
            for path, data in found.fresh.items():
                store.write(f"{path}.metadata", data)
            mine = store.claim(turn)
            if mine and store.names() == found.listing.wheels.keys():
                if not found.known:
                    seen.save(store, found.notes(store, (clock or SystemClock()).now().timestamp()))
                store.publish(pages.everything(listed))
                if store.turn() == mine:
                    _tidy(store, found)
                    return _replace(result, read=first.read, new=first.new, gone=first.gone)
            say(f"{store.name} changed meanwhile; looking again")
    raise busy(store)


def busy(store: Store) -> InfraError:
    """Others write there faster than we can look."""
    hint = "index when nobody else writes there; this run left nothing half-written"
    return InfraError("folder-changes", f"wheels in {store.name} come and go while they are indexed", hint=hint)


def _tidy(store: Store, found: Look) -> None:
    """Metadata of wheels that are gone goes too, once no page names it."""
    for stale in found.listing.metadata.keys() - {f"{path}.metadata" for path in found.listing.wheels}:
        store.remove(stale)


def _checked(store: Store, replace: bool) -> tuple[Look, list[Entry], Result]:
    """A look at the place, the entries to list and what it would come to; raises for anything wrong."""
    old = seen.load(store)
    more = extras.load(store)
    found = look(store, old)
    listed = more.applied(found.entries)
    problems = [*checks.twice(listed), *checks.clashes(listed), *more.problems(listed)]
    if not replace:
        problems += checks.changes(seen.changed(old, found.entries))
    if problems:
        raise ContractError.of(problems)
    if not listed:
        hint = "an index of nothing would break everybody who uses it; put wheels there, or remove simple/ by hand"
        raise EmptyError("no-wheels", f"there is no wheel in {store.name}", hint=hint)
    before = {note.entry.filename for note in old.values()}
    here = {entry.filename for entry in found.entries}
    result = Result(
        len(listed),
        len({entry.project for entry in listed}),
        tuple(sorted({entry.variant for entry in listed} - {""})),
        len(found.fresh),
        tuple(entry for entry in listed if not entry.external and entry.filename not in before),
        tuple(sorted(before - here)),
        tuple(checks.notices(listed)),
    )
    return found, listed, result
