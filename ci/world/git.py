"""Git: plain ``git`` where it is hot, GitPython for the rich questions."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigError, InfraError
from .process import Command, Finished, Run, begin, run

_REWRITERS = r"^core\.(autocrlf|attributesfile|filemode|symlinks)$"
_HASH_CACHE_BREAKERS = re.compile(r"^[^#]*\b(text|eol|crlf|filter|ident|working-tree-encoding)\b", re.MULTILINE)


class Tracked(NamedTuple):
    """What git tracks below ``root``.

    ``blobs`` maps a path to (mode ``100644|100755|120000|160000``, blob id); ``changed`` are
    the paths whose working-tree bytes git does not vouch for; ``pure`` says that a blob's
    bytes are the working tree's bytes (no line-end or LFS filter stands between them).
    """

    root: Path
    blobs: dict[str, tuple[str, str]]
    changed: frozenset[str]
    pure: bool


def tracked(root: Path, start: Run = run) -> Tracked | None:
    """The tracked files below ``root`` that exist, or None where git tracks nothing."""
    return ask(root, start)()


def ask(root: Path, start: Run = run) -> Callable[[], Tracked | None]:
    """The same in two steps: git begins now, what this returns waits for its answers."""
    argv = ("git", "-c", "core.fsmonitor=false", "-C", str(root), "ls-files", "-z", "-v", "-s", "-c", "-m", "-d")
    rewriters = ("git", "-C", str(root), "config", "--get-regexp", _REWRITERS)
    questions = (Command(argv, brief=True, exact=True), Command(rewriters, brief=True))
    try:
        answers = [begin(question) if start is run else partial(start, question) for question in questions]
    except InfraError as error:  # no git here: for whoever wants the answer to hear, not everybody does
        return partial(_refused, error)
    return lambda: _told(root, answers[0](), answers[1], start)


def _refused(error: InfraError) -> Tracked | None:
    raise error


def _told(root: Path, listing: Finished, settings: Callable[[], Finished], start: Run) -> Tracked | None:
    if not listing.ok:
        if any((folder / ".git").exists() for folder in (root, *root.parents)):
            hint = "run git status there; a folder of another owner needs git config safe.directory"
            raise InfraError("git", f"git cannot read {root}", context=listing.tail(5), hint=hint)
        return None
    blobs, changed = _read(root, listing.stdout)
    if not blobs:
        return None
    return Tracked(root, blobs, frozenset(changed), _pure(root, blobs, settings(), start))


def _read(root: Path, listing: str) -> tuple[dict[str, tuple[str, str]], set[str]]:
    """The listing's files that exist, and those of them that git does not vouch for.

    Its tags: R removed, C changed, S skip-worktree; lower case for assume-unchanged.
    """
    blobs: dict[str, tuple[str, str]] = {}
    changed: set[str] = set()
    removed: set[str] = set()
    for record in listing.split("\0"):
        head, _, path = record.partition("\t")
        if not path:
            continue
        tag = head[0]
        if head[-1] != "0":  # the stage
            hint = "finish the merge: git status"
            raise ConfigError("merge-conflict", f"{root / path} is in conflict", hint=hint)
        blobs[path] = (head[2:8], head[9:-2])
        if tag == "H":
            continue
        if tag in "Rr" or (tag in "Ss" and not os.path.lexists(root / path)):  # sparse checkouts have S
            removed.add(path)
        else:
            changed.add(path)
    for path in removed:
        del blobs[path]
    return blobs, changed


def _pure(root: Path, blobs: dict[str, tuple[str, str]], settings: Finished, start: Run) -> bool:
    """No attribute and no setting makes bytes or modes of the working tree differ from the object store's."""
    if any(not _harmless(line) for line in settings.stdout.splitlines()):
        return False
    top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
    info = top / ".git" / "info" / "attributes"
    if not (top / ".git").is_dir():  # a linked worktree
        where = start(Command(("git", "-C", str(top), "rev-parse", "--git-path", "info/attributes"), brief=True))
        info = top / where.stdout.rstrip("\n")
    user = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "git" / "attributes"
    files = [top / ".gitattributes", info, user, Path("/etc/gitattributes")]
    files += [root / path for path in blobs if path.endswith(".gitattributes")]
    files += [folder / ".gitattributes" for folder in root.parents if top in (folder, *folder.parents)]
    texts = (file.read_text(errors="replace") for file in files if file.is_file())
    return not any(_HASH_CACHE_BREAKERS.search(text) for text in texts)


