"""A stack small enough to be released in a moment, its registry and its bucket behind doors, the real command line."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pytest

from ci.world.bucket import Bucket
from tests import servers, wheels
from tests.engine.own import FAMILY
from tests.faults.stand import PATIENCE, Ended, Running
from tests.images import listed
from tests.release_doors import CLOSE, Act, Asked, Door, door, straight
from tests.release_world import CHANNEL, World
from tests.unit.registry_replies import Reply

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = ("rocm-probe", "extra-a", "extra-b", "extra-c", "extra-d")
LABEL = "+rocm.7.2"
ACCESS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
    "no_proxy": "127.0.0.1",
    "NO_PROXY": "127.0.0.1",
}

STACK = """\
schema: 1
name: plant
summary: two images and some wheels
repository: REPOSITORY
platform: linux/amd64
suites: suites.yaml
channels: channels.yaml
roots:
  busy: {image: "ROOT"}
tiers:
  base: {dockerfile: Dockerfile.plant, target: base, parents: {ROOT: busy}}
  test: {dockerfile: Dockerfile.plant, target: t, parents: {BASE_IMAGE: base}}
  wheels: {dockerfile: Dockerfile.plant, target: wheels}
"""

DOCKERFILE = """\
ARG ROOT=x
ARG BASE_IMAGE=base
FROM ${ROOT} AS base
COPY base.txt /opt/base.txt

FROM ${BASE_IMAGE} AS t
COPY marker /opt/marker

