"""The lease of a channel: whoever holds it moves pointers, nobody else does.

It is a document in the store, replaced only by who saw its last bytes.  No two clocks are compared: a
lease is over when one watcher has seen the same bytes for as long as they say that they last, by its own
monotonic clock, or when its holder was a process of this host that has ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from ..errors import CiError, InfraError
from ..world.ledger import Owner, process_space
from ..world.process import holding_signals
from .manifest import broken, decoded, encoded
from .places import Places

LEASE = "lease.json"
LASTS = 300.0
"""Seconds a lease lasts without a sign of its holder: more than any single write to a pointer takes."""

_LOOK = 2.0
"""Seconds between looks at somebody else's lease."""


@dataclass(frozen=True)
class Holder:
    """Who holds the channel; ``count`` rises with each sign of life, ``lasts`` is seconds.

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
    def me(cls, run: str) -> Holder:
        """This process."""
        owner = Owner.me()
        return cls(run, 1, LASTS, owner.pid, owner.started, owner.boot, process_space())

    @property
    def dead(self) -> bool:
        """Whether its process has surely ended; False where that cannot be seen from here."""
        return self.space == process_space() and not Owner(self.pid, self.started, self.boot).alive

    def same(self, other: Holder) -> bool:
        """Whether it is the same one at another moment, and still holds the channel."""
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


def holder(places: Places) -> Holder | None:
    """Who holds the channel or held it last; None where nobody ever did."""
    found = _read(places)
    return found[0] if found else None


@contextmanager
def held(places: Places, run: str) -> Iterator[Lease]:
    """Hold the channel alone, after whoever holds it now; waits as long as that one shows signs of life."""
    lease = Lease(places, *_taken(places, Holder.me(run)))
    try:
        yield lease
    finally:
        with holding_signals():
            lease.give_back()


class Lease:
    """A channel that is ours; ``check`` before every write."""

    def __init__(self, places: Places, me: Holder, mark: str, renewed: float) -> None:
        self._places = places
        self._me = me
        self._mark = mark
        self._renewed = renewed

    @property
    def run(self) -> str:
        """The run that holds it."""
        return self._me.run

    def check(self) -> None:
        """Raise ``InfraError`` where somebody else holds the channel; a third of the time used up, renew it."""
        now = self._places.clock.monotonic()
        if now - self._renewed >= self._me.lasts / 3:
            me = replace(self._me, count=self._me.count + 1)
            self._places.store.swap(LEASE, me.encode(), self._mark)
            self._me = me
            self._seen()  # its answer may have been lost: what stands there decides
            self._renewed = now
        else:
            self._seen()

    def give_back(self) -> None:
        """Let others have it; a lease that was lost is left alone."""
        try:
            found = _read(self._places)
            if found and found[0].same(self._me):
                me = replace(found[0], count=found[0].count + 1, released=True)
                self._places.store.swap(LEASE, me.encode(), found[1])
        except CiError as error:
            name = self._places.channel.name
            self._places.say(f"the lease of {name} was not given back, it ends in {LASTS:g} s by itself: {error}")

    def _seen(self) -> None:
        found = _read(self._places)
        if found is None or not found[0].same(self._me):
            raise self._lost(found[0] if found else None)
        self._mark = found[1]

    def _lost(self, other: Holder | None) -> InfraError:
        whose = f" to run {other.run}" if other else ": its document is gone"
        hint = "this run writes nothing more; a write of its own may still arrive late: look at inv release-status"
        message = f"run {self._me.run} lost the lease of channel {self._places.channel.name}{whose}"
        return InfraError("lease-lost", message, hint=hint)


def _taken(places: Places, me: Holder) -> tuple[Holder, str, float]:
    """Become the holder: what stands in the store, its mark, and the moment before it was written."""
    store, clock = places.store, places.clock
    watched, since, wrote, said = "", clock.monotonic(), clock.monotonic(), ""
    while True:
        found = _read(places)
        if found and found[0].same(me):
            return *found, wrote
        if found and found[1] != watched:
            watched, since = found[1], clock.monotonic()
        if found and not _over(found[0], clock.monotonic() - since):
            if said != found[0].run:
                said = found[0].run
                places.say(f"run {said} is at work on channel {places.channel.name}; waiting for it")
            clock.sleep(_LOOK)
            continue
        wrote = clock.monotonic()
        done = store.swap(LEASE, me.encode(), found[1]) if found else store.create(LEASE, me.encode())
        if not done:
            clock.sleep(_LOOK)


def _over(holder: Holder, unchanged: float) -> bool:
    return holder.released or holder.dead or unchanged >= holder.lasts


def _read(places: Places) -> tuple[Holder, str] | None:
    found = places.store.fetch(LEASE)
    return (Holder.decode(found[0], f"{places.store.name}/{LEASE}"), found[1]) if found else None
