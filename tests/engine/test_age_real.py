"""A new epoch on a real engine: the same content is made again, under a new tag, and the age begins anew."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.settings import capture
from ci.world.engine import endpoint
from tests.faults.stand import DOCKERFILE, Stand

PACKAGES = DOCKERFILE.replace(
    "COPY first.txt /opt/first.txt\n",
    "COPY first.txt /opt/first.txt\nARG EPOCH\nRUN --network=none cat /proc/sys/kernel/random/uuid > /opt/packages\n",
)


@pytest.fixture
def stand(tmp_path: Path, sandbox_image: str) -> Iterator[Stand]:
    made = Stand(tmp_path, f"x-ptr-{secrets.token_hex(4)}", endpoint(capture()).host, sandbox_image)
    made.write(PACKAGES)
    stack = made.folder / "recipe" / "tiny.yaml"
    stack.write_text(stack.read_text().replace("target: base,", "target: base, max_age_days: 30,"))
    yield made
    made.clean()


def test_a_new_epoch_installs_the_packages_anew(stand: Stand) -> None:
    (unknown,) = stand.json("plan").document["ages"]
    assert unknown["due"] is None
    assert "no identity" in unknown["unknown"]
    first = stand.json("build-base")
    assert first.code == 0, first.err
    (age,) = stand.json("plan").document["ages"]
    assert (age["tier"], age["days"], age["max_days"], age["due"]) == ("base", 0, 30, False)
    explained = stand.json("explain", "base").document["age"]
    assert explained == age
    assert stand.json("explain", "base", DOCKER_HOST="unix:///nonexistent.sock").document["age"] == age
    before = stand.content(stand.tag("base"), "/opt/packages")

    assert stand.json("pins", "--update", "EPOCH").code == 0
    notes = stand.json("explain", "base").document["notes"]
    assert [note for note in notes if note.startswith("EPOCH moved from 2026-01 to 20")] == notes
    again = stand.json("build-base")
    assert (again.code, again.decisions) == (0, {"base": "build"})
    reference = again.document["tiers"][0]["reference"].partition("@")[0]
    assert reference != first.document["tiers"][0]["reference"].partition("@")[0]
    assert stand.content(reference, "/opt/packages") != before
