"""The files that suites and pipelines speak of: the tree under test, and the test files that ship with the tool."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..build.workspace import wrong_source
from ..errors import ConfigError
from ..recipe.stack import Stack
from ..world import files, git
from ..world.process import Run

_LINK, _SUBMODULE = "120000", "160000"


@dataclass(frozen=True, eq=False)
class Tree:
    """Files below ``root``, relative; of what is below an ``opaque`` path (a submodule, a link) nobody here knows."""

    root: Path
    files: frozenset[str]
    opaque: frozenset[str] = frozenset()

    @cached_property
    def folders(self) -> frozenset[str]:
        """Every folder with a file in it; the root is the empty one."""
        found = {""}
        for path in self.files:
            folder = path.rpartition("/")[0]
            while folder not in found:
                found.add(folder)
                folder = folder.rpartition("/")[0]
        return frozenset(found)

    @cached_property
    def ordered(self) -> tuple[str, ...]:
        """All files, sorted."""
        return tuple(sorted(self.files))

    def has(self, path: str) -> bool:
        """Whether the file or folder is there, or may be."""
        return path in self.files or path in self.folders or any(path.startswith(f"{each}/") for each in self.opaque)

    def below(self, path: str) -> Iterator[str]:
        """The file, or all files of the folder, sorted."""
        if path in self.files:
            yield path
        elif path in self.folders:
            # "0" is the character after "/": the slice is all that begins with "path/".
            begin, end = (bisect_left(self.ordered, path + char) for char in "/0") if path else (0, len(self.files))
            yield from self.ordered[begin:end]

    def text(self, path: str) -> str:
        """The text of a file, its odd bytes replaced; empty where it cannot be read."""
        if path not in self._texts:
            try:
                self._texts[path] = (self.root / path).read_bytes().decode(errors="replace")
            except OSError:
                self._texts[path] = ""
        return self._texts[path]

    @cached_property
    def _texts(self) -> dict[str, str]:
        return {}

    def nearest(self, path: str) -> str:
        """The file, or the folder with a / behind it, that may have been meant by ``path``; empty for none."""
        from difflib import get_close_matches

        name = os.path.basename(path)  # noqa: PTH119 - no path of this host
        if same := self._named.get(name, []):
            return self._shown(get_close_matches(path, same, 1, 0.0)[0])
        folder = path.rpartition("/")[0]
        while folder not in self.folders:
            folder = folder.rpartition("/")[0]
        rest = path.removeprefix(folder).strip("/").partition("/")[0]
        inside = {each.rpartition("/")[2]: each for each in self._inside.get(folder, ())}
        near = get_close_matches(rest, list(inside), 1, 0.6)
        return self._shown(inside[near[0]]) if near else self._shown(folder)

    def _shown(self, path: str) -> str:
        return f"{path}/" if path and path in self.folders else path

    @cached_property
    def _named(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in (*self.ordered, *sorted(self.folders)):
            found.setdefault(path.rpartition("/")[2], []).append(path)
        return found

    @cached_property
    def _inside(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in (*self.ordered, *sorted(self.folders - {""})):
            found.setdefault(path.rpartition("/")[0], []).append(path)
        return found


def read(root: Path, start: Run) -> Tree:
    """The files that git tracks below ``root``; all of them where git tracks none."""
    tracked = git.tracked(root, start)
    if tracked is None:
        return Tree(root, frozenset(files.walk(root)))
    opaque = {path for path, (mode, _) in tracked.blobs.items() if mode == _SUBMODULE}
    opaque |= {path for path, (mode, _) in tracked.blobs.items() if mode == _LINK and (root / path).is_dir()}
    return Tree(root, frozenset(tracked.blobs), frozenset(opaque))


def under_test(stack: Stack, given: Mapping[str, str], start: Run) -> Path | None:
    """The folder of the tree that the stack's suites test; None where it is not here.

    It is what ``given`` (NAME=PATH) says, else the caller's git root: where that holds what the stack knows its source
    by, or the stack itself.  Raises ``ConfigError`` for a source that nobody knows.
    """
    problems = [wrong for name, path in given.items() if (wrong := wrong_source(stack, name, path))]
    if problems:
        raise ConfigError.of(problems)
    known_by = {name: source.known_by for name, source in stack.fetched.items() if source.known_by}
    for name in (*known_by, *stack.sources):
        if name in given:
            return Path(given[name]).absolute()
    around = git.toplevel(Path.cwd(), start)
    if around is None:
        return None
    if known_by:
        return around if any((around / file).exists() for file in known_by.values()) else None
    return around if stack.sources or around in stack.path.parents else None


def wanted(stack: Stack) -> str:
    """What to say on the command line to name that tree."""
    names = [*(name for name, source in stack.fetched.items() if source.known_by), *stack.sources]
    return f"--source {names[0]}=PATH" if names else f"start inside the repository that has {stack.file}"
