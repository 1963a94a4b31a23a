"""Several runs that write to one channel in turns, and every order of their writes there is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ci.world.fakes import FakeClock
from ci.world.store_lease import LEASE
from tests.publishing import Recorder


class Lockstep:
    """Several runs that write one at a time, in an order that ``choose`` decides: it picks one of the names given.

    A run that waits for a lease gets no turn until somebody wrote to the lease, unless ``impatient``.
    """

    def __init__(self, choose: Callable[[Sequence[str]], str], *, impatient: bool = False) -> None:
        self._choose = choose
        self._impatient = impatient
        self._change = threading.Condition()
        self._turn = ""
        self._parked: dict[str, bool] = {}
        self._running: set[str] = set()
        self.order: list[tuple[str, str]] = []
        self.ends: dict[str, BaseException | None] = {}

    def recorder(self, name: str) -> Recorder:
        """The recorder of the run ``name``."""

        def before(_number: int, _what: str) -> None:
            self._wait(name, ready=True)

        def after(_number: int, what: str) -> None:
            self.order.append((name, what))
            if LEASE in what:
                with self._change:
                    self._parked = dict.fromkeys(self._parked, True)

        return Recorder(before=before, after=after)

    def clock(self, name: str, passes: float = 0.0) -> FakeClock:
        """The clock of the run ``name``; each wait passes ``passes`` seconds more."""

        class Clock(FakeClock):
            def sleep(clock, seconds: float) -> None:  # noqa: N805
                self._wait(name, ready=self._impatient)
                clock.advance(seconds + passes)

        return Clock()

    def run(self, runs: Mapping[str, Callable[[], object]]) -> None:
        """Run them all to their ends."""
        threads = [threading.Thread(target=self._work, args=each, daemon=True) for each in runs.items()]
        self._running = set(runs)
        for thread in threads:
            thread.start()
        with self._change:
            while self._running:
                assert self._change.wait_for(lambda: self._running <= self._parked.keys(), timeout=30), "a run hangs"
                if not self._running:
                    break
                ready = sorted(name for name in self._running if self._parked[name])
                self._turn = self._choose(ready or sorted(self._running))
                del self._parked[self._turn]
                self._change.notify_all()
        for thread in threads:
            thread.join()

    def _work(self, name: str, act: Callable[[], object]) -> None:
        end: BaseException | None = None
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - it is what the test wants to know
            end = error
        with self._change:
            self.ends[name] = end
            self._running.discard(name)
            self._change.notify_all()

    def _wait(self, name: str, *, ready: bool) -> None:
        with self._change:
            self._parked[name] = ready
            self._change.notify_all()
            self._change.wait_for(lambda: self._turn == name)
            self._turn = ""


@contextmanager
def choices(made: Sequence[int], switches: int | None) -> Iterator[tuple[Callable[[Sequence[str]], str], list[int]]]:
    """A way to choose that follows ``made`` and then takes the first; the list has how many there were each time.

    ``switches`` bounds how often a run that could go on has to wait for another one.
    """
    counts: list[int] = []
    last, used = "", 0

    def choose(ready: Sequence[str]) -> str:
        nonlocal last, used
        options = sorted(ready, key=lambda name: name != last)
        if switches is not None and last in ready and used >= switches:
            options = [last]
        number = made[len(counts)] if len(counts) < len(made) else 0
        counts.append(len(options))
        used += last in ready and options[number] != last
        last = options[number]
        return last

    yield choose, counts


def every_order(attempt: Callable[[Callable[[Sequence[str]], str]], None], switches: int | None = None) -> int:
    """Call ``attempt`` once for every order there is; how many there were."""
    made: list[int] = []
    tried = 0
    while True:
        with choices(made, switches) as (choose, counts):
            attempt(choose)
        tried += 1
        made += [0] * (len(counts) - len(made))
        while made and made[-1] + 1 >= counts[len(made) - 1]:
            made.pop()
        if not made:
            return tried
        made[-1] += 1
