"""The images of a release in its registry: the tags that stay, and what the registry has under them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ConfigError, InfraError
from .manifest import ImageRow, Release
from .places import Places

if TYPE_CHECKING:
    from ..world import registry as oci


class Origin(NamedTuple):
    """Where images that the release's own repository lacks are copied from, layer by layer through ``room``."""

    registry: oci.Registry | None
    repository: str
    room: Path


_AGAIN = "run the same command again; nothing was moved"


def staying_tag(places: Places, release: Release, row: ImageRow) -> str:
    """The tag of an image that never moves."""
    return str(places.channel.staying(row.name, release.commit, release.public_version))


def registry_of(places: Places) -> oci.Registry:
    """The registry of a channel that releases images."""
    if places.registry is None:
        hint = "give --registry, set ROCM_CI_REGISTRY, or name `registry:` in the channel"
        raise ConfigError("no-registry", f"channel {places.channel.name} has no registry for its images", hint=hint)
    return places.registry


def digest_at(places: Places, reference: str) -> str:
    """The digest a tag names now, empty where there is none; ``InfraError`` where nobody could tell."""
    from ..world import registry as oci

    found = registry_of(places).head(places.repository, reference)
    if isinstance(found, oci.Unknown):
        raise _untold(places, reference, found.reason)
    return found.digest if isinstance(found, oci.Found) else ""


def manifest_at(places: Places, reference: str) -> tuple[oci.Found, bytes] | None:
    """The manifest under a tag or digest, None where there is none; ``InfraError`` where nobody could tell."""
    from ..world import registry as oci

    found = registry_of(places).manifest(places.repository, reference)
    if isinstance(found, oci.Unknown):
        raise _untold(places, reference, found.reason)
    return None if isinstance(found, oci.Absent) else found


def tag(places: Places, release: Release, row: ImageRow, origin: Origin | None) -> None:
    """Give an image the tag that stays, unless it has it; the tag is free or its own already."""
    name = staying_tag(places, release, row)
    if digest_at(places, name) == row.digest:
        return
    found = manifest_at(places, row.digest)
    if found is None and origin and origin.registry:
        from ..world.registry_copy import copy

        target = registry_of(places)
        there = (target, places.repository)
        copy(origin.registry, origin.repository, row.digest, *there, say=places.say, scratch=origin.room)
        found = manifest_at(places, row.digest)
    if found is None:
        what = f"the image {row.name} of this release, {row.digest}, is not in {places.reference(name)}'s repository"
        hint = "somebody removed it meanwhile; the same command again brings it there"
        raise InfraError("no-image", what, hint=hint)
    places.say(f"tagging {places.reference(name)}")
    registry_of(places).put_manifest(places.repository, name, found[1], found[0].media_type)


def _untold(places: Places, reference: str, reason: str) -> InfraError:
    return InfraError("could-not-tell", f"{places.reference(reference)} cannot be looked up: {reason}", hint=_AGAIN)
