"""A stack small enough to be released in a moment, its registry and its bucket behind doors, the real command line."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest

from ci.publish import index
from ci.publish.manifest import MANIFEST, STANDING, Release, Standing

from ci.world.bucket import Bucket
from ci.world.registry import MANIFEST_TYPES
from tests import wheels
from tests.faults.stand import PATIENCE, Ended, Running, free_port, listens, soon
from tests.release_doors import CLOSE, Act, Asked, Door, door, straight
from tests.unit.registry_replies import Reply

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = ("rocm-probe", "extra-a", "extra-b", "extra-c", "extra-d")
LABEL = "+rocm.7.2"
CHANNEL = "nightly"
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
summary: an image and five wheels
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


@dataclass
class Stand:
    """A git repository with a recipe, a registry and a bucket behind doors, a state folder and an engine."""

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
        self.repository = f"rocm-ci-stand/{self.name}"
        self.write("recipe/plant.yaml", STACK.replace("REPOSITORY", self.repository).replace('"ROOT"', self.root))
        self.write("recipe/Dockerfile.plant", DOCKERFILE)
        self.write("recipe/base.txt", f"base of {self.name}")
        self.write("recipe/pins.json", json.dumps({"EPOCH": "2026-11"}))
        self.write("recipe/channels.yaml", json.dumps(CHANNELS))
        self.suite("cat /opt/marker")
        self.git("init", "-q", "-b", "main")
        self.change(0)

    # --- the repository ------------------------------------------------------------------------

    @property
    def repo(self) -> Path:
        """The working tree."""
        return self.folder / "repo"

    def write(self, path: str, text: str) -> None:
        """Write a file of the working tree."""
        file = self.repo / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def suite(self, script: str) -> None:
        """Let the one suite that the channel requires be this shell script in the test image."""
        step = {"summary": "s", "limits": {"minutes": 2}, "commands": [{"run": ["sh", "-c", script]}]}
        suites = {"proof": {"summary": "s", "steps": ["look"]}}
        self.write(
            "recipe/suites.yaml",
            json.dumps({"schema": 1, "runtime": "cpu", "steps": {"look": step}, "suites": suites}),
        )

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
        self.git("commit", "-q", "--allow-empty", "-m", f"change {number}")
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

    def start(self, verb: str = "release-nightly", *options: str, tree: Path | None = None, **more: str) -> Running:
        """Start ``python -m ci VERB`` in a process group of its own."""
        words: tuple[str, ...] = ()
        if verb != "reap":
            stack = str((tree or self.repo) / "recipe" / "plant.yaml")
            words = ("--stack", stack, "--registry", self.registry.host, "--store", self.bucket)
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

    def run(self, verb: str = "release-nightly", *options: str, check: int | None = 0, **more: Any) -> Ended:
        """Perform ``python -m ci VERB``; ``check`` is the exit code it has to end with."""
        running = self.start(verb, *options, **more)
        try:
            ended = running.end()
        finally:
            running.process.kill()
        assert check is None or ended.code == check, f"exit {ended.code}\n{ended.out}\n{ended.err}"
        assert "Traceback" not in ended.err, ended.err
        return ended

    # --- the world -----------------------------------------------------------------------------

    @property
    def place(self) -> Bucket:
        """The bucket, past the door."""
        return Bucket.at(self.bucket)

    def objects(self) -> dict[str, bytes]:
        """Everything in the bucket."""
        return {each.path: self.place.read(each.path) or b"" for each in self.place.below("")}

    def tags(self) -> dict[str, str]:
        """Every tag of the released repository and its digest; none where there is no such repository."""
        base = f"http://127.0.0.1:{self.registry.behind}/v2/{self.repository}"
        try:
            with urllib.request.urlopen(f"{base}/tags/list") as answer:
                names = json.load(answer)["tags"] or []
        except urllib.error.HTTPError as error:
            with error:
                assert error.code == 404
            return {}
        return {name: self._digest(f"{base}/manifests/{name}") for name in names}

    @staticmethod
    def _digest(url: str) -> str:
        request = urllib.request.Request(url, headers={"Accept": ", ".join(MANIFEST_TYPES)}, method="HEAD")
        with urllib.request.urlopen(request) as answer:
            return str(answer.headers["Docker-Content-Digest"])

    # --- what happens on the way ---------------------------------------------------------------

    def label(self, asked: Asked) -> str:
        """What a request is about, the same in every run of a release: ``store PUT nightly/COMMIT/release.json``."""
        path, _, query = unquote(asked.path).partition("?")
        if "list-type" in query:
            path = f"LIST {query.partition('prefix=')[2].partition('&')[0]}"
        path = path.replace(f"/{self.bucket.removeprefix('s3://')}/", "").replace(f"/v2/{self.repository}/", "")
        path = re.sub(r"uploads/[0-9a-f-]{36}", "uploads/UPLOAD", path)
        for kind, word in _WORDS:
            path = re.sub(kind, word, path)
        copy = " COPY" if "x-amz-copy-source" in asked.headers else ""
        return f"{asked.where} {asked.method}{copy} {path}"

    def at(self, pattern: str, act: Act) -> None:
        """Let ``act`` see to the first request whose label matches; all others pass."""
        lock, waiting = threading.Lock(), [act]

        def around(asked: Asked, perform: Callable[[], Reply]) -> Reply:
            with lock:
                mine = waiting.pop() if waiting and re.search(pattern, self.label(asked)) else None
            return mine(asked, perform) if mine else perform()

        self.around(around)

    def around(self, act: Act = straight) -> None:
        """Let ``act`` see to every request at both doors; without one all pass."""
        self.registry.act = self.store.act = act

    def struck(self, pattern: str, number: int, *options: str, before: bool = False) -> Ended:
        """Perform a release that gets a signal right after (or before) the request of ``pattern`` was performed.

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
        started.append(self.start("release-nightly", *options))
        there.set()
        ended = started[0].end()
        self.around()
        assert struck.is_set(), f"there was no request like {pattern}\n{ended.err}"
        return ended

    def requests(self) -> list[tuple[str, int]]:
        """Label and status of every request since the last ``forget``, in the order they were answered, by door."""
        return [(self.label(asked), status) for door in (self.registry, self.store) for asked, status in door.done]

    def forget(self) -> None:
        """Begin to count anew."""
        self.registry.done.clear()
        self.store.done.clear()

    def uploads(self) -> Counter[str]:
        """How often each wheel, each copy of one and each blob was stored, and each manifest under its digest."""
        found: Counter[str] = Counter()
        for door in (self.registry, self.store):
            for asked, status in door.done:
                name = unquote(asked.path)
                blob = re.search(r"/v2/(.*)/blobs/uploads/.*digest=(sha256:[0-9a-f]{64})", name)
                if asked.method == "PUT" and 200 <= status < 300:
                    if blob:
                        found[f"{blob[1]}@{blob[2]}"] += 1
                    elif name.endswith(".whl") or re.search(r"/manifests/sha256:[0-9a-f]{64}$", name):
                        found[name] += 1
        return found

    # --- what stands ---------------------------------------------------------------------------

    def release(self, commit: str) -> Release:
        """The release of a commit."""
        path = f"{CHANNEL}/{commit}/{MANIFEST}"
        return Release.decode(self.place.read(path) or b"", path)

    @property
    def standing(self) -> Standing | None:
        """What the channel stands at."""
        data = self.place.read(f"{CHANNEL}/{STANDING}")
        return Standing.decode(data, STANDING) if data else None

    def astray(self, *commits: str) -> list[str]:
        """The pointers, and pages of the index, that show none of these releases; an empty commit is none at all."""
        releases = [self.release(commit) if commit else None for commit in commits]
        tags = self.tags()
        found = []
        for image, tag in (("main", "nightly"), ("base", "base-nightly")):
            may = {row.digest for each in releases if each for row in each.images if row.name == image}
            may |= {None} if None in releases else set()  # type: ignore[arg-type]
            found += [f"{tag} shows {tags.get(tag)}"] if tags.get(tag) not in may else []
        pages = [index.of_channel((each,)) if each else {} for each in releases]
        place = self.place.within(CHANNEL)
        there = {each.path.removeprefix("simple/"): place.read(each.path) for each in place.below("simple")}
        for path in sorted(there.keys() | {path for each in pages for path in each}):
            found += [f"page {path}"] if there.get(path) not in [each.get(path) for each in pages] else []
        return found

    def consistent(self) -> None:
        """Every pointer shows what the channel stands at, or, while nobody is done, the release before."""
        stands = self.standing
        commits = (stands.commit, stands.before) if stands else ("",)
        assert self.astray(*commits) == []

    def whole(self, commit: str) -> None:
        """The channel stands at ``commit``, empty: at nothing, and every pointer shows it."""
        stands = self.standing
        assert (stands.commit if stands else "") == commit
        assert self.astray(commit) == []

    def outcome(self) -> dict[str, Any]:
        """Everything that is there in the end, without what tells one run from another."""
        found: dict[str, Any] = {f"tag {tag}": digest for tag, digest in self.tags().items()}
        for path, data in self.objects().items():
            if path.startswith((f"{CHANNEL}/journal/", f"{CHANNEL}/lease.json")):
                continue
            found[path] = hashlib.sha256(data).hexdigest()
            if path == f"{CHANNEL}/{STANDING}":
                found[path] = {**json.loads(data), "run": "", "at": "", "sequence": 0}
        return found

    def keep(self, folder: Path) -> Kept:
        """Everything as it is, to come back to."""
        shutil.copytree(self.folder / "registry", folder)
        return Kept(folder, self.objects(), self.head)

    def come_back(self, kept: Kept) -> None:
        """Let registry, bucket and working tree be as they were; the engine keeps its images."""
        shutil.rmtree(self.folder / "registry")
        shutil.copytree(kept.registry, self.folder / "registry")
        self.place.discard("")
        for path, data in kept.objects.items():
            self.place.write(path, data)
        self.git("checkout", "-q", kept.commit)
        self.forget()

    def clean(self) -> None:
        """Take the images of this stand out of the engine."""
        form = ("--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}")
        listed = subprocess.run(["docker", "images", *form], check=True, capture_output=True, text=True).stdout
        own = []
        for repository, tag, digest in map(str.split, listed.splitlines()):
            if repository.endswith(f"/{self.name}") or repository.startswith(f"{self.registry.host}/"):
                own.append(f"{repository}@{digest}" if tag == "<none>" else f"{repository}:{tag}")
        if own:
            subprocess.run(["docker", "image", "rm", "--force", *own], check=False, capture_output=True)


