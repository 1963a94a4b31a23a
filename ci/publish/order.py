"""Which of two releases is the newer one: by commit, never by clock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ..errors import ConfigError, InfraError, SupersededError
from ..world.history import descends
from ..world.process import Run, run
from .manifest import Release, Standing

Relation = Literal["same", "newer", "older", "diverged"]
"""What our commit is to theirs."""

Ancestry = Callable[[str, str], Relation]
"""``compare(ours, theirs)``; raises ``InfraError`` where nobody can tell."""


def ancestry(folder: Path, start: Run = run) -> Ancestry:
    """The order of commits as the repository around ``folder`` knows it."""

    def compare(ours: str, theirs: str) -> Relation:
        if ours == theirs:
            return "same"
        ahead = descends(folder, ours, theirs, start)
        if ahead:
            return "newer"
        behind = descends(folder, theirs, ours, start)
        if behind:
            return "older"
        if ahead is None or behind is None:
            hint = "git fetch --unshallow brings a cut-off history, git fetch origin one that lacks a commit"
            message = f"git in {folder} cannot tell which of {ours[:12]} and {theirs[:12]} is newer"
            raise InfraError("unknown-ancestry", message, hint=hint)
        return "diverged"

    return compare


def overtaken(standing: Standing, release: Release, compare: Ancestry) -> SupersededError | None:
    """Why ``release`` comes too late for a channel that stands at another commit; None where it is the newer one.

    Raises ``ConfigError`` where neither is the newer one, ``InfraError`` where nobody can tell.
    """
    ours, theirs = release.commit, standing.commit
    if ours in standing.withdrawn:
        back = f"inv rollback --channel {release.channel} --to {ours[:12]}"
        hint = f"release a newer commit; {back} brings this very one back"
        return SupersededError("taken-back", f"{ours[:12]} was taken back by a rollback to {theirs[:12]}", hint=hint)
    relation = compare(ours, theirs)
    if relation == "older":
        hint = "nothing is to be done: users have the newer one, and this run changed nothing"
        return SupersededError("superseded", f"the channel stands at {theirs[:12]}, newer than {ours[:12]}", hint=hint)
    if relation == "diverged":
        hint = "release from the branch the channel follows; nothing was changed"
        message = f"{ours[:12]} and {theirs[:12]}, where the channel stands, are on different branches"
        raise ConfigError("diverged", message, hint=hint)
    return None
