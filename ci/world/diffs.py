"""What changed in a source tree, asked of git alone: no question here ever reaches a network.

Plain git answers; GitPython finds out why it could not, which takes longer than the whole answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..documents import suggest
from ..errors import DeadlineError, InfraError
from .process import Command, Finished, Run, begin, run

# env(1) adds to the caller's environment: in a partial clone git would otherwise fetch what it finds missing.
_OFFLINE = ("env", "GIT_ALLOW_PROTOCOL=none", "git", "--no-optional-locks", "-c", "core.fsmonitor=false")
_COMPARE = ("--raw", "-z", "--no-renames", "--ignore-submodules=none")
_STATUS = ("status", "--porcelain=v2", "-z", "--no-renames", "--ignore-submodules=none", "--untracked-files=all")
_LINKS = frozenset(("120000", "160000"))
"""The modes of a link and of a submodule."""

_FETCHING = 900.0
"""Seconds for more commits of a large repository."""


class Diff(NamedTuple):
    """The files of a change, sorted, as posix paths from the top of the tree.

    Both names of a rename are there, deleted files, and files of the working tree that no commit has, unless they are
    ignored; a submodule is its folder.  ``base`` is the commit they were counted from.  Where that could not be told,
    ``unknown`` says why and what to do, and the files mean nothing.  ``links`` are those of the files that are, or
    were, a link or a submodule: more than they may have changed below them.
    """

    files: tuple[str, ...] = ()
    base: str = ""
    unknown: str = ""
    links: tuple[str, ...] = ()


def against(top: Path, *bases: str, start: Run = run) -> Diff:
    """What changed since HEAD left the first of ``bases`` (commits, branches or tags) that is here.

    Where the histories crossed there is more than one such commit; then whatever differs from any counts.
    """
    return _asked(top, partial(_merge_bases, top, bases, start), start)


def since_parent(top: Path, start: Run = run) -> Diff:
    """What changed since the (first) parent of HEAD."""
    return _asked(top, partial(_parent, top, start), start)


def deepen(top: Path, commits: int, start: Run = run) -> None:
    """Fetch ``commits`` more of a shallow clone's history; a whole one has them, and nobody is asked.

    Raises ``InfraError`` where the remote did not give them.
    """
    git = ("env", "GIT_TERMINAL_PROMPT=0", "git", "-C", str(top))
    if start(Command((*git, "rev-parse", "--is-shallow-repository"), brief=True)).stdout.strip() != "true":
        return
    hint = "check the remote (git remote -v), the network and its proxy; git fetch says the same"
    try:
        done = start(Command((*git, "fetch", "--quiet", f"--deepen={commits}"), deadline=_FETCHING))
    except DeadlineError as error:
        raise InfraError("fetch", error.problems[0].message, hint=hint) from None
    if not done.ok:
        raise InfraError("fetch", f"cannot fetch {commits} commits more", context=done.tail(5), hint=hint)


class _UnknownError(Exception):
    """Why a change cannot be told; never leaves this module."""


def _asked(top: Path, bases: Callable[[], tuple[str, ...]], start: Run) -> Diff:
    """The change since ``bases``, the working tree looked at meanwhile."""
    try:
        question = Command((*_OFFLINE, "-C", str(top), *_STATUS), brief=True, exact=True)
        status = begin(question) if start is run else partial(start, question)
        found = bases()
        files: dict[str, bool] = {}
        for base in found:
            differ = _git(top, start, "diff-tree", "-r", *_COMPARE, base, "HEAD")
            _note(files, _compared(_records(differ, f"git cannot compare HEAD with {base[:12]}")))
        _note(files, _standing(top, _records(status(), "git cannot tell about the working tree")))
        return Diff(tuple(sorted(files)), found[0], "", tuple(sorted(path for path, link in files.items() if link)))
    except _UnknownError as error:
        return Diff(unknown=str(error))
    except InfraError as error:
        return Diff(unknown=f"{error.problems[0].message}; {error.problems[0].hint}")


def _merge_bases(top: Path, bases: tuple[str, ...], start: Run) -> tuple[str, ...]:
    refused = None
    for base in bases:
        if base.startswith("-"):  # an option for git, and never the name of a branch
            continue
        found = _git(top, start, "merge-base", "--all", "HEAD", base)
        if found.ok:
            return tuple(found.stdout.split())
        if found.code == 1:
            raise _UnknownError(_unrelated(top, base))
        refused = found
    raise _UnknownError(_unresolved(top, bases, refused))


def _parent(top: Path, start: Run) -> tuple[str, ...]:
    found = _git(top, start, "rev-parse", "--verify", "--quiet", "HEAD~1^{commit}")
    if found.ok:
        return (found.stdout.strip(),)
    raise _UnknownError(_orphan(top, found))


def _git(top: Path, start: Run, *words: str) -> Finished:
    return start(Command((*_OFFLINE, "-C", str(top), *words), brief=True, exact=True))


def _records(found: Finished, otherwise: str) -> list[str]:
    if not found.ok:
        raise _UnknownError(f"{otherwise}: {_evidence(found)}")
    return [record for record in found.stdout.split("\0") if record]


def _note(files: dict[str, bool], found: Iterable[tuple[str, bool]]) -> None:
    for path, link in found:
        files[path] = link or files.get(path, False)


def _compared(records: list[str]) -> Iterator[tuple[str, bool]]:
    """The paths that two commits differ in, each with whether it is or was a link: ``:MODE MODE ID ID WHAT``, path."""
    for facts, path in zip(records[::2], records[1::2], strict=True):
        yield path, not _LINKS.isdisjoint(facts[1:].split(" ", 2)[:2])


def _standing(top: Path, records: list[str]) -> Iterator[tuple[str, bool]]:
    """The paths of the working tree that no commit has as they are, each with whether it is or was a link.

    Git gives one of them with its modes: ``1 .. .. MODE MODE MODE ID ID PATH``, with four modes and three IDs where a
    merge left it (``u``); of an untracked one (``?``) it gives the path, and ``/`` at the end of another repository.
    """
    for record in records:
        kind = record[0]
        if kind == "?":
            path = record[2:]
            yield path, path.endswith("/") or (top / path).is_symlink()
        elif kind in "1u":
            *facts, path = record.split(" ", 8 if kind == "1" else 10)
            yield path, not _LINKS.isdisjoint(facts[3:7])


def _evidence(found: Finished) -> str:
    return "; ".join(found.tail(3).splitlines()) or f"exit code {found.code}"


# --- why it could not be told -------------------------------------------------------------------


def _unrelated(top: Path, base: str) -> str:
    if _known(top).shallow:
        return f"this clone is shallow and has no commit that HEAD and {base} share; fetch more: --deepen 200"
    return f"HEAD and {base} share no commit; name another with --base"


def _unresolved(top: Path, bases: tuple[str, ...], refused: Finished | None) -> str:
    known = _known(top)
    if known.nothing:
        return known.nothing
    if refused and any(base in known.references for base in bases):
        return f"git cannot find a commit that HEAD and {' or '.join(bases)} share: {_evidence(refused)}"
    near = suggest(bases[-1], known.references) if known.references else "it has no branch and no tag"
    near = near.replace("allowed:", "it has")
    fetch = f"git fetch origin {bases[-1].removeprefix('origin/')}"
    return f"this clone has no {' and no '.join(bases)} ({near}); fetch it ({fetch}), or name another with --base"


def _orphan(top: Path, refused: Finished) -> str:
    known = _known(top)
    if known.nothing:
        return known.nothing
    if known.shallow:
        return "this clone is shallow and has no parent of HEAD; fetch more: --deepen 1"
    return f"HEAD has no parent: {_evidence(refused)}; name a commit with --base"


class _Known(NamedTuple):
    """What a repository has: the names of its references; or why there is ``nothing``."""

    references: tuple[str, ...] = ()
    shallow: bool = False
    nothing: str = ""


def _known(top: Path) -> _Known:
    import git

    try:
        repository = git.Repo(top, search_parent_directories=True)
    except (git.InvalidGitRepositoryError, git.NoSuchPathError):
        return _Known(nothing=f"{top} is in no git repository; run this in a clone")
    with repository:
        if not repository.head.is_valid():
            return _Known(nothing="the repository has no commit yet; git commit makes one")
        names = tuple(sorted(reference.name for reference in repository.references))
        return _Known(names, (Path(repository.common_dir) / "shallow").exists())
