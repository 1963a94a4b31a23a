"""Two hosts, as two state folders, that want one image in one store and one registry: one of them builds it."""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ci.settings import capture
from ci.world.engine import endpoint
from ci.world.store_lease import Holder
from tests.faults.stand import Running, Stand, soon, wake

BEGINS = "| the step begins"
WAITING = "is at work on ci-base"


class Hosts:
    """Hosts with a store and a registry in common; they share the engine as well."""

    def __init__(self, stand: Stand, registry: str) -> None:
        self.stand = stand
        self.store = stand.folder / "store"
        self.store.mkdir()
        stand.env = {"ROCM_CI_REGISTRY": registry, "ROCM_CI_STORE": str(self.store)}

    def start(self, name: str) -> Running:
        return self.stand.start("build-ci-base", "--push", "--json", ROCM_CI_STATE=str(self.stand.folder / name))

    def baked(self, name: str) -> list[str]:
        """The tiers that BuildKit was asked for, by the records of one host's runs."""
        return sorted(path.parent.name for path in (self.stand.folder / name / "runs").glob("*/*/progress.jsonl"))

    @property
    def leases(self) -> list[Path]:
        return sorted((self.store / "in-flight").glob("*.json"))

    def lease(self) -> tuple[Path, Holder]:
        """The one lease that is there."""
        (path,) = self.leases
        return path, Holder.decode(path.read_bytes(), str(path))


@pytest.fixture
def hosts(tmp_path: Path, sandbox_image: str, registry: str) -> Iterator[Hosts]:
    stand = Stand(tmp_path, f"x-ptr-{secrets.token_hex(4)}", endpoint(capture()).host, sandbox_image)
    yield Hosts(stand, registry)
    stand.clean()


def test_one_builds_and_the_other_takes_what_it_published(hosts: Hosts) -> None:
    pause = 300 + secrets.randbelow(1000) / 1000
    hosts.stand.write(pause=pause)
    one = hosts.start("one")
    one.until(BEGINS)
    other = hosts.start("other")
    other.until(WAITING)
    wake(f"{pause:g}")
    first, second = one.end(), other.end()
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert (hosts.baked("one"), hosts.baked("other")) == (["base", "ci-base"], [])
    assert first.decisions["ci-base"] == "build"
    assert second.decisions["ci-base"] == "reuse"
    row = second.document["tiers"][-1]
    assert row["digest"] == first.document["tiers"][-1]["digest"]
    assert row["reasons"] == ["another run built it meanwhile"]
    assert row["published"] == "registry"
    assert hosts.leases == [], "nothing of it stays in the store"


def test_a_builder_that_is_killed_is_taken_over_from(hosts: Hosts) -> None:
    hosts.stand.write(pause=60)
    one = hosts.start("one")
    one.until(BEGINS)
    path, holder = hosts.lease()
    one.process.send_signal(signal.SIGKILL)
    one.end()
    path.write_bytes(replace(holder, space="another host", lasts=5.0).encode())  # as it looks from there

    other = hosts.start("other")
    other.until(WAITING)
    soon(lambda: hosts.lease()[1].run != holder.run, "nobody took the lease of the dead over")
    other.until(BEGINS)
    assert json.loads(path.read_text())["released"] is False
    other.process.send_signal(signal.SIGTERM)
    assert other.end().code == 143
    assert hosts.lease()[1].released, "whoever is told to stop lets others begin"