class Kept(NamedTuple):
    """A world to come back to."""

    registry: Path
    objects: dict[str, bytes]
    commit: str


_WORDS = (
    (r"\d{8}-\d{8}T\d{6}Z-[0-9a-f]{8}", "RUN"),
    (r"(?<![0-9a-f])[0-9a-f]{64}", "SHA"),
    (r"(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])", "COMMIT"),
    (r"-[0-9a-f]{16}\.json", "-KEY.json"),
)


@contextmanager
def standing(folder: Path, root: str, projects: Sequence[str] = PROJECTS) -> Iterator[Stand]:
    """A stand with servers, doors and an empty bucket of its own; ``root`` is an image of busybox."""
    name = f"stand-{secrets.token_hex(4)}"
    with (
        servers(folder) as (registry, store),
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


@contextmanager
def servers(folder: Path) -> Iterator[tuple[int, int]]:
    """A real registry that allows deletion, and a server that speaks S3: their ports."""
    ports = (free_port(), free_port())
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'registry'}}}, delete: {{enabled: true}}}}\n"
        f'http: {{addr: "127.0.0.1:{ports[0]}"}}\n'
    )
    moto = str(Path(sys.executable).with_name("moto_server"))
    commands = (["docker-registry", "serve", str(config)], [moto, "-H", "127.0.0.1", "-p", str(ports[1])])
    with ExitStack() as stack:
        for command, port in zip(commands, ports, strict=True):
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(server.wait)
            stack.callback(server.kill)
            soon(lambda port=port: listens(port), f"{command[0]} does not start")  # type: ignore[misc]
        yield ports
