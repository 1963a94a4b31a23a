"""What changed, as a pipeline sees it: which commit it is counted from, and how that was decided."""

from __future__ import annotations

from pathlib import Path

from ..providers.facts import Facts
from ..world import diffs
from ..world.diffs import Diff
from ..world.process import Run, run
from .pools import Pools
from .select import Wish, asked

MAIN = "main"
"""The branch that a change is for where nobody says another, and the profile of what is merged into it."""


def changed(
    top: Path | None, wish: Wish, pools: Pools, *, base: str = "", facts: Facts | None = None, start: Run = run
) -> Diff:
    """The change in the tree at ``top`` (None: no git repository) that ``wish`` is about; empty where none matters.

    Counted from where HEAD left ``base`` if that is given; under profile main from what the branch was before the push
    (it may have brought several commits), or the parent of HEAD where no CI tells of one; else from where
    it left the branch that the CI says a pull request is for, or ``main``.  The remote's branch comes before the
    local one of its name, which nobody may have brought up to date; a ``base`` that is given is taken as it is.
    """
    found = asked(wish, pools)
    if wish.only or found.everything:
        return Diff()
    if top is None:
        return Diff(unknown=_nothing(start))
    if base:
        return diffs.against(top, base, f"origin/{base}", start=start)
    if found.profile == MAIN:
        before = facts.before if facts else ""
        return diffs.against(top, before, start=start) if before else diffs.since_parent(top, start)
    branch = (facts.base if facts else "") or MAIN
    return diffs.against(top, f"origin/{branch}", branch, start=start)


def _nothing(start: Run) -> str:
    """Why git names no working tree: there is none, or it does not read that of another user."""
    from ..world import probes

    here = probes.repository(Path.cwd(), start)
    if here is None:
        return "there is no git repository here; run this in a clone"
    return f"git does not read the repository here, as somebody else owns it: {here.refused.strip()}"


def told(wish: Wish, pools: Pools, *, base: str = "", facts: Facts | None = None) -> tuple[str, ...]:
    """What a person should hear of how ``changed`` counts: of a push that nobody tells of it sees the last commit."""
    found = asked(wish, pools)
    if wish.only or found.everything or found.profile != MAIN or base or (facts and facts.before):
        return ()
    who = f"{facts.provider} does not say" if facts else "nobody says"
    told = f"profile {MAIN}: {who} what the branch was before the push, so only HEAD against its first parent counts"
    return (f"{told}; where a push brings several commits, name the commit before them with --base",)
