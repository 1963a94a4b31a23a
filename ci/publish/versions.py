"""The version a release is named after, and what it must not be after what was released before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..errors import ConfigError, Problem
from .channel import Channels
from .manifest import Release, WheelRow


def normal(project: str) -> str:
    """The name of a project as wheels and indexes write it."""
    from packaging.utils import canonicalize_name

    return canonicalize_name(project)


def named(rows: Iterable[WheelRow], channels: Channels) -> str:
    """The version of the wheel the release is named after; ``ConfigError`` where no wheel is of that project."""
    wanted = normal(channels.named_after)
    found = next((row.version for row in rows if normal(row.project) == wanted), "")
    return found or refuse_unnamed(channels)


def refuse_unnamed(channels: Channels) -> str:
    """Raise the error of a release without the wheel it is named after."""
    message = f"{channels.file}: no wheel is of {channels.named_after}, which the release is named after"
    hint = "let named_after be a project whose wheel is listed under `wheels:`"
    raise ConfigError("no-named-wheel", message, hint=hint)


def problems(version: str, commit: str, standing: Release | None, released: Iterable[Release]) -> Iterator[Problem]:
    """Why ``version`` at ``commit`` cannot follow: it sorts before what stands, or before what is released.

    ``standing`` is the release the channel stands at, ``released`` those of channels that are promoted to.
    """
    if standing and _before(version, commit, standing):
        message = f"{version} would sort before {standing.version}, where channel {standing.channel} stands"
        yield Problem(
            "version-goes-back", message, "raise the version of the project; no installer would take this one"
        )
    for each in released:
        if _before(version, commit, each):
            message = f"{each.version} is released in channel {each.channel}, and {version} would sort before it"
            yield Problem("already-released", message, "raise the version of the project")


def _before(version: str, commit: str, release: Release) -> bool:
    """Labels after ``+`` do not count: they name what a wheel was built with."""
    from packaging.version import Version

    ours = Version(version.partition("+")[0])
    return commit != release.commit and ours < Version(release.public_version)
