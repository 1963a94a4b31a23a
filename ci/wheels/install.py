"""Install lines: they name the exact version with its label, which no public wheel can satisfy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..names import IndexPage
from .entries import Entry


class Line(NamedTuple):
    """How to install the newest wheel of a project from one index."""

    requirement: str
    url: str

    @property
    def pip(self) -> str:
        """For pip, which compares versions over all indices: only the exact one can win."""
        return f"pip install --extra-index-url {self.url} '{self.requirement}'"

    @property
    def uv(self) -> str:
        """For uv, which asks this index first and takes the project from no other."""
        return f"uv pip install --index {self.url} '{self.requirement}'"


def lines(entries: Iterable[Entry], url: str) -> list[Line]:
    """For each project and variant its newest version that is not yanked; ``url`` is where the wheels stand."""
    from packaging.version import Version

    newest: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        key = (entry.project, entry.variant)
        best = newest.get(key)
        if entry.yanked is None and (best is None or Version(best.version) < Version(entry.version)):
            newest[key] = entry
    base = url.rstrip("/")
    return [
        Line(f"{entry.project}=={entry.version}", f"{base}/{IndexPage(entry.variant)}")
        for _, entry in sorted(newest.items())
    ]
