"""Where a channel is published: its store, its registry, and the documents that stand in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..build.workspace import Workspace, registry_at
from ..errors import ConfigError, ContractError
from ..names import Place, ReleaseTag
from ..settings import Settings
from ..world.clock import Clock
from ..world.store import Store, opened
from .channel import Channel, Channels
from .manifest import MANIFEST, STANDING, Release, Standing

if TYPE_CHECKING:
    from ..world.registry import Registry

CACHE = "cache"


@dataclass(frozen=True)
class Places:
    """The world of one channel.

    ``store`` is the channel's own (its documents and sets, by commit), ``cache`` that of wheel sets by identity;
    ``registry`` None where the channel has no images; ``journal`` the folder of this host that keeps a copy of it;
    ``whole`` the place that holds both stores, in which a file is copied without a way through this host;
    ``stack`` the one whose releases these are, empty for any.
    """

    channel: Channel
    store: Store
    cache: Store
    registry: Registry | None
    place: Place | None
    journal: Path
    clock: Clock
    say: Callable[[str], None]
    whole: Store
    stack: str = ""

    @property
    def repository(self) -> str:
        """The path of the images' repository inside the registry."""
        return self.place.repository(self.channel.repository).path if self.place else ""

    @property
    def url(self) -> str:
        """Where clients reach the channel's store."""
        return f"{self.channel.url.rstrip('/')}/{self.channel.name}" if self.channel.url else self.store.url

    def reference(self, tag: ReleaseTag | str) -> str:
        """A tag as an engine pulls it: ``host/path:tag``."""
        return f"{self.place.repository(self.channel.repository)}:{tag}" if self.place else str(tag)

    def standing(self) -> tuple[Standing, str] | None:
        """The release the channel stands at, with the mark to move it by; None before the first."""
        found = self.store.fetch(STANDING)
        return (Standing.decode(found[0], f"{self.store.name}/{STANDING}"), found[1]) if found else None

    def release(self, commit: str) -> Release | None:
        """The release of a commit, None where there is none; raises ``ContractError`` for one of another stack."""
        data = self.store.read(f"{commit}/{MANIFEST}")
        if data is None:
            return None
        found = Release.decode(data, f"{self.store.name}/{commit}/{MANIFEST}")
        if self.stack and found.stack != self.stack:
            hint = "each stack needs a store of its own: give another --store, or name `store:` in the channel"
            message = f"{self.store.name} has releases of the stack {found.stack}, not of {self.stack}"
            raise ContractError("other-stack", message, hint=hint)
        return found

    def released(self, commit: str) -> Release:
        """The release of a commit that a document of the channel names; raises ``ContractError`` where it is gone."""
        found = self.release(commit)
        if found is None:
            hint = "somebody removed it by hand; inv release-status shows what the channel still has"
            raise ContractError("no-release", f"{self.store.name} has no release of {commit}", hint=hint)
        return found


def open_places(
    work: Workspace,
    channels: Channels,
    name: str,
    journal: Path,
    say: Callable[[str], None],
    *,
    anonymous: bool = False,
) -> Places:
    """The world of the channel ``name``; raises ``ConfigError`` where registry or store is nowhere named.

    What the channel names wins, or one channel would stand in two places.

    ``anonymous``: nothing is asked with anybody's credentials.
    """
    channel = channels.channel(name)
    named = _store(work.settings, channel)
    place = Place.parse(channel.registry) if channel.registry else work.place
    if channels.images_of(channel) and place is None:
        hint = "give --registry, set ROCM_CI_REGISTRY, or name `registry:` in the channel"
        raise ConfigError("no-registry", f"channel {name} has images and no registry", hint=hint)
    registry = registry_at(place, work.clock, say, anonymous=anonymous) if place else None
    whole = opened(named, anonymous=anonymous)
    store, cache = whole.within(name), whole.within(CACHE)
    return Places(channel, store, cache, registry, place, journal, work.clock, say, whole, work.stack.name)


def _store(settings: Settings, channel: Channel) -> str:
    found = channel.store or settings.get("ROCM_CI_STORE").value
    if not found:
        hint = "give --store FOLDER or --store s3://BUCKET/PREFIX, set ROCM_CI_STORE, or name `store:` in the channel"
        raise ConfigError("no-store", f"channel {channel.name} has no store for wheels and manifests", hint=hint)
    return found
