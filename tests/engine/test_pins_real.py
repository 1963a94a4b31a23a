"""The lock against upstreams that are really there: a git server, a registry, a web server with a file and a key."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests import recipes
from tests.engine.conftest import Cli
from tests.servers import git_server

DOCKERFILE = (
    recipes.DOCKERFILE
    + """
FROM ${CI_BASE_IMAGE} AS native
ARG TOOL_REPO
ARG TOOL_BRANCH
ARG KEY_FINGERPRINT
RUN echo ${TOOL_REPO} ${TOOL_BRANCH} ${KEY_FINGERPRINT}
"""
)
STACK = (
    recipes.STACK.replace("busy:1}", "busy:1, digest: BUSY_DIGEST}")
    + """\
components:
  native: {dockerfile: Dockerfile.tiny, target: native, base: CI_BASE_IMAGE}
"""
)
UPSTREAMS = "schema: 1\npins:\n  TOOL_BRANCH: {follows: main}\n  OTHER_COMMIT: {follows: v1, of: TOOL_REPO}\n"


def git(*words: str | Path, **environ: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false")
    argv = ("git", *who, *map(str, words))
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env={**os.environ, **environ})
    return done.stdout.strip()


def gpg(home: Path, *words: str) -> str:
    argv = ("gpg", "--homedir", str(home), "--batch", "--quiet", *words)
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class World:
    """Upstreams and a recipe that follows them; ``pins`` runs the verb, ``lock`` is what stands in the file."""

    folder: Path
    cli: Cli
    stack: Path
    keys: tuple[str, ...]
    registry: str
    image: str

    @property
    def lock(self) -> dict[str, str]:
        pins: dict[str, str] = json.loads((self.stack.parent / "pins.json").read_text())
        return pins

    @property
    def tool(self) -> Path:
        """The repository that is served."""
        return self.folder / "served" / "tool.git"

    def pins(self, *words: str, check: int = 0) -> dict[str, Any]:
        given = ("--stack", str(self.stack), "--json")
        return self.cli("pins", *given, *words, check=check).json

    def update(self, name: str, *words: str) -> dict[str, Any]:
        source = ("--source", f"src={self.folder / 'src'}")
        return self.pins("--update", name, *source, *words)

    def refused(self, name: str, *words: str, code: int) -> str:
        before = (self.stack.parent / "pins.json").read_bytes()
        source = ("--source", f"src={self.folder / 'src'}")
        document = self.pins("--update", name, *source, *words, check=code)
        assert (self.stack.parent / "pins.json").read_bytes() == before
        return str(document["problems"][0]["reference"])

    def drift(self, check: int = 0) -> dict[str, dict[str, str]]:
        return {row["name"]: row["drift"] for row in self.pins("--drift", check=check)["pins"]}

    def commit(self, text: str) -> str:
        """Another commit on main."""
        (self.tool / "file").write_text(text)
        git("-C", self.tool, "add", "file")
        git("-C", self.tool, "commit", "--quiet", "--message", text)
        return git("-C", self.tool, "rev-parse", "HEAD")

    def push(self, text: str) -> str:
        """Let the tag name another manifest; gives its digest."""
        return put_manifest(self.image, text)

    def serve_key(self, *which: int) -> None:
        names = [self.keys[index] for index in which]
        (self.folder / "web" / "key.asc").write_text(gpg(self.folder / "gpg", "--armor", "--export", *names))


def put_manifest(image: str, text: str) -> str:
    body = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [],
        "annotations": {"text": text},
    }).encode()  # fmt: skip
    host, _, rest = image.partition("/")
    name, _, tag = rest.rpartition(":")
    headers = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
    url = f"http://{host}/v2/{name}/manifests/{tag}"
    urllib.request.urlopen(urllib.request.Request(url, body, headers, method="PUT")).read()
    return "sha256:" + hashlib.sha256(body).hexdigest()


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Two keys, and their fingerprints; the second has a subkey, which is none of them."""
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    found = []
    for name in ("one", "two"):
        words = ("--passphrase", "", "--quick-generate-key", f"{name} <{name}@example.invalid>", "ed25519", "sign")
        gpg(home, *words)
        rows = [line.split(":") for line in gpg(home, "--with-colons", "--list-keys", name).splitlines()]
        found.append(next(row[9] for row in rows if row[0] == "fpr"))
    gpg(home, "--passphrase", "", "--quick-add-key", found[1], "ed25519", "sign")
    yield home, tuple(found)
    subprocess.run(("gpgconf", "--homedir", str(home), "--kill", "all"), check=False)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_words: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def world(cli: Cli, tmp_path: Path, registry: str, keyring: tuple[Path, tuple[str, ...]]) -> Iterator[World]:
    home, keys = keyring
    (tmp_path / "web").mkdir()
    (tmp_path / "gpg").symlink_to(home)
    (tmp_path / "web" / "file").write_bytes(b"first")
    tool = tmp_path / "served" / "tool.git"
    git("init", "--quiet", "--initial-branch=main", tool)
    git("-C", tool, "config", "uploadpack.allowFilter", "true")
    image = f"{registry}/vendor/busy:1"
    stack = recipes.write(tmp_path, DOCKERFILE, STACK.replace("rocm-ci-test/busy:1", image))
    (stack.parent / "upstreams.yaml").write_text(UPSTREAMS)
    with git_server(tool.parent) as repositories, web_server(tmp_path / "web") as web:
        lock = {
            "EPOCH": "2026-W01", "LEVEL": "1", "BUSY_DIGEST": f"unresolved:{image}",
            "TOOL_REPO": f"{repositories}/tool.git", "TOOL_BRANCH": "unresolved:main",
            "OTHER_COMMIT": "unresolved:v1", "FILE_URL": f"{web}/file", "FILE_SHA256": f"unresolved:{web}/file",
            "KEY_SIGNER_URL": f"{web}/key.asc", "KEY_FINGERPRINT": f"unresolved:{web}/key.asc",
        }  # fmt: skip
        (stack.parent / "pins.json").write_text(json.dumps(lock, indent=2) + "\n")
        made = World(tmp_path, cli, stack, keys, registry, image)
        made.commit("one")
        git("-C", tool, "tag", "--annotate", "--message", "one", "v1")
        made.push("one")
        made.serve_key(0)
        yield made


