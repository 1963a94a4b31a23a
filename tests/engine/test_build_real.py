"""Build, reuse, publish and explain on a real engine and a real registry, with a tiny stack."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.engine.conftest import Cli, docker, remove_images
from tests.engine.own import BUSY, FAMILY, TINY


def test_a_build_makes_the_chain_and_the_next_run_reuses_it(cli: Cli, tiny: tuple[str, ...]) -> None:
    first = cli("build-test", *tiny)
    assert [(row["tier"], row["decision"]) for row in first.json["tiers"]] == [
        ("base", "build"),
        ("ci-base", "build"),
        ("test", "build"),
    ]
    image = first.tier("test")["reference"]
    name, _, digest = image.partition("@")
    assert docker("image", "inspect", "--format", "{{.Id}}", name) == digest == first.tier("test")["digest"]
    assert docker("run", "--rm", name, "cat", "/opt/both") == "1234567890"
    assert docker("images", "--format", "{{.Tag}}", TINY).count("building") == 0

    again = cli("build-test", *tiny)
    assert [(row["tier"], row["decision"]) for row in again.json["tiers"]] == [("test", "reuse")]
    assert again.tier("test")["digest"] == digest


def test_a_reuse_asks_no_buildkit_and_needs_no_docker_client(cli: Cli, tiny: tuple[str, ...], tmp_path: Path) -> None:
    cli("build-base", *tiny)
    only_git = tmp_path / "bin"
    only_git.mkdir()
    (only_git / "git").symlink_to(str(shutil.which("git")))
    again = cli("build-base", *tiny, PATH=str(only_git))
    assert again.tier("base")["decision"] == "reuse"


def test_the_plan_writes_nothing_and_is_what_happens(cli: Cli, tiny: tuple[str, ...]) -> None:
    docker("tag", BUSY, f"{FAMILY}/keep:1")
    plan = cli("build-base", "--plan", *tiny)
    assert not cli.state.exists()
    assert docker("images", "-q", TINY) == ""
    built = cli("build-base", *tiny)
    assert built.tier("base")["decision"] == "build"
    replanned = cli("build-base", "--plan", *tiny).tier("base")
    assert replanned["identity"] == built.tier("base")["identity"]
    assert replanned["decision"] == "reuse"
    assert plan.tier("base")["args"] == replanned["args"]


def test_a_rebuilt_parent_of_equal_identity_does_not_rebuild_its_child(cli: Cli, tiny: tuple[str, ...]) -> None:
    first = cli("build-ci-base", *tiny)
    base = first.tier("base")["reference"].partition("@")[0]
    docker("rmi", "-f", base)
    rebuilt = cli("build-base", *tiny)
    assert rebuilt.tier("base")["decision"] == "build"
    assert rebuilt.tier("base")["identity"] == first.tier("base")["identity"]
    again = cli("build-ci-base", *tiny)
    assert [(row["tier"], row["decision"]) for row in again.json["tiers"]] == [("ci-base", "reuse")]


def test_explain_names_the_edit_and_the_rebuild_happens_for_it(cli: Cli, tiny: tuple[str, ...], stack: Path) -> None:
    cli("build-ci-base", *tiny)
    (stack.parent / "first.txt").write_text("54321")
    explained = cli("explain", "ci-base", *tiny).json
    assert [(change["kind"], change["name"]) for change in explained["changes"]] == [("file", "recipe:first.txt")]
    offline = cli("explain", "ci-base", *tiny, DOCKER_HOST="unix:///nonexistent.sock").json
    assert offline["changes"] == explained["changes"]
    assert offline["identity"] == explained["identity"]
    built = cli("build-ci-base", *tiny)
    assert [(row["tier"], row["decision"]) for row in built.json["tiers"]] == [("base", "reuse"), ("ci-base", "build")]
    assert built.tier("ci-base")["reasons"] == ["file recipe:first.txt changed"]
    against = cli("explain", "ci-base", "--against", explained["against_identity"], *tiny).json
    assert against["changes"] == explained["changes"]


def test_images_are_published_read_back_and_found_by_another_engine(
    cli: Cli, tiny: tuple[str, ...], registry: str
) -> None:
    tiny = (*tiny, "--registry", f"{registry}/team")
    pushed = cli("build-ci-base", "--push", *tiny)
    row = pushed.tier("ci-base")
    assert row["published"] == f"engine, {registry}"
    assert [kept["state"] for kept in row["cache"]] == ["written"]
    assert row["reference"].startswith(f"{registry}/team/{TINY}:ci-base-v1-")
    remove_images(TINY)

    found = cli("build-ci-base", *tiny).tier("ci-base")
    assert (found["decision"], found["published"], found["digest"]) == ("reuse", "registry", row["digest"])
    docker("pull", row["reference"])
    assert docker("run", "--rm", row["reference"], "cat", "/opt/both") == "1234567890"
    remove_images(TINY)

    child = cli("build-test", *tiny)
    assert [(item["tier"], item["decision"]) for item in child.json["tiers"]] == [
        ("ci-base", "reuse"),
        ("test", "build"),
    ]
    assert child.tier("test")["identity"]


def test_an_image_of_the_engine_is_published_without_a_build(cli: Cli, tiny: tuple[str, ...], registry: str) -> None:
    cli("build-base", *tiny)
    pushed = cli("build-base", "--push", "--registry", registry, *tiny).tier("base")
    assert (pushed["decision"], pushed["published"]) == ("reuse", f"engine, {registry}")
    docker("pull", pushed["reference"])


def test_bad_input_stops_before_the_engine_is_touched(cli: Cli, tiny: tuple[str, ...]) -> None:
    nowhere = "unix:///nonexistent.sock"
    for arguments in (("--arch", "gfx94a"), ("--nic-backend", "anic"), ("--ainic-version", "1.2.3")):
        refused = cli("build-ci-base", *tiny, *arguments, check=2, DOCKER_HOST=nowhere)
        assert refused.json["outcome"] == "config"


def test_a_missing_copy_source_stops_before_the_engine_is_needed(cli: Cli, tiny: tuple[str, ...], stack: Path) -> None:
    (stack.parent / "first.txt").rename(stack.parent / "frist.txt")
    refused = cli("build-ci-base", *tiny, check=2, DOCKER_HOST="unix:///nonexistent.sock")
    problem = refused.json["problems"][0]
    assert problem["reference"] == "missing-source"
    assert "Dockerfile.tiny" in problem["place"]
    assert "frist.txt" in problem["hint"]


@pytest.mark.parametrize("address", ["nonsense", "ftp://engine", "tcp://::::"])
def test_an_address_that_is_none_is_the_callers_mistake(cli: Cli, tiny: tuple[str, ...], address: str) -> None:
    """A CI tries exit 4 again, and this would never help."""
    refused = cli("build-ci-base", *tiny, check=2, DOCKER_HOST=address)
    assert refused.json["problems"][0]["reference"] == "engine-address"


def test_a_failing_run_is_failed_and_shows_its_last_lines(cli: Cli, tiny: tuple[str, ...], stack: Path) -> None:
    dockerfile = stack.parent / "Dockerfile.tiny"
    dockerfile.write_text(dockerfile.read_text().replace("echo one > /opt/one", "echo the last words; exit 7"))
    failed = cli("build-ci-base", *tiny, check=1)
    assert failed.json["outcome"] == "failed"
    assert failed.json["problems"][0]["reference"] == "run-failed"
    assert "the last words" in failed.json["problems"][0]["context"]
    assert docker("images", "-q", TINY) == ""
    assert (cli.state / "runs").is_dir()
    results = list((cli.state / "runs").glob("*/result.json"))
    assert len(results) == 1


def test_a_saved_definition_can_be_replayed(cli: Cli, tiny: tuple[str, ...]) -> None:
    built = cli("build-base", *tiny)
    folder = Path(built.json["run_folder"]) / "base"
    subprocess.run(
        ["docker", "buildx", "bake", "--file", "bake.json", "--allow", f"fs.read={folder}", "base"],
        cwd=folder,
        capture_output=True,
        check=True,
    )
    replayed = docker("images", "--format", "{{.Repository}}:{{.Tag}}", TINY).splitlines()
    name = next(image for image in replayed if ":building-base-" in image)
    labels = docker("image", "inspect", "--format", '{{index .Config.Labels "org.rocm-ci.identity"}}', name)
    assert labels == built.tier("base")["identity"]


def test_a_tag_that_somebody_moved_in_the_registry_is_no_reuse(cli: Cli, tiny: tuple[str, ...], registry: str) -> None:
    tiny = (*tiny, "--registry", registry)
    name = cli("build-base", "--push", *tiny).tier("base")["reference"].partition("@")[0]
    docker("tag", BUSY, name)
    docker("push", name)
    docker("rmi", name)
    moved = cli("build-base", *tiny, check=3)
    assert moved.json["problems"][0]["reference"] == "moved-tag"
