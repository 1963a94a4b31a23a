"""The files of an image as a container sees them: its layers one over the other, deletions and links honoured."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import translate
from typing import NamedTuple

from .layers import Entry, Layer
from .scan import Kept

_NOTHING = Kept()
_MOST_LINKS = 40
"""As the kernel: a path that passes more of them leads nowhere."""


class Node(NamedTuple):
    """What is at a path, and in which layer it came (from 0)."""

    entry: Entry
    layer: int

    @property
    def kept(self) -> Kept:
        """What was kept of the file."""
        return self.entry.kept or _NOTHING


class Tree:
    """All paths of an image, without a leading ``/``; the root is the empty one."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._nodes: dict[str, Node] = {}
        self._inside: dict[str, set[str]] = {"": set()}
        self._real: dict[str, str | None] = {}
        for number, layer in enumerate(layers):
            self._put(layer.entries, number)

    def _put(self, entries: Iterable[Entry], number: int) -> None:
        for entry in entries:  # a layer deletes what those below it have, never its own
            if entry.kind == "gone":
                self._remove(entry.path)
            elif entry.kind == "opaque":
                for name in tuple(self._inside.get(entry.path, ())):
                    self._remove(posixpath.join(entry.path, name))
        for entry in entries:
            if entry.kind in {"gone", "opaque"} or not entry.path:
                continue
            if entry.kind == "hard":
                source = self._nodes.get(entry.target)
                if source is None:
                    continue
                entry = source.entry._replace(path=entry.path, size=0)  # noqa: PLW2901 - the same file by another name
            if entry.kind != "folder":
                self._remove(entry.path)
            self._add(Node(entry, number))

    def _add(self, node: Node) -> None:
        self._nodes[node.entry.path] = node
        if node.entry.kind == "folder":
            self._inside.setdefault(node.entry.path, set())
        path = node.entry.path
        while path:
            folder, _, name = path.rpartition("/")
            siblings = self._inside.setdefault(folder, set())
            if name in siblings:
                return
            siblings.add(name)
            path = folder

    def _remove(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        self._inside.get(folder, set()).discard(name)
        waiting = [path]
        while waiting:
            gone = waiting.pop()
            self._nodes.pop(gone, None)
            waiting += [posixpath.join(gone, inner) for inner in self._inside.pop(gone, ())]

    def files(self) -> Iterator[Node]:
        """Every regular file."""
        return (node for node in self._nodes.values() if node.entry.kind == "file")

    def at(self, path: str) -> Node | None:
        """The file or other thing a path leads to, links followed; None where it leads nowhere or to a folder."""
        real = self.real(path)
        return self._nodes.get(real) if real is not None else None

    def folder(self, path: str) -> str | None:
        """The folder a path leads to, links followed; None where it leads to none."""
        real = self.real(path)
        return real if real is not None and real in self._inside else None

    def names(self, folder: str) -> tuple[str, ...]:
        """What is in a folder, sorted; links to the folder are followed."""
        real = self.folder(folder)
        return tuple(sorted(self._inside[real])) if real is not None else ()

    def matching(self, pattern: str) -> list[Node]:
        """The files whose path, with its leading ``/``, matches a shell pattern, sorted."""
        match = re.compile(translate(pattern)).match
        return sorted((node for node in self.files() if match("/" + node.entry.path)), key=lambda node: node.entry.path)

    def real(self, path: str) -> str | None:
        """The path without links, never outside the image's root; None where something on the way is not there."""
        if path not in self._real:
            self._real[path] = self._walk(path)
        return self._real[path]

    def _walk(self, path: str) -> str | None:
        at, left, links = "", path.split("/")[::-1], 0
        while left:
            part = left.pop()
            if part in {"", "."}:
                continue
            if part == "..":
                at = at.rpartition("/")[0]
                continue
            step = posixpath.join(at, part)
            node = self._nodes.get(step)
            if node is not None and node.entry.kind == "link":
                links += 1
                if links > _MOST_LINKS:
                    return None
                left += node.entry.target.split("/")[::-1]
                at = "" if node.entry.target.startswith("/") else at
            elif step in self._inside or (node is not None and not any(each not in {"", "."} for each in left)):
                at = step
            else:
                return None
        return at