def test_each_kind_is_resolved_and_only_that_pin_moves(world: World) -> None:
    wanted = {
        "TOOL_BRANCH": git("-C", world.tool, "rev-parse", "main"),
        "OTHER_COMMIT": git("-C", world.tool, "rev-parse", "v1^{commit}"),
        "BUSY_DIGEST": world.push("one"),
        "FILE_SHA256": hashlib.sha256(b"first").hexdigest(),
        "KEY_FINGERPRINT": world.keys[0],
    }
    reached = {
        "TOOL_BRANCH": {"native"}, "OTHER_COMMIT": set(), "BUSY_DIGEST": {"base", "ci-base", "test"},
        "FILE_SHA256": set(), "KEY_FINGERPRINT": {"native"},
    }  # fmt: skip
    for name, value in wanted.items():
        before = world.lock
        planned = world.update(name, "--plan")
        assert (world.lock, planned["written"]) == (before, None), "a plan writes nothing"
        answer = world.update(name)
        assert world.lock == before | {name: value}
        assert list(world.lock) == list(before)
        assert answer["before"].startswith("unresolved:")
        assert {each["name"] for each in answer["rebuilds"]} == reached[name]
        assert {**answer, "written": None} == planned, "the plan is what was done"
    assert not world.update("TOOL_BRANCH")["changed"]


def test_drift_is_current_moved_gone_or_could_not_be_told(world: World) -> None:
    names = ("TOOL_BRANCH", "OTHER_COMMIT", "BUSY_DIGEST", "FILE_SHA256", "KEY_FINGERPRINT")
    first = world.drift()
    assert {first[name]["state"] for name in names} == {"unresolved"}
    assert first["KEY_FINGERPRINT"]["found"] == world.keys[0]
    for name in names:
        world.update(name)
    assert {name: row["state"] for name, row in world.drift().items() if name in names} == dict.fromkeys(
        names, "current"
    )
    moved = {"TOOL_BRANCH": world.commit("two"), "BUSY_DIGEST": world.push("two"), "KEY_FINGERPRINT": world.keys[1]}
    git("-C", world.tool, "tag", "--delete", "v1")
    world.serve_key(1)
    (world.folder / "web" / "file").write_bytes(b"second")
    found = world.drift()
    assert {name: found[name]["found"] for name in moved} == moved
    assert [found[name]["state"] for name in names] == ["moved", "gone", "moved", "moved", "moved"]
    lock = world.stack.parent / "pins.json"
    lock.write_text(lock.read_text().replace(world.lock["TOOL_REPO"], "git://127.0.0.1:9/tool.git"))
    lost = world.drift(check=4)
    assert [lost[name]["state"] for name in names[:3]] == ["unknown", "unknown", "moved"]


