"""A disk that has no room for a clean environment says nothing about the wheels that were to go there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.errors import InfraError
from ci.publish.prove import prove
from ci.publish.stage import stage
from ci.settings import Settings, capture
from ci.world.process import Command, Finished, run
from tests import wheels
from tests.staging import World

pytestmark = pytest.mark.without_engine


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 60 megabytes, which holds an environment and no large wheel."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=60m", "rocm-ci-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def lonely() -> Settings:
    """This host's settings, where no other index is asked."""
    kept = {name: value for name, value in capture().environ.items() if not name.startswith("PIP_")}
    return Settings({**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}, {})


@pytest.mark.parametrize("full_for", ["environment", "wheel"])
def test_a_full_disk_is_no_fault_of_the_release(tmp_path: Path, disk: Path, full_for: str) -> None:
    world = World(tmp_path / "world")
    large = wheels.write(tmp_path / "built", "large", "1.0+rocm.7.2", files={"large.txt": "x" * (50 << 20)})
    small = wheels.write(tmp_path / "built", "small", "1.0+rocm.7.2")
    places = world.places()
    release = stage(places, world.candidate([small if full_for == "environment" else large]))

    def start(command: Command) -> Finished:
        making = "venv" in command.argv
        if full_for == "environment" and making:
            with (disk / "ballast").open("wb") as stream:
                stream.truncate(0)
                os.posix_fallocate(stream.fileno(), 0, 50 << 20)
        return run(command)

    with pytest.raises(InfraError) as caught:
        prove(places, release, disk, start, lonely())
    (problem,) = caught.value.problems
    assert problem.reference == ("no-venv" if full_for == "environment" else "disk")
    assert ("make room" if full_for == "environment" else "free space") in problem.hint
    assert "clean environment" in problem.message
