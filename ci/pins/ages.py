"""How old each pin is: the days since its line of the lock changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .. import documents
from ..recipe import pins as lock
from ..recipe.stack import Stack
from ..world import files
from ..world.blame import last_changes
from ..world.clock import Clock
from ..world.process import Run, run

_DAY = 86400


class Age(NamedTuple):
    """``days`` since ``commit`` changed the line; None where git cannot tell, or no commit has the change yet."""

    days: int | None
    commit: str
    committed: bool


UNKNOWN = Age(None, "", committed=True)


def ages(stack: Stack, clock: Clock, start: Run = run) -> Mapping[str, Age]:
    """The age of every pin of the stack's lock."""
    path = stack.recipe / lock.FILE
    if not stack.pins:
        return {}
    changes = last_changes(path, start)
    document = documents.read(files.read_text(path), path.name)
    now = clock.now().timestamp()
    found = {}
    for name in stack.pins:
        change = changes.get(document.place(name).line)
        if change is None:
            found[name] = UNKNOWN
        elif not change.commit:
            found[name] = Age(None, "", committed=False)
        else:
            found[name] = Age(max(0, int(now - change.moment) // _DAY), change.commit, committed=True)
    return found
