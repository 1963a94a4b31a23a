"""The life of a channel of the local stack, for real: engine, registry, S3, compiler, vLLM, pip and uv."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from ci.world.bucket import Bucket
from tests.engine.conftest import ROOT, Cli, Ran, docker

REPOSITORY = "rocm-ci/local"


@dataclass
class Clone:
    """A clone of this repository, clean, that a test may commit to."""

    root: Path

    @property
    def stack(self) -> str:
        return str(self.root / "docker" / "stacks" / "local.yaml")

    def git(self, *words: str) -> str:
        name = ("-c", "user.name=A Test", "-c", "user.email=test@localhost")
        done = subprocess.run(("git", *name, *words), cwd=self.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.root / path
        text = file.read_text()
        assert old in text, path
        file.write_text(text.replace(old, new))

    def commit(self, subject: str) -> str:
        self.git("commit", "--quiet", "--all", "--message", subject)
        return self.head


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """What is committed here, and, where this checkout has changes, a commit of them on top."""
    made = Clone(tmp_path / "clone")
    subprocess.run(("git", "clone", "--quiet", str(ROOT), str(made.root)), check=True)
    changes = subprocess.run(("git", "diff", "HEAD", "--binary"), cwd=ROOT, capture_output=True, check=True).stdout
    if changes:
        subprocess.run(("git", "apply", "--index", "-"), cwd=made.root, input=changes, check=True)
        made.commit("What this checkout has not committed")
    for tag in made.git("tag", "--list", "rocm-probe-v*").split():
        made.git("tag", "--delete", tag)
    return made


@pytest.fixture
def places(registry: str, bucket: str, endpoint: str) -> tuple[str, str, str]:
    """A registry, a bucket, and the server of the bucket."""
    return registry, bucket, endpoint


@pytest.fixture
def release(cli: Cli, clone: Clone, places: tuple[str, str, str], access: Mapping[str, str]) -> Callable[..., Ran]:
    """A verb of the release, in the clone, with its places."""
    registry, bucket, _ = places

    def verb(*words: str, check: int | None = 0, store: str = bucket, **environ: str) -> Ran:
        places = ("--stack", clone.stack, "--registry", registry, "--store", store, "--json")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return cli(*words, *places, check=check, cwd=clone.root, **{**access, "PATH": path, **environ})

    return verb


def tags(registry: str) -> dict[str, str]:
    """Every tag of a release and its digest."""
    with urllib.request.urlopen(f"http://{registry}/v2/{REPOSITORY}/tags/list") as answer:
        names = json.load(answer)["tags"] or []
    found = {}
    for name in names:
        if "-v1-" not in name and not name.startswith("sha256-"):
            found[name] = digest(registry, name)
    return found


def digest(registry: str, tag: str) -> str:
    url = f"http://{registry}/v2/{REPOSITORY}/manifests/{tag}"
    kinds = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
    request = urllib.request.Request(url, headers={"Accept": kinds}, method="HEAD")
    with urllib.request.urlopen(request) as answer:
        return str(answer.headers["Docker-Content-Digest"])


@contextmanager
def served(bucket: str) -> Iterator[str]:
    """The bucket as a web server in front of it shows it, with index pages."""
    store = Bucket.at(bucket)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path + "index.html" if self.path.endswith("/") else self.path
            body = store.read(unquote(path.lstrip("/")))
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if path.endswith(".html") else "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def let_everybody_read(bucket: str, endpoint: str) -> None:
    """As buckets of public wheels are: moto refuses whoever does not sign, unless an ACL lets them."""
    name, _, prefix = bucket.removeprefix("s3://").partition("/")
    for path in ("", *(f"/{prefix}/{key}" for key in everything(bucket))):
        url = f"{endpoint}/{name}{quote(path)}?acl"
        request = urllib.request.Request(
            url, headers={"x-amz-acl": "public-read", "Authorization": "AWS test:test"}, method="PUT"
        )
        urllib.request.urlopen(request).read()


def installed(folder: Path, index: str, requirement: str, *, uv: bool) -> str:
    """The version that pip or uv installs from ``index`` alone into a new environment."""
    python = folder / "bin" / "python"
    subprocess.run((sys.executable, "-m", "venv", str(folder)), check=True)
    if uv:
        words = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--python", str(python)]
        words += ["--no-deps", "--index-url", index, requirement]
    else:
        words = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--index-url", index, requirement]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    environ |= {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    asked = "import importlib.metadata as m; print(m.version('rocm-probe'))"
    return subprocess.run((str(python), "-c", asked), capture_output=True, text=True, check=True).stdout.strip()


def standing(bucket: str, channel: str = "nightly") -> dict[str, Any]:
    data = Bucket.at(bucket).read(f"{channel}/standing.json")
    assert data is not None
    document: dict[str, Any] = json.loads(data)
    return document


def everything(bucket: str) -> dict[str, str]:
    return {each.path: each.mark for each in Bucket.at(bucket).below("")}


def listed(bucket: str, channel: str = "nightly") -> list[str]:
    data = Bucket.at(bucket).read(f"{channel}/simple/rocm-probe/index.json")
    assert data is not None
    versions: list[str] = json.loads(data)["versions"]
    return versions


@dataclass(frozen=True)
class Life:
    """A channel and everything around it."""

    release: Callable[..., Ran]
    clone: Clone
    registry: str
    bucket: str
    endpoint: str
    folder: Path

    def digest(self, tag: str) -> str:
        return digest(self.registry, tag)

    @property
    def tags(self) -> dict[str, str]:
        return tags(self.registry)


@pytest.fixture
def life(release: Callable[..., Ran], clone: Clone, places: tuple[str, str, str], tmp_path: Path) -> Life:
    return Life(release, clone, *places, tmp_path)


def test_the_life_of_a_channel(life: Life) -> None:
    """Each part goes on where the one before ended."""
    a_plan_writes_nothing(life)
    made = the_first_nightly(life)
    once_more_is_nothing(life, made)
    into_a_plain_folder(life, made)
    second = a_second_one_after_a_change(life, made)
    back_again(life, made)
    third = a_release_from_its_tag(life, second)
    what_is_old_goes(life, second, third)


def a_plan_writes_nothing(life: Life) -> None:
    planned = life.release("release-nightly", "--plan").json
    there = f"image:{life.registry}/{REPOSITORY}"
    assert {each["pointer"] for each in planned["moves"]} == {
        f"{there}:nightly",
        f"{there}:base-nightly",
        "index:nightly",
    }
    assert everything(life.bucket) == {}


def the_first_nightly(life: Life) -> dict[str, Any]:
    commit = life.clone.head
    made = life.release("release-nightly").json
    assert (made["outcome"], made["commit"], made["already"]) == ("ok", commit, False)
    main, base = (made_digest(made, image) for image in ("main", "base"))
    assert life.tags == {
        "nightly": main, f"nightly-{commit}": main, "base-nightly": base, f"base-nightly-{commit}": base,
    }  # fmt: skip
    assert [row["suite"] for row in made["suites"]] == ["rocm-tests"]
    assert made["suites"][0]["run"] >= 4
    docker("pull", f"{life.registry}/{REPOSITORY}@{life.digest('nightly')}")
    with served(life.bucket) as url:
        for number, index in enumerate((f"{url}/nightly/simple/", f"{url}/nightly/{commit}/simple/")):
            wanted = f"rocm-probe=={made['version']}"
            assert installed(life.folder / f"venv{number}", index, wanted, uv=bool(number)) == made["version"]
    return made


def once_more_is_nothing(life: Life, made: Mapping[str, Any]) -> None:
    with damaged(life, made):
        life.release("release-nightly", check=3)
    before = everything(life.bucket)
    assert life.release("release-nightly").json["already"] is True
    after = everything(life.bucket)
    assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} <= {
        "nightly/lease.json"
    }


@contextmanager
def damaged(life: Life, made: Mapping[str, Any]) -> Iterator[None]:
    """One byte of the release's wheel is another one meanwhile."""
    store = Bucket.at(life.bucket)
    path = next(each.path for each in store.below(f"nightly/{made['commit']}") if each.path.endswith(".whl"))
    data = store.read(path)
    assert data is not None
    store.write(path, data[:-1] + bytes([data[-1] ^ 1]))
    yield
    store.write(path, data)


