"""A named tree that a build reads: the recipe, or a source given with ``--source``.

A file counts with its bytes and its executable bit.  Tracked files count through
directories and globs, an untracked one only where a Dockerfile names it exactly, so
that residue in a checkout can change no image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError
from ..world import files, git
from .dockerfile import FileNeed, Ignore, select

Hashes = MutableMapping[str, str]
"""Git blob id → SHA-256 of the same bytes: a cache of facts, so git's index saves reading files."""


@dataclass(frozen=True)
class Entry:
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
        self._tracked = list_tracked(root)
        self._paths = tuple(sorted(self._tracked.blobs)) if self._tracked else files.walk(root)
        self._visible: dict[tuple[str, ...], tuple[str, ...]] = {}

    def select(self, needs: tuple[FileNeed, ...], ignore_names: tuple[str, ...]) -> Mapping[str, Entry]:
        """The files ``needs`` take, the first existing of ``ignore_names`` honoured as .dockerignore."""
        visible = self._not_ignored(ignore_names)
        known = set(visible) if self._tracked else frozenset()
        chosen: set[str] = set()
        for need in needs:
            named = {path for path in need.sources if self._tracked and path not in known and self._is_file(path)}
            paths = sorted({*visible, *named}) if named else visible
            chosen.update(select(need, paths, named_only=named))
        return {path: self._entry(path) for path in sorted(chosen)}

    def _not_ignored(self, names: tuple[str, ...]) -> tuple[str, ...]:
        if names not in self._visible:
            file = next((self.root / name for name in names if (self.root / name).is_file()), None)
            if file is None:
                self._visible[names] = self._paths
            else:
                ignored = Ignore.parse(files.read_text(file)).ignored
                self._visible[names] = tuple(path for path in self._paths if not ignored(path))
        return self._visible[names]

    def _is_file(self, path: str) -> bool:
        full = self.root / path
        return full.is_symlink() or full.is_file()

    def _entry(self, path: str) -> Entry:
        tracked = self._tracked
        if tracked and path in tracked.blobs:
            mode, blob = tracked.blobs[path]
            if mode == "160000":
                hint = f"pass it as a source of its own: --source {Path(path).name}={path}"
                raise ConfigError("submodule", f"{self.root / path} is a git submodule", hint=hint)
            if tracked.pure and path not in tracked.changed and blob in self.hashes:
                return Entry(path, _MODES[mode], self.hashes[blob])
        found = files.content(self.root / path)
        if tracked and path in tracked.blobs and git.blob_id(found.data) == tracked.blobs[path][1]:
            self.hashes[tracked.blobs[path][1]] = found.sha256
            self.learned = True
        return Entry(path, found.mode, found.sha256)


_MODES = {"100644": "0644", "100755": "0755", "120000": "link"}
