"""``doctor`` on what a stack is built from, against real servers: git, a registry, HTTP files, keys and packages."""

from __future__ import annotations

import gzip
import http.server
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import Cli, docker
from tests.engine.test_doctor_real import silent
from tests.servers import git_server
from tests.unit.test_doctor_pins import DOCKERFILE, LISTED, STACK

AINIC = "1.2.3-a-4"
GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, nothing logged."""

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A folder, and the URL it is served at."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The URL of a git server with one repository, and the commit before its last one, which no branch names."""
    work = tmp_path / "git/work"
    work.mkdir(parents=True)
    subprocess.run((*GIT, "init", "--quiet"), cwd=work, check=True)
    for number in range(2):
        subprocess.run((*GIT, "commit", "--quiet", "--allow-empty", "-m", str(number)), cwd=work, check=True)
    subprocess.run((*GIT, "clone", "--quiet", "--bare", str(work), str(tmp_path / "git/lib.git")), check=True)
    subprocess.run(("git", "config", "uploadpack.allowFilter", "true"), cwd=tmp_path / "git/lib.git", check=True)
    asked = subprocess.run(("git", "rev-parse", "HEAD~1"), cwd=work, check=True, capture_output=True, text=True)
    with git_server(tmp_path / "git") as url:
        yield f"{url}/lib.git", asked.stdout.strip()


@pytest.fixture
def image(registry: str, busy_root: str) -> tuple[str, str]:
    """An image of a real registry: its reference and digest."""
    name = f"{registry}/far/base:1"
    docker("tag", busy_root, name)
    docker("push", "--quiet", name)
    return name, docker("image", "inspect", "--format", "{{.Id}}", busy_root)


def key(folder: Path) -> str:
    """A new key in ``folder/key.asc``; its fingerprint."""
    home = folder.parent / "gpg"
    home.mkdir(mode=0o700)
    gpg = ("gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback")
    subprocess.run((*gpg, "--quick-generate-key", "signer", "ed25519", "sign", "never"), check=True)
    subprocess.run((*gpg, "--armor", "--output", str(folder / "key.asc"), "--export", "signer"), check=True)
    listing = subprocess.run((*gpg, "--with-colons", "--list-keys"), check=True, capture_output=True, text=True)
    subprocess.run(("gpgconf", "--homedir", str(home), "--kill", "all"), check=False)
    return next(line.split(":")[9] for line in listing.stdout.splitlines() if line.startswith("fpr"))


