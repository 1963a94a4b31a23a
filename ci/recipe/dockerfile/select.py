"""Which of a context's paths a COPY, an ADD or a bind mount takes."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence

from ...errors import ConfigError, Place, Problem
from .globs import GlobError, Matcher, go_glob, has_wildcard
from .needs import FileNeed


def select(need: FileNeed, paths: Sequence[str], *, named_only: Collection[str]) -> tuple[str, ...]:
    """The part of ``paths`` the need takes, in order.

    ``paths`` are relative posix paths in Python's string order; those of ``named_only``
    (untracked files) count only when a source is exactly one of them.  Raises
    ``ConfigError`` ``missing-source`` for a source that takes nothing: where a pattern
    stands beside other sources it may match nothing, as in ``COPY a.txt b*.lock ./``.
    """
    if len(need.sources) == 1 and (only := tuple(_taken(need, need.sources[0], paths, named_only))):
        return only
    taken: set[str] = set()
    empty: list[str] = []
    for source in need.sources:
        found = _taken(need, source, paths, named_only)
        if not found:
            empty.append(source)
        taken.update(found)
    if empty:
        missing = [source for source in empty if not taken or not _is_pattern(need, source)]
        if missing:
            raise ConfigError.of(_missing(need, source, paths, named_only) for source in missing)
    return tuple(sorted(taken))


def touched(need: FileNeed, paths: Sequence[str]) -> frozenset[str]:
    """The part of ``paths`` the need takes, where they are no whole tree and nothing is missing: what changed, say."""
    return frozenset(path for source in need.sources for path in _taken(need, source, paths, ()))


def _is_pattern(need: FileNeed, source: str) -> bool:
    return need.how != "bind" and has_wildcard(source)


def _taken(need: FileNeed, source: str, paths: Sequence[str], named_only: Collection[str]) -> Sequence[str]:
    try:
        if need.parents:
            return list(_parents(need, source, paths, named_only))
        if source in named_only:
            return [source]
        if need.excludes:
            return list(_without(need, source, paths))
        if _is_pattern(need, source):
            return [path for path, _ in _matches(source, paths)]
        return _below(source, paths)
    except GlobError as error:
        place = Place(need.file, need.line)
        raise ConfigError("bad-pattern", f"{source}: {error}", place=place) from None


def _below(source: str, paths: Sequence[str]) -> Sequence[str]:
    """The file of that name, or everything in the directory of that name."""
    if source == ".":
        return paths
    at = bisect_left(paths, source)
    if at < len(paths) and paths[at] == source:
        return [source]
    # "0" is the character after "/": the slice is all that begins with "source/".
    return paths[bisect_left(paths, source + "/") : bisect_left(paths, source + "0")]


def _matches(source: str, paths: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Paths a pattern takes, each with the length of the part that matched (a directory or all)."""
    parts = source.split("/")
    fixed = next(number for number, part in enumerate(parts) if has_wildcard(part))
    prefix = "".join(part + "/" for part in parts[:fixed])
    regex = re.compile(go_glob("/".join(parts[fixed:])) + r"(?=/|\Z)", re.DOTALL)
    match = regex.match
    for path in _below(prefix.rstrip("/") or ".", paths):
        found = match(path, len(prefix))
        if found:
            yield path, found.end()


def _rooted(need: FileNeed, source: str, paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Paths below a source with their path relative to what matched; empty for a file itself."""
    if _is_pattern(need, source):
        for path, end in _matches(source, paths):
            yield path, path[end + 1 :]
        return
    skip = 0 if source == "." else len(source) + 1
    for path in _below(source, paths):
        yield path, path[skip:]


def _without(need: FileNeed, source: str, paths: Sequence[str]) -> Iterator[str]:
    """``--exclude`` is relative to each directory a source names; a file named itself always comes."""
    excluded = Matcher(need.excludes).matches
    for path, below in _rooted(need, source, paths):
        if not below or not excluded(below):
            yield path


def _parents(need: FileNeed, source: str, paths: Sequence[str], named_only: Collection[str]) -> Iterator[str]:
    """``--parents``: the part behind ``/./`` (or all) is a moby pattern, ``**`` included."""
    base, pivot, pattern = source.partition("/./")
    if not pivot:
        base, pattern = ".", source
    whole = pattern if base == "." else f"{base}/{pattern}"
    if whole in named_only:
        yield whole
        return
    wanted = Matcher([pattern]).matches if pattern != "." else _anything
    excluded = Matcher(need.excludes).matches
    for path, below in _rooted(need, base, paths):
        if below and wanted(below) and not excluded(below):
            yield path


def _anything(_path: str) -> bool:
    return True


def _missing(need: FileNeed, source: str, paths: Sequence[str], named_only: Collection[str]) -> Problem:
    what = {"bind": "the mount's source", "add": "the ADD source", "copy": "the COPY source"}[need.how]
    where = f"the context {need.context}" if need.context else "the build context"
    near = _nearest(source, paths, named_only)
    hint = (f"Did you mean {near}? " if near else "") + (
        "Only tracked files that .dockerignore lets through are sent; untracked ones must be named."
    )
    excludes = f" after --exclude={', '.join(need.excludes)}" if need.excludes else ""
    message = f"{what} {source} names nothing in {where}{excludes}"
    return Problem("missing-source", message, hint, place=Place(need.file, need.line))


def _nearest(source: str, paths: Sequence[str], named_only: Collection[str]) -> str:
    """The path (or directory) a person most likely meant."""
    from difflib import get_close_matches

    inside = next((path for path in sorted(named_only) if path.startswith(source + "/")), None)
    if inside:
        return inside
    split = [path.split("/") for path in paths]
    directories = {"/".join(parts[:end]) for parts in split for end in range(1, len(parts))}
    known = [path for path in (*paths, *sorted(named_only), *sorted(directories)) if path != source]
    same_name = [path for path in known if path.rpartition("/")[2] == source.rpartition("/")[2]]
    near = get_close_matches(source, same_name or known, 1, 0.0 if same_name else 0.6)
    if near:
        return near[0]
    parent = source.rpartition("/")[0]
    while parent and parent not in directories:
        parent = parent.rpartition("/")[0]
    return parent
