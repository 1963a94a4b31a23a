"""Builders with the real ``docker buildx``: made by our commands, asked, and refused before anything is built."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ci.build import builder
from ci.recipe import stack as stacks
from tests import recipes
from tests.engine.conftest import Cli, docker
from tests.engine.own import BUSY, FAMILY, TINY, own

KUBE = """\
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}]
contexts: [{name: c, context: {cluster: c, user: u, namespace: builders}}]
users: [{name: u, user: {}}]
current-context: c
"""
PATHS = {"/PATH": "/nonexistent", "HOST": "127.0.0.1", ":1234": ":9", "NAMESPACE": "builders"}


@pytest.fixture
def config(tmp_path: Path) -> dict[str, str]:
    """A docker configuration of the test's own, and a Kubernetes cluster that is not there."""
    folder = tmp_path / "docker"
    folder.mkdir()
    (tmp_path / "kube.yaml").write_text(KUBE)
    return {"DOCKER_CONFIG": str(folder), "KUBECONFIG": str(tmp_path / "kube.yaml")}


def make(driver: str, config: Mapping[str, str]) -> None:
    """Run the command that ``doctor`` prints, its capitals filled in."""
    argv = list(builder.create(driver, "fast", stacks.load("local")))
    for word, text in PATHS.items():
        argv = [each.replace(word, text) for each in argv]
    done = subprocess.run(argv, env={**os.environ, **config}, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "fast\n"), done.stderr


def kept(config: Mapping[str, str]) -> dict[str, bytes]:
    """What buildx keeps of builders and of which is the current one."""
    folder = Path(config["DOCKER_CONFIG"]) / "buildx"
    files = [*(folder / "instances").glob("*"), folder / "current"]
    return {path.name: path.read_bytes() for path in files if path.exists()}


def finding(cli: Cli, **environ: str) -> tuple[int, dict[str, Any]]:
    for _ in range(3):  # a busy machine may be too slow for one of the checks
        done = cli("doctor", "--json", check=None, cwd=None, **environ)
        if not any("did not answer" in each["message"] for each in done.json["findings"]):
            break
    (found,) = [each for each in done.json["findings"] if each["check"] == "builder"]
    return done.code, found


@pytest.mark.parametrize(
    ("driver", "state", "code"), [("docker-container", "warn", 0), ("remote", "fail", 4), ("kubernetes", "warn", 0)]
)
def test_a_builder_made_by_our_command(cli: Cli, config: dict[str, str], driver: str, state: str, code: int) -> None:
    """Made, but nothing runs behind it: one that would be started is a warning, the others cannot be reached."""
    make(driver, config)
    before = kept(config)
    assert set(before) == {"fast"}, "a new builder must not become the current one"
    ended, found = finding(cli, ROCM_CI_BUILDER="fast", **config)
    assert (ended, found["state"], f"driver {driver}" in found["message"]) == (code, state, True)
    assert kept(config) == before


def test_none_of_that_name(cli: Cli, config: dict[str, str]) -> None:
    ended, found = finding(cli, ROCM_CI_BUILDER="fast", **config)
    assert (ended, found["outcome"]) == (2, "config")
    assert [f"docker buildx create --name fast --driver {driver}" in found["remedy"] for driver in builder.DRIVERS] == [
        True
    ] * 3
    assert not (Path(config["DOCKER_CONFIG"]) / "buildx" / "instances").exists()


def pinned(folder: Path, digest: str) -> tuple[str, ...]:
    """The small recipe on a root that is known by its digest; options that choose it."""
    root = f"{BUSY}}}"
    path = recipes.write(folder, stack=own(recipes.STACK).replace(root, f"{BUSY}, digest: ROOT_DIGEST}}"))
    (path.parent / "pins.json").write_text(json.dumps({"EPOCH": "2026-01", "ROOT_DIGEST": digest}))
    return ("--stack", str(path), "--source", f"src={folder / 'src'}")


def test_a_build_ends_before_it_begins(
    cli: Cli, config: dict[str, str], busy_root: str, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    environ = {"ROCM_CI_BUILDER": "fast", **config}
    on_digest = pinned(tmp_path / "pinned", docker("image", "inspect", "--format", "{{.Id}}", busy_root))
    none = cli("build-base", *on_digest, check=2, cwd=None, **environ)
    assert "there is no builder 'fast'" in none.stderr
    assert "docker buildx create --name fast" in none.stderr
    make("remote", config)
    before = kept(config)
    silent = cli("build-base", *on_digest, check=4, cwd=None, **environ)
    assert "cannot be reached" in silent.stderr
    blind = cli("build-base", *tiny, check=2, cwd=None, **environ)
    assert "only the engine has busy" in blind.stderr
    assert docker("images", "-q", TINY) == ""
    assert kept(config) == before


def test_a_loaded_image_has_the_digest_that_buildkit_says(tmp_path: Path) -> None:
    """What another driver's ``type=docker`` does: BuildKit's archive is loaded; a second export has another digest."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    name = f"{FAMILY}/loaded"

    def build(output: str) -> str:
        metadata = tmp_path / "metadata.json"
        docker(
            "buildx", "build", "--builder", "default", "--output", output, "--metadata-file", str(metadata),
            str(tmp_path),
        )  # fmt: skip
        return str(json.loads(metadata.read_text())["containerimage.digest"])

    try:
        exported = build(f"type=oci,dest={tmp_path / 'image.tar'},name={name}:1")
        docker("load", "--input", str(tmp_path / "image.tar"))
        assert docker("image", "inspect", "--format", "{{.Id}}", f"{name}:1") == exported
        assert build(f"type=image,name={name}:2") != exported
    finally:
        docker("rmi", "--force", f"{name}:1", f"{name}:2", check=False)