def packages(folder: Path, **versions: str) -> None:
    """One release of a repository with these packages."""
    place = folder / "dists/jammy/main/binary-amd64"
    place.mkdir(parents=True)
    text = "".join(f"Package: {name}\nVersion: {version}\n\n" for name, version in versions.items())
    (place / "Packages.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "dists/jammy/InRelease").write_bytes(LISTED)


@pytest.fixture
def pins(served: tuple[str, Path], repository: tuple[str, str], image: tuple[str, str]) -> dict[str, str]:
    """A lock of which everything is there."""
    url, folder = served
    fingerprint = key(folder)
    (folder / "tool").write_text("tool")
    packages(folder / "extra")
    packages(folder / "ainic" / AINIC, **{"libionic-dev": "54.0", "ionic-common": "25.11"})
    packages(folder / "bnxt", **{"bnxt-rocelib": "235.1"})
    lock = {
        "EPOCH": "2026-01", "BASE_IMAGE_DIGEST": image[1], "LIB_REPO": repository[0], "LIB_BRANCH": repository[1],
        "TOOL_URL": f"{url}/tool", "TOOL_SHA256": "c" * 64,
        "AINIC_VERSION": AINIC, "BNXT_VERSION": "235.1",
    }  # fmt: skip
    for stem in ("EXTRA", "AINIC", "BNXT"):
        lock |= {f"{stem}_REPO": f"{url}/{stem.lower()}", f"{stem}_SIGNER_URL": f"{url}/key.asc"}
        lock |= {f"{stem}_FINGERPRINT": fingerprint}
    return lock


@pytest.fixture
def doctor(cli: Cli, tmp_path: Path, image: tuple[str, str]) -> Any:
    """Run ``doctor`` with a lock; gives the exit code and the findings about it."""

    def run(lock: Mapping[str, str]) -> tuple[int, dict[tuple[str, str], tuple[str, str]]]:
        recipe = tmp_path / "recipe"
        shutil.rmtree(recipe, ignore_errors=True)
        recipe.mkdir()
        (recipe / "stack.yaml").write_text(STACK.replace("far/base:1", image[0]))
        (recipe / "Dockerfile").write_text(DOCKERFILE.replace("ARG UNUSED_SHA256\n", ""))
        (recipe / "pins.json").write_text(json.dumps(lock))
        done = cli("doctor", "--stack", str(recipe / "stack.yaml"), "--json", check=None, NIC_BACKEND="all")
        groups = {"pins", "commits", "images", "downloads", "keys", "packages"}
        rows = [each for each in done.json["findings"] if each["check"] in groups]
        return done.code, {(row["check"], row["subject"]): (row["state"], row["message"]) for row in rows}

    return run


def test_all_of_it_is_there(doctor: Any, pins: dict[str, str]) -> None:
    code, found = doctor(pins)
    assert code == 0, found
    assert {each[0] for each in found.values()} == {"ok"}
    assert found["commits", ""][1] == found["images", ""][1] == found["downloads", ""][1] == "1 of 1 there"
    assert found["keys", ""][1] == found["packages", ""][1] == "3 of 3 there"


def test_all_of_it_is_gone(doctor: Any, pins: dict[str, str]) -> None:
    """Every kind at once, each told by its name, as absent and not as unknown."""
    gone = {
        "BASE_IMAGE_DIGEST": "sha256:" + "0" * 64, "LIB_BRANCH": "0" * 40, "TOOL_URL": f"{pins['TOOL_URL']}s",
        "EXTRA_FINGERPRINT": "0" * 40, "AINIC_VERSION": "1.2.3-a-5", "BNXT_VERSION": "235.2",
    }  # fmt: skip
    code, found = doctor({**pins, **gone})
    assert code == 2
    failed = {key: each[1] for key, each in found.items() if each[0] == "fail"}
    assert set(failed) == {
        ("images", "BASE_IMAGE_DIGEST"), ("commits", "LIB_BRANCH"), ("downloads", "TOOL_SHA256"),
        ("keys", "EXTRA_FINGERPRINT"), ("packages", "AINIC_VERSION"), ("packages", "BNXT_VERSION"),
    }  # fmt: skip
    assert "bnxt-rocelib=235.2 (it has 235.1)" in failed["packages", "BNXT_VERSION"]
    assert "could not tell" not in str(failed)


def test_servers_that_say_nothing(doctor: Any, pins: dict[str, str]) -> None:
    """A socket that accepts and is silent, for git and for files at once: told as unknown, and it ends."""
    with silent(socket.AF_INET, ("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        lost = {"LIB_REPO": f"git://127.0.0.1:{port}/lib.git", "TOOL_URL": f"http://127.0.0.1:{port}/tool"}
        code, found = doctor({**pins, **lost})
    assert code == 4
    failed = {key: each[1] for key, each in found.items() if each[0] == "fail"}
    assert set(failed) == {("commits", f"127.0.0.1:{port}"), ("downloads", f"127.0.0.1:{port}")}
    assert all(message.startswith("could not tell: ") for message in failed.values())


def test_servers_that_are_not_there(doctor: Any, pins: dict[str, str]) -> None:
    nowhere = "127.0.0.1:9"
    lost = {"LIB_REPO": f"git://{nowhere}/lib.git", "TOOL_URL": f"http://{nowhere}/tool"}
    code, found = doctor({**pins, **lost, "EXTRA_REPO": f"http://{nowhere}/apt"})
    assert code == 4
    assert {key for key, each in found.items() if each[0] == "fail"} == {
        ("commits", nowhere), ("downloads", nowhere), ("packages", nowhere),
    }  # fmt: skip
