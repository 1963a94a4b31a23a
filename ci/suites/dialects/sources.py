"""Lists of source files whose change runs a step, in each dialect, as our globs. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_SPECIAL = re.compile(r"([\\*?\[\]])")


class Globs(NamedTuple):
    """Our ``patterns``, each with the number of the entry it came from, and the numbers of entries without effect."""

    patterns: tuple[tuple[int, str], ...]
    inert: tuple[int, ...] = ()


def prefixes(entries: Sequence[str]) -> Globs:
    """Each entry is the beginning of a path, whatever follows: ``tests/test_a`` is ``tests/test_a_b.py`` as well.

    A ``!`` in front is taken as part of the path there, so that the entry matches nothing.  An empty entry begins
    every path: no pattern at all then.
    """
    if "" in entries:
        return Globs(())
    return _globs({number: _escaped(each) + ("" if each.endswith("/") else "*") for number, each in enumerate(entries)})


def boundaries(entries: Sequence[str]) -> Globs:
    """Each entry is a path or a folder, with ``!`` an exclusion, which counts wherever it stands: ours stand last."""
    numbered = [(number, each.rstrip("/")) for number, each in enumerate(entries)]
    ordered = sorted(numbered, key=lambda each: each[1].startswith("!"))
    written = {number: "!" + _escaped(each[1:]) if each.startswith("!") else _escaped(each) for number, each in ordered}
    return _globs(written, excludes=True)


def _globs(written: dict[int, str], *, excludes: bool = False) -> Globs:
    inert = tuple(number for number, each in written.items() if not _means(each, excludes=excludes))
    return Globs(tuple((number, each) for number, each in written.items() if number not in inert), inert)


def _means(pattern: str, *, excludes: bool) -> bool:
    """Whether any path from the top of a tree can match: none begins with ``/``, ``./`` or a plain ``!``."""
    path = pattern[1:] if excludes and pattern.startswith("!") else pattern
    return not path.startswith("!") and not {"", ".", ".."} & set(path.removesuffix("/").split("/"))


def _escaped(path: str) -> str:
    return _SPECIAL.sub(r"\\\1", path)
