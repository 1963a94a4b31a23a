"""One file of a package index, and how it is written down in a page and in our own notes."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import quote

from ..names import variant

_PLAIN = re.compile(r"[\w./~-]*", re.ASCII)
"""What a URL holds as it is."""


class Entry(NamedTuple):
    """A file an index lists.

    ``path`` is relative to the place that holds the wheels, for a file hosted elsewhere its
    whole URL; ``size`` is -1 and ``metadata`` empty where nobody said.
    """

    project: str
    version: str
    filename: str
    path: str
    sha256: str
    size: int
    requires_python: str
    metadata: str
    yanked: str | None = None

    @property
    def external(self) -> bool:
        """Whether somebody else hosts the file."""
        return "://" in self.path

    @property
    def label(self) -> str:
        """What follows ``+`` in the version."""
        return self.version.partition("+")[2]

    @property
    def variant(self) -> str:
        """The sub-index it belongs to; empty for none."""
        return variant(self.label)

    def fits(self, name: str) -> bool:
        """Whether it belongs in the sub-index ``name``: a wheel of that ROCm, or one that says nothing."""
        return not self.label or self.variant == name

    def url(self, up: str) -> str:
        """The link from a page ``up`` below the wheels; a ``+`` must be ``%2B``, some servers read it as a blank."""
        if self.external:
            return self.path
        return up + (self.path if _PLAIN.fullmatch(self.path) else quote(self.path))

    def to_json(self, url: str) -> dict[str, Any]:
        """As it stands in a JSON page, which links to ``url``."""
        data: dict[str, Any] = {"filename": self.filename, "url": url, "hashes": {"sha256": self.sha256}}
        if self.size >= 0:
            data["size"] = self.size
        if self.requires_python:
            data["requires-python"] = self.requires_python
        # Not under the older name too (PEP 714): pip before 23.2, Debian 12's own, ends with a TypeError on it.
        data["core-metadata"] = {"sha256": self.metadata} if self.metadata else False
        if self.yanked is not None:
            data["yanked"] = self.yanked or True
        return data
