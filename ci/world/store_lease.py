"""A lease that a store keeps: whoever holds it does what it is for, nobody else does.

It is a document in the store, replaced only by who saw its last bytes.  No two clocks are compared: a
lease is over when one watcher has seen the same bytes for as long as they say that they last, by its own
monotonic clock, or when its holder was a process of this host that has ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from ..errors import CiError, InfraError
from ..names import run_start
from .clock import Clock
from .ledger import Owner, process_space
from .process import holding_signals
from .store import Store
from .versioned import broken, decoded, encoded

LEASE = "lease.json"
LASTS = 300.0
"""Seconds a lease lasts without a sign of its holder: more than any single write to a pointer takes."""

_LOOK = 2.0
"""Seconds between looks at somebody else's lease."""


class Matter(NamedTuple):
    """What a lease is for: ``what`` names it for a person, ``lost`` is the next command where somebody took it.

    ``document`` is where it lies in the store.
    """

    store: Store
    clock: Clock
    say: Callable[[str], None]
    what: str
    lost: str = ""
    document: str = LEASE


@dataclass(frozen=True)
class Holder:
    """Who holds a lease; ``count`` rises with each sign of life, ``lasts`` is seconds.

    ``space`` says where ``pid`` means a process: this boot of this host, and this container of it.
    """

    run: str
    count: int
    lasts: float
    pid: int
    started: int
    boot: str
    space: str
    released: bool = False

    @classmethod
    def me(cls, run: str, lasts: float = LASTS) -> Holder:
        """This process."""
        owner = Owner.me()
        return cls(run, 1, lasts, owner.pid, owner.started, owner.boot, process_space())

    @property
    def dead(self) -> bool:
        """Whether its process has surely ended; False where that cannot be seen from here."""
        return self.space == process_space() and not Owner(self.pid, self.started, self.boot).alive

    def same(self, other: Holder) -> bool:
        """Whether it is the same one at another moment, and still holds the lease."""
        return not self.released and replace(self, count=0) == replace(other, count=0)

    def encode(self) -> bytes:
        """The one way to write it down."""
        return encoded(asdict(self))

    @classmethod
    def decode(cls, data: bytes, where: str) -> Holder:
        """The holder that ``encode`` wrote; ``where`` names it in errors."""
        try:
            found = cls(**decoded(data, where))
        except TypeError as error:
            raise broken(where, str(error)) from None
        if not all(isinstance(number, int | float) for number in (found.count, found.lasts, found.pid, found.started)):
            raise broken(where, "something stands where a number belongs")
        return found


def holder(matter: Matter) -> Holder | None:
    """Who holds the lease or held it last; None where nobody ever did."""
    found = _read(matter)
    return found[0] if found else None


@contextmanager
def held(matter: Matter, run: str, lasts: float = LASTS) -> Iterator[Lease]:
    """Hold the lease alone, after whoever holds it now; waits as long as that one shows signs of life.

    ``lasts``: seconds after which others take it from a holder that shows none.
    """
    lease = Lease(matter, *_taken(matter, Holder.me(run, lasts)))
    try:
        yield lease
    finally:
        with holding_signals():
            lease.give_back()


class Lease:
    """A lease that is ours; ``check`` before every write."""

    def __init__(self, matter: Matter, me: Holder, mark: str, renewed: float) -> None:
        self._matter = matter
        self._me = me
        self._mark = mark
        self._renewed = renewed

    @property
    def run(self) -> str:
        """The run that holds it."""
        return self._me.run

    def check(self) -> None:
        """Raise ``InfraError`` where somebody else holds it; a third of the time used up, renew it."""
        now = self._matter.clock.monotonic()
        if now - self._renewed >= self._me.lasts / 3:
            me = replace(self._me, count=self._me.count + 1)
            self._matter.store.swap(self._matter.document, me.encode(), self._mark)
            self._me = me
            self._seen()  # its answer may have been lost: what stands there decides
            self._renewed = now
        else:
            self._seen()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Show signs of life meanwhile, from a thread of its own, for work that cannot stop to ``check``.

        That it was lost is said once, and ends only the signs.
        """
        over = threading.Event()

        def live() -> None:
            while not over.wait(self._me.lasts / 6):
                try:
                    self.check()
                except (CiError, Exception) as error:  # noqa: BLE001 - a thread has nobody to raise it to
                    self._matter.say(f"{self._matter.what}: no sign of life any more: {error}")
                    return

        thread = threading.Thread(target=live, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(_LOOK)  # one that waits for a silent store ends with the process

    def give_back(self) -> None:
        """Let others have it; a lease that was lost is left alone."""
        try:
            found = _read(self._matter)
            if found and found[0].same(self._me):
                me = replace(found[0], count=found[0].count + 1, released=True)
                self._matter.store.swap(self._matter.document, me.encode(), found[1])
        except CiError as error:
            ends = f"it ends in {self._me.lasts:g} s by itself"
            self._matter.say(f"the lease of {self._matter.what} was not given back, {ends}: {error}")

    def _seen(self) -> None:
        found = _read(self._matter)
        if found is None or not found[0].same(self._me):
            raise self._lost(found[0] if found else None)
        self._mark = found[1]

    def _lost(self, other: Holder | None) -> InfraError:
        whose = f" to run {other.run}" if other else ": its document is gone"
        message = f"run {self._me.run} lost the lease of {self._matter.what}{whose}"
        return InfraError("lease-lost", message, hint=self._matter.lost)


def _taken(matter: Matter, me: Holder) -> tuple[Holder, str, float]:
    """Become the holder: what stands in the store, its mark, and the moment before it was written."""
    store, clock = matter.store, matter.clock
    watched, since, wrote, said = "", clock.monotonic(), clock.monotonic(), ""
    while True:
        found = _read(matter)
        if found and found[0].same(me):
            return *found, wrote
        if found and found[1] != watched:
            watched, since = found[1], clock.monotonic()
        if found and not _over(found[0], clock.monotonic() - since):
            if said != found[0].run:
                said = found[0].run
                matter.say(f"run {said}{_begun(said)} is at work on {matter.what}; waiting for it")
            clock.sleep(_LOOK)
            continue
        wrote = clock.monotonic()
        done = (
            store.swap(matter.document, me.encode(), found[1]) if found else store.create(matter.document, me.encode())
        )
        if not done:
            clock.sleep(_LOOK)


def _begun(run: str) -> str:
    """Since when a run is at work, by the clock of its host."""
    start = run_start(run)
    return f", begun {start:%Y-%m-%d %H:%M} UTC," if start else ""


def _over(holder: Holder, unchanged: float) -> bool:
    return holder.released or holder.dead or unchanged >= holder.lasts


def _read(matter: Matter) -> tuple[Holder, str] | None:
    found = matter.store.fetch(matter.document)
    return (Holder.decode(found[0], f"{matter.store.name}/{matter.document}"), found[1]) if found else None
