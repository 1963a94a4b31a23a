"""The life of a channel of the local stack, for real: engine, registry, S3, compiler, vLLM, pip and uv."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

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
def release(cli: Cli, clone: Clone, registry: str, bucket: str, access: Mapping[str, str]) -> Callable[..., Ran]:
    """A verb of the release, in the clone, with its places."""

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
def served(bucket: str, endpoint: str) -> Iterator[str]:
    """The bucket as a web server with index pages would show it."""
    base = f"{endpoint}/{bucket.removeprefix('s3://')}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path + "index.html" if self.path.endswith("/") else self.path
            try:
                with urllib.request.urlopen(base + path.replace("+", "%2B")) as answer:
                    body, kind = answer.read(), answer.headers["Content-Type"]
            except urllib.error.HTTPError as error:
                self.send_error(error.code)
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
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


def test_the_life_of_a_channel(
    release: Callable[..., Ran], clone: Clone, registry: str, bucket: str, endpoint: str, tmp_path: Path
) -> None:
    # --- a plan writes nothing -----------------------------------------------------------------
    planned = release("release-nightly", "--plan")
    assert {each["pointer"] for each in planned.json["moves"]} == {
        f"image:{registry}/{REPOSITORY}:nightly",
        f"image:{registry}/{REPOSITORY}:base-nightly",
        "index:nightly",
    }
    assert everything(bucket) == {}

    # --- the first nightly ---------------------------------------------------------------------
    first = clone.head
    made = release("release-nightly").json
    assert (made["outcome"], made["commit"], made["already"]) == ("ok", first, False)
    assert tags(registry) == {
        "nightly": made_digest(made, "main"),
        f"nightly-{first}": made_digest(made, "main"),
        "base-nightly": made_digest(made, "base"),
        f"base-nightly-{first}": made_digest(made, "base"),
    }
    assert [row["suite"] for row in made["suites"]] == ["rocm-tests"]
    assert made["suites"][0]["run"] >= 4
    docker("pull", f"{registry}/{REPOSITORY}@{digest(registry, 'nightly')}")
    with served(bucket, endpoint) as url:
        for number, index in enumerate((f"{url}/nightly/simple/", f"{url}/nightly/{first}/simple/")):
            version = installed(tmp_path / f"venv{number}", index, f"rocm-probe=={made['version']}", uv=bool(number))
            assert version == made["version"]

    # --- run again: it says it is done ---------------------------------------------------------
    before = everything(bucket)
    again = release("release-nightly").json
    assert again["already"] is True
    assert {path for path, mark in everything(bucket).items() if before.get(path) != mark} == set()

    # --- a second one after a change of the source ---------------------------------------------
    clone.edit("kernels/pyproject.toml", "Small HIP kernels", "Little HIP kernels")
    clone.edit("docker/suites/local.yaml", "steps: [smoke, shutdown, probe]", "steps: [smoke, probe]")
    clone.edit("docker/channels/local.yaml", "rocm-tests: {at_least: 4}", "rocm-tests: {at_least: 3}")
    second = clone.commit("Call the kernels little | and `small`")
    newer = release("release-nightly").json
    assert newer["changes"]["since"] == first
    assert [each["subject"] for each in newer["changes"]["commits"]] == ["Call the kernels little | and `small`"]
    assert newer["version"] != made["version"]
    assert listed(bucket) == [newer["version"]]
    assert standing(bucket)["commit"] == second

    # --- back, images and wheels together ------------------------------------------------------
    back = release("rollback", "--to", first[:10]).json
    assert back["commit"] == first
    assert listed(bucket) == [made["version"]]
    assert digest(registry, "nightly") == made_digest(made, "main")
    assert release("release-nightly", check=5).json["outcome"] == "superseded"
    assert release("release-status").json["outcome"] == "ok"

    # --- a release, from the tag of its version ------------------------------------------------
    assert release("promote", second[:10], "--to", "release", check=3).json["outcome"] == "contract"
    clone.edit("kernels/pyproject.toml", "Little HIP kernels", "Small HIP kernels")
    clone.edit("docker/channels/local.yaml", "retain: {keep: 14, days: 14}", "retain: {keep: 1, days: 0}")
    third = clone.commit("Release rocm-probe 0.1.0")
    clone.git("tag", "rocm-probe-v0.1.0")
    tagged = release("release-nightly").json
    assert "dev" not in tagged["version"]
    promoted = release("promote", tagged["version"], "--to", "release").json
    assert (promoted["commit"], promoted["version"]) == (third, tagged["version"])
    assert digest(registry, "latest") == digest(registry, "v0.1.0") == digest(registry, "nightly")
    assert listed(bucket, "release") == [tagged["version"]]

    # --- what is old goes, and takes nothing with it -------------------------------------------
    shown = release("retain").json
    assert f"nightly-{second}" in json.dumps(shown)
    assert f"nightly-{second}" in tags(registry)
    release("retain", "--apply")
    left = tags(registry)
    assert f"nightly-{second}" not in left
    assert {"nightly", f"nightly-{third}", "latest", "v0.1.0", "base-latest", "base-v0.1.0"} <= left.keys()
    docker("pull", f"{registry}/{REPOSITORY}@{left['v0.1.0']}")
    assert release("release-status").json["outcome"] == "ok"


def test_a_nightly_into_a_plain_folder(release: Callable[..., Ran], clone: Clone, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    made = release("release-nightly", "--channel", "dev", store=str(store)).json
    assert (made["outcome"], made["commit"]) == ("ok", clone.head)
    index = (store / "dev").as_uri() + "/simple/"
    assert installed(tmp_path / "venv", index, f"rocm-probe=={made['version']}", uv=False) == made["version"]


def made_digest(document: Mapping[str, Any], image: str) -> str:
    """The digest of an image of a release, by its name."""
    front = "" if image == "main" else f"{image}-"
    tag = f":{front}{document['channel']}-{document['commit']}"
    return next(value for name, value in document["images"].items() if name.endswith(tag))
