"""A release made for real: a tier FROM scratch with a wheel, a project's wheel, an image, a suite; nothing twice."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ci.build.perform import Performance, Shown
from ci.build.progress import Progress
from ci.build.workspace import Workspace, open_workspace
from ci.errors import CiError, ConfigError, ContractError, EmptyError, FailedError, InfraError, Outcome, SupersededError
from ci.names import ContentTag, run_id
from ci.publish import channel, preflight, survey
from ci.publish.cached import SET
from ci.publish.channel import Channels
from ci.publish.images import manifest_at
from ci.publish.make import Candidate, make
from ci.publish.manifest import MANIFEST, STANDING, ImageRow, Release, Standing
from ci.publish.places import Places, open_places
from ci.settings import capture
from ci.world import files
from ci.world.ledger import Ledger
from ci.world.registry import MANIFEST_TYPES
from ci.world.store import Folder
from tests import wheels
from tests.engine.conftest import remove_images
from tests.engine.own import BUSY, FAMILY
from tests.engine.suite_runs import left_behind

REPOSITORY = f"{FAMILY}/pubmake"
CANARY = "canary-5b1f"
STACK = f"""\
schema: 1
name: plant
summary: a release
repository: {REPOSITORY}
platform: linux/amd64
suites: suites.yaml
channels: channels.yaml
args:
  COLOUR: {{type: text, default: blue}}
roots:
  busy: {{image: {BUSY}}}
tiers:
  test: {{dockerfile: Dockerfile.plant, target: t, parents: {{ROOT: busy}}}}
  wheels: {{dockerfile: Dockerfile.plant, target: wheels}}
"""
DOCKERFILE = """\
ARG ROOT=x
FROM ${ROOT} AS t
ARG COLOUR
COPY marker /opt/marker
RUN env > /opt/env && echo ${COLOUR}

FROM scratch AS wheels
COPY wheels/ /
"""
PROJECT = """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "my-tool"
version = "0.3.0"
requires-python = ">=3.9"

[tool.hatch.build.targets.wheel]
packages = ["my_tool"]

