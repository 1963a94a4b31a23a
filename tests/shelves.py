"""A small world for retention and status: channels in a folder, a registry in memory, releases made as they come."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from ci.names import ContentTag, Place, run_id, wheel_path
from ci.publish.cached import SET, WheelSet
from ci.publish.channel import Channel, Retain
from ci.publish.gather import Scope
from ci.publish.manifest import MANIFEST, ImageRow, Release, SuiteRow, WheelRow
from ci.publish.order import Relation
from ci.publish.places import Places
from ci.publish.switch import Switched, switch
from ci.world.fakes import FakeClock
from ci.world.registry import Registry, digest_of

from .memory_registry import MANIFEST as MANIFEST_TYPE
from .memory_registry import MemoryRegistry
from .publishing import Recorder, Watched

REPOSITORY = "rocm-ci/local"
HOST = "registry.test:5000"
TIERS = {"main": "test", "base": "base"}


def commit(number: int) -> str:
    """The commit of the release with this number."""
    return f"{number:040x}"


def identity(text: str) -> str:
    """The identity of an image called so."""
    return hashlib.sha256(text.encode()).hexdigest()


def channel(
    name: str, word: str = "", *, fixed: str = "commit", keep: int = 2, days: int = 7, **more: object
) -> Channel:
    """A channel that wants nothing."""
    made = Channel(
        name=name, summary="", promoted=False, git_tag="", registry="", repository=REPOSITORY, store="", url="",
        word=word or name, fixed=fixed, index="current", suites={}, fresh_hours=48, retain=Retain(keep, days),
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


NIGHTLY = channel("nightly")
RELEASE = channel("release", "latest", fixed="version", keep=1000, days=36500, index="every")


class World:
    """The channels of one file in one folder and one registry; a day passes between releases."""

    def __init__(self, folder: Path, *channels: Channel, memory: MemoryRegistry | None = None) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.memory = memory or MemoryRegistry()
        self.channels = channels or (NIGHTLY, RELEASE)
        self.said: list[str] = []
        self.recorder = Recorder()
        self._runs = 0

    def copy(self, folder: Path, *channels: Channel) -> World:
        """The same world once more, with other rules."""
        made = World(folder, *channels)
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        made.memory.tags, made.memory.manifests, made.memory.blobs = copy.deepcopy(
            (self.memory.tags, self.memory.manifests, self.memory.blobs)
        )
        made.clock.advance(self.clock.passed)
        made._runs = self._runs
        return made

    def run(self) -> str:
        """The name of a new run."""
        self._runs += 1
        return run_id(self.clock.now(), f"{self._runs:08x}")

    def places(self, name: str = "nightly") -> Places:
        """The world of a channel, opened anew."""
        found = next(each for each in self.channels if each.name == name)
        (self.folder / "store").mkdir(exist_ok=True)
        whole = Watched(self.folder / "store", self.recorder)
        send = self.recorder.send(self.memory)
        registry = Registry(HOST, send=send, clock=self.clock, credentials=lambda _host: None, jitter=lambda: 0.0)
        place = Place(HOST, "")
        return Places(
            found, whole.within(name), whole.within("cache"), registry, place, self.folder / "journal", self.clock,
            self.said.append, whole,
        )  # fmt: skip

    def scope(self, name: str = "nightly") -> Scope:
        """A retention of a channel."""
        others = [self.places(each.name) for each in self.channels if each.name != name]
        places = self.places(name)
        return Scope(places, others, tuple(places.channel.images or TIERS))

    def image(self, text: str, tier: str) -> ImageRow:
        """An image under its content tag, with the manifest of its inputs under a fallback tag; made once."""
        made = ContentTag(tier, identity(text))
        digest = self.tags.get(str(made)) or self.memory.image(REPOSITORY, str(made), {"text": text}, text.encode())
        self.memory.image(REPOSITORY, digest.replace(":", "-"), {"about": digest}, digest.encode())
        return ImageRow("", tier, made.identity, digest, 1)

    def document(self, tag: str, content: Mapping[str, object]) -> str:
        """Any manifest under a tag; its digest."""
        body = json.dumps(content).encode()
        digest = digest_of(body)
        self.memory.manifests.setdefault(REPOSITORY, {})[digest] = (str(content.get("mediaType", MANIFEST_TYPE)), body)
        self.memory.tags.setdefault(REPOSITORY, {})[tag] = digest
        return digest

    @property
    def tags(self) -> dict[str, str]:
        """The tags there are."""
        return self.memory.tags.get(REPOSITORY, {})

    @property
    def manifests(self) -> set[str]:
        """The manifests there are."""
        return set(self.memory.manifests.get(REPOSITORY, {}))

    @property
    def files(self) -> set[str]:
        """The files of the store that are neither journal nor lease, those of hidden folders too."""
        paths = (
            path.relative_to(self.folder / "store") for path in (self.folder / "store").rglob("*") if path.is_file()
        )
        return {str(path) for path in paths if path.parts[1] not in {"journal", "lease.json", ".index"}}

    def stage(
        self,
        name: str,
        number: int,
        images: Mapping[str, ImageRow],
        *,
        wheel: str = "",
        suites: tuple[SuiteRow, ...] = (),
    ) -> Release:
        """Put a whole release there, tags included; ``images`` maps their names to what they are."""
        places = self.places(name)
        rows = tuple(row._replace(name=image) for image, row in images.items())
        wheels = tuple(self._wheel(places, number, wheel)) if wheel else ()
        release = Release(
            "local",
            name,
            commit(number),
            f"1.{number}+rocm.7",
            "2026-01-01",
            f"{HOST}/{REPOSITORY}",
            rows,
            wheels,
            suites,
        )
        for row in rows:
            tag = str(places.channel.staying(row.name, release.commit, release.public_version))
            self.memory.tags[REPOSITORY][tag] = row.digest
        places.store.write(f"{release.commit}/{MANIFEST}", release.encode())
        return release

    def release(self, name: str, number: int, *, base: str = "base", wheel: str = "") -> Switched:
        """Stage a release of a main image of its own and the base image ``base``, and switch to it, a day later."""
        images = {"main": self.image(f"main {number}", "test"), "base": self.image(base, "base")}
        staged = self.stage(name, number, images, wheel=wheel)
        return self.switch(name, staged)

    def switch(self, name: str, release: Release) -> Switched:
        """Let the channel stand at a release, a day later."""
        self.later(1)
        return switch(self.places(name), release, self.run(), "release", _newer)

    def recorded(self, recorder: Recorder | None = None) -> Recorder:
        """Let every write from here on go through a recorder."""
        self.recorder = recorder or Recorder()
        return self.recorder

    def later(self, days: float) -> None:
        """Let days pass."""
        self.clock.advance(timedelta(days=days).total_seconds())

    def _wheel(self, places: Places, number: int, key: str) -> Iterable[WheelRow]:
        data, metadata = f"wheel of {key}".encode(), b"Metadata-Version: 2.1\n"
        part, sha = identity(key), hashlib.sha256(data).hexdigest()
        filename = "probe-1.0-py3-none-any.whl"
        row = WheelRow("probe", "1.0", filename, sha, len(data), "", hashlib.sha256(metadata).hexdigest(), part)
        for store, folder in ((places.cache, part), (places.store, commit(number))):
            store.write(f"{folder}/{wheel_path(sha, filename)}", data)
            store.write(f"{folder}/{wheel_path(sha, filename)}.metadata", metadata)
        places.cache.write(f"{part}/{SET}", WheelSet(part, (row,)).encode())
        yield row


def manifests_below(memory: MemoryRegistry, digest: str) -> set[str]:
    """Every manifest that is needed to pull a digest, whether or not it is there."""
    _, body = memory.manifests[REPOSITORY].get(digest, ("", b"{}"))
    found = {digest}
    for row in json.loads(body).get("manifests", ()):
        found |= manifests_below(memory, row["digest"])
    return found


def _newer(ours: str, theirs: str) -> Relation:
    return "same" if ours == theirs else "newer"
