"""What git knows about how a tree came to be: its commit, how many came before, its tags, what is not committed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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


class Described(NamedTuple):
    """The nearest tag with a digit in it, how many commits came after it, and the head."""

    tag: str
    distance: int
    commit: str


def described(folder: Path, start: Run = run) -> Described | None:
    """What git says of the head of the repository around ``folder``; None where no such tag is behind it.

    Raises ``InfraError`` where git cannot tell of any head.
    """
    words = ("describe", "--tags", "--long", "--abbrev=40", "--match", "*[0-9]*")
    answer = start(Command(("git", "-c", "core.fsmonitor=false", "-C", str(folder), *words), brief=True))
    if not answer.ok:
        _ask(folder, start, "rev-parse", "--verify", "HEAD")
        return None
    tag, distance, commit = answer.stdout.strip().rsplit("-", 2)
    return Described(tag, int(distance), commit.removeprefix("g"))


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


class Commit(NamedTuple):
    """A commit and the first line of what it says."""

    commit: str
    subject: str


def commits_between(folder: Path, old: str, new: str, most: int = 200) -> tuple[Commit, ...] | None:
    """The commits of ``new`` that ``old`` has not, newest first, at most ``most``; None where git cannot tell."""
    import git

    try:
        with git.Repo(folder, search_parent_directories=True) as repository:
            found = repository.iter_commits(f"{old}..{new}", max_count=most)
            return tuple(Commit(each.hexsha, str(each.summary)) for each in found)
    except (git.GitError, ValueError):
        return None


def known_tags(folder: Path, start: Run = run) -> frozenset[str]:
    """Every tag of the repository around ``folder``, wherever it stands."""
    return frozenset(_ask(folder, start, "tag", "--list").stdout.split())


def beginnings(folder: Path, start: Run = run) -> frozenset[str]:
    """The commits without parents that the head descends from: clones of one repository share them."""
    return frozenset(_ask(folder, start, "rev-list", "--max-parents=0", "HEAD").stdout.split())


def commit_of(folder: Path, name: str, start: Run = run) -> str:
    """The commit that ``name`` (a commit, ``HEAD``, a branch or tag) stands for; empty where this clone has none."""
    words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    found = start(Command(("git", "-C", str(folder), *words), brief=True))
    return found.stdout.strip() if found.ok else ""


def points_at(folder: Path, tag: str) -> str:
    """The commit a tag stands at; empty where the clone does not have the tag."""
    import git

    try:
        with git.Repo(folder, search_parent_directories=True) as repository:
            return str(repository.tags[tag].commit.hexsha)
    except (git.GitError, IndexError, ValueError):
        return ""


def descends(folder: Path, commit: str, ancestor: str, start: Run = run) -> bool | None:
    """Whether ``commit`` came after ``ancestor``; None where git cannot tell.

    It cannot where it lacks one of them, and a history that is cut short proves a yes but never a no.
    """
    argv = ("git", "--no-replace-objects", "-C", str(folder))
    answer = start(Command((*argv, "merge-base", "--is-ancestor", ancestor, commit), brief=True))
    if answer.ok:
        return True
    if answer.code != 1:
        return None
    shallow = start(Command((*argv, "rev-parse", "--is-shallow-repository"), brief=True))
    return False if shallow.ok and shallow.stdout.strip() == "false" else None
