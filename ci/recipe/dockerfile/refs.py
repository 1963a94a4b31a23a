"""What a word names that is not a path: an image, a URL, a Git repository."""

from __future__ import annotations

import re
from typing import NamedTuple

_SCHEME = re.compile(r"([a-zA-Z0-9]+)://")
_SCP = re.compile(r"([a-zA-Z0-9-_]+)@([a-zA-Z0-9-.]+):(.*?)(?:\?(.*?))?(?:#(.*))?\Z", re.DOTALL)
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_KNOWN = frozenset({"http", "https", "ssh", "git"})


class RefError(ValueError):
    """A URL that BuildKit would not fetch."""


class Remote(NamedTuple):
    """A source that is fetched; ``commit`` only where the URL itself pins one."""

    url: str
    is_git: bool
    commit: str | None = None


def parse_remote(word: str) -> Remote | None:
    """The remote an ADD source names, or ``None`` for a path; raises ``RefError``.

    As BuildKit: ``github.com/x/y`` without a scheme is a path, and an HTTP URL is a
    Git repository only if its path ends in ``.git``.
    """
    scheme = _SCHEME.match(word)
    if not scheme:
        scp = None if word.startswith(("./", "../", "github.com/")) else _SCP.match(word)
        return Remote(word, True, _commit(scp[5] or "", scp[4] or "")) if scp else None
    kind = scheme[1].lower()
    if kind not in _KNOWN:
        raise RefError(f"{word}: ADD fetches http, https, git and ssh only")
    bare, _, fragment = word.partition("#")
    bare, _, query = bare.partition("?")
    if kind in {"http", "https"} and not bare.endswith(".git"):
        return Remote(word, False)
    return Remote(word, True, _commit(fragment, query))


def _commit(fragment: str, query: str) -> str | None:
    pairs = (pair.partition("=") for pair in query.split("&"))
    asked = [value for key, _, value in pairs if key in {"ref", "checksum", "commit"}]
    return next((ref for ref in (fragment.partition(":")[0], *asked) if is_commit(ref)), None)


def is_commit(text: str) -> bool:
    """Whether ``text`` is a full Git commit."""
    return bool(_COMMIT.match(text))


def familiar(ref: str) -> str:
    """An image reference in the short form in which named contexts are compared."""
    for prefix in ("docker.io/", "index.docker.io/"):
        if ref.startswith(prefix):
            ref = ref.removeprefix(prefix).removeprefix("library/")
    return ref.removesuffix(":latest")
