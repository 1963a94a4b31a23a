"""A tiny recipe and the real command line, for tests in which the world fails."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import recipes
from tests.engine.own import FAMILY
from tests.images import listed

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 90.0
"""Seconds after which a test calls something that has to happen 'it does not happen'."""
WHOLE = 300.0
"""Seconds for a whole command, on a machine that has much else to do."""

DOCKERFILE = """\
ARG ROOT=busybox
ARG BASE_IMAGE=base
ARG CI_BASE_IMAGE=ci_base
FROM ${ROOT} AS base
COPY first.txt /opt/first.txt
RUN --network=none cat /opt/first.txt

FROM ${BASE_IMAGE} AS ci_base
COPY second.txt /opt/second.txt
RUN --network=none echo "the step begins"; sleep PAUSE; cat /opt/second.txt

FROM ${CI_BASE_IMAGE} AS test
COPY test.txt /opt/test.txt
"""

STACK = """\
schema: 1
name: tiny
summary: three small tiers
repository: REPOSITORY
platform: linux/amd64
roots:
  busy: {image: ROOT}
tiers:
  base: {dockerfile: Dockerfile.tiny, target: base, parents: {ROOT: busy}}
  ci-base: {dockerfile: Dockerfile.tiny, target: ci_base, parents: {BASE_IMAGE: base}}
  test: {dockerfile: Dockerfile.tiny, target: test, parents: {CI_BASE_IMAGE: ci-base}}
"""


@dataclass(frozen=True)
class Ended:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """What ``--json`` printed."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def references(self) -> list[str]:
        """The references of the problems that ``--json`` printed."""
        return [problem["reference"] for problem in self.document["problems"]]

    @property
    def decisions(self) -> dict[str, str]:
        """Tier → decision."""
        return {tier["tier"]: tier["decision"] for tier in self.document["tiers"]}