def into_a_plain_folder(life: Life, made: Mapping[str, Any]) -> None:
    """The same commit in another channel, whose wheels lie in a folder."""
    store = life.folder / "store"
    store.mkdir()
    dev = life.release("release-nightly", "--channel", "dev", store=str(store)).json
    assert (dev["outcome"], dev["commit"], dev["version"]) == ("ok", made["commit"], made["version"])
    assert life.digest("dev") == life.digest("nightly")
    index = (store / "dev").as_uri() + "/simple/"
    assert installed(life.folder / "venv-folder", index, f"rocm-probe=={dev['version']}", uv=False) == dev["version"]


def a_second_one_after_a_change(life: Life, made: Mapping[str, Any]) -> str:
    """The change also takes the slow step out of the suite."""
    clone = life.clone
    clone.edit("kernels/pyproject.toml", "Small HIP kernels", "Little HIP kernels")
    clone.edit("docker/suites/local.yaml", "steps: [smoke, shutdown, probe]", "steps: [smoke, probe]")
    clone.edit("docker/channels/local.yaml", "rocm-tests: {at_least: 4}", "rocm-tests: {at_least: 3}")
    second = clone.commit("Call the kernels little | and `small`")
    newer = life.release("release-nightly").json
    assert newer["changes"]["since"] == made["commit"]
    assert [each["subject"] for each in newer["changes"]["commits"]] == ["Call the kernels little | and `small`"]
    assert newer["version"] != made["version"]
    assert listed(life.bucket) == [newer["version"]]
    assert standing(life.bucket)["commit"] == second
    return second