[tool.rocm-ci.wheel]
rocm = "7.2"
"""
NIGHTLY = {"summary": "s", "tags": {"moving": "nightly", "fixed": "commit"}, "index": "current"}
RETAIN = {"keep": 3, "days": 3}
KEPT = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG", "PIP_FIND_LINKS")


@dataclass(frozen=True)
class Feeding:
    """A build that is not shown."""

    progress: Progress

    def feed(self, line: str) -> None:
        self.progress.feed(line)


@dataclass
class Screen:
    """Remembers what was said."""

    lines: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.lines.append(text)

    warn = say

    def build(self, tier: str, progress: Progress) -> AbstractContextManager[Shown]:
        self.lines.append(f"building {tier}")
        return nullcontext(Feeding(progress))


@dataclass
class Plant:
    """A git repository with recipe and project, a store and a registry; ``made`` is what the last ``make`` did."""

    root: Path
    registry: str
    state: Path
    number: int = 0
    screen: Screen = field(default_factory=Screen)

    @property
    def recipe(self) -> Path:
        return self.root / "recipe"

    @property
    def store(self) -> Path:
        return self.root.parent / "store"

    def write(self, path: str, text: str | Mapping[str, Any]) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text if isinstance(text, str) else json.dumps(text))

    def suite(self, *words: str, name: str = "proof") -> None:
        step = {"summary": "s", "limits": {"minutes": 2}, "commands": [{"run": list(words)}]}
        suites = {name: {"summary": "s", "steps": ["look"]}}
        self.write("recipe/suites.yaml", {"schema": 1, "runtime": "cpu", "steps": {"look": step}, "suites": suites})

    def channels(self, least: int = 0, **more: Any) -> None:
        nightly: dict[str, Any] = {**NIGHTLY, "retain": RETAIN, "suites": {"proof": {"at_least": least}}}
        released: dict[str, Any] = {**NIGHTLY, "tags": {"moving": "latest", "fixed": "version"}, "retain": RETAIN}
        released |= {"promoted": True, "git_tag": "my-tool-v{version}"}
        whole = {
            "schema": 1,
            "named_after": "My_Tool",
            "images": {"main": "test"},
            "wheels": [{"project": "../project"}, {"tier": "wheels"}],
        }
        self.write("recipe/channels.yaml", whole | {"channels": {"nightly": nightly | more, "release": released}})

    def git(self, *words: str, folder: Path | None = None) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always")
        argv = ["git", *identity, "-C", str(folder or self.root), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "change")
        return self.git("rev-parse", "HEAD")

    def work(self, registry: str | None = None, root: Path | None = None) -> Workspace:
        place = self.registry if registry is None else registry
        flags = {"--stack": str((root or self.root) / "recipe/plant.yaml"), "--store": str(self.store)}
        flags |= {"--registry": place} if place else {}
        environ = {name: os.environ[name] for name in (*KEPT, "AWS_SECRET_ACCESS_KEY") if name in os.environ}
        return open_workspace(capture(flags, {**environ, "ROCM_CI_STATE": str(self.state)}), {}, (), self.screen.say)

    def places(self, work: Workspace, name: str = "nightly") -> tuple[Places, Channels]:
        channels = channel.load(work.stack)
        return open_places(work, channels, name, self.state / "journal", self.screen.say), channels

    def make(self, work: Workspace | None = None, places: Places | None = None) -> Candidate:
        """One run of its own; what it said is in ``screen``, and nothing it noted in its ledger stays open."""
        work, self.screen.lines = work or self.work(), []
        opened, channels = self.places(work)
        self.number += 1
        ledger = Ledger.begin(files.state(str(self.state)), run_id(work.clock.now(), f"{self.number:08x}"), "release")
        performance = Performance(work, ledger, self.screen, True, "stop")
        try:
            return make(performance, places or opened, channels, "2026-11-20")
        finally:
            assert all(not Ledger(path).open_things() for path in (self.state / "runs").iterdir())
            ledger.end()

    @property
    def builds(self) -> list[str]:
        """What the last run built or packed, and what it exported."""
        begins = {"building ": "", "packing ": "pack ", "wheels: exporting": "export"}
        return [
            f"{short}{line.removeprefix(begin).split()[0] if short != 'export' else ''}"
            for line in self.screen.lines
            for begin, short in begins.items()
            if line.startswith(begin)
        ]

    def parts(self) -> dict[str, str]:
        work = self.work()
        places, channels = self.places(work)
        found = survey.outlook(work, places, channels, preflight.check(work, places, channels, writes=False))
        return {part.name: str(part.path) for part in found}

    def forget(self, *names: str) -> None:
        """Take images out of the engine and, by another folder, out of the registry."""
        remove_images(REPOSITORY)
        for name in names:
            folder = self.root.parent / "registry/docker/registry/v2/repositories" / REPOSITORY / "_manifests/tags"
            for tag in folder.glob(f"{name}-v1-*"):
                shutil.rmtree(tag)


@pytest.fixture
def plant(tmp_path: Path, busy_root: str, registry: str) -> Iterator[Plant]:
    """The planted repository at its first commit."""
    assert busy_root
    remove_images(REPOSITORY)
    made = Plant(tmp_path / "repo", registry, tmp_path / "state")
    made.store.mkdir()
    made.write("recipe/plant.yaml", STACK)
    made.write("recipe/Dockerfile.plant", DOCKERFILE)
    made.write("recipe/marker", "1")
    made.write("recipe/pins.json", {"EPOCH": "2026-11"})
    wheels.write(made.recipe / "wheels", "extra-part", "1.2.0+rocm.7.2")
    made.write("project/pyproject.toml", PROJECT)
    made.write("project/my_tool/__init__.py", '"""A tool."""\n')
    made.suite("sh", "-c", "cat /opt/marker")
    made.channels()
    made.git("init", "-q", "-b", "main")
    made.commit()
    yield made
    remove_images(REPOSITORY)


def served(registry: str, repository: str, image: ImageRow) -> str:
    """The digest a registry has under the content tag of an image."""
    url = f"http://{registry}/v2/{repository}/manifests/{ContentTag(image.tier, image.identity)}"
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": ", ".join(MANIFEST_TYPES)})
    with urllib.request.urlopen(request) as answer:
        return str(answer.headers["Docker-Content-Digest"])


def problems(error: CiError) -> list[str]:
    return [problem.reference for problem in error.problems]


def test_everything_is_made_once(plant: Plant) -> None:
    commit = plant.git("rev-parse", "HEAD")
    planned = plant.parts()
    assert planned.pop("main") in {"unknown", "build"}, "unknown where the root image is not here yet"
    assert planned == {"my-tool": "build", "wheels": "build"}
    assert list(plant.store.iterdir()) == [], "a plan writes nothing"

    first = plant.make().release
    assert plant.builds == ["test", "wheels", "pack my-tool", "export"]
    assert (first.commit, first.channel, first.date) == (commit, "nightly", "2026-11-20")
    assert first.version == f"0.3.0.dev1+rocm.7.2.g{commit[:12]}"
    assert first.place == f"{plant.registry}/{REPOSITORY}"
    assert (first.pins, first.args) == ({"EPOCH": "2026-11"}, {"COLOUR": "blue"})
    assert [(row.project, row.version) for row in first.wheels] == [
        ("my-tool", first.version),
        ("extra-part", "1.2.0+rocm.7.2"),
    ]
    (image,) = first.images
    assert served(plant.registry, REPOSITORY, image) == image.digest
    assert 0 < image.size < 4_000_000
    (proof,) = first.suites
    assert (proof.suite, proof.outcome, proof.on, proof.digests) == ("proof", "ok", "cpu", (image.digest,))
    kept = sorted(path.relative_to(plant.store).as_posix() for path in plant.store.rglob("*") if path.is_file())
    for row in first.wheels:
        assert {f"cache/{row.part}/{row.sha256}/{row.filename}{end}" for end in ("", ".metadata")} <= set(kept)
    assert [path for path in kept if path.startswith("nightly")] == [
        f"nightly/{commit}/suites/proof-{next(iter(plant.store.glob('nightly/*/suites/*'))).stem[-16:]}.json"
    ], "nothing is staged"

    again = plant.make().release
    assert plant.builds == []
    assert not any("step look" in line or line.startswith("look: ") for line in plant.screen.lines), "a suite ran twice"
    assert again == first
    assert plant.parts() == {"main": "there", "my-tool": "copy", "wheels": "copy"}


def test_each_part_is_reused_alone(plant: Plant) -> None:
    first = plant.make().release
    shutil.rmtree(plant.store / "cache" / first.wheels[1].part)
    plant.forget()
    assert plant.parts() == {"main": "there", "my-tool": "copy", "wheels": "export"}
    second = plant.make().release
    assert plant.builds == ["export"], "image there, wheels missing: one export"
    assert second == first

    plant.forget("test", "wheels")
    assert plant.parts() == {"main": "build", "my-tool": "copy", "wheels": "copy"}
    third = plant.make().release
    assert plant.builds == ["test"], "wheels there, image missing: one build"
    assert third.wheels == first.wheels

    plant.write("recipe/marker", "2")
    plant.commit()
    fourth = plant.make().release
    assert plant.builds == ["test", "pack my-tool"]
    assert fourth.wheels[1] == first.wheels[1]
    assert fourth.images[0].digest != first.images[0].digest


def test_a_set_that_lost_a_file_is_made_again(plant: Plant) -> None:
    first = plant.make().release
    row = first.wheels[1]
    lost = plant.store / "cache" / row.part / row.sha256 / row.filename
    lost.unlink()
    assert plant.make().release == first
    assert plant.builds == ["export"]
    assert lost.exists()


def test_a_lookup_without_an_answer_ends_the_run_before_it_writes(plant: Plant) -> None:
    work = plant.work("127.0.0.1:9")
    with pytest.raises(InfraError) as caught:
        plant.make(work)
    assert set(problems(caught.value)) == {"could-not-tell"}
    assert caught.value.exit_code == 4
    assert plant.builds == []
    assert list(plant.store.iterdir()) == []


def test_a_registry_of_the_channels_own_gets_copies(plant: Plant) -> None:
    plant.make()
    plant.channels(repository=f"{REPOSITORY}-released")
    plant.commit()
    assert plant.parts() == {"main": "copy", "my-tool": "build", "wheels": "copy"}
    release = plant.make().release
    assert plant.builds == ["pack my-tool"]
    (image,) = release.images
    assert served(plant.registry, f"{REPOSITORY}-released", image) == image.digest
    assert release.place == f"{plant.registry}/{REPOSITORY}-released"

    plant.forget("test")
    assert plant.parts()["main"] == "there", "the copy counts, whatever became of the first"
    assert plant.make().release == release
    assert plant.builds == []


def test_a_copy_that_somebody_replaced_is_no_reuse(plant: Plant) -> None:
    plant.channels(repository=f"{REPOSITORY}-released")
    plant.commit()
    (first,) = plant.make().release.images
    plant.write("recipe/marker", "2")
    plant.commit()
    (second,) = plant.make().release.images
    places, _ = plant.places(plant.work())
    found = manifest_at(places, first.digest)
    assert found
    assert places.registry
    tag = str(ContentTag("test", second.identity))
    places.registry.put_manifest(places.repository, tag, found[1], found[0].media_type)
    with pytest.raises(ContractError) as caught:
        plant.make()
    assert problems(caught.value) == ["moved-tag"]


def test_a_suite_runs_on_what_only_the_registry_has(plant: Plant) -> None:
    (image,) = plant.make().release.images
    plant.forget()
    shutil.rmtree(plant.store / "nightly")
    assert plant.make().release.suites[0].digests == (image.digest,)
    assert plant.builds == []
    assert any(line.endswith("pulling it") and image.digest in line for line in plant.screen.lines)


class Silent(Folder):
    """A place that answers nothing."""

    def read(self, path: str) -> bytes | None:
        raise InfraError("no-answer", f"{path}: no answer")


def test_a_store_without_an_answer_is_no_miss(plant: Plant) -> None:
    work = plant.work()
    places, _ = plant.places(work)
    with pytest.raises(InfraError) as caught:
        plant.make(work, replace(places, cache=Silent(plant.store)))
    assert problems(caught.value) == ["could-not-tell"] * 2
    assert plant.builds == []


def test_without_a_registry_of_the_call_images_go_to_the_channels_own(plant: Plant) -> None:
    plant.channels(registry=plant.registry)
    plant.commit()
    release = plant.make(plant.work("")).release
    assert plant.builds == ["test", "wheels", "pack my-tool", "export"]
    assert release.place == f"{plant.registry}/{REPOSITORY}"
    assert plant.parts()["main"] == "there"


def test_a_suite_that_fails_ends_it_and_leaves_no_evidence(plant: Plant) -> None:
    plant.suite("false")
    plant.commit()
    with pytest.raises(FailedError) as caught:
        plant.make()
    assert problems(caught.value) == ["suite-failed"]
    assert list(plant.store.glob("nightly/**/*.json")) == []
    folder = next(
        path for path in (plant.state / "runs").iterdir() if "suite" not in path.name and (path / "steps").exists()
    )
    assert json.loads((folder / "result.json").read_text())["outcome"] == Outcome.FAILED
    with pytest.raises(FailedError):
        plant.make()
    assert plant.builds == [], "what was made is kept"


def test_a_suite_without_a_test_proves_nothing(plant: Plant) -> None:
    plant.channels(least=1)
    plant.commit()
    with pytest.raises(EmptyError) as caught:
        plant.make()
    assert problems(caught.value) == ["suite-empty"]


def test_a_tier_with_more_than_wheels_is_refused(plant: Plant) -> None:
    plant.write("recipe/wheels/notes/readme.txt", "no wheel")
    plant.commit()
    with pytest.raises(ContractError, match=r"notes/readme\.txt"):
        plant.make()
    assert list(plant.store.rglob(SET)) != [], "the project's wheel was kept before"
    assert left_behind(plant.state) == []


def test_a_wheel_that_breaks_its_contract_is_refused(plant: Plant) -> None:
    wheel = next((plant.recipe / "wheels").iterdir())
    wheel.unlink()
    wheels.write(plant.recipe / "wheels", "extra-part", "1.2.0+rocm.7.2", files={"nvidia/libcudart.so.12": "x"})
    plant.commit()
    with pytest.raises(ContractError) as caught:
        plant.make()
    assert set(problems(caught.value)) == {"wheel-broken"}


def test_a_release_named_after_a_wheel_nobody_makes(plant: Plant) -> None:
    text = (plant.recipe / "channels.yaml").read_text()
    plant.write("recipe/channels.yaml", text.replace("My_Tool", "other-tool"))
    plant.commit()
    with pytest.raises(ConfigError) as caught:
        plant.make()
    assert problems(caught.value) == ["no-named-wheel"]


def test_nobodys_credentials_reach_a_container(plant: Plant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    config = tmp_path / "docker-config"
    config.mkdir()
    login = base64.b64encode(f"someone:{CANARY}".encode()).decode()
    (config / "config.json").write_text(json.dumps({"auths": {"registry.invalid": {"auth": login}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    shout = "env; cat /proc/1/environ /proc/self/environ /root/.docker/config.json /opt/env"
    plant.suite("sh", "-c", f"{shout}; true")
    plant.commit()
    plant.make()
    heard = "".join(path.read_text() for path in (plant.state / "runs").glob("*/steps/look/*/*/log.txt"))
    assert "PATH=" in heard
    written = "".join(path.read_text(errors="replace") for path in plant.state.rglob("*") if path.is_file())
    assert not any(secret in heard + written for secret in (CANARY, login))


# --- preflight ------------------------------------------------------------------------------


def checked(plant: Plant, root: Path | None = None, name: str = "nightly") -> preflight.Ready:
    work = plant.work(root=root)
    places, channels = plant.places(work, name)
    return preflight.check(work, places, channels)


def refused(plant: Plant, root: Path | None = None, name: str = "nightly") -> CiError:
    with pytest.raises(CiError) as caught:
        checked(plant, root, name)
    return caught.value


def stand(plant: Plant, channel_name: str, version: str, commit: str, **more: Any) -> None:
    """Let a channel stand at a release that was made elsewhere."""
    folder = plant.store / channel_name
    (folder / commit).mkdir(parents=True, exist_ok=True)
    release = Release("plant", channel_name, commit, version, "2026-11-19", "")
    (folder / commit / MANIFEST).write_bytes(release.encode())
    standing = Standing(1, "r", "release", "now", commit, release.digest, **more)
    (folder / STANDING).write_bytes(standing.encode())


def test_a_tree_that_is_clean_and_whole_is_taken(plant: Plant) -> None:
    ready = checked(plant)
    assert ready.commit == plant.git("rev-parse", "HEAD")
    assert list(ready.wheels) == ["../project"]
    assert list(ready.suites) == ["proof"]


def test_a_dirty_tree_is_told_of_once(plant: Plant) -> None:
    plant.write("recipe/marker", "changed")
    plant.write("recipe/wheels/stray.whl", "untracked")
    error = refused(plant)
    assert problems(error) == ["dirty-tree"]
    assert "marker" in error.problems[0].context
    assert "stray.whl" in error.problems[0].context


def test_a_shallow_clone_and_everything_else_at_once(plant: Plant, tmp_path: Path) -> None:
    plant.suite("true", name="other")
    plant.commit()
    clone = tmp_path / "clone"
    plant.git("clone", "-q", "--depth", "1", f"file://{plant.root}", str(clone))
    error = refused(plant, clone)
    assert problems(error) == ["shallow-clone", "unknown-suite"]
    assert error.exit_code == 2


def test_a_tree_without_a_commit(plant: Plant) -> None:
    shutil.rmtree(plant.root / ".git")
    error = refused(plant)
    assert set(problems(error)) == {"no-commit"}


def test_a_missing_tag_and_a_version_that_is_out(plant: Plant, tmp_path: Path) -> None:
    commit = plant.git("rev-parse", "HEAD")
    stand(plant, "release", "0.3.0+rocm.7.2", commit)
    plant.commit()
    assert problems(refused(plant)) == ["missing-tag", "already-released"]
    plant.git("tag", "my-tool-v0.3.0", commit)
    assert set(problems(refused(plant))) == {"already-released"}
    plant.write("project/pyproject.toml", PROJECT.replace("0.3.0", "0.4.0"))
    plant.commit()
    assert checked(plant).commit
    bare = tmp_path / "clone"
    plant.git("clone", "-q", "--no-tags", f"file://{plant.root}", str(bare))
    assert problems(refused(plant, bare)) == ["missing-tag"]


def test_a_version_that_would_sort_before_what_stands(plant: Plant) -> None:
    stand(plant, "nightly", "0.4.0.dev1+rocm.7.2.g0123456789ab", plant.git("rev-parse", "HEAD"))
    assert checked(plant).commit, "the very commit that stands"
    plant.commit()
    assert problems(refused(plant)) == ["version-goes-back"]


def test_a_commit_that_comes_too_late(plant: Plant) -> None:
    first = plant.git("rev-parse", "HEAD")
    newer = plant.commit()
    stand(plant, "nightly", "0.3.0.dev2+rocm.7.2", newer)
    plant.git("checkout", "-q", first)
    error = refused(plant)
    assert isinstance(error, SupersededError)
    assert problems(error) == ["superseded"]
    assert error.exit_code == 5


def test_trees_of_one_repository_at_two_commits(plant: Plant, tmp_path: Path) -> None:
    other = tmp_path / "worktree"
    plant.git("worktree", "add", "-q", str(other), "HEAD")
    text = (plant.recipe / "channels.yaml").read_text().replace("../project", str(other / "project"))
    plant.write("recipe/channels.yaml", text)
    plant.commit()
    assert problems(refused(plant)) == ["different-commits"]


def test_a_channel_that_is_promoted_to_is_never_built_for(plant: Plant) -> None:
    error = refused(plant, name="release")
    assert problems(error) == ["only-promoted"]
    assert error.exit_code == 2


def test_a_suite_of_a_tier_that_is_not_released(plant: Plant) -> None:
    text = (plant.recipe / "channels.yaml").read_text()
    plant.write("recipe/channels.yaml", text.replace('{"main": "test"}', '{"main": "wheels"}'))
    plant.commit()
    assert problems(refused(plant)) == ["suite-elsewhere"]


def test_a_registry_that_takes_nothing(plant: Plant) -> None:
    plant.registry = "127.0.0.1:9"
    error = refused(plant)
    assert problems(error) == ["could-not-tell"]
    assert error.exit_code == 4
