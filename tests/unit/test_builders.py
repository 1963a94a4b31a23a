"""Builders: what buildx says of one is read, and one that cannot do the work is refused before anything is built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from ci.build import builder
from ci.build.inputs import Inputs, Parent
from ci.build.plan import Plan, TierPlan
from ci.build.workspace import Workspace
from ci.errors import CiError, ConfigError, InfraError, Outcome
from ci.names import Place
from ci.recipe import stack as stacks
from ci.recipe.stack import Root, Stack
from ci.settings import Settings, capture
from ci.world.engine import DEFAULT_HOST, Endpoint
from ci.world.fakes import FakeEngine, FakeRun

SAMPLES = Path(__file__).parent / "samples" / "builders"
AT = Endpoint(DEFAULT_HOST, "default")
ASK = ("docker", "buildx", "inspect", "fast")
BOOT = ("docker", "buildx", "inspect", "--bootstrap", "fast")


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.txt").read_text()


def stack(disk_gb: int = 0, digest: str = "sha256:" + "1" * 64) -> Stack:
    local = stacks.load("local")
    roots = {name: Root(name, root.image, "", digest) for name, root in local.roots.items()}
    return replace(local, disk_gb=disk_gb, roots=roots)


def test_the_engines_own() -> None:
    found = builder.read(sample("engine"))
    (node,) = found.nodes
    assert (found.name, found.driver, node.status, node.endpoint) == ("default", "docker", "running", "default")
    assert node.platforms[0] == "linux/amd64"
    assert (node.keeps, node.spares) == (int(188.1 * (1 << 30)), int(47.5 * (1 << 30)))
    assert list(builder.faults(found, stack(disk_gb=200))) == []


def test_a_container_that_runs() -> None:
    found = builder.read(sample("container"))
    (node,) = found.nodes
    assert (found.driver, node.version, node.error) == ("docker-container", "v0.25.1", "")
    assert node.platforms == ("linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/386")
    assert list(builder.faults(found, stack(disk_gb=90))) == []


def test_one_that_keeps_less_than_a_build_takes_is_said() -> None:
    (fault,) = builder.faults(builder.read(sample("container")), stack(disk_gb=250))
    assert (fault.outcome, "keeps 100 GB at most" in fault.message) == (Outcome.OK, True)


@pytest.mark.parametrize("name", ["container-asleep", "kubernetes-asleep"])
def test_one_that_buildx_would_start_is_said(name: str) -> None:
    (fault,) = builder.faults(builder.read(sample(name)), stack())
    assert (fault.outcome, "--bootstrap fast" in fault.hint) == (Outcome.OK, True)


def test_a_remote_one_that_is_silent_is_unreachable() -> None:
    (fault,) = builder.faults(builder.read(sample("remote-silent")), stack())
    assert (fault.outcome, "tcp://127.0.0.1:9 is inactive" in fault.message) == (Outcome.INFRA, True)


def test_the_node_for_the_platform_counts() -> None:
    found = builder.read(sample("remote"))
    assert [node.name for node in found.nodes] == ["far0", "far1"]
    (old,) = builder.faults(found, stack())
    assert (old.outcome, old.message) == (Outcome.INFRA, "far1 has BuildKit v0.13.2, older than 0.16")
    (other,) = builder.faults(found._replace(nodes=found.nodes[:1]), stack())
    assert (other.outcome, "linux/arm64" in other.message) == (Outcome.CONFIG, True)


@pytest.mark.parametrize("line", ["", "BuildKit version:      v0.0.0+unknown\n"])
def test_a_version_that_is_not_said(line: str) -> None:
    found = builder.read(sample("container").replace("BuildKit version:      v0.25.1\n", line))
    (fault,) = builder.faults(found, stack())
    assert (fault.outcome, "does not say its version" in fault.message) == (Outcome.OK, True)


def test_a_node_in_error_is_told_in_its_words() -> None:
    (fault,) = builder.faults(builder.read(sample("kubernetes")), stack())
    assert (fault.outcome, "is forbidden" in fault.message) == (Outcome.INFRA, True)


def test_nothing_that_can_be_read_is_no_good_builder() -> None:
    assert [fault.outcome for fault in builder.faults(builder.read("something else\n"), stack())] == [Outcome.INFRA]
    head = "Name:   fast\nDriver: docker-container\nError:  the context is gone\n"
    (fault,) = builder.faults(builder.read(head), stack())
    assert fault.message == "the context is gone"


# --- before a build ---------------------------------------------------------------------------


def settings(tmp_path: Path, driver: str) -> Settings:
    """Settings that name the builder ``fast``; none of that name exists where ``driver`` is empty."""
    if driver:
        path = tmp_path / "buildx/instances/fast"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"Driver": driver, "Nodes": [{"Endpoint": "default"}]}))
    return capture({}, {"DOCKER_CONFIG": str(tmp_path), "ROCM_CI_BUILDER": "fast"})


def plan(given: Stack, decision: str = "build") -> Plan:
    """``base`` on a root, ``ci-base`` on ``base``."""
    tiers = []
    for name, parent, is_root in (("base", "bookworm", True), ("ci-base", "base", False)):
        parents = (Parent("X", parent, parent, "id", is_root),)
        tiers.append(TierPlan(Inputs(given.tiers[name], "", (), parents, {}, None), "id", "tag", decision, ()))
    return Plan(given, ("ci-base",), (), tuple(tiers), ())


class Kept(FakeEngine):
    """An engine that keeps its data in ``folder``."""

    folder: Path = Path("/")

    def info(self) -> Mapping[str, Any]:
        return {"DockerRootDir": str(self.folder)}


class Tried:
    """What ``refuse_unusable`` did."""

    def __init__(self, tmp_path: Path, driver: str, script: dict[Any, Any], given: Stack, *, push: bool = True) -> None:
        self.warned: list[str] = []
        self.run = FakeRun(script)
        self.error: CiError | None = None
        place = Place.parse("registry.example/team")
        engine = Kept(AT)
        engine.folder = tmp_path
        work = Workspace(
            settings(tmp_path, driver), given, cast("Any", None), {}, engine, place, None, tmp_path,
            cast("Any", None), cast("Any", None), writes=place,
        )  # fmt: skip
        try:
            builder.refuse_unusable(work, plan(given), push=push, warn=self.warned.append, start=self.run)
        except CiError as error:
            self.error = error

    @property
    def asked(self) -> list[tuple[str, ...]]:
        return [command.argv for command in self.run.commands]


def test_none_of_that_name(tmp_path: Path) -> None:
    tried = Tried(tmp_path, "", {}, stack())
    assert isinstance(tried.error, ConfigError)
    (problem,) = tried.error.problems
    assert problem.message == "builder fast: there is no builder 'fast' (from environment)"
    assert [f"--driver {driver}" in problem.hint for driver in builder.DRIVERS] == [True] * 3
    assert tried.asked == []


def test_a_good_one(tmp_path: Path) -> None:
    tried = Tried(tmp_path, "docker-container", {ASK: (0, sample("container"), "")}, stack(disk_gb=90))
    assert (tried.error, tried.warned, tried.asked) == (None, [], [ASK])


def test_one_that_sleeps_is_started_and_asked_again(tmp_path: Path) -> None:
    script = {ASK: (0, sample("container-asleep"), ""), BOOT: (0, sample("container"), "")}
    tried = Tried(tmp_path, "docker-container", script, stack(disk_gb=250))
    assert (tried.error, tried.asked) == (None, [ASK, BOOT])
    assert ["keeps 100 GB" in text for text in tried.warned] == [True]


def test_one_that_does_not_start(tmp_path: Path) -> None:
    script = {ASK: (0, sample("container-asleep"), ""), BOOT: (1, "", "ERROR: pull access denied\n")}
    tried = Tried(tmp_path, "docker-container", script, stack())
    assert isinstance(tried.error, InfraError)
    assert "pull access denied" in tried.error.problems[0].message


def test_a_remote_one_is_never_started(tmp_path: Path) -> None:
    tried = Tried(tmp_path, "remote", {ASK: (0, sample("remote-silent"), "")}, stack())
    assert isinstance(tried.error, InfraError)
    assert tried.asked == [ASK]


def test_all_faults_at_once_and_the_worst_decides(tmp_path: Path) -> None:
    text = sample("container").replace("linux/amd64", "linux/arm64").replace("v0.25.1", "v0.9.0")
    tried = Tried(tmp_path, "docker-container", {ASK: (0, text, "")}, stack())
    assert isinstance(tried.error, ConfigError)


@pytest.mark.parametrize(("push", "digest", "lacks"), [
    (False, "sha256:" + "1" * 64, "only the engine has base"),
    (True, "", "only the engine has bookworm"),
    (False, "", "only the engine has bookworm, base"),
])  # fmt: skip
def test_parents_that_only_the_engine_has(tmp_path: Path, push: bool, digest: str, lacks: str) -> None:
    tried = Tried(tmp_path, "docker-container", {}, stack(digest=digest), push=push)
    assert isinstance(tried.error, ConfigError)
    assert lacks in tried.error.problems[0].message
    assert tried.asked == []


@pytest.mark.parametrize(("disk_gb", "warned"), [(0, []), (1_000_000, [True])])
def test_the_engines_own_sees_all_of_them_and_its_disk_is_measured(
    tmp_path: Path, disk_gb: int, warned: list[bool]
) -> None:
    tried = Tried(tmp_path, "docker", {}, stack(disk_gb=disk_gb, digest=""), push=False)
    assert (tried.error, tried.asked) == (None, [])
    assert [f"GB free at {tmp_path}, a first build takes about 1000000 GB" in text for text in tried.warned] == warned
