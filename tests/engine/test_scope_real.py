"""An untrusted build against a real engine and a real registry that lets it write in its scope and nowhere else."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.conftest import Cli, Ran, docker, remove_images
from tests.engine.own import TINY
from tests.faults.front import Front, front
from tests.unit.registry_replies import API, JSON, Reply, errors

MAIN = {
    "CI": "true",
    "BUILDKITE": "true",
    "BUILDKITE_REPO": "https://github.com/team/project.git",
    "BUILDKITE_BRANCH": "main",
    "BUILDKITE_PULL_REQUEST": "false",
}
PULL = {
    **MAIN,
    "BUILDKITE_PULL_REQUEST": "12",
    "BUILDKITE_PULL_REQUEST_REPO": "https://github.com/somebody/project.git",
}
POLICY = """\
schema: 1
trusted:
  registry: {host}/team
  sources:
    - {{provider: buildkite, repository: {who}, branches: [main]}}
untrusted:
  registry: {host}/scratch
"""
READS = ("GET", "HEAD")


def denied(method: str, path: str) -> Reply | None:
    """What a registry answers to a login that may write below ``scratch`` only."""
    if method in READS or path.startswith("/v2/scratch/"):
        return None
    return Reply(403, {**API, **JSON}, errors("DENIED"))


@dataclass
class Site:
    """A registry behind a door, with the policy of the hosts that use it, and a checkout."""

    cli: Cli
    door: Front
    folder: Path
    stack: Path
    options: tuple[str, ...]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.door.port}"

    def policy(self, who: str = "github.com/team/project", name: str = "policy.yaml") -> str:
        path = self.folder / "etc" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(POLICY.format(host=self.host, who=who))
        return str(path)

    def run(self, job: dict[str, str], *words: str, check: int | None = 0, policy: str = "") -> Ran:
        self.door.asked.clear()
        named = {"ROCM_CI_POLICY": policy or self.policy()}
        return self.cli(*words, *self.options, check=check, cwd=None, **{**job, **named})

    def without_policy(self, job: dict[str, str], *words: str, check: int | None = 0) -> Ran:
        self.door.asked.clear()
        return self.cli(*words, *self.options, "--registry", f"{self.host}/team", check=check, cwd=None, **job)

    @property
    def writes(self) -> list[str]:
        """The paths of all requests since the last run began that ask for anything to be stored or removed."""
        return [path for method, path in self.door.asked if method not in READS]

    def canonical(self) -> dict[str, str]:
        """Every file that the registry keeps for the trusted repositories, by digest of its bytes."""
        top = self.folder / "registry/docker/registry/v2/repositories/team"
        files = (path for path in sorted(top.rglob("*")) if path.is_file() and "_uploads" not in path.parts)
        return {str(path.relative_to(top)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.stack.parent / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


@pytest.fixture
def site(cli: Cli, registry: str, stack: Path, tmp_path: Path) -> Iterator[Site]:
    port = int(registry.rpartition(":")[2])
    with front(port, lambda _method, _path: None) as door:
        options = ("--stack", str(stack), "--source", f"src={stack.parent.parent / 'src'}", "--json")
        yield Site(cli, door, tmp_path, stack, options)
        remove_images(f"127.0.0.1:{door.port}/")
    remove_images(TINY)


def decisions(ran: Ran) -> list[tuple[str, str]]:
    return [(row["tier"], row["decision"]) for row in ran.json["tiers"]]


def test_a_hostile_fork_writes_in_its_scope_and_nowhere_else(site: Site) -> None:
    main = site.run(MAIN, "build-base", "--push")
    assert main.json["trust"]["trust"] == "trusted"
    assert all(path.startswith("/v2/team/") for path in site.writes)
    before = site.canonical()
    assert before

    site.door.spoil = denied
    site.edit("pins.json", "2026-01", "2026-02")
    site.edit("tiny.yaml", f"repository: {TINY}", f"repository: team/{TINY}")
    site.edit("Dockerfile.tiny", "echo one", "echo evil")
    fork = site.run(PULL, "build-base", "--push")
    scope = fork.json["trust"]["scope"]
    assert scope.startswith("pr-12-somebody-project-")
    assert [path for path in site.writes if path.startswith(f"/v2/scratch/{scope}/team/{TINY}/cache/")]
    assert [path for path in site.writes if not path.startswith(f"/v2/scratch/{scope}/")] == []
    assert site.canonical() == before
    row = fork.tier("base")
    assert row["published"] == f"engine, scope {site.host}/scratch/{scope}"
    assert row["reference"].startswith(f"{site.host}/scratch/{scope}/team/{TINY}:base-v1-")

    remove_images(TINY)
    again = site.run(PULL, "build-base", "--push")
    assert decisions(again) == [("base", "reuse")]
    assert (again.tier("base")["published"], again.tier("base")["digest"]) == ("scope", row["digest"])
    assert again.tier("base")["reasons"] == ["built before: found in the scope"]

    remove_images(TINY)
    merged = site.run(MAIN, "plan")
    assert merged.tier("base")["identity"] == row["identity"]
    assert merged.tier("base")["decision"] == "build"
    assert [path for _, path in site.door.asked if path.startswith("/v2/scratch/")] == []


def test_an_untrusted_build_reuses_what_trusted_builds_published(site: Site) -> None:
    main = site.run(MAIN, "build-base", "--push").tier("base")
    remove_images(TINY)
    site.door.spoil = denied
    fork = site.run(PULL, "build-ci-base", "--push")
    assert decisions(fork) == [("base", "reuse"), ("ci-base", "build")]
    assert (fork.tier("base")["digest"], fork.tier("base")["published"]) == (main["digest"], "registry")
    assert [path for path in site.writes if not path.startswith("/v2/scratch/")] == []
    remove_images(TINY)
    assert site.run(MAIN, "plan").tier("ci-base")["decision"] == "build"


def test_a_fork_that_writes_mains_cache_fails_and_changes_nothing(site: Site) -> None:
    """Neither a policy of its own nor buildx by hand gets past the credentials."""
    site.run(MAIN, "build-base", "--push")
    before = site.canonical()
    site.door.spoil = denied
    forged = site.policy("github.com/somebody/project", "forged.yaml")
    itself = {**MAIN, "BUILDKITE_REPO": "https://github.com/somebody/project.git"}
    site.edit("Dockerfile.tiny", "echo one", "echo evil")
    refused = site.run(itself, "build-base", "--push", check=4, policy=forged)
    assert refused.json["problems"][0]["reference"] == "registry-push-denied"
    assert "docker login" in refused.json["problems"][0]["hint"]

    built = site.run(itself, "build-base", policy=forged)
    folder = Path(built.json["run_folder"]) / "base"
    bake = folder / "bake.json"
    definition = json.loads(bake.read_text())
    reference = f"{site.host}/team/{TINY}/cache:base"
    definition["target"]["base"]["cache-to"] = [f"type=registry,ref={reference},mode=max"]
    bake.write_text(json.dumps(definition))
    by_hand = subprocess.run(
        ["docker", "buildx", "bake", "--file", "bake.json", "--allow", f"fs.read={folder}", "base"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert by_hand.returncode != 0
    assert [path for path in site.writes if path.startswith("/v2/team/")]
    assert site.canonical() == before


def test_what_credentials_allow_and_what_they_do_not_are_three_things(site: Site) -> None:
    site.door.spoil = denied
    promised = site.run(MAIN, "build-base", "--push", check=4)
    assert promised.json["problems"][0]["reference"] == "registry-push-denied"
    assert docker("images", "-q", TINY) == ""  # it is found out before anything is built

    laptop = site.without_policy({}, "build-base", "--push")
    assert laptop.tier("base")["published"] == f"engine, not published: there are no credentials for {site.host}"
    assert "nothing will be published" in laptop.stderr
    assert laptop.json["trust"]["writes"] is None
    assert len(site.writes) == 1  # the question whether it may

    pull = site.without_policy(PULL, "build-base", "--push")
    assert pull.json["trust"]["trust"] == "untrusted"
    assert "it has no scope to write to" in pull.stderr
    assert site.writes == []

    site.door.spoil = lambda method, _path: None if method in READS else Reply(503, JSON, b"")
    assert site.without_policy({}, "build-base", "--push", check=4).json["problems"][0]["reference"] == "could-not-tell"


@pytest.mark.without_engine
@pytest.mark.parametrize(
    "words",
    [
        ("release-nightly",),
        ("release-nightly", "--plan"),
        ("promote", "HEAD"),
        ("rollback", "--to", "1234567"),
        ("retain", "--apply"),
    ],
    ids=" ".join,
)
def test_what_everybody_sees_is_for_trusted_runs(cli: Cli, words: tuple[str, ...]) -> None:
    refused = cli(*words, "--json", check=2, cwd=None, **PULL)
    problem = refused.json["problems"][0]
    assert problem["reference"] == "untrusted"
    assert "pull request 12 of github.com/team/project, from github.com/somebody/project" in problem["message"]


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.example", "-C", str(folder), *words], check=True)


@pytest.mark.without_engine
def test_a_plan_says_why_it_cannot_be_promoted(cli: Cli, stack: Path) -> None:
    top = stack.parent.parent
    options = ("--stack", str(stack), "--source", f"src={top / 'src'}", "--json")

    def verdict(*words: str, **environ: str) -> list[str]:
        plan = cli("plan", *options, *words, check=None, cwd=None, **environ).json
        found: list[str] = plan["not_promotable_because"]
        assert plan["promotable"] is not bool(found)
        return found

    outside = verdict()
    assert [line.partition(" at ")[2].partition(" is ")[2] for line in outside] == [
        "in no git repository with a commit"
    ] * 2
    git(top, "init", "--quiet")
    git(top, "add", "--all", "recipe", "src")
    git(top, "commit", "--quiet", "--message", "all")
    assert verdict() == []
    assert verdict("--arch", "gfx950") == ["PYTORCH_ROCM_ARCH is gfx950 (flag --arch)"]
    assert verdict("--arch", "gfx942") == []
    (said,) = verdict(**PULL)
    assert said.startswith("this run is untrusted: buildkite: pull request 12")
    (stack.parent / "first.txt").write_text("edited")
    assert verdict() == ["recipe has changes that no commit describes: recipe/first.txt"]
    git(top, "add", "--all", "recipe")
    assert verdict() == ["recipe has changes that no commit describes: recipe/first.txt"]
    git(top, "commit", "--quiet", "--message", "edit")
    git(top, "update-index", "--assume-unchanged", "recipe/first.txt")  # git status would not tell
    (stack.parent / "first.txt").write_text("hidden")
    assert verdict() == ["recipe has changes that no commit describes: first.txt"]
    git(top, "update-index", "--no-assume-unchanged", "recipe/first.txt")
    git(top, "checkout", "--quiet", "recipe/first.txt")
    git(top, "rm", "--quiet", "--cached", "recipe/second.txt")
    (top / ".gitignore").write_text("second.txt\n")
    git(top, "add", ".gitignore")
    git(top, "commit", "--quiet", "--message", "ignored, and still copied by name")
    assert verdict() == ["recipe is built with files that no commit has: second.txt"]
    git(top, "add", "--force", "recipe/second.txt")
    git(top, "commit", "--quiet", "--message", "back")
    assert verdict() == []
    (top / "src/lib/new.py").write_text("")
    assert verdict() == ["src has changes that no commit describes: src/lib/new.py"]
    git(top, "rm", "-r", "--quiet", "--cached", "src")
    (top / ".gitignore").write_text("src\n")
    git(top, "commit", "--quiet", "--all", "--message", "a source that no commit has")
    assert verdict() == [f"src at {top / 'src'} is ignored by git: no commit has it"]