FROM scratch AS wheels
COPY wheels/ /
"""

CHANNELS = {
    "schema": 1,
    "named_after": "rocm-probe",
    "images": {"main": "test", "base": "base"},
    "wheels": [{"tier": "wheels"}],
    "channels": {
        CHANNEL: {
            "summary": "s",
            "tags": {"moving": "nightly", "fixed": "commit"},
            "index": "current",
            "suites": {"proof": {"at_least": 0}},
            "retain": {"keep": 3, "days": 3},
        }
    },
}

_WORDS = (
    (r"\d{8}T\d{6}Z-[0-9a-f]{8}", "RUN"),
    (r"(?<![0-9a-f])[0-9a-f]{64}", "SHA"),
    (r"(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])", "COMMIT"),
    (r"-[0-9a-f]{16}\.json", "-KEY.json"),
    (r"uploads/[0-9a-f-]{36}", "uploads/UPLOAD"),
)


@dataclass
class Stand:
    """A git repository with a recipe, a registry and a bucket behind doors, a state folder and the machine's engine.

    ``root`` is an image of busybox, ``bucket`` the place of wheels and manifests, ``access`` the way there.
    """

    folder: Path
    name: str
    root: str
    registry: Door
    store: Door
    bucket: str
    access: Mapping[str, str]
    projects: Sequence[str] = PROJECTS
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = self.folder / "state"
        self.repo = self.folder / "repo"
        self.repository = f"{FAMILY}-stand/{self.name}"
        url = f"http://127.0.0.1:{self.registry.behind}/v2/{self.repository}"
        self.world = World(url, self.folder / "registry", Bucket.at(self.bucket))
        self.write("recipe/plant.yaml", STACK.replace("REPOSITORY", self.repository).replace("ROOT", self.root, 1))
        self.write("recipe/Dockerfile.plant", DOCKERFILE)
        self.write("recipe/base.txt", f"base of {self.name}")
        self.write("recipe/pins.json", json.dumps({"EPOCH": "2026-11"}))
        self.write("recipe/channels.yaml", json.dumps(CHANNELS))
        self.suite("cat /opt/marker")
        self.git("init", "-q", "-b", "main")
        self.change(0)

    # --- the repository ------------------------------------------------------------------------

    def write(self, path: str, text: str) -> None:
        """Write a file of the working tree."""
        file = self.repo / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def suite(self, script: str) -> None:
        """Let the one suite that the channel requires be this shell script in the test image."""
        step = {"summary": "s", "limits": {"minutes": 2}, "commands": [{"run": ["sh", "-c", script]}]}
        suites = {"proof": {"summary": "s", "steps": ["look"]}}
        whole = {"schema": 1, "runtime": "cpu", "steps": {"look": step}, "suites": suites}
        self.write("recipe/suites.yaml", json.dumps(whole))

    def git(self, *words: str) -> str:
        """Git in the working tree."""
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        argv = ["git", *identity, "-C", str(self.repo), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def change(self, number: int) -> str:
        """Commit another image and other wheels, of a higher version; gives the commit."""
        self.write("recipe/marker", f"{self.name} {number}")
        for old in (self.repo / "recipe" / "wheels").glob("*.whl"):
            old.unlink()
        for project in self.projects:
            wheels.write(self.repo / "recipe" / "wheels", project, f"0.{number}.0{LABEL}")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", f"change {number}")
        return self.head

    @property
    def head(self) -> str:
        """The commit that would be released."""
        return self.git("rev-parse", "HEAD")

    # --- the command line ----------------------------------------------------------------------

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """What the command line sees: no configuration of whoever runs the tests."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        kept = ("DOCKER_HOST", "SSL_CERT_FILE", "PIP_FIND_LINKS")
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "ROCM_CI_STATE": str(self.state),
            **self.access,
            **self.env,
            **more,
        }

    def start(self, verb: str = "release-nightly", *options: str, **more: str) -> Running:
        """Start ``python -m ci VERB`` in a process group of its own."""
        words: tuple[str, ...] = ()
        if verb != "reap":
            stack = () if "--stack" in options else ("--stack", str(self.repo / "recipe" / "plant.yaml"))
            store = () if "--store" in options else ("--store", self.bucket)
            words = (*stack, *store, "--registry", self.registry.host)
        process = subprocess.Popen(
            [sys.executable, "-m", "ci", verb, *words, "--json", *options],
            cwd=self.folder,
            env=self.environment(more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        return Running(process)

    def run(self, verb: str = "release-nightly", *options: str, check: int | None = 0, **more: str) -> Ended:
        """Perform ``python -m ci VERB``; ``check`` is the exit code it has to end with."""
        running = self.start(verb, *options, **more)
        try:
            ended = running.end()
        finally:
            running.process.kill()
        assert check is None or ended.code == check, f"exit {ended.code}\n{ended.out}\n{ended.err}"
        assert "Traceback" not in ended.err, ended.err
        return ended

    # --- what happens on the way ---------------------------------------------------------------

    def label(self, asked: Asked) -> str:
        """What a request is about, the same in every run of a release: ``store PUT nightly/COMMIT/release.json``."""
        path, _, query = unquote(asked.path).partition("?")
        if "list-type" in query:
            path = f"LIST {query.partition('prefix=wheels/')[2].partition('&')[0]}"
        path = path.replace(f"/{self.bucket.removeprefix('s3://')}/", "").replace(f"/v2/{self.repository}/", "")
        for kind, word in _WORDS:
            path = re.sub(kind, word, path)
        copy = " COPY" if "x-amz-copy-source" in asked.headers else ""
        return f"{asked.where} {asked.method}{copy} {path}"

    def around(self, act: Act = straight) -> None:
        """Let ``act`` see to every request at both doors; without one all pass."""
        self.registry.act = self.store.act = act

    def at(self, pattern: str, act: Act) -> None:
        """Let ``act`` see to the first request whose label matches; all others pass."""
        lock, waiting = threading.Lock(), [act]

        def around(asked: Asked, perform: Callable[[], Reply]) -> Reply:
            with lock:
                mine = waiting.pop() if waiting and re.search(pattern, self.label(asked)) else None
            return mine(asked, perform) if mine else perform()

        self.around(around)

    def struck(self, pattern: str, number: int, *, before: bool = False) -> Ended:
        """Perform a release that gets a signal right after (or before) the first request like ``pattern``.

        Whoever is killed never hears of it; whoever lives gets the answer.
        """
        started: list[Running] = []
        there, struck = threading.Event(), threading.Event()

        def act(_asked: Asked, perform: Callable[[], Reply]) -> Reply:
            reply = CLOSE if before else perform()
            assert there.wait(PATIENCE)
            process = started[0].process
            struck.set()
            if number != signal.SIGKILL:
                os.killpg(process.pid, number)  # as a terminal does it
                return reply
            process.kill()
            process.wait()
            return CLOSE

        self.at(pattern, act)
        started.append(self.start())
        there.set()
        ended = started[0].end()
        self.around()
        assert struck.is_set(), f"there was no request like {pattern}\n{ended.err}"
        return ended

    def requests(self) -> list[tuple[str, int]]:
        """Label and status of every request since the last ``forget``; 0 where the server was not asked."""
        return [(self.label(asked), status) for each in (self.registry, self.store) for asked, status in each.done]

    def writes(self) -> list[str]:
        """The labels of those that may have changed something."""
        return [
            self.label(asked) for each in (self.registry, self.store) for asked, status in each.done
            if asked.writes and status
        ]  # fmt: skip

    def forget(self) -> None:
        """Begin to count anew."""
        self.registry.done.clear()
        self.store.done.clear()

    def uploads(self) -> Counter[str]:
        """How often each wheel, copy of a wheel and blob was stored."""
        found: Counter[str] = Counter()
        for asked, status in (*self.registry.done, *self.store.done):
            name = unquote(asked.path)
            blob = re.search(r"/v2/(.*)/blobs/uploads/.*digest=(sha256:[0-9a-f]{64})", name)
            if asked.method != "PUT" or not 200 <= status < 300:
                continue
            if blob:
                found[f"{blob[1]}@{blob[2]}"] += 1
            elif name.endswith(".whl"):
                found[name] += 1
        return found

    def clean(self) -> None:
        """Take the images of this stand out of the engine."""
        own = []
        for row in listed("--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}"):
            repository, tag, digest = row.split()
            if repository.endswith(f"/{self.name}") or repository.startswith(f"{self.registry.host}/"):
                own.append(f"{repository}@{digest}" if tag == "<none>" else f"{repository}:{tag}")
        if own:
            subprocess.run(["docker", "image", "rm", "--force", *own], check=False, capture_output=True)


@contextmanager
def standing(folder: Path, root: str, projects: Sequence[str] = PROJECTS) -> Iterator[Stand]:
    """A stand with servers, doors and an empty bucket of its own; ``root`` is an image of busybox."""
    name = f"stand-{secrets.token_hex(4)}"
    with (
        servers.registry(folder) as registry,
        servers.s3_server() as store,
        door("registry", registry) as front,
        door("store", store) as other,
        pytest.MonkeyPatch.context() as patch,
    ):
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{store}/{name}", method="PUT")).read()
        access = {**ACCESS, "AWS_ENDPOINT_URL": other.url}
        for variable, value in {**access, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{store}"}.items():
            patch.setenv(variable, value)
        made = Stand(folder, name, root, front, other, f"s3://{name}/wheels", access, projects)
        try:
            yield made
        finally:
            made.clean()