def back_again(life: Life, made: Mapping[str, Any]) -> None:
    """Images and wheels go back together, and what was taken back does not return by itself."""
    with damaged(life, made):
        life.release("rollback", "--to", made["commit"][:10], check=3)
    life.release("rollback", "--to", made["commit"][:10], "--channel", "", check=2)
    back = life.release("rollback", "--to", made["commit"][:10]).json
    assert back["commit"] == made["commit"]
    assert listed(life.bucket) == [made["version"]]
    assert life.digest("nightly") == made_digest(made, "main")
    life.release("release-nightly", check=5)
    let_everybody_read(life.bucket, life.endpoint)
    assert life.release("release-status", "--channel", "nightly").json["outcome"] == "ok"


def a_release_from_its_tag(life: Life, second: str) -> str:
    life.release("promote", second[:10], "--to", "release", check=3)
    life.clone.edit("kernels/pyproject.toml", "Little HIP kernels", "Small HIP kernels")
    life.clone.edit("docker/channels/local.yaml", "retain: {keep: 14, days: 14}", "retain: {keep: 1, days: 0}")
    third = life.clone.commit("Release rocm-probe 0.1.0")
    life.clone.git("tag", "rocm-probe-v0.1.0")
    tagged = life.release("release-nightly").json
    assert "dev" not in tagged["version"]
    promoted = life.release("promote", tagged["version"], "--to", "release").json
    assert (promoted["commit"], promoted["version"]) == (third, tagged["version"])
    assert life.digest("latest") == life.digest("v0.1.0") == life.digest("nightly")
    assert listed(life.bucket, "release") == [tagged["version"]]
    return third


def what_is_old_goes(life: Life, second: str, third: str) -> None:
    """And takes nothing with it: all these images have one digest."""
    assert f"nightly-{second}" in json.dumps(life.release("retain").json["goes"])
    assert f"nightly-{second}" in life.tags
    life.release("retain", "--apply")
    left = life.tags
    assert f"nightly-{second}" not in left
    assert {"nightly", f"nightly-{third}", "latest", "v0.1.0", "base-latest", "base-v0.1.0"} <= left.keys()
    docker("pull", f"{life.registry}/{REPOSITORY}@{left['v0.1.0']}")
    let_everybody_read(life.bucket, life.endpoint)
    assert life.release("release-status").json["outcome"] == "ok"


def made_digest(document: Mapping[str, Any], image: str) -> str:
    """The digest of an image of a release, by its name."""
    front = "" if image == "main" else f"{image}-"
    tag = f":{front}{document['channel']}-{document['commit']}"
    found: str = next(value for name, value in document["images"].items() if name.endswith(tag))
    return found
