"""What the engine tests share: a tiny root image, a command line in a state of its own, a real registry."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import plants, recipes, servers

if TYPE_CHECKING:
    from tests.engine.suite_runs import Play, Starter, Steps, Words
from ci.build.roots import REPOSITORY as ROOTS
from ci.world.bucket import Bucket
from tests.engine.own import BUSY, FAMILY, TINY, left_over, own
from tests.engine.s3_front import Front, front
from tests.engine.sandboxes import KINDS, Box
from tests.faults import stand
from tests.images import listed

ROOT = Path(__file__).resolve().parents[2]
BUSYBOX = Path("/bin/busybox")
LONGEST = tuple(
    f"test_{name}.py"
    for name in (
        "release_real", "components_real", "publish_make", "vllm_images", "release_kills", "kernels_real",
        "artifact_real", "vllm_real", "publish_install", "suites_ends", "suites_real", "bootstrap", "caches_real",
    )
)  # fmt: skip
"""Files that take minutes. They begin first, so that of several processes none works on when the others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@dataclass(frozen=True)
class Ran:
    """A finished command line."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.stdout)
        return document

    def tier(self, name: str) -> dict[str, Any]:
        """The row of one tier in the result of a build."""
        return next(row for row in self.json["tiers"] if row["tier"] == name)


@dataclass(frozen=True)
class Cli:
    """``python -m ci`` with a state folder of its own and a clean environment."""

    state: Path
    environ: Mapping[str, str]

    def __call__(self, *arguments: str, check: int | None = 0, cwd: Path | None = None, **environ: str) -> Ran:
        env = {**self.environ, "ROCM_CI_STATE": str(self.state), "PYTHONPATH": str(ROOT), **environ}
        done = subprocess.run(
            [sys.executable, "-m", "ci", *arguments],
            cwd=cwd or ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if check is not None:
            assert done.returncode == check, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Ran(done.returncode, done.stdout, done.stderr)


def docker(*arguments: str, check: bool = True, stdin: bytes | None = None) -> str:
    """The docker command line, for looking at what really is there."""
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, check=False, timeout=300)
    if check:
        assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    kept = ("PATH", "HOME", "DOCKER_HOST", "SSL_CERT_FILE", "PIP_FIND_LINKS", "DOCKER_CONFIG")
    return Cli(tmp_path / "state", {name: os.environ[name] for name in kept if name in os.environ})


@pytest.fixture(scope="session")
def busy_root() -> Iterator[str]:
    """A root image of one static binary, made in a moment."""
    if not BUSYBOX.exists():
        pytest.fail("busybox-static is not installed: apt-get install busybox-static")
    remove_left_over()
    name = BUSY
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(BUSYBOX, "bin/busybox")
        for tool in ("sh", "cat", "echo", "sleep", "ls", "mkdir", "env", "true", "false", "date", "dd", "stat"):
            link = tarfile.TarInfo(f"bin/{tool}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for folder in ("opt", "tmp", "run", "etc"):
            made = tarfile.TarInfo(folder)
            made.type, made.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(made)
    docker("import", "-", name, stdin=archive.getvalue())
    yield name
    remove_roots(name)
    remove_images(f"{FAMILY}/")


@pytest.fixture(scope="session")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The toolchain image of the default stack, which must have been built."""
    plan = Cli(tmp_path_factory.mktemp("state"), {})("plan", "--json", cwd=ROOT)
    row = plan.tier("toolchain")
    if row["decision"] != "reuse":
        pytest.fail("no toolchain image is here: python -m ci build-ci-base", pytrace=False)
    return str(row["tag"])


@pytest.fixture(scope="session")
def sandbox_image() -> Iterator[str]:
    """A root image of one static binary, under a name that no other test removes."""
    remove_left_over()
    name = f"{FAMILY}-sandboxes/busy-box:1"
    docker("import", "-", name, stdin=stand.busy_root())
    yield name
    remove_roots(name)
    for image in (name, *(name.replace("busy-", f"no-{missing}-") for missing in ("sh", "sleep"))):
        docker("rmi", "--force", image, check=False)


@pytest.fixture(params=KINDS)
def box(request: pytest.FixtureRequest, sandbox_image: str) -> Iterator[Box]:
    """A sandbox of either kind, ended afterwards; the test begins it with the options it wants."""
    made = Box(request.param, sandbox_image)
    yield made
    if hasattr(made, "sandbox"):
        made.sandbox.end(0.2)


@pytest.fixture
def container(sandbox_image: str) -> Iterator[Box]:
    """A container, for what a native sandbox does not promise."""
    made = Box("container", sandbox_image)
    yield made
    if hasattr(made, "sandbox"):
        made.sandbox.end(0.2)


