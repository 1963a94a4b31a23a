"""The trees a release is made from: each clean, with all of its history, and those of one repository at one commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..build.inputs import RECIPE
from ..build.workspace import Workspace
from ..errors import Problem
from ..world import git
from ..world.history import History, beginnings, history

_SHOWN = 5


class Past(NamedTuple):
    """A tree: where its repository is, and which commits it begins with; no history outside of git.

    ``needed``: without a commit of it the release has no name, or a wheel no version.
    """

    name: str
    folder: Path
    history: History | None
    top: Path | None
    beginnings: frozenset[str]
    needed: bool

    @property
    def commit(self) -> str:
        """The commit it stands at; empty outside of git."""
        return self.history.commit if self.history else ""


def named_after(work: Workspace) -> str:
    """The tree whose commit is released: the first source, else a fetched one that is here, else the recipe."""
    begun_in = (name for name, each in work.stack.fetched.items() if each.known_by and name in work.trees)
    return next(iter((*work.stack.sources, *begun_in)), RECIPE)


def folders(work: Workspace) -> dict[str, Path]:
    """Every tree of a build by what it is, the one whose commit is released first."""
    first = named_after(work)
    names = (first, *(name for name in work.trees if name != first))
    return {name if name == RECIPE else f"source {name}": work.trees[name].root for name in names}


def look(folders: Mapping[str, Path]) -> tuple[Past, ...]:
    """The trees in ``folders``; needed are the first one and the projects."""
    return tuple(
        _past(name, folder, needed=not number or name.startswith("project "))
        for number, (name, folder) in enumerate(folders.items())
    )


def _past(name: str, folder: Path, *, needed: bool) -> Past:
    found = history(folder)
    if found is None:
        return Past(name, folder, None, None, frozenset(), needed)
    return Past(name, folder, found, git.toplevel(folder), beginnings(folder), needed)


def problems(pasts: Sequence[Past]) -> Iterator[Problem]:
    """All that keeps these trees from being released, each repository told of once."""
    for past in pasts:
        if past.needed and past.history is None:
            message = f"{past.name}: {past.folder} is in no git repository with a commit"
            yield Problem("no-commit", message, "a release is known by its commit: make one")
    tops = dict.fromkeys(past.top for past in pasts if past.top)
    for top in tops:
        yield from _of_repository(top, [past.history for past in pasts if past.top == top and past.history])
    yield from _apart([past for past in pasts if past.history])


def _of_repository(top: Path, histories: Sequence[History]) -> Iterator[Problem]:
    if any(each.shallow for each in histories):
        message = f"{top} is a shallow clone: versions and the order of commits would be wrong"
        yield Problem("shallow-clone", message, "git fetch --unshallow --tags (in CI: fetch-depth 0)")
    changes = sorted({change for each in histories for change in each.changes})
    if changes:
        more = f"\nand {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
        context = "\n".join(changes[:_SHOWN]) + more
        yield Problem(
            "dirty-tree",
            f"{top} has changes that no commit describes",
            "commit them, or git stash -u: a release is its commit",
            context,
        )


def _apart(pasts: Sequence[Past]) -> Iterator[Problem]:
    """Trees of one repository, in several clones or worktrees, at different commits."""
    told: set[frozenset[str]] = set()
    for past in pasts:
        kin = [each for each in pasts if each.beginnings & past.beginnings]
        commits = frozenset(each.commit for each in kin)
        if len(commits) > 1 and commits not in told:
            told.add(commits)
            context = "\n".join(f"{each.commit[:12]} {each.name}: {each.folder}" for each in kin)
            hint = "check all of them out at one commit"
            yield Problem("different-commits", "trees of one repository stand at different commits", hint, context)
