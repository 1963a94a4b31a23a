"""``.dockerignore``: which paths of a context are never sent."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from ...errors import ConfigError, Place, Problem
from .expand import SPACE
from .globs import GlobError, Matcher


@dataclass(frozen=True, slots=True)
class Ignore:
    """The patterns of one file, in order, cleaned as Docker cleans them."""

    patterns: tuple[str, ...]
    _matcher: Matcher

    @classmethod
    def parse(cls, text: str, file: str = ".dockerignore") -> Ignore:
        """Read the file; raises ``ConfigError`` with the line of each malformed pattern."""
        patterns: list[str] = []
        problems: list[Problem] = []
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
            pattern = _clean(line.removesuffix("\r"))
            if not pattern:
                continue
            try:
                Matcher([pattern])
            except GlobError as error:
                hint = "Docker refuses the whole file for it; escape the character with a backslash."
                problems.append(Problem("dockerignore-pattern", str(error), hint, place=Place(file, number)))
            patterns.append(pattern)
        if problems:
            raise ConfigError.of(problems)
        return cls(tuple(patterns), Matcher(patterns))

    def ignored(self, path: str) -> bool:
        """Whether ``path`` (relative, posix) stays out of the context."""
        return self._matcher.matches(path)


def _clean(line: str) -> str:
    """One line as a pattern; empty for a comment (``#`` in the first column) or a blank line."""
    if line.startswith("#"):
        return ""
    pattern = line.strip(SPACE)
    invert = pattern.startswith("!")
    if invert:
        pattern = pattern[1:].strip(SPACE)
    if pattern:
        pattern = posixpath.normpath("/" + pattern.lstrip("/") if pattern.startswith("/") else pattern)
        if len(pattern) > 1:
            pattern = pattern.removeprefix("/")
    return "!" + pattern if invert else pattern
