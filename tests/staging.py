"""What tests of staging and proving share: a channel in a place and a registry in memory, and real small wheels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci.build.lookup import IDENTITY
from ci.names import Place
from ci.publish.channel import Channel, Retain
from ci.publish.make import Candidate
from ci.publish.manifest import ImageRow, Release, SuiteRow, WheelRow
from ci.publish.places import CACHE, Places
from ci.publish.wheelset import row_of
from ci.settings import Settings
from ci.world.fakes import FakeClock
from ci.world.http import Request, Response
from ci.world.registry import Registry
from ci.world.store import Folder, Store

from . import wheels
from .memory_registry import MemoryRegistry

COMMIT = "c" * 40
HOST = "registry.test:5000"
REPOSITORY = "rocm-ci/local"
NIGHTLY = Channel(
    name="nightly", summary="", promoted=False, git_tag="", registry="", repository=REPOSITORY, store="", url="",
    word="nightly", fixed="commit", index="current", suites={}, fresh_hours=48, retain=Retain(14, 14),
)  # fmt: skip


class Killed(BaseException):
    """This process is gone."""


@dataclass
class Writes:
    """Everything that is written, in order; after ``last`` of them the process is killed."""

    last: int = 0
    after: Callable[[int], None] | None = None
    done: list[str] = field(default_factory=list)

    def note(self, what: str) -> None:
        """One more is done."""
        self.done.append(what)
        if self.after:
            self.after(len(self.done))
        if len(self.done) == self.last:
            raise Killed


class Watched(Folder):
    """A folder that tells what is written to it, by its path from the root of the whole place."""

    def __init__(self, root: Path, writes: Writes, prefix: str = "") -> None:
        super().__init__(root, there=False)
        self.writes, self.prefix, self.base = writes, prefix, root

    def within(self, prefix: str) -> Watched:
        return Watched(self.base / prefix, self.writes, f"{self.prefix}{prefix}/")

    def take(self, source: Path, path: str) -> None:
        super().take(source, path)
        self.writes.note(self.prefix + path)

    def write(self, path: str, data: bytes) -> None:
        super().write(path, data)
        self.writes.note(self.prefix + path)

    def create(self, path: str, data: bytes) -> bool:
        there = super().stored(path) is not None
        done = super().create(path, data)
        if not there:
            self.writes.note(self.prefix + path)
        return done

    def copy(self, source: str, path: str) -> None:
        super().copy(source, path)  # which takes, and so is noted

    def publish(self, pages: Mapping[str, bytes]) -> None:
        super().publish(pages)
        self.writes.note(f"{self.prefix}simple")


class World:
    """A channel in a folder and a registry in memory that has the images of one release."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.memory = MemoryRegistry()
        self.said: list[str] = []
        self.place = folder / "place"
        self.place.mkdir(parents=True)

    def places(self, whole: Store | None = None, channel: Channel = NIGHTLY) -> Places:
        """The world of the channel, opened anew."""
        whole = whole or Folder(self.place)
        clock = FakeClock()
        registry = Registry(HOST, send=self.memory, clock=clock, credentials=lambda _host: None, jitter=lambda: 0.0)
        stores = (whole.within(channel.name), whole.within(CACHE))
        journal = self.folder / "journal"
        return Places(channel, *stores, registry, Place(HOST, ""), journal, clock, self.said.append, whole)

    def image(self, name: str, tier: str, text: str = "") -> ImageRow:
        """An image in the repository under its content tag."""
        identity = hashlib.sha256(f"{name}{text}".encode()).hexdigest()
        labels = {IDENTITY: identity}
        digest = self.memory.image(REPOSITORY, f"{tier}-v1-{identity}", labels, f"{name}{text}".encode())
        return ImageRow(name, tier, identity, digest, 4)

    def candidate(self, paths: Sequence[Path] | None = None, **more: Any) -> Candidate:
        """A release of two images and the wheels at ``paths``, those of the local stack unless told."""
        images = (self.image("main", "test"), self.image("base", "base"))
        found = self.wheels() if paths is None else paths
        rows = tuple(row_of(path, part(path)) for path in found)
        digests = tuple(sorted(row.digest for row in images))
        suites = (SuiteRow("rocm-tests", "ok", 4, 0, 0, "cpu", digests),)
        version = rows[0].version if rows else ""
        release = Release(
            "local", "nightly", COMMIT, version, "2026-01-01", f"{HOST}/{REPOSITORY}", images, rows, suites, **more
        )
        return Candidate(release, {row.sha256: path for row, path in zip(rows, found, strict=True)})

    def wheels(self, version: str = "0.1.0+rocm.7.2") -> list[Path]:
        """Three wheels, made in two parts; the first requires the second."""
        folder = self.folder / "built"
        said = f"Metadata-Version: 2.1\nName: rocm-probe\nVersion: {version}\nRequires-Dist: probe-tools==0.3\n"
        return [
            wheels.write(folder, "rocm-probe", version, metadata=said, requires_python=""),
            wheels.write(folder, "probe-tools", "0.3+rocm.7.2", files={"probe_tools/data.txt": "x" * 5000}),
            wheels.write(folder, "probe-plain", "1.0"),
        ]

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the repository."""
        return self.memory.tags[REPOSITORY]

    def tree(self) -> dict[str, bytes]:
        """Everything that is stored, by path."""
        whole = Folder(self.place)
        return {each.path: whole.read(each.path) or b"" for each in whole.below("")}


def part(path: Path) -> str:
    """The key of the set a wheel is made in: its own, and one for all others."""
    return hashlib.sha256(b"probe" if path.name.startswith("rocm_probe") else b"others").hexdigest()


def registry_writes(memory: MemoryRegistry, writes: Writes) -> None:
    """Let what is written to the registry count as well, after it is done."""

    def hook(request: Request) -> Response | None:
        if request.method in {"GET", "HEAD"}:
            return None
        answer = memory.answer(request)
        writes.note(request.url.partition("/v2/")[2])
        return answer

    memory.hook = hook


def path_of(row: WheelRow, suffix: str = "") -> str:
    """Where a wheel lies in the release's set, from the root of the channel."""
    return f"{COMMIT}/{row.sha256}/{row.filename}{suffix}"


def settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings of a host that has nothing but this."""
    return Settings(dict(environ or {}), {})


def references(problems: Iterable[Any]) -> list[str]:
    """The references of what is wrong."""
    return [each.reference for each in problems]
