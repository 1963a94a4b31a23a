"""Git: plain ``git`` where it is hot, GitPython for the rich questions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, InfraError
from .process import Command, Run, run

_HASH_CACHE_BREAKERS = re.compile(r"^[^#]*\b(text|eol|crlf|filter|ident|working-tree-encoding)\b", re.MULTILINE)


@dataclass(frozen=True)
class Tracked:
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
    argv = (
        "git",
        "-c",
        "core.fsmonitor=false",
        "-C",
        str(root),
        "ls-files",
        "-z",
        "-v",
        "-s",
        "-c",
        "-m",
        "-d",
    )
    listing = start(Command(argv, brief=True))
    if not listing.ok:
        if any((folder / ".git").exists() for folder in (root, *root.parents)):
            hint = "run git status there; a folder of another owner needs git config safe.directory"
            raise InfraError("git", f"git cannot read {root}", context=listing.tail(5), hint=hint)
        return None
    blobs: dict[str, tuple[str, str]] = {}
    changed: set[str] = set()
    removed: set[str] = set()
    for record in listing.stdout.rstrip("\n").split("\0"):
        if not record:
            continue
        head, _, path = record.partition("\t")
        tag, mode, blob, stage = head.split(" ")
        if stage != "0":
            hint = "finish the merge: git status"
            raise ConfigError("merge-conflict", f"{root / path} is in conflict", hint=hint)
        blobs[path] = (mode, blob)
        if tag == "R":
            removed.add(path)
        elif tag != "H":  # C changed, S skip-worktree, lower case assume-unchanged: git does not vouch
            changed.add(path)
    for path in removed:
        if path not in changed or not (root / path).is_symlink():
            del blobs[path]
    if not blobs:
        return None
    return Tracked(root, blobs, frozenset(changed), _pure(root, blobs, start))


def _pure(root: Path, blobs: dict[str, tuple[str, str]], start: Run) -> bool:
    """No attribute and no setting rewrites bytes between the object store and the working tree."""
    settings = start(Command(("git", "-C", str(root), "config", "--get-regexp", r"^core\.(autocrlf|attributesfile)$"), brief=True))
    if any(not line.lower().endswith(" false") for line in settings.stdout.splitlines()):
        return False
    top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
    files = [top / ".gitattributes", top / ".git" / "info" / "attributes"]
    files += [root / path for path in blobs if path.endswith(".gitattributes")]
    files += [folder / ".gitattributes" for folder in root.parents if top in (folder, *folder.parents)]
    texts = (file.read_text(errors="replace") for file in files if file.is_file())
    return not any(_HASH_CACHE_BREAKERS.search(text) for text in texts)


def blob_id(data: bytes) -> str:
    """The id git gives to a blob of these bytes (SHA-1 repositories)."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def toplevel(folder: Path, start: Run = run) -> Path | None:
    """The root of the working tree around ``folder``, or None outside of git."""
    found = start(Command(("git", "-C", str(folder), "rev-parse", "--show-toplevel"), brief=True))
    return Path(found.stdout.rstrip("\n")) if found.ok else None


@dataclass(frozen=True, slots=True)
class Head:
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
        env = {"GIT_INDEX_FILE": f"{folder}/index", "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": folder}
        tree = Path(folder) / "tree"
        for step in (("read-tree", commit), ("checkout-index", "--all", "--quiet", f"--prefix={tree}/")):
            done = start(Command(("git", "-C", str(top), *step), env=env))
            if not done.ok:
                hint = "name a commit, branch or tag that is here; a shallow clone may lack it (git fetch --unshallow)"
                raise ConfigError("no-commit", f"git has no {commit!r}", context=done.tail(3), hint=hint)
        yield tree
