"""A second release of a channel, undisturbed and disturbed: the worlds before, staged and after it."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.stand import Ended
from tests.release_doors import Asked
from tests.release_stand import Stand, standing
from tests.release_world import Kept, World
from tests.unit.registry_replies import Reply

LEASE = r"store PUT nightly/lease\.json"
RIGHTS = r"registry (POST|DELETE) blobs/uploads/"
SAYS_HALF = re.compile(r"may be half-moved|of its pointers do not follow it")
"""The words for a channel that could neither be moved nor be put back."""

AFTER, BEFORE = False, True


@dataclass
class Scene:
    """A channel at ``first`` and what is asked, in this order, until it stands at ``second``."""

    stand: Stand
    first: str
    second: str
    before: Kept
    staged: Kept
    requests: list[str]
    staged_end: dict[str, Any]
    end: dict[str, Any]

    @property
    def world(self) -> World:
        """What is there."""
        return self.stand.world

    def begin(self, kept: Kept) -> None:
        """Come back to one of these worlds and count anew."""
        self.stand.around()
        self.world.come_back(kept)
        self.stand.git("checkout", "-q", self.second)
        self.stand.forget()

    def kill(self, pattern: str, *, before: bool = AFTER) -> Ended:
        """Kill a release at a write, of which there is one in an undisturbed release too; pointers are right then."""
        assert any(re.search(pattern, each) for each in self.requests), pattern
        ended = self.stand.struck(pattern, signal.SIGKILL, before=before)
        assert ended.code == -signal.SIGKILL, ended.err
        self.world.consistent()
        return ended

    def finish(self) -> None:
        """Run it to its end: all is as if nothing had happened, and nothing was stored twice."""
        self.stand.around()
        alone(self.stand.run())
        self.done()
        assert self.twice() == []

    def done(self) -> None:
        """All is as if nothing had happened."""
        self.world.whole(self.second)
        assert self.world.outcome() == self.end

    def twice(self) -> list[str]:
        """What was stored more than once."""
        return [name for name, count in self.stand.uploads().items() if count > 1]

    def stage(self) -> None:
        """Run it until it would read back what it staged, which is all that an undisturbed one stages."""
        self.stand.around()
        self.kill(r"store HEAD nightly/COMMIT/SHA/[^ ]*\.whl$", before=BEFORE)
        assert self.world.outcome() == self.staged_end

    def stands_at(self, commit: str) -> None:
        """Whatever the pointers show."""
        stands = self.world.standing
        assert stands is not None
        assert stands.commit == commit


def alone(ended: Ended) -> None:
    """Nobody was waited for: a run that ended on this host is known to have ended."""
    assert "waiting for it" not in ended.err


@contextmanager
def undisturbed(folder: Path, root: str, projects: Sequence[str]) -> Iterator[Scene]:
    """A stand after an undisturbed second release, and the worlds on the way there."""
    with standing(folder, root, projects) as stand:
        first = stand.head
        stand.run()
        before = stand.world.keep(folder / "before")
        second = stand.change(1)
        asked: list[str] = []
        staged: list[tuple[Kept, dict[str, Any]]] = []

        def around(request: Asked, perform: Callable[[], Reply]) -> Reply:
            asked.append(stand.label(request))
            if re.search(LEASE, asked[-1]) and not staged:
                staged.append((stand.world.keep(folder / "staged"), stand.world.outcome()))
            return perform()

        stand.around(around)
        stand.run()
        stand.around()
        stand.world.whole(second)
        yield Scene(stand, first, second, before, staged[0][0], asked, staged[0][1], stand.world.outcome())
