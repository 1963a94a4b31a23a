"""What the fault tests share: an engine, a root image made from busybox, stands with names of their own."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ci.settings import capture
from ci.world.engine import endpoint
from tests.faults.stand import Stand, busy_root

Make = Callable[..., Stand]


@pytest.fixture(scope="session")
def engine_host() -> str:
    """The engine of this machine, which no test here harms."""
    host = endpoint(capture()).host
    done = subprocess.run(["docker", "--host", host, "version"], capture_output=True, check=False, timeout=20)
    if done.returncode or not Path("/bin/busybox").is_file():
        pytest.skip("needs a Docker Engine and busybox-static")
    return host


@pytest.fixture(scope="session")
def busy(engine_host: str) -> Iterator[str]:
    """A root image of a name of its own; gone at the end."""
    name = f"rocm-ci-test/busy-{secrets.token_hex(4)}:1"
    subprocess.run(["docker", "--host", engine_host, "import", "-", name], input=busy_root(), check=True)
    yield name
    subprocess.run(["docker", "--host", engine_host, "image", "rm", "--force", name], check=False)


@pytest.fixture
def stand(tmp_path: Path, engine_host: str, busy: str) -> Iterator[Stand]:
    """One recipe at the machine's engine."""
    made = Stand(tmp_path, f"faults-{secrets.token_hex(4)}", engine_host, busy)
    yield made
    made.clean()


@pytest.fixture
def needs_registry() -> None:
    """Skip where Debian's docker-registry is not installed."""
    if shutil.which("docker-registry") is None:
        pytest.skip("needs docker-registry")
