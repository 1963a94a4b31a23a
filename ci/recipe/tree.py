"""A named tree that a build reads: the recipe, or a source given with ``--source``.

A file counts with its bytes and its executable bit.  Tracked files count through
directories and globs, an untracked one only where a Dockerfile names it exactly, so
that residue in a checkout can change no image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigError, Problem
from ..world import files, git
from .dockerfile import FileNeed, Ignore, select

Hashes = MutableMapping[str, str]
"""Git blob id → SHA-256 of the same bytes: a cache of facts, so git's index saves reading files."""


class Entry(NamedTuple):
    """One file of an identity: ``mode`` 0644, 0755 or link, and the SHA-256 of its bytes or link target."""

    path: str
    mode: str
    sha256: str

    @property
    def value(self) -> str:
        """How a manifest writes it."""
        return f"{self.mode} {self.sha256}"


class Tree:
    """The files below one root. Listed once, on first use."""

    def __init__(
        self,
        name: str,
        root: Path,
        hashes: Hashes,
        list_tracked: Callable[[Path], git.Tracked | None] = git.tracked,
    ):
        self.name = name
        self.root = root
        self.hashes = hashes
        self.learned = False
        self._list_tracked = list_tracked
        self._visible: dict[tuple[str, ...], tuple[str, ...]] = {}

    @cached_property
    def listed(self) -> git.Tracked | None:
        """What git tracks here; None where it tracks nothing."""
        return self._list_tracked(self.root)

    @cached_property
    def _paths(self) -> tuple[str, ...]:
        return tuple(sorted(self.listed.blobs)) if self.listed else files.walk(self.root)

    def select(self, needs: tuple[FileNeed, ...], ignore_names: tuple[str, ...]) -> Mapping[str, Entry]:
        """The files ``needs`` take, the first existing of ``ignore_names`` honoured as .dockerignore.

        Raises ``ConfigError`` with every source that takes nothing.
        """
        visible = self._not_ignored(ignore_names)
        known = set(visible) if self.listed else frozenset()
        chosen: set[str] = set()
        ordered: Sequence[str] = visible
        problems: list[Problem] = []
        for need in needs:
            named = {path for path in need.sources if self.listed and path not in known and self._is_file(path)}
            if named and (ignored := self._ignored(ignore_names)):
                named = {path for path in named if not ignored(path)}
            paths = sorted({*visible, *named}) if named else visible
            try:
                chosen.update(select(need, paths, named_only=named))
            except ConfigError as error:
                problems += error.problems
            if named:
                ordered = sorted({*ordered, *named})
        if problems:
            raise ConfigError.of(problems)
        return self._entries(path for path in ordered if path in chosen)

    def _not_ignored(self, names: tuple[str, ...]) -> tuple[str, ...]:
        if names not in self._visible:
            ignored = self._ignored(names)
            paths = self._paths
            self._visible[names] = tuple(path for path in paths if not ignored(path)) if ignored else paths
        return self._visible[names]

    def _ignored(self, names: tuple[str, ...]) -> Callable[[str], bool] | None:
        file = next((self.root / name for name in names if (self.root / name).is_file()), None)
        return Ignore.parse(files.read_text(file), file.name).ignored if file else None

    def _is_file(self, path: str) -> bool:
        full = self.root / path
        return full.is_symlink() or full.is_file()

    def _entries(self, paths: Iterable[str]) -> dict[str, Entry]:
        """The entries, without a look at a file that git vouches for and whose blob was read before."""
        vouched, hashes = self._vouched, self.hashes
        entries = {}
        for path in paths:
            mode, blob = vouched.get(path, _NO_BLOB)
            known = blob in hashes and mode in _MODES
            entries[path] = Entry(path, _MODES[mode], hashes[blob]) if known else self._entry(path)
        return entries

    @cached_property
    def _vouched(self) -> Mapping[str, tuple[str, str]]:
        tracked = self.listed
        if tracked is None or not tracked.pure:
            return {}
        return {path: blob for path, blob in tracked.blobs.items() if path not in tracked.changed}

    def _entry(self, path: str) -> Entry:
        tracked = self.listed
        if tracked and path in tracked.blobs and tracked.blobs[path][0] == "160000":
            hint = f"pass it as a source of its own: --source {Path(path).name}={path}"
            raise ConfigError("submodule", f"{self.root / path} is a git submodule", hint=hint)
        found = self._read(path)
        if tracked and path in tracked.blobs and git.blob_id(found.data) == tracked.blobs[path][1]:
            self.hashes[tracked.blobs[path][1]] = found.sha256
            self.learned = True
        return Entry(path, found.mode, found.sha256)

    def _read(self, path: str) -> files.Content:
        try:
            path.encode()
            return files.content(self.root / path)
        except UnicodeEncodeError:
            shown = path.encode(errors="surrogateescape")
            hint = "rename it, or keep it out with .dockerignore: BuildKit cannot send such a name"
            raise ConfigError("file-name", f"{self.name}: the file name {shown!r} is not UTF-8", hint=hint) from None
        except OSError as error:
            raise ConfigError("unreadable-file", f"cannot read {self.root / path}: {error.strerror}") from None


_NO_BLOB = ("", "")
_MODES = {"100644": "0644", "100755": "0755", "120000": "link"}
