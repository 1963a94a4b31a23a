"""From options to an indexing run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError
from ..world.store import Store
from .growth import add
from .index import Result, Say, make


def perform(store: Store, added: Sequence[str], say: Say, *, replace: bool, plan: bool) -> Result:
    """Make the whole index, or add the wheels ``added`` to it."""
    if not added:
        return make(store, say, replace=replace, plan=plan)
    if plan:
        hint = "leave one of them out: a plan looks at what is there already"
        raise ConfigError("plan-of-add", "--plan and --add do not go together", hint=hint)
    return add(store, [Path(wheel) for wheel in added], say, replace=replace)