def _harmless(line: str) -> bool:
    """Whether one ``key value`` of git's settings leaves the working tree as the object store has it."""
    key, _, value = line.lower().partition(" ")
    if key in ("core.filemode", "core.symlinks"):
        return value in ("true", "yes", "on", "1", "")
    return key == "core.autocrlf" and value in ("false", "no", "off", "0")


def blob_id(data: bytes) -> str:
    """The id git gives to a blob of these bytes (SHA-1 repositories)."""
    import hashlib

    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def toplevel(folder: Path, start: Run = run) -> Path | None:
    """The root of the working tree around ``folder``, or None outside of git."""
    found = start(Command(("git", "-C", str(folder), "rev-parse", "--show-toplevel"), brief=True))
    return Path(found.stdout.rstrip("\n")) if found.ok else None


def remote_commit(url: str, reference: str, start: Run = run) -> str:
    """The full commit a branch or tag of the repository at ``url`` stands at; empty where nobody could say.

    Of an annotated tag it is the commit it points at.
    """
    from . import remotes

    try:
        return remotes.commit_at(url, reference, start)
    except (ConfigError, InfraError):
        return ""


def uncommitted(folder: Path, start: Run = run) -> tuple[str, ...] | None:
    """The paths below ``folder`` that the head commit does not describe, untracked ones too; None without a commit."""
    git = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder))
    if not start(Command((*git, "rev-parse", "--verify", "--quiet", "HEAD"), brief=True)).ok:
        return None
    status = start(Command((*git, "status", "--porcelain", "--no-renames", "-z", "--", "."), brief=True, exact=True))
    if not status.ok:
        hint = "run git status there"
        raise InfraError("git", f"git cannot tell about {folder}", context=status.tail(5), hint=hint)
    return tuple(sorted(row[3:] for row in status.stdout.rstrip("\n").split("\0") if row))


class Head(NamedTuple):
    """The commit a working tree stands on, whether it has changes, and whether history is cut short."""

    commit: str
    dirty: bool
    shallow: bool


def head(folder: Path) -> Head | None:
    """The head of the repository around ``folder``; None outside of git or before the first commit."""
    import git

    try:
        repository = git.Repo(folder, search_parent_directories=True)
        commit = repository.head.commit.hexsha
    except (git.InvalidGitRepositoryError, git.NoSuchPathError, ValueError):
        return None
    with repository:
        shallow = (Path(repository.git_dir) / "shallow").exists()
        return Head(commit, repository.is_dirty(), shallow)


@contextmanager
def checkout(top: Path, commit: str, start: Run = run) -> Iterator[Path]:
    """A private copy of the tree at ``commit``, as a checkout would write it; the repository stays as it is."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="rocm-ci-tree-") as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        # env(1) adds to the caller's environment: a user's filters and safe.directory count as in any checkout.
        places = ("env", f"GIT_INDEX_FILE={folder}/index", f"GIT_WORK_TREE={tree}", "git", "-C", str(top))
        plain = ("-c", "core.fsmonitor=false", "-c", "core.sparseCheckout=false")
        done = start(Command((*places, *plain, "read-tree", "--reset", "-u", f"{commit}^{{tree}}")))
        if not done.ok:
            hint = "name a commit, branch or tag that is here; a shallow clone may lack it (git fetch --unshallow)"
            raise ConfigError("no-commit", f"git has no {commit!r}", context=done.tail(3), hint=hint)
        yield tree
