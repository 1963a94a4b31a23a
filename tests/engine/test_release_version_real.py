"""``release-nightly`` asks the checkout that is released for its version, with real git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.engine.conftest import Cli

pytestmark = pytest.mark.without_engine


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.example", "-C", str(folder), *words], check=True)


def test_a_release_needs_the_tags_of_what_it_releases(cli: Cli, tmp_path: Path) -> None:
    checkout, store = tmp_path / "checkout", tmp_path / "store"
    store.mkdir()
    (checkout / "vllm").mkdir(parents=True)
    (checkout / "vllm/envs.py").touch()
    git(checkout, "init", "--quiet")
    git(checkout, "add", "vllm/envs.py")
    git(checkout, "commit", "--quiet", "--message", "one")

    def references(**environ: str) -> list[str]:
        options = ("--stack", "vllm", "--plan", "--store", str(store), "--registry", "localhost:9/x", "--json")
        answer = cli("release-nightly", *options, check=None, cwd=checkout, **environ)
        return [problem["reference"] for problem in answer.json.get("problems", ())]

    assert references() == ["no-version-tag"]
    assert references(REMOTE_VLLM="1", VLLM_BRANCH="a" * 40) == ["no-version"]
    assert "no-version-tag" not in references(VLLM_VERSION="1.2.3")
    git(checkout, "tag", "v0.12.0")
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "two")
    assert "no-version-tag" not in references(), "what else keeps it from being released is no matter of its version"
