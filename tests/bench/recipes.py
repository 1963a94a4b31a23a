"""What is built: a tree of many files, and a small stack whose steps really work for some seconds."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from .measure import BenchError, output

REPOSITORY = "rocm-ci-bench"
ROOT = f"{REPOSITORY}/busy:1"
BUSYBOX = Path("/bin/busybox")

STACK = """\
schema: 1
name: bench
summary: one tier that works for some seconds
repository: {repository}/{name}
platform: linux/amd64
args:
  STAMP: {{type: text, default: "{stamp}"}}
roots:
  busy: {{image: "{root}"}}
tiers:
  base:
    dockerfile: Dockerfile.bench
    target: base
    parents: {{ROOT: busy}}
  ci-base:
    dockerfile: Dockerfile.bench
    target: ci_base
    parents: {{BASE_IMAGE: base}}
"""

DOCKERFILE = """\
ARG ROOT=busy
ARG BASE_IMAGE=base
FROM ${ROOT} AS base
ARG STAMP
COPY tree/ /opt/tree/
RUN echo ${STAMP} > /opt/stamp && dd if=/dev/zero bs=1M count=1200 | md5sum > /opt/one
RUN dd if=/dev/urandom of=/opt/noise bs=1M count=24 && gzip -k /opt/noise
RUN dd if=/dev/zero bs=1M count=1200 | md5sum > /opt/three

FROM ${BASE_IMAGE} AS ci_base
COPY tree/part000/ /opt/first/
RUN cat /opt/stamp > /opt/second
"""


def write(folder: Path, stamp: str, *, name: str = "work", files: int = 60) -> Path:
    """A git repository with the recipe and ``files`` small files; gives the stack file."""
    recipe = folder / "recipe"
    for number in range(files):
        path = recipe / f"tree/part{number % max(1, files // 23):03d}/file{number:05d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n" * 16)
    (recipe / "Dockerfile.bench").write_text(DOCKERFILE)
    path = recipe / "bench.yaml"
    path.write_text(stack(stamp, name))
    git = ("git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-C", str(folder))
    for step in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "--message=bench")):
        output([*git, *step])
    return path


def stack(stamp: str, name: str) -> str:
    """The stack file; equal stamps are equal builds."""
    return STACK.format(repository=REPOSITORY, name=name, stamp=stamp, root=ROOT)


def make_root() -> None:
    """A root image of one static binary, made in a moment."""
    if not BUSYBOX.exists():
        raise BenchError("busybox-static is not installed: apt-get install busybox-static")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(BUSYBOX, "bin/busybox")
        for tool in ("sh", "cat", "echo", "dd", "md5sum", "gzip"):
            link = tarfile.TarInfo(f"bin/{tool}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for folder in ("opt", "tmp", "run", "etc", "dev", "proc", "sys"):
            made = tarfile.TarInfo(folder)
            made.type, made.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(made)
    done = subprocess.run(["docker", "import", "-", ROOT], input=archive.getvalue(), capture_output=True, check=False)
    if done.returncode:
        raise BenchError(f"docker import: {done.stderr.decode(errors='replace')}")


def remove_images() -> None:
    """Everything of ours in the engine."""
    _remove(f"{REPOSITORY}/", "rocm-ci/root:busy-")


def remove_built() -> None:
    """What the cold builds made; the root stays."""
    _remove(f"{REPOSITORY}/work:", f"{REPOSITORY}/replayed:")


def _remove(*prefixes: str) -> None:
    listed = output(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]).splitlines()
    mine = [name for name in listed if name.startswith(prefixes) and not name.endswith(":<none>")]
    if mine:
        output(["docker", "rmi", "-f", *mine])
