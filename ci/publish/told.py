"""What of a release is published and what is not: looked up anew, for a person whose run ended badly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import CiError
from .manifest import MANIFEST
from .places import Places


@contextmanager
def told(places: Places, commit: str) -> Iterator[None]:
    """An error that leaves here says how far the release of ``commit`` had come."""
    try:
        yield
    except CiError as error:
        first, *others = error.problems
        context = "\n".join(filter(None, (first.context, *state(places, commit))))
        error.problems = (first._replace(context=context), *others)
        raise


def state(places: Places, commit: str) -> Iterator[str]:
    """One line for the channel and one for the commit; what cannot be read is said to be unknown."""
    name = places.channel.name
    try:
        found = places.standing()
        yield f"channel {name} stands at {found[0].commit[:12] if found else 'nothing'}"
        whole = places.release(commit) is not None
        count = sum(1 for each in places.store.below(commit) if each.path.endswith(".whl"))
        wheels = f"{count} wheel{'' if count == 1 else 's'} there"
        how = f"staged whole ({MANIFEST} is there)" if whole else f"not staged whole: {wheels}, no {MANIFEST}"
        yield f"release {commit[:12]} is {how}; what is there stays under names that never move"
    except CiError as error:
        yield f"how far it came is not known: {error}"
