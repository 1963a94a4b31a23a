"""The package index of a channel or of one release, made from manifests alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..names import wheel_path
from ..wheels import pages
from ..wheels.entries import Entry
from .manifest import Release, WheelRow


def entries(release: Release) -> tuple[Entry, ...]:
    """The wheels of one release as its own index lists them."""
    return tuple(_entry(row, "") for row in release.wheels)


def of_set(release: Release) -> Mapping[str, bytes]:
    """The pages of one release, by path below ``simple/``, beside which its wheels lie; none without wheels."""
    return pages.everything(entries(release)) if release.wheels else {}


def of_channel(releases: Iterable[Release]) -> Mapping[str, bytes]:
    """The pages of a channel that lists ``releases``; their wheels lie below their commits."""
    listed = {
        (row.filename, row.sha256): _entry(row, f"{release.commit}/") for release in releases for row in release.wheels
    }
    return pages.everything(listed.values())


def _entry(row: WheelRow, prefix: str) -> Entry:
    path = prefix + wheel_path(row.sha256, row.filename)
    return Entry(row.project, row.version, row.filename, path, row.sha256, row.size, row.requires_python, row.metadata)
