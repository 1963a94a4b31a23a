"""Several test processes beside each other: what one removes from the engine is its own, and long files begin first."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.build.roots import REPOSITORY as ROOTS
from tests.engine.conftest import LONGEST, ROOT, docker, remove_images, remove_left_over, remove_roots
from tests.engine.own import BUSY, FAMILY, TINY, left_over, own
from tests.faults.stand import soon
from tests.images import listed
from tests.recipes import STACK


@pytest.fixture
def others(busy_root: str) -> Iterator[tuple[str, str]]:
    """A tier and a root of another process, whose root image is another import of the same file system."""
    tier, root = f"rocm-ci-test-{secrets.token_hex(4)}/tiny:1", f"{ROOTS}:busy-{secrets.token_hex(4)}"
    container = docker("create", busy_root, "sh")
    archive = docker("commit", "--message", "another", container, tier)
    assert archive != docker("image", "inspect", "--format", "{{.Id}}", busy_root)
    docker("rm", container)
    docker("tag", tier, root)
    yield tier, root
    docker("rmi", "--force", tier, root, check=False)


def here(name: str) -> bool:
    return bool(listed("--quiet", name))


def test_another_process_keeps_its_images(others: tuple[str, str]) -> None:
    mine = f"{ROOTS}:busy-{secrets.token_hex(4)}"
    docker("tag", BUSY, f"{TINY}:1")
    docker("tag", BUSY, mine)
    remove_roots(BUSY)
    remove_images(f"{FAMILY}/tiny")
    assert [here(name) for name in (f"{TINY}:1", mine, BUSY)] == [False, False, True]
    assert [here(name) for name in others] == [True, True]


def test_an_image_that_lost_its_name_a_moment_ago_stays(busy_root: str) -> None:
    """It may be that of another process, which is not done with it."""
    name = f"{FAMILY}-unnamed/tiny:1"
    container = docker("create", busy_root, "sh")
    image = docker("commit", "--change", "LABEL org.rocm-ci.stack=tiny", container, name)
    docker("rm", container)
    docker("tag", busy_root, name)
    try:
        assert image in listed("--no-trunc", "--quiet", "--filter", "dangling=true")
        remove_images(TINY)
        assert docker("image", "inspect", "--format", "{{.Id}}", image, check=False) == image
    finally:
        docker("rmi", "--force", name, image, check=False)


@pytest.fixture
def killed(busy_root: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another test process and its family; what the test left of its images goes in the end."""
    assert busy_root
    script = "import time; from tests.engine.own import FAMILY; print(FAMILY, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        family = process.stdout.readline().strip()
        yield process, family
        process.kill()
    docker("rm", "--force", family, check=False)
    remove_images(family)


def test_what_a_killed_process_left_goes(killed: tuple[subprocess.Popen[str], str]) -> None:
    process, family = killed
    root, elsewhere = f"{ROOTS}:busy-{secrets.token_hex(4)}", f"127.0.0.1:9/{secrets.token_hex(4)}/tiny:1"
    container = docker("create", BUSY, "sh")
    image = docker("commit", container, f"{family}/tiny:1")
    docker("rm", container)
    for name in (root, elsewhere, f"{family}-sandboxes/busy-box:1"):
        docker("tag", image, name)
    docker("tag", BUSY, f"{family}/shared:1")
    docker("run", "--detach", "--name", family, "--network=none", image, "sleep", "600")

    remove_left_over()
    assert all(map(here, (f"{family}/tiny:1", f"{family}/shared:1", root, elsewhere))), "its process is alive"
    process.kill()
    process.wait()
    remove_left_over()
    # Another process may be at it, and not yet done.
    soon(lambda: docker("image", "inspect", "--format", "{{.Id}}", image, check=False) == "", "the image stays")
    soon(lambda: not here(f"{family}/shared:1"), "the name stays")
    assert here(BUSY), "an image that somebody else has a name for loses the other name alone"


def test_whose_process_cannot_be_seen_keeps_its_images() -> None:
    space, pid, started = FAMILY.removeprefix("rocm-ci-test-").split("-")
    elsewhere = "0" * len(space)
    assert left_over([f"sha256:1 rocm-ci-test-{elsewhere}-{pid}-1/tiny 1", "sha256:2 <none> <none>"]) == []
    assert left_over([f"sha256:1 {FAMILY}/tiny 1", "sha256:3 rocm-ci-test/tiny 1"]) == []
    assert left_over([f"sha256:1 rocm-ci-test-{space}-{pid}-{int(started) - 1}/tiny 1"]) == ["sha256:1"]
    moved = f"127.0.0.1:5000/rocm-ci-test-{space}-{pid}-1/tiny"
    assert left_over([f"sha256:1 {moved} <none>", "sha256:1 somebody/tiny 1"]) == []


def test_a_stack_names_images_of_this_process_alone() -> None:
    text = own(STACK)
    assert f"repository: {TINY}\n" in text
    assert f"busy: {{image: {BUSY}}}" in text
    assert text.count("rocm-ci-test") == 2


def test_the_files_that_take_longest_are_there() -> None:
    assert [name for name in LONGEST if not Path(__file__).with_name(name).is_file()] == []
