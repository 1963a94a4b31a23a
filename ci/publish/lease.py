"""The lease of a channel: whoever holds it moves pointers, nobody else does."""

from __future__ import annotations

from contextlib import AbstractContextManager

from ..world import store_lease
from ..world.store_lease import Holder, Lease, Matter
from .places import Places


def holder(places: Places) -> Holder | None:
    """Who holds the channel or held it last; None where nobody ever did."""
    return store_lease.holder(_matter(places))


def held(places: Places, run: str) -> AbstractContextManager[Lease]:
    """Hold the channel alone, after whoever holds it now; waits as long as that one shows signs of life."""
    return store_lease.held(_matter(places), run)


def _matter(places: Places) -> Matter:
    lost = "this run writes nothing more; a write of its own may still arrive late: look at inv release-status"
    return Matter(places.store, places.clock, places.say, f"channel {places.channel.name}", lost)
