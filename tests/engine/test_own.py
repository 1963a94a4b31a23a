"""Several test processes beside each other: what one removes from the engine is its own, and long files begin first."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.build.roots import REPOSITORY as ROOTS
from tests.engine.conftest import LONGEST, docker, remove_images, remove_roots
from tests.engine.own import BUSY, FAMILY, TINY, own
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
    return docker("images", "--quiet", name) != ""


def test_another_process_keeps_its_images(others: tuple[str, str]) -> None:
    mine = f"{ROOTS}:busy-{secrets.token_hex(4)}"
    docker("tag", BUSY, f"{TINY}:1")
    docker("tag", BUSY, mine)
    remove_roots(BUSY)
    remove_images(f"{FAMILY}/tiny")
    assert [here(name) for name in (f"{TINY}:1", mine, BUSY)] == [False, False, True]
    assert [here(name) for name in others] == [True, True]


def test_a_stack_names_images_of_this_process_alone() -> None:
    text = own(STACK)
    assert f"repository: {TINY}\n" in text
    assert f"busy: {{image: {BUSY}}}" in text
    assert text.count("rocm-ci-test") == 2


def test_the_files_that_take_longest_are_there() -> None:
    assert [name for name in LONGEST if not Path(__file__).with_name(name).is_file()] == []
