"""Retention on a real registry and a real S3 server: a shared digest keeps its other tags, a set is gone whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from ci.names import ContentTag, Place
from ci.publish.channel import Channel
from ci.publish.gather import Scope
from ci.publish.manifest import MANIFEST, ImageRow, Release
from ci.publish.places import Places
from ci.publish.retain import removed, retain
from ci.publish.status import status
from ci.publish.switch import switch
from ci.world.bucket import Bucket
from ci.world.fakes import FakeClock
from ci.world.http import send
from ci.world.registry import Absent, Found, Registry
from tests.memory_registry import parts, push
from tests.shelves import NIGHTLY, RELEASE, REPOSITORY, commit, identity

pytestmark = pytest.mark.without_engine


@dataclass
class Real:
    """A registry and a bucket with releases in them."""

    registry: Registry
    bucket: str
    clock: FakeClock
    journal: Path
    runs: int = 0

    def places(self, channel: Channel) -> Places:
        whole = Bucket.at(self.bucket)
        place = Place(self.registry.host, "")
        store, cache = whole.within(channel.name), whole.within("cache")
        return Places(channel, store, cache, self.registry, place, self.journal, self.clock, lambda _text: None, whole)

    def run(self) -> str:
        self.runs += 1
        return f"20260101T000000Z-{self.runs:08x}"

    def release(self, channel: Channel, number: int) -> str:
        """Stage and release; the digest of the image, one for each number."""
        places, image = self.places(channel), parts({"number": str(number)}, str(number).encode())
        made = str(commit(number))
        content = ContentTag("test", identity(str(number)))
        row = ImageRow("main", "test", content.identity, image.digest, 1)
        release = Release("local", channel.name, made, f"1.{number}", "2026-01-01", places.reference("")[:-1], (row,))
        for tag in (content, channel.staying("main", made, release.version)):
            push(self.registry, REPOSITORY, str(tag), image)
        places.store.write(f"{made}/more/of/it", b"x")
        places.store.write(f"{made}/{MANIFEST}", release.encode())
        self.clock.advance(timedelta(days=1).total_seconds())
        switch(places, release, self.run(), "release", lambda _ours, _theirs: "newer")
        return image.digest


@pytest.fixture
def real(registry: str, bucket: str, tmp_path: Path) -> Real:
    clock = FakeClock()
    client = Registry(registry, send=send, clock=clock, credentials=lambda _host: None)
    return Real(client, bucket, clock, tmp_path / "journal")


def test_what_goes_and_what_stays(real: Real) -> None:
    shared = real.release(RELEASE, 1)
    assert real.release(NIGHTLY, 1) == shared
    gone = real.release(NIGHTLY, 2)
    kept = [real.release(NIGHTLY, number) for number in (3, 4)]
    real.clock.advance(timedelta(days=30).total_seconds())
    scope = Scope(real.places(NIGHTLY), [real.places(RELEASE)], ("main",))
    done = retain(scope, real.run(), apply=True)
    assert done.applied
    assert real.registry.tags(REPOSITORY) == tuple(
        sorted(
            [
                "nightly", "latest", "v1.1", f"nightly-{commit(3)}", f"nightly-{commit(4)}",
                *(str(ContentTag("test", identity(str(number)))) for number in (1, 3, 4)),
            ]
        )
    )  # fmt: skip
    assert isinstance(real.registry.head(REPOSITORY, gone), Absent)
    for digest in (shared, *kept):
        assert isinstance(real.registry.head(REPOSITORY, digest), Found)
    left = {stored.path.partition("/")[0] for stored in real.places(NIGHTLY).store.below("")}
    assert {commit(1), commit(2)}.isdisjoint(left)
    assert {commit(3), commit(4)} <= left
    assert any(row.digest == gone for row in removed(real.places(NIGHTLY)))
    assert not [fate for fate in retain(scope, real.run(), apply=True).fates if fate.goes]
    for channel in (NIGHTLY, RELEASE):
        assert not [row for row in status(real.places(channel)).pointers if row.wrong or row.unread]
