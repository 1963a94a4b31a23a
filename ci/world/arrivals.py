"""Files of this machine on their way into a place: how many are there, and which one did not get there."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import InfraError
from . import files

Item = tuple[Path, str]
"""A file of this machine, and the path it gets in the place."""

Take = Callable[[Path, str], None]
"""Copies one file in, whole or not at all."""

End = tuple[Item, BaseException | None]
"""An item that was taken, with what kept it from arriving."""

_LOOK = 0.5


class Arrivals:
    """What has arrived of ``items``; ``say`` hears ``3 of 5 files, 412 MB of 1.9 GB`` after each."""

    def __init__(self, items: Sequence[Item], say: Callable[[str], None]) -> None:
        self._sizes = {item: _length(item[0]) for item in items}
        self._there: set[Item] = set()
        self._say = say

    def __str__(self) -> str:
        bytes_there = sum(self._sizes[item] for item in self._there)
        total = sum(self._sizes.values())
        return f"{len(self._there)} of {len(self._sizes)} files, {_size(bytes_there)} of {_size(total)}"

    def add(self, item: Item) -> None:
        """One more is there."""
        self._there.add(item)
        self._say(str(self))

    def without(self, item: Item, error: InfraError) -> InfraError:
        """The error for ``item``, which did not arrive; what is there stays."""
        problem = error.problems[0]
        message = f"{item[0].name} did not get to {item[1]}: {problem.message}"
        context = "\n".join(text for text in (f"there are {self}", problem.context) if text)
        return InfraError(problem.reference, message, hint=problem.hint, context=context)


def one_by_one(take: Take, items: Sequence[Item], say: Callable[[str], None]) -> None:
    """Take the files in this order; the first that cannot be had ends it, with an error that names it."""
    arrivals = Arrivals(items, say)
    for item in items:
        try:
            take(*item)
        except InfraError as error:
            raise arrivals.without(item, error) from None
        arrivals.add(item)


def together(take: Take, items: Sequence[Item], say: Callable[[str], None], hands: int) -> None:
    """Take up to ``hands`` files at a time.

    After one that fails no other is begun, those under way come to their end, and an error names
    the one.  A signal ends the wait at once: what is under way is left behind in daemon threads.
    """
    arrivals = Arrivals(items, say)
    ends: queue.SimpleQueue[End] = queue.SimpleQueue()
    waiting = list(reversed(items))
    busy, failure = 0, None

    def work(item: Item) -> None:
        try:
            take(*item)
            ends.put((item, None))
        except BaseException as error:  # noqa: BLE001 - raised again where somebody waits for it
            ends.put((item, error))

    while busy or (waiting and not failure):
        while waiting and not failure and busy < hands:
            threading.Thread(target=work, args=(waiting.pop(),), name="upload", daemon=True).start()
            busy += 1
        item, error = _next(ends)
        busy -= 1
        if error is None:
            arrivals.add(item)
        else:
            failure = failure or (item, error)
    if failure:
        item, error = failure
        raise arrivals.without(item, error) if isinstance(error, InfraError) else error


def _next(ends: queue.SimpleQueue[End]) -> End:
    """The next that ended; a signal in the very moment a wait begins does not end it, so none is long."""
    while True:
        with suppress(queue.Empty):
            return ends.get(timeout=_LOOK)


def _length(path: Path) -> int:
    with files.disk_errors(f"cannot read {path}"):
        return path.stat().st_size


def _size(count: int) -> str:
    for unit, factor, digits in (("GB", 1e9, 1), ("MB", 1e6, 0), ("kB", 1e3, 0)):
        if count >= factor:
            return f"{count / factor:.{digits}f} {unit}"
    return f"{count} B"
