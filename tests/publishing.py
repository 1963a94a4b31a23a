"""A channel to publish to: a folder, a registry in memory, releases that are staged, and a recorder of every write.

Several runs share one ``World``; each has a ``Recorder`` of its own, which can end it like a kill before or
after any write and let writes fail.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ci.errors import InfraError
from ci.names import Place, wheel_path
from ci.publish import index, journal
from ci.publish.channel import Channel, Retain
from ci.publish.manifest import MANIFEST, STANDING, ImageRow, Release, Standing, WheelRow
from ci.publish.order import Relation
from ci.publish.places import CACHE, Places
from ci.world.fakes import FakeClock
from ci.world.http import Headers, Request, Response
from ci.world.registry import Registry, digest_of
from ci.world.store import PAGES, Folder
from ci.world.store_lease import LASTS, LEASE
from tests.memory_registry import MemoryRegistry

T = TypeVar("T")
HOST = "localhost:5000"
REPOSITORY = "team/rocm-ci/local"
NAME = "nightly"
IMAGES = ("main", "base")
PROJECTS = ("rocm-probe", "amdsmi")
DENIED = Response(
    403,
    Headers({"Docker-Distribution-Api-Version": "registry/2.0"}),
    b'{"errors": [{"code": "DENIED", "message": ""}]}',
)


class Killed(BaseException):
    """The process is gone: nothing it wanted to write afterwards is written."""


Around = Callable[[int, str], None]


def nothing(_number: int, _what: str) -> None:
    """Around a write of which nobody wants to know."""


class Recorder:
    """Every write of one run, numbered from 1; ``before`` and ``after`` are told of each.

    Once one of them raised ``Killed`` each further write raises it too.  ``refused`` says which writes fail.
    """

    def __init__(
        self, *, before: Around = nothing, after: Around = nothing, refused: Callable[[int], bool] = lambda _: False
    ) -> None:
        self.writes: list[str] = []
        self.tags: list[tuple[str, str]] = []
        self.before = before
        self.after = after
        self.refused = refused
        self._dead = False
        self._inside = False

    def __call__(self, what: str, act: Callable[[], T], refusal: Callable[[], T] | None = None) -> T:
        """Do one write; what a write does inside another one is part of it."""
        if self._inside:
            return act()
        if self._dead:
            raise Killed
        self.writes.append(what)
        number = len(self.writes)
        try:
            self.before(number, what)
            if self.refused(number):
                if refusal:
                    return refusal()
                raise InfraError("store", f"{what}: access denied")
            self._inside = True
            try:
                done = act()
            finally:
                self._inside = False
            self.after(number, what)
        except Killed:
            self._dead = True
            raise
        return done

    def send(self, registry: MemoryRegistry) -> Callable[[Request], Response]:
        """The registry, seen through this recorder."""

        def send(request: Request) -> Response:
            if request.method in {"GET", "HEAD"}:
                return registry(request)
            name = urlsplit(request.url).path.rpartition("/")[2]
            if request.method == "PUT" and ":" not in name:
                self.tags.append((name, digest_of(request.body or b"")))
            return self(f"{request.method} {name[:24]}", lambda: registry(request), lambda: DENIED)

        return send


def killed_at(number: int, *, around: Around = nothing) -> Recorder:
    """A run that is killed after its write ``number``, before it hears of it; ``around`` sees all that was done.

    To be killed before a write is to be killed after the one before it: what is read leaves no trace.
    """

    def seen(now: int, what: str) -> None:
        around(now, what)
        if now == number:
            raise Killed

    return Recorder(after=seen)


class Watched(Folder):
    """A folder whose every write is recorded; ``paged``: pages change one by one, as in a bucket."""

    def __init__(self, root: Path, recorder: Recorder, *, paged: bool = False) -> None:
        super().__init__(root, there=False)
        self._recorder = recorder
        self._paged = paged

    def create(self, path: str, data: bytes) -> bool:
        return self._recorder(f"create {path}", lambda: super(Watched, self).create(path, data))

    def swap(self, path: str, data: bytes, mark: str) -> bool:
        return self._recorder(f"swap {path}", lambda: super(Watched, self).swap(path, data, mark))

    def write(self, path: str, data: bytes) -> None:
        self._recorder(f"write {path}", lambda: super(Watched, self).write(path, data))

    def take(self, source: Path, path: str) -> None:
        self._recorder(f"take {path}", lambda: super(Watched, self).take(source, path))

    def remove(self, path: str) -> None:
        self._recorder(f"remove {path}", lambda: super(Watched, self).remove(path))

    def discard(self, prefix: str) -> None:
        self._recorder(f"discard {prefix}", lambda: super(Watched, self).discard(prefix))

    def within(self, prefix: str) -> Watched:
        return Watched(self._root / prefix, self._recorder, paged=self._paged)

    def publish(self, pages: Mapping[str, bytes]) -> None:
        if not self._paged:
            self._recorder("publish", lambda: super(Watched, self).publish(pages))
            return
        if not (self._root / PAGES).exists():
            super().publish({})  # the scaffolding of a folder, which a bucket does not need
        now = page_tree(self._root)
        for path in sorted(pages, key=lambda path: (-path.count("/"), path)):
            if now.get(path) != pages[path]:
                self._recorder(f"page {path}", lambda path=path: self.update({path: pages[path]}))  # type: ignore[misc]
        for path in sorted(now.keys() - pages.keys()):
            self._recorder(f"no page {path}", (self._root / PAGES / path).unlink)


def page_tree(root: Path) -> dict[str, bytes]:
    """The pages below ``root`` as a client gets them."""
    top = (root / PAGES).resolve()
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def commit(letter: str) -> str:
    """A commit; the order of the alphabet is the order of commits."""
    return letter * 40


def run_id(number: int) -> str:
    """The name of a run."""
    return f"20260101T0000{number:02d}Z-{number:08x}"


def by_letter(ours: str, theirs: str) -> Relation:
    """The ancestry of these commits."""
    return "same" if ours == theirs else "newer" if ours > theirs else "older"


class Hasty(FakeClock):
    """The clock of somebody who waits for a lease: one wait, and it is over."""

    def sleep(self, seconds: float) -> None:
        """Let all of a lease's time pass."""
        super().sleep(seconds + LASTS)


