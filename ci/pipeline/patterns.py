"""Globs over the paths of a source tree: which pattern of a list decides about a path.

A pattern is relative to the top of the tree and matches whole parts: ``tests/x`` is that file, or all below that
folder, never ``tests/x.py``; a ``/`` at its end says nothing more.  ``*`` and ``?`` stay within a part, ``**``
stands for any number of parts, ``[ab]`` and ``\\`` are as in Go's ``filepath.Match``.  ``!`` in front takes back.
Each path is decided alone, by the last pattern of the list that matches it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from ..recipe.dockerfile.globs import GlobError, go_glob, has_wildcard


class Pattern(NamedTuple):
    """One pattern: as ``written``, its path without ``!``, whether it takes back, its expression (none: literal)."""

    written: str
    path: str
    takes_back: bool
    regex: re.Pattern[str] | None

    @property
    def literal(self) -> str:
        """The folders in front of its first wildcard; all of it where it has none."""
        if self.regex is None:
            return self.path
        parts = self.path.split("/")
        first = next(number for number, part in enumerate(parts) if _is_wild(part))
        return _unescaped("/".join(parts[:first]))

    def enters(self, folder: str) -> bool:
        """Whether its wildcards can match below ``folder``."""
        if self.regex is None:
            return False
        parts, inside = self.path.split("/"), folder.removesuffix("/").split("/")
        for part, name in zip(parts, inside, strict=False):
            if part == "**":
                return True
            if not re.fullmatch(go_glob(part), name, re.DOTALL):
                return False
        return len(inside) < len(parts)


class Paths:
    """Files of one tree, sorted, with what patterns find among them; made once for all lists of patterns.

    ``links`` are those that are links or submodules.
    """

    def __init__(self, files: Iterable[str], links: Iterable[str] = ()) -> None:
        self.files = tuple(sorted(set(files)))
        self.links = tuple(sorted(set(links)))
        self._known = frozenset(self.files)
        self._below: dict[str, list[str]] = {}
        for file in self.files:
            for above in ancestors(file):
                self._below.setdefault(above, []).append(file)
        self._found: dict[str, Sequence[str]] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._known

    def below(self, path: str) -> Sequence[str]:
        """The file of that name, or all in the folder of that name, in order; ``.`` is the top."""
        return self.files if path == "." else self._below.get(path, ())

    def taken(self, pattern: Pattern) -> Sequence[str]:
        """The files that the path of ``pattern`` matches, in order."""
        if pattern.regex is None:
            return self.below(pattern.path)
        if pattern.path not in self._found:
            matches = pattern.regex.fullmatch
            self._found[pattern.path] = tuple(file for file in self.below(pattern.literal or ".") if matches(file))
        return self._found[pattern.path]


class Globs:
    """A list of patterns; raises ``GlobError`` for one that cannot be meant."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(map(parse, patterns))
        self._plain = not any(pattern.takes_back for pattern in self.patterns)

    def match(self, path: str) -> str:
        """The pattern that lets ``path`` in, as written; empty where none does, or the last one takes it back."""
        return next((pattern for _, pattern in self.matches(Paths((path,)))), "")

    def matches(self, paths: Paths) -> Iterator[tuple[str, str]]:
        """Each of ``paths`` that is let in, in order, with the pattern that decided."""
        decided: dict[str, Pattern] = {}
        for pattern in self.patterns:
            decided.update(dict.fromkeys(paths.taken(pattern), pattern))
        for file in sorted(decided):
            if not decided[file].takes_back:
                yield file, decided[file].written

    def first(self, paths: Paths) -> tuple[str, str] | None:
        """The first of ``matches``; quick for the many lists that are asked about one change."""
        if not self._plain:
            return next(self.matches(paths), None)
        found = [(files[0], -number) for number, each in enumerate(self.patterns) if (files := paths.taken(each))]
        if not found:
            return None
        file, number = min(found)
        return file, self.patterns[-number].written

    def leads(self, paths: Paths) -> tuple[str, str] | None:
        """The first of ``paths`` that is a folder on the way to what a pattern names, with that pattern.

        A folder that changed is a link or a submodule: all that lies below it may be another.
        """
        wanted = (each for each in self.patterns if not each.takes_back)
        ways = ((above, each.written) for each in wanted for above in ancestors(each.literal) if above != each.path)
        found = [way for way in ways if way[0] in paths]
        found += [(link, pattern) for link in paths.links if (pattern := self._entered(link, paths))]
        return min(found, default=None)

    def _entered(self, link: str, paths: Paths) -> str:
        """The pattern whose wildcards can match below ``link``, unless a later one takes all of that back."""
        found = ""
        for each in self.patterns:
            if each.takes_back:
                found = "" if link in paths.taken(each) else found
            elif each.enters(link):
                found = each.written
        return found


@lru_cache(maxsize=4096)
def parse(written: str) -> Pattern:
    """The pattern; raises ``GlobError`` for an absolute, empty or malformed one, and for ``**`` within a part."""
    takes_back = written.startswith("!")
    path = written[takes_back:].removesuffix("/")
    parts = path.split("/")
    if not path or path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise GlobError(f"{written!r} is no path from the top of the tree: no / in front, no empty part, no . or ..")
    for part in parts:
        go_glob(part)
        if "**" in part and part != "**":
            raise GlobError(f"{written!r}: ** is a part of its own, as in a/**/b.py")
    if not any(map(_is_wild, parts)):
        return Pattern(written, _unescaped(path), takes_back, None)
    return Pattern(written, path, takes_back, re.compile(_expression(parts), re.DOTALL))


def ancestors(path: str) -> Iterator[str]:
    """The path and every folder above it."""
    yield path
    at = path.rfind("/")
    while at >= 0:
        yield path[:at]
        at = path.rfind("/", 0, at)


def shown(path: str) -> str:
    """A path as a person may see it: a name with a line break or bytes that are no text is spelled out."""
    return path if path.isprintable() else ascii(path)


def _unescaped(path: str) -> str:
    return re.sub(r"\\(.)", r"\1", path)


def _is_wild(part: str) -> bool:
    return part == "**" or has_wildcard(part)


def _expression(parts: list[str]) -> str:
    """A path that the parts match, or lies below one."""
    out = []
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            out.append(".+" if last else "(?:.*/)?")
        else:
            out.append(go_glob(part) + ("" if last else "/"))
    return "".join(out) + ("" if parts[-1] == "**" else "(?:/.*)?")
