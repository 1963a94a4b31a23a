"""The package index of a channel or of one release, made from manifests alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..names import wheel_path
from ..wheels import pages
from ..wheels.entries import Entry
from .manifest import Release, WheelRow


def of_set(release: Release) -> Mapping[str, bytes]:
    """The pages of one release, by path below ``simple/``; its wheels lie beside ``simple``."""
    return pages.everything(_entry(row, "") for row in release.wheels)


def of_channel(releases: Iterable[Release]) -> Mapping[str, bytes]:
    """The pages of a channel that lists ``releases``; their wheels lie below their commits."""
    entries = {
        (row.filename, row.sha256): _entry(row, f"{release.commit}/") for release in releases for row in release.wheels
    }
    return pages.everything(entries.values())


def _entry(row: WheelRow, prefix: str) -> Entry:
    path = prefix + wheel_path(row.sha256, row.filename)
    return Entry(row.project, row.version, row.filename, path, row.sha256, row.size, row.requires_python, row.metadata)