def test_what_cannot_be_resolved_leaves_the_lock_as_it_was(world: World) -> None:
    world.serve_key(0, 1)
    assert world.refused("KEY_FINGERPRINT", code=2) == "several-keys"
    (world.folder / "web" / "key.asc").write_text("<html>not here</html>\n")
    assert world.refused("KEY_FINGERPRINT", code=2) == "no-key"
    (world.folder / "web" / "file").unlink()
    assert world.refused("FILE_SHA256", code=2) == "no-such-ref"
    git("-C", world.tool, "branch", "--move", "main", "trunk")
    assert world.refused("TOOL_BRANCH", code=2) == "no-such-ref"
    assert world.refused("TOOL_BRANCH", "--to", "trunk", code=2) == "loose-pin"
    assert world.refused("LEVEL", code=2) == "follows-nothing"
    shutil.rmtree(world.tool)
    assert world.refused("TOOL_BRANCH", code=4) == "unreachable"
    world.update("FILE_URL", "--to", "http://127.0.0.1:9/file")
    assert world.refused("FILE_SHA256", code=4) == "unreachable"
    assert world.cli("pins", "--plan", check=2).stderr.startswith("error: --plan needs --update")


def test_a_short_commit_is_looked_up_in_a_copy_of_all_commits(world: World) -> None:
    old = git("-C", world.tool, "rev-parse", "HEAD")
    world.commit("two")
    table, lock = world.stack.parent / "upstreams.yaml", world.stack.parent / "pins.json"
    table.write_text(table.read_text().replace("follows: main", "chosen: by a person"))
    lock.write_text(lock.read_text().replace("unresolved:main", "unresolved:0123456789"))
    assert world.refused("TOOL_BRANCH", code=2) == "no-such-ref"
    assert world.drift()["TOOL_BRANCH"]["state"] == "unresolved", "no copy is made to look"
    lock.write_text(lock.read_text().replace("0123456789", old[:9]))
    assert world.update("TOOL_BRANCH")["after"] == old
    assert world.drift()["TOOL_BRANCH"]["state"] == "follows nothing"
    assert world.refused("TOOL_BRANCH", code=2) == "follows-nothing"


def test_the_age_is_that_of_the_line_in_git(world: World) -> None:
    ages = {row["name"]: row["age_days"] for row in world.pins()["pins"]}
    assert set(ages.values()) == {None}, "outside of git nobody knows"
    recipe = world.stack.parent

    def committed(days: int) -> str:
        moment = (datetime.now(UTC) - timedelta(days=days, hours=1)).isoformat()
        git("-C", recipe, "add", "--all")
        git("-C", recipe, "commit", "--quiet", "--message", "x", GIT_COMMITTER_DATE=moment, GIT_AUTHOR_DATE=moment)
        return git("-C", recipe, "rev-parse", "HEAD")

    git("init", "--quiet", recipe)
    committed(40)
    world.update("LEVEL", "--to", "2")
    second = committed(7)
    world.update("EPOCH", "--to", "2026-W47")
    rows = {row["name"]: row for row in world.pins()["pins"]}
    assert [rows[name]["age_days"] for name in ("TOOL_REPO", "LEVEL", "EPOCH")] == [40, 7, None]
    assert rows["LEVEL"]["changed_by"] == second
    assert "not committed" in world.cli("pins", "--stack", str(world.stack)).stdout
    git("clone", "--quiet", "--depth", "1", recipe.as_uri(), world.folder / "clone" / "recipe")
    answer = world.cli("pins", "--stack", str(world.folder / "clone/recipe/tiny.yaml"), "--json").json
    ages = {row["name"]: row["age_days"] for row in answer["pins"]}
    assert set(ages.values()) == {None}, "the edge of a shallow history changed nothing"