class World:
    """One channel, which several runs share; ``said`` is what they told."""

    def __init__(self, root: Path, *, listing: str = "current", paged: bool = False, deletes: bool = True) -> None:
        self.root = root
        self.folder = root / NAME
        self.paged = paged
        self.registry = MemoryRegistry(deletes=deletes)
        self.said: list[str] = []
        self.channel = Channel(
            name=NAME, summary="", promoted=False, git_tag="", registry="", repository="rocm-ci/local", store="",
            url="", word=NAME, fixed="commit", index=listing, suites={}, fresh_hours=0, retain=Retain(5, 5),
        )  # fmt: skip

    def places(self, recorder: Recorder | None = None, clock: FakeClock | None = None) -> Places:
        """The channel as one run sees it."""
        recorder, clock = recorder or Recorder(), clock or FakeClock()
        whole = Watched(self.root, recorder, paged=self.paged)
        registry = Registry(HOST, send=recorder.send(self.registry), clock=clock, credentials=lambda _host: None)
        place, copies = Place(HOST, "team"), self.root / ".journal"
        store, cache = whole.within(NAME), whole.within(CACHE)
        return Places(self.channel, store, cache, registry, place, copies, clock, self.said.append, whole)

    def staged(
        self,
        letter: str,
        images: Sequence[str] = IMAGES,
        projects: Sequence[str] = PROJECTS,
        *,
        version: str = "",
        base: ImageRow | None = None,
    ) -> Release:
        """A release that is staged whole; ``base`` is an image it has in common with another one."""
        made = commit(letter)
        version = version or f"0.2.0.dev{ord(letter)}+rocm.7.14.g{made[:12]}"
        rows = tuple(base if base and base.name == name else self._image(made, name) for name in images)
        wheels = tuple(self._wheel(made, project, version) for project in projects)
        place = f"{HOST}/{REPOSITORY}"
        release = Release("local", NAME, made, version, "2026-01-01", place, rows, wheels)
        Folder(self.folder, there=False).create(f"{made}/{MANIFEST}", release.encode())
        return release

    def _image(self, made: str, name: str) -> ImageRow:
        tag = str(self.channel.staying(name, made, ""))
        digest = self.registry.image(REPOSITORY, tag, {"commit": made, "image": name})
        return ImageRow(name, name, "0" * 64, digest, 100)

    def _wheel(self, made: str, project: str, version: str) -> WheelRow:
        data, about = f"{project} {version}".encode(), f"Name: {project}\n".encode()
        digest = hashlib.sha256(data).hexdigest()
        name = f"{project.replace('-', '_')}-{version}-py3-none-any.whl"
        path = self.folder / made / wheel_path(digest, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.with_name(f"{name}.metadata").write_bytes(about)
        described = hashlib.sha256(about).hexdigest()
        return WheelRow(project, version, name, digest, len(data), ">=3.11", described, "0" * 64)

    def standing(self) -> Standing | None:
        """What stands, read without the code under test."""
        path = self.folder / STANDING
        return Standing.decode(path.read_bytes(), str(path)) if path.exists() else None

    def release(self, made: str) -> Release:
        """A release, read without the code under test."""
        path = self.folder / made / MANIFEST
        return Release.decode(path.read_bytes(), str(path))

    def moving(self) -> dict[str, str]:
        """The moving tags and their digests; a tombstone is no digest any more."""
        stored = self.registry.manifests.get(REPOSITORY, {})
        tags = self.registry.tags.get(REPOSITORY, {})
        stones = {digest for digest, (_, body) in stored.items() if not json.loads(body).get("manifests", body)}
        return {tag: digest for tag, digest in tags.items() if tag.endswith(NAME) and digest not in stones}

    def aims(self, standing: Standing | None) -> tuple[dict[str, str], dict[str, bytes]]:
        """What tags and pages are to be at a standing."""
        if standing is None:
            return {}, {}
        tags = {str(self.channel.moving(row.name)): row.digest for row in self.release(standing.commit).images}
        listed = [self.release(each) for each in standing.listed]
        return tags, dict(index.of_channel(listed)) if any(each.wheels for each in listed) else {}

    def pages(self) -> dict[str, bytes]:
        """The pages as a client gets them."""
        return page_tree(self.folder)

    def settled(self) -> None:
        """Every pointer shows what stands, nothing else is there."""
        tags, pages = self.aims(self.standing())
        assert self.moving() == tags
        assert self.pages() == pages

    def end(self) -> dict[str, Any]:
        """Everything that may matter to anybody afterwards, without who wrote it and when."""
        standing = self.standing()
        left_out = (LEASE, STANDING, "journal/")
        paths = [stored.path for stored in Folder(self.folder, there=False).below("")]
        past = journal.history(self.places(), standing) if standing else ()
        return {
            "files": {path: (self.folder / path).read_bytes() for path in paths if not path.startswith(left_out)},
            "tags": dict(self.registry.tags.get(REPOSITORY, {})),
            "manifests": set(self.registry.manifests.get(REPOSITORY, {})),
            "standing": standing and (*_lasting(standing),),
            "journal": [(each.sequence, each.kind, each.commit, each.moves) for each in past],
        }


def _lasting(standing: Standing) -> Iterator[object]:
    yield from (standing.sequence, standing.kind, standing.commit, standing.manifest)
    yield from (standing.before, standing.withdrawn, standing.listed)


class Rule:
    """At every moment: each pointer shows what stands, or what stood before that.

    Called after each write; ``found`` counts its looks, so that none cannot pass for all.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.found = 0
        self._standing = world.standing()
        self._start = world.moving(), world.pages()
        self._now = self._before = self._aims()

    def __call__(self, _number: int, what: str) -> None:
        """Look at everything."""
        self.found += 1
        standing = self.world.standing()
        if standing != self._standing:
            self._standing = standing
            self._before, self._now = self._now, self._aims()
        self._each(what, self.world.moving(), self._now[0], self._before[0])
        self._each(what, self.world.pages(), self._now[1], self._before[1])

    def _aims(self) -> tuple[dict[str, str], dict[str, bytes]]:
        """What is to be; without a release, what there was before the first."""
        return self.world.aims(self._standing) if self._standing else self._start

    @staticmethod
    def _each(what: str, shown: Mapping[str, T], now: Mapping[str, T], before: Mapping[str, T]) -> None:
        for name in {*shown, *now, *before}:
            assert shown.get(name) in {now.get(name), before.get(name)}, f"{name} after {what}"
