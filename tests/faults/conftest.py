"""What the fault tests share: an engine, a root image made from busybox, stands with names of their own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ci.settings import capture
from ci.world.engine import endpoint
from tests.engine.conftest import remove_left_over, remove_roots
from tests.engine.own import FAMILY
from tests.faults.daemon import Daemon
from tests.faults.stand import Stand, busy_root
from tests.release_scene import Scene, undisturbed


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: waits for a patience of half a minute, or repeats a whole build")


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
    """A root image of a name of its own; gone at the end, as is what a killed test process left."""
    remove_left_over()
    name = f"{FAMILY}-faults/busy:1"
    subprocess.run(["docker", "--host", engine_host, "import", "-", name], input=busy_root(), check=True)
    yield name
    remove_roots(name)
    subprocess.run(["docker", "--host", engine_host, "image", "rm", "--force", name], check=False)


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """An engine of this test alone, which it may kill; started by the test, ended here."""
    needed = all(shutil.which(name) for name in ("dockerd", "containerd", "mkfs.ext4", "mount", "umount"))
    if os.geteuid() != 0 or not needed or not Path("/bin/busybox").is_file():
        pytest.skip("needs root, dockerd and busybox-static")
    folder = Path(tempfile.mkdtemp(prefix="rf-", dir="/tmp"))  # short: it holds sockets, whose paths are limited
    made = Daemon(folder)
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def doomed(tmp_path: Path, daemon: Daemon) -> Callable[[], Stand]:
    """Start the test's own engine; gives a stand at it."""

    def start() -> Stand:
        daemon.start()
        name = f"faults-{secrets.token_hex(4)}"
        root = f"{FAMILY}-faults/busy-{name}:1"
        subprocess.run(["docker", "--host", daemon.host, "import", "-", root], input=busy_root(), check=True)
        return Stand(tmp_path, name, daemon.host, root)

    return start


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


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory, busy: str) -> Iterator[Scene]:
    """A second release of a channel, and the worlds on the way to it."""
    with undisturbed(tmp_path_factory.mktemp("release"), busy, ("rocm-probe", "extra-a")) as made:
        yield made
