"""What a word names that is not a path: an image, a URL, a Git repository."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs

_SCHEME = re.compile(r"([a-zA-Z0-9]+)://")
_SCP = re.compile(r"([a-zA-Z0-9-_]+)@([a-zA-Z0-9-.]+):(.*?)(?:\?(.*?))?(?:#(.*))?\Z", re.DOTALL)
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_KNOWN = frozenset({"http", "https", "ssh", "git"})


class RefError(ValueError):
    """A URL that BuildKit would not fetch."""


@dataclass(frozen=True, slots=True)
class Remote:
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
    asked = parse_qs(query)
    for ref in (fragment.partition(":")[0], *(asked.get(key, [""])[0] for key in ("ref", "checksum", "commit"))):
        if _COMMIT.match(ref):
            return ref
    return None


def is_commit(text: str) -> bool:
    """Whether ``text`` is a full Git commit."""
    return bool(_COMMIT.match(text))


def familiar(ref: str) -> str:
    """An image reference in the short form in which named contexts are compared."""
    for prefix in ("docker.io/", "index.docker.io/"):
        if ref.startswith(prefix):
            ref = ref.removeprefix(prefix).removeprefix("library/")
    return ref.removesuffix(":latest")
