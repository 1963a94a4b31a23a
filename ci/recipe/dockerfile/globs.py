"""The two kinds of pattern Docker has: Go's ``filepath.Match`` and moby's ``**`` patterns."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from functools import lru_cache

from .expand import SPACE

_SPECIAL = re.compile(r"[*?\[\]\\]")


class GlobError(ValueError):
    """A pattern Go would call malformed, or one this model does not take."""


def has_wildcard(path: str) -> bool:
    """Whether a COPY source is a pattern; a backslash hides the next character."""
    at = 0
    while at < len(path):
        if path[at] in "*?[":
            return True
        at += 2 if path[at] == "\\" else 1
    return False


@lru_cache(maxsize=512)
def go_glob(pattern: str) -> str:
    """``filepath.Match`` as the source of a regular expression; raises ``GlobError``."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            piece, at = _class(pattern, at)
            out.append(piece)
        else:
            if char == "\\":
                char, at = _escaped(pattern, at)
            out.append(re.escape(char))
    return "".join(out)


def _escaped(pattern: str, at: int) -> tuple[str, int]:
    if at >= len(pattern):
        raise GlobError(f"the pattern {pattern} ends in a backslash")
    return pattern[at], at + 1


def _class(pattern: str, at: int) -> tuple[str, int]:
    """One ``[...]``, from behind its bracket."""
    out = ["["]
    if pattern.startswith("^", at):
        out.append("^")
        at += 1
    first = True
    while first or not pattern.startswith("]", at):
        first = False
        low, at = _class_char(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _class_char(pattern, at + 1)
        if low > high:
            raise GlobError(f"the pattern {pattern} has a range that runs backwards")
        out.append(f"{re.escape(low)}-{re.escape(high)}")
    return "".join([*out, "]"]), at + 1


def _class_char(pattern: str, at: int) -> tuple[str, int]:
    char = pattern[at : at + 1]
    if char in {"", "-", "]"}:
        raise GlobError(f"the pattern {pattern} has a bracket that is not closed or is empty")
    if char == "\\":
        return _escaped(pattern, at + 1)
    return char, at + 1


class Matcher:
    """A list of moby patterns, as ``.dockerignore`` and ``--exclude`` have them.

    ``matches`` answers as the transfer of a context does, directory by directory: what
    matched a directory holds for all below it, and ``!`` takes back what came before.
    Raises ``GlobError`` when made.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        groups: list[tuple[bool, list[str]]] = []
        for raw in patterns:
            pattern = raw.strip(SPACE)
            if not pattern:
                continue
            pattern = _go_clean(pattern)
            takes_back = pattern.startswith("!")
            pattern = pattern[takes_back:]
            if not pattern:
                raise GlobError("a pattern of ! alone takes nothing back")
            go_glob(pattern)  # moby checks the syntax with this one and matches with the other
            if not groups or groups[-1][0] is not takes_back:
                groups.append((takes_back, []))
            groups[-1][1].append(_moby(pattern))
        self._groups = [(takes_back, _compile(sources)) for takes_back, sources in groups]
        self._plain: re.Pattern[str] | None = None
        if len(groups) == 1 and not groups[0][0]:
            self._plain = _compile([f"(?:{'|'.join(groups[0][1])})(?:/.*)?"])
        self._seen: dict[str, tuple[bool, ...]] = {"": (False,) * len(groups)}

    def matches(self, path: str) -> bool:
        """Whether the patterns, taken in order, end up matching ``path``."""
        if self._plain is not None:
            return self._plain.fullmatch(path) is not None
        hits = self._evaluate(path, self._directory(path.rpartition("/")[0]))
        for (takes_back, _), hit in zip(reversed(self._groups), reversed(hits), strict=True):
            if hit:
                return not takes_back
        return False

    def _directory(self, path: str) -> tuple[bool, ...]:
        found = self._seen.get(path)
        if found is None:
            found = self._evaluate(path, self._directory(path.rpartition("/")[0]))
            self._seen[path] = found
        return found

    def _evaluate(self, path: str, parent: tuple[bool, ...]) -> tuple[bool, ...]:
        """Which runs of equal patterns hold for ``path``; a run that could change nothing is not tried."""
        matched = False
        hits: list[bool] = []
        for (takes_back, regex), above in zip(self._groups, parent, strict=True):
            hit = above or (takes_back is matched and regex.fullmatch(path) is not None)
            hits.append(hit)
            if hit:
                matched = not takes_back
        return tuple(hits)


def _compile(sources: list[str]) -> re.Pattern[str]:
    try:
        return re.compile("|".join(f"(?:{source})" for source in sources), re.DOTALL)
    except re.error as error:
        raise GlobError(f"a pattern is not modelled: {error}") from None


def _go_clean(path: str) -> str:
    """Go's ``filepath.Clean``, which keeps no double slash at the front."""
    return posixpath.normpath(re.sub(r"\A/+", "/", path))


def _moby(pattern: str) -> str:
    """One moby pattern as the source of a regular expression for a whole path."""
    if not _SPECIAL.search(pattern):
        return re.escape(pattern)
    if pattern.startswith("**") and not _SPECIAL.search(pattern, 2):
        suffix = pattern[2:]
        if suffix.startswith("/"):
            return f"(?:.*/)?{re.escape(suffix[1:])}"
        return f".*{re.escape(suffix)}"
    if pattern.endswith("**") and not _SPECIAL.search(pattern[:-2]):
        return f"{re.escape(pattern[:-2])}.*"
    return _moby_regex(pattern)


def _moby_regex(pattern: str) -> str:
    out: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*" and pattern.startswith("*", at):
            at += 1
            at += pattern.startswith("/", at)
            out.append("(?:.*/)?" if at < len(pattern) else ".*")
        elif char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            piece, at = _class(pattern, at)
            out.append(piece)
        else:
            if char == "^" or (char == "\\" and pattern[at : at + 1].isalnum()):
                raise GlobError(f"the pattern {pattern} means something else to Docker's regular expressions")
            if char == "\\":
                char, at = _escaped(pattern, at)
            out.append(re.escape(char))
    return "".join(out)