class Running:
    """A command line that still works; its stderr is read as it comes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._err: list[bytes] = []
        self._out: list[bytes] = []
        self._heard = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(stream, kept), daemon=True)
            for stream, kept in ((process.stderr, self._err), (process.stdout, self._out))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, kept: list[bytes]) -> None:
        for line in stream:
            with self._heard:
                kept.append(line)
                self._heard.notify_all()

    @property
    def err(self) -> str:
        """What it wrote to stderr so far."""
        return b"".join(self._err).decode()

    def until(self, text: str) -> None:
        """Wait for ``text`` on stderr."""
        with self._heard:
            heard = self._heard.wait_for(lambda: text in self.err or self.process.poll() is not None, WHOLE)
        assert heard, self.err
        assert text in self.err, self.err

    def end(self) -> Ended:
        """Wait for its end."""
        try:
            code = self.process.wait(WHOLE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        for reader, stream in zip(self._readers, (self.process.stderr, self.process.stdout), strict=True):
            reader.join(PATIENCE)
            assert stream is not None
            stream.close()
        return Ended(code, b"".join(self._out).decode(), self.err)


@dataclass
class Stand:
    """A recipe in ``folder``, a state folder, one engine (``host``), and names nobody else uses."""

    folder: Path
    name: str
    host: str
    root: str
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = self.folder / "state"
        self.repository = f"{FAMILY}-faults/{self.name}"
        self.write()

    def write(self, dockerfile: str = DOCKERFILE, pause: float = 0) -> None:
        """Write the recipe anew; ``pause`` is how long the step of ci-base sleeps."""
        stack = STACK.replace("REPOSITORY", self.repository).replace("ROOT", self.root, 1)
        stack = stack.replace("image: ROOT", f"image: {self.root}")
        (self.folder / "recipe" / "scripts" / "link").unlink(missing_ok=True)
        recipes.write(self.folder, dockerfile.replace("PAUSE", f"{pause:g}"), stack)
        # the name of this stand makes every step new to BuildKit's cache
        (self.folder / "recipe" / "first.txt").write_text(f"first of {self.name}\n")
        (self.folder / "recipe" / "second.txt").write_text(f"second of {self.name}\n")

    def start(self, verb: str, *options: str, **more: str) -> Running:
        """Start ``python -m ci VERB``."""
        stack = [] if verb == "reap" else ["--stack", str(self.folder / "recipe" / "tiny.yaml")]
        process = subprocess.Popen(
            [sys.executable, "-m", "ci", verb, *stack, *options],
            cwd=self.folder,
            env=self.environment(more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        return Running(process)

    def run(self, verb: str, *options: str, **more: str) -> Ended:
        """Perform ``python -m ci VERB``."""
        running = self.start(verb, *options, **more)
        try:
            return running.end()
        finally:
            running.process.kill()

    def json(self, verb: str, *options: str, **more: str) -> Ended:
        """The same with ``--json``."""
        return self.run(verb, "--json", *options, **more)

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """What the command line sees: no configuration of whoever runs the tests."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "PIP_CONFIG_FILE": os.devnull,
            "DOCKER_HOST": self.host,
            "ROCM_CI_STATE": str(self.state),
            **self.env,
            **more,
        }

    def docker(self, *argv: str, data: bytes | None = None) -> bytes:
        """The docker command line at this stand's engine."""
        done = subprocess.run(
            ["docker", "--host", self.host, *argv], input=data, capture_output=True, check=False, timeout=WHOLE
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def tags(self) -> list[str]:
        """The tags of this stand's repository in the engine."""
        rows = listed("--format", "{{.Repository}}:{{.Tag}}", host=self.host)
        return sorted(row for row in rows if f"{self.repository}:" in row)

    def building(self) -> list[str]:
        """Those of images that have not earned a content tag."""
        return [tag for tag in self.tags() if ":building-" in tag]

    def tag(self, tier: str) -> str:
        """The one content tag of ``tier`` in the engine."""
        (found,) = (tag for tag in self.tags() if tag.startswith(f"{self.repository}:{tier}-v1-"))
        return found

    def inspect(self, name: str) -> dict[str, Any]:
        """``docker image inspect``."""
        found = json.loads(self.docker("image", "inspect", name))[0]
        assert isinstance(found, dict)
        return found

    def content(self, image: str, path: str) -> str:
        """The text of one file of an image, without running anything."""
        container = self.docker("create", image, "x").decode().strip()
        try:
            archive = self.docker("cp", f"{container}:{path}", "-")
        finally:
            self.docker("rm", container)
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            member = opened.extractfile(opened.next() or tarfile.TarInfo())
            assert member is not None
            return member.read().decode()

    def run_folders(self) -> list[Path]:
        """Newest last."""
        return sorted((self.state / "runs").glob("*"))

    def result(self) -> dict[str, Any]:
        """``result.json`` of the last run."""
        found = json.loads((self.run_folders()[-1] / "result.json").read_text())
        assert isinstance(found, dict)
        return found

    def clean(self) -> None:
        """Remove every image of this stand from its engine."""
        with suppress(AssertionError, subprocess.TimeoutExpired):
            for _ in range(3):  # a name by digest is listed only once the tags beside it are gone
                if own := self._own():
                    self.docker("image", "rm", "--force", *own)

    def _own(self) -> list[str]:
        form = ("--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}")
        found = []
        for row in listed(*form, host=self.host):
            repository, tag, digest = row.split()
            if f"/{repository}".endswith(f"/{self.repository}") or self._is_ours(f"{repository}:{tag}"):
                found.append(f"{repository}@{digest}" if tag == "<none>" else f"{repository}:{tag}")
        return found

    def _is_ours(self, name: str) -> bool:
        import hashlib

        salt = hashlib.sha256(f"{self.root}\n\nlinux/amd64".encode()).hexdigest()[:8]
        return name.startswith("rocm-ci/root:busy-") and name.endswith(salt)


def busy_root() -> bytes:
    """A root image as an archive: a static busybox and links to it."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for folder in ("bin", "opt", "tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        archive.add("/bin/busybox", "bin/busybox")
        for applet in ("sh", "cat", "sleep", "echo", "dd", "yes", "head"):
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
    return data.getvalue()


def processes(word: str) -> dict[int, str]:
    """The processes whose command line or environment names ``word``, ours left out."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            around = (folder / "environ").read_bytes().decode(errors="replace")
            if (word in line or word in around) and int(folder.name) != os.getpid() and line:
                found[int(folder.name)] = line
    return found


def soon(what: Any, why: str) -> None:
    """Wait until ``what()`` is true."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, why
        time.sleep(0.05)


def asleep(seconds: str) -> list[int]:
    """The processes that are this very ``sleep``: a shell that is to become it names it in its command line as well."""
    words = f"sleep {seconds}"
    return [pid for pid, line in processes(words).items() if line == f"{words} "]


def wake(seconds: str) -> None:
    """Wait for the ``sleep`` of a step, and end it alone: the step goes on."""
    soon(lambda: asleep(seconds), "nobody sleeps")
    for pid in asleep(seconds):
        os.kill(pid, signal.SIGTERM)
