"""Pointers of images on a real registry, by the command line: built once, pushed, promoted, raced for, taken back."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.settings import capture
from ci.world.engine import endpoint
from ci.world.registry import MANIFEST_TYPES
from tests.faults.stand import STACK, Ended, Running, Stand

CHANNELS = """\
schema: 1
channels:
  ci:
    summary: what other jobs begin from
    images: {base: base, ci_base: ci-base}
    tags: {fixed: commit}
    retain: {keep: 3, days: 3}
"""


class Repository:
    """A clone with a recipe, a registry and a store; each commit has another ci-base, and none another base."""

    def __init__(self, stand: Stand, registry: str) -> None:
        self.stand = stand
        self.registry = registry
        self.store = stand.folder / "store"
        self.store.mkdir()
        stand.env = {"ROCM_CI_REGISTRY": registry, "ROCM_CI_STORE": str(self.store)}
        recipe = stand.folder / "recipe"
        stack = (recipe / "tiny.yaml").read_text().replace("platform:", "channels: channels.yaml\nplatform:")
        (recipe / "tiny.yaml").write_text(stack)
        (recipe / "channels.yaml").write_text(CHANNELS)
        for name in ("state", "home", "store", "registry", "registry.yml", "other"):
            with (stand.folder / ".gitignore").open("a") as file:
                file.write(f"/{name}\n")
        self.git("init", "-q", "-b", "main")
        self.commit("one")

    def git(self, *words: str) -> str:
        name = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        argv = ("git", *name, "-C", str(self.stand.folder), *words)
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, text: str) -> str:
        (self.stand.folder / "recipe" / "second.txt").write_text(f"{text} of {self.stand.name}\n")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", text)
        return self.git("rev-parse", "HEAD")

    def build(self) -> dict[str, str]:
        """Build and publish what the tree has; the digests by pointer."""
        ended = self.stand.json("build-ci-base", "--push")
        assert ended.code == 0, ended.err
        rows = {row["tier"]: row["digest"] for row in ended.document["tiers"]}
        return {"ci_base": rows["ci-base"], **({"base": rows["base"]} if "base" in rows else {})}

    def promote(self, commit: str = "HEAD", *options: str) -> Ended:
        ended = self.stand.json("promote", commit, "--to", "ci", *options)
        assert "Traceback" not in ended.err, ended.err
        return ended

    def start(self, commit: str) -> Running:
        """The same on a host of its own."""
        state = str(self.stand.folder / "other")
        return self.stand.start("promote", commit, "--to", "ci", "--json", ROCM_CI_STATE=state)

    def digest(self, tag: str) -> str:
        """What a tag of the registry names; empty for nothing."""
        url = f"http://{self.registry}/v2/{self.stand.repository}/manifests/{tag}"
        request = urllib.request.Request(url, headers={"Accept": ", ".join(MANIFEST_TYPES)}, method="HEAD")
        try:
            with urllib.request.urlopen(request) as answer:
                return str(answer.headers["Docker-Content-Digest"])
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 404:
                    raise
            return ""

    @property
    def bakes(self) -> int:
        """How often BuildKit was asked for something."""
        return len(list((self.stand.state / "runs").glob("*/*/progress.jsonl")))

    @property
    def pointers(self) -> dict[str, str]:
        return {tag: self.digest(tag) for tag in ("base", "ci_base")}

    @property
    def stands_at(self) -> str:
        path = self.store / "ci" / "standing.json"
        return str(json.loads(path.read_text())["commit"]) if path.exists() else ""


@pytest.fixture
def repository(tmp_path: Path, sandbox_image: str, registry: str) -> Iterator[Repository]:
    assert "channels" not in STACK
    stand = Stand(tmp_path, f"x-ptr-{secrets.token_hex(4)}", endpoint(capture()).host, sandbox_image)
    yield Repository(stand, registry)
    stand.clean()


def test_pointers_follow_the_newest_commit_whose_images_are_there(repository: Repository) -> None:
    first = repository.git("rev-parse", "HEAD")
    early = repository.promote()
    assert (early.code, set(early.references)) == (4, {"no-identity"}), "its root image is not on this host"
    assert "inv build-ci-base --push" in early.document["problems"][-1]["hint"]

    nightly = repository.stand.json("release-nightly", "--channel", "ci")
    assert nightly.code == 2
    assert "only-promoted" in nightly.references

    shown = repository.build()
    planned = repository.promote("HEAD", "--plan")
    assert planned.code == 0, planned.err
    assert (repository.stands_at, repository.pointers) == ("", {"base": "", "ci_base": ""})
    assert {row["name"]: row["digest"] for row in planned.document["parts"]} == shown
    done = repository.promote()
    assert (done.code, repository.pointers, repository.stands_at) == (0, shown, first)
    assert repository.digest(f"ci_base-{first}") == shown["ci_base"]

    second = repository.commit("two")
    bakes = repository.bakes
    early = repository.promote()
    assert (early.code, early.references, repository.bakes) == (3, ["not-published"], bakes)
    newer = repository.build()
    (repository.stand.folder / "recipe" / "second.txt").write_text("not committed")
    dirty = repository.promote()
    assert (dirty.code, dirty.references) == (2, ["dirty-tree"])
    repository.git("checkout", "-q", ".")
    assert repository.promote().code == 0
    assert repository.pointers == {**shown, **newer}
    late = repository.promote(first[:12])
    assert (late.code, repository.stands_at) == (5, second)

    back = repository.stand.json("rollback", "--channel", "ci", "--to", first[:12])
    assert (back.code, repository.pointers, repository.stands_at) == (0, shown, first)
    assert repository.promote(second).references == ["taken-back"]
    status = repository.stand.json("release-status", "--channel", "ci")
    assert status.code == 0, status.out


def test_of_two_jobs_at_once_the_newer_stands_and_the_older_says_that_it_came_too_late(repository: Repository) -> None:
    """The older commit is told by name from the newer tree: its recipe is read as it was."""
    old = repository.git("rev-parse", "HEAD")
    repository.build()
    new = repository.commit("two")
    shown = repository.build()
    jobs = {commit: repository.start(commit) for commit in (old, new)}
    ended = {commit: job.end() for commit, job in jobs.items()}
    assert ended[new].code == 0, ended[new].err
    assert ended[old].code in {0, 5}, ended[old].err
    assert repository.stands_at == new
    assert repository.pointers["ci_base"] == shown["ci_base"]
    assert repository.promote(old).code == 5
    assert repository.pointers["ci_base"] == shown["ci_base"]


def test_a_promotion_that_is_killed_is_finished_by_the_same_command(repository: Repository) -> None:
    repository.build()
    first = repository.git("rev-parse", "HEAD")
    assert repository.promote().code == 0
    second = repository.commit("two")
    shown = repository.build()
    running = repository.start("HEAD")
    running.until("tagging")
    running.process.send_signal(signal.SIGKILL)
    running.end()
    assert repository.stands_at in {first, second}
    assert repository.promote().code == 0
    assert (repository.stands_at, repository.pointers["ci_base"]) == (second, shown["ci_base"])


SUITES = """\
schema: 1
runtime: cpu
steps:
  look:
    summary: what is in ci-base
    tier: ci-base
    limits: {minutes: 2}
    commands: [{run: [sh, -c, "cat /opt/second.txt; case $(cat /opt/second.txt) in good*) ;; *) exit 1 ;; esac"]}]
suites:
  smoke: {summary: the image can be used, steps: [look]}
"""


def test_a_channel_may_want_its_very_images_tested_before_they_are_pointed_to(repository: Repository) -> None:
    recipe = repository.stand.folder / "recipe"
    (recipe / "suites.yaml").write_text(SUITES)
    (recipe / "channels.yaml").write_text(CHANNELS + "    suites: {smoke: {at_least: 0}}\n")
    stack = recipe / "tiny.yaml"
    stack.write_text(stack.read_text().replace("platform:", "suites: suites.yaml\nplatform:"))
    repository.commit("bad")
    repository.build()
    failed = repository.promote()
    assert (failed.code, failed.references) == (1, ["suite-failed"]), failed.err
    assert (repository.stands_at, repository.pointers) == ("", {"base": "", "ci_base": ""})
    commit = repository.commit("good")
    shown = repository.build()
    done = repository.promote()
    assert done.code == 0, done.err
    assert repository.pointers["ci_base"] == shown["ci_base"]
    (row,) = done.document["suites"]
    assert (row["suite"], row["outcome"], row["digests"]) == ("smoke", "ok", [shown["ci_base"]])
    assert list((repository.store / "ci" / commit / "suites").glob("smoke-*.json"))
