"""What git knows about how a tree came to be: its commit, how many came before, its tags, what is not committed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InfraError
from .git import head
from .process import Command, Finished, Run, run


@dataclass(frozen=True, slots=True)
class History:
    """The head of a repository.

    ``count`` is the number of commits up to and with ``commit``; ``here`` are the tags on it,
    ``before`` those on its ancestors; ``changes`` are the paths that no commit holds, with
    untracked files below ``folder`` only.  ``moment`` is the commit's time in seconds.
    """

    folder: Path
    commit: str
    count: int
    moment: int
    shallow: bool
    here: frozenset[str]
    before: frozenset[str]
    changes: tuple[str, ...] = ()


def history(folder: Path, start: Run = run) -> History | None:
    """The history of the tree around ``folder``; None outside of git or before the first commit."""
    found = head(folder)
    if found is None:
        return None
    count = _ask(folder, start, "rev-list", "--count", found.commit).stdout
    moment = _ask(folder, start, "log", "-1", "--format=%ct", found.commit).stdout
    here = frozenset(_ask(folder, start, "tag", "--points-at", found.commit).stdout.split())
    merged = frozenset(_ask(folder, start, "tag", "--merged", found.commit).stdout.split())
    strays = _ask(folder, start, "ls-files", "--others", "--exclude-standard").stdout.splitlines()
    changed = _ask(folder, start, "diff", "--name-only", "HEAD").stdout.splitlines() if found.dirty else []
    return History(
        folder, found.commit, int(count), int(moment), found.shallow, here, merged - here, (*changed, *strays)
    )


def _ask(folder: Path, start: Run, *words: str) -> Finished:
    answer = start(Command(("git", "-c", "core.fsmonitor=false", "-C", str(folder), *words), brief=True))
    if not answer.ok:
        hint = "run git status there; a folder of another owner needs git config safe.directory"
        raise InfraError("git", f"git cannot tell about {folder}", context=answer.tail(5), hint=hint)
    return answer


def listed(folder: Path, start: Run = run) -> tuple[str, ...] | None:
    """All files below ``folder`` that git tracks or would take, sorted; None outside of git."""
    argv = ("git", "-c", "core.fsmonitor=false", "-C", str(folder), "ls-files", "-z", "-c", "-o", "--exclude-standard")
    answer = start(Command(argv, brief=True, exact=True))
    if not answer.ok:
        return None
    return tuple(sorted({path for path in answer.stdout.rstrip("\n").split("\0") if path and (folder / path).exists()}))