def remove_left_over() -> None:
    """Remove the images that test processes left which were killed, and the containers that keep those."""
    gone = left_over(listed("--no-trunc", "--format", "{{.ID}} {{.Repository}} {{.Tag}}"))
    for image in (each for each in gone if each.startswith("sha256:")):
        if held := docker("ps", "--all", "--quiet", "--filter", f"ancestor={image}", check=False):
            docker("rm", "--force", *held.split(), check=False)
    if gone:
        docker("rmi", "--force", *gone, check=False)


def remove_images(prefix: str) -> None:
    """Remove every image whose repository holds ``prefix``, by tag or by digest, and what lost its name long ago."""
    rows = listed("--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}")
    mine = []
    for repository, tag, digest in (row.split() for row in rows):
        if prefix in repository:
            mine.append(f"{repository}@{digest}" if tag == "<none>" else f"{repository}:{tag}")
    if mine:
        docker("rmi", "-f", *mine, check=False)
    # By id, as a prune would take the leases of every pull of the engine.  Long ago: it does not say whose it was.
    unnamed = ("dangling=true", "label=org.rocm-ci.stack=tiny", "until=2h")
    if old := listed("--quiet", *(f"--filter={each}" for each in unnamed)):
        docker("rmi", *old, check=False)


def remove_roots(name: str) -> None:
    """Remove the names that our builds gave to this very root image."""
    image = docker("image", "inspect", "--format", "{{.Id}}", name)
    rows = listed("--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}", ROOTS)
    if mine := [row.split()[1] for row in rows if row.startswith(image)]:
        docker("rmi", "--force", *mine, check=False)


@pytest.fixture
def stack(tmp_path: Path, busy_root: str) -> Path:
    """The stack file of the small recipe, none of its images in the engine."""
    assert busy_root
    remove_images(TINY)
    return recipes.write(tmp_path, stack=own(recipes.STACK))


@pytest.fixture
def tiny(stack: Path) -> tuple[str, ...]:
    """The options that select the small recipe and ask for JSON."""
    return ("--stack", str(stack), "--source", f"src={stack.parent.parent / 'src'}", "--json")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A real registry (CNCF distribution) on the loopback; gives ``host:port``."""
    with servers.registry(tmp_path) as port:
        yield f"127.0.0.1:{port}"
    remove_images(f"127.0.0.1:{port}/")


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The URL of an S3 server of our own."""
    with servers.s3_server() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def access(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables that lead there."""
    variables = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "no_proxy": "127.0.0.1",
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def bucket(endpoint: str, access: Mapping[str, str], tmp_path: Path) -> str:
    """An empty bucket, and the prefix to use in it."""
    assert access
    name = f"wheels-{tmp_path.name.replace('_', '-')}".lower()[:60].strip("-")
    request = urllib.request.Request(f"{endpoint}/{name}", method="PUT")
    urllib.request.urlopen(request).read()
    return f"s3://{name}/rocm/stable"


@pytest.fixture
def door(endpoint: str, access: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """A door to the S3 server that spoils nothing yet, and the variables that lead to it."""
    assert access
    with front(endpoint) as opened:
        monkeypatch.setenv("AWS_ENDPOINT_URL", opened.url)
        yield opened


@pytest.fixture
def store(door: Front, bucket: str) -> Bucket:
    assert door.url
    return Bucket.at(bucket)


@pytest.fixture(scope="session")
def python_image() -> str:
    """The local stack's test image, which has Python and pytest; built where it is not there."""
    command = [sys.executable, "-m", "ci", "build-test", "--json", "--stack", "local"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr[-4000:]
    rows: dict[str, str] = {row["tier"]: row["reference"] for row in json.loads(done.stdout)["tiers"]}
    return rows["test"]


@pytest.fixture
def words(python_image: str) -> Words:
    """The options that choose a runtime."""
    return lambda runtime: ("--runtime", runtime, *(("--image", python_image) if runtime == "docker" else ()))


@pytest.fixture
def play(cli: Cli, tmp_path: Path, words: Words) -> Iterator[Play]:
    """Run planted steps; afterwards no container, no process and nothing open in a ledger is left."""
    from tests.engine.suite_runs import left_behind

    environ = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def player(steps: Steps, *options: str, runtime: str = "docker", check: int | None = None, **more: Any) -> Ran:
        image = () if "--image" in options else words(runtime)
        stack = plants.write(tmp_path / "plant", steps, **more)
        return cli("test", "all", "--stack", str(stack), "--json", *image, *options, check=check, cwd=None, **environ)

    yield player
    assert left_behind(cli.state) == []


@pytest.fixture
def start(cli: Cli, tmp_path: Path, words: Words) -> Iterator[Starter]:
    """Start planted steps in the background, behind any door, and wait until one is at work."""
    from tests.engine.suite_runs import Starter

    made = Starter(cli, tmp_path, words)
    yield made
    made.end()
