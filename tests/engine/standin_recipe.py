"""The recipe of the vllm stack on stand-ins: Dockerfile.rocm as it is, over a base image made in a moment.

Nothing of it is faked but what cannot be had here: the vendor's image, the sources, what Rust's installer brings.
Distribution packages come with the base image once; further down, apt is asked for nothing.
"""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import re
import shutil
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from ci.recipe.pins import MARK
from ci.recipe.stack import HOME
from tests.engine import standins
from tests.engine.own import FAMILY

PINNED = {"DIGEST": f"sha256:{'c' * 64}", "SHA256": "d" * 64, "FINGERPRINT": "E" * 40, "URL": "https://host.invalid/x"}


@dataclass(frozen=True)
class Recipe:
    """The stack file, and a folder for each source."""

    stack: Path
    sources: dict[str, Path]

    @property
    def words(self) -> tuple[str, ...]:
        """The options that choose it."""
        given = (f"{name}={path}" for name, path in self.sources.items())
        return ("--stack", str(self.stack), *(word for each in given for word in ("--source", each)), "--json")

    def without(self, name: str) -> Recipe:
        """The same, that source not given."""
        return Recipe(self.stack, {key: path for key, path in self.sources.items() if key != name})


def entry(lock: str, name: str) -> str:
    """What a hash lock says of one distribution."""
    return next(each for each in re.split(r"(?m)^(?=[a-z0-9])", lock) if each.startswith(f"{name}=="))


def served(folder: Path) -> dict[str, bytes]:
    """What is downloaded: a stand-in for rustup, and for the archive of protoc."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("bin/protoc", "#!/bin/sh\necho protoc stand-in\n")
        made.writestr("include/google/protobuf/any.proto", "")
    files = {"rustup": standins.RUSTUP.encode(), "protoc": archive.getvalue()}
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return files


@contextmanager
def recipe(folder: Path, toolchain: str, digest: str, repository: str = f"{FAMILY}/vllm") -> Iterator[Recipe]:
    """The recipe below ``folder``, for the image ``toolchain`` of ``digest``; downloads are served meanwhile."""
    home = folder / "docker"
    shutil.copytree(HOME, home)
    downloads = served(folder / "served")
    handler = partial(_Quiet, directory=str(folder / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        _pin(home / "pins.json", f"http://127.0.0.1:{server.server_port}", downloads, digest)
        _shorten(home)
        standins.family(home / "family")
        (home / "Dockerfile.rocm_base").write_text(standins.base_dockerfile())
        stack = yaml.safe_load((home / "stacks/vllm.yaml").read_text())
        stack.pop("contracts", None)  # stand-ins are smaller than anything real may be
        stack["repository"] = repository
        stack["roots"]["rocm-dev"]["image"] = toolchain
        stack["args"]["UBUNTU_CODENAME"] |= {"default": "forky", "allowed": ["forky"]}
        (home / "stacks/vllm.yaml").write_text(yaml.safe_dump(stack, sort_keys=False))
        yield Recipe(home / "stacks/vllm.yaml", standins.sources(folder / "sources"))
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def _pin(path: Path, url: str, downloads: dict[str, bytes], digest: str) -> None:
    pins = json.loads(path.read_text())
    for name, value in pins.items():
        if value.startswith(MARK):
            pins[name] = PINNED.get(name.rpartition("_")[2], "a" * 40)
    for name, data in downloads.items():
        pins[f"{name.upper()}_URL"] = f"{url}/{name}"
        pins[f"{name.upper()}_SHA256"] = hashlib.sha256(data).hexdigest()
    pins["BASE_IMAGE_DIGEST"] = digest
    path.write_text(json.dumps(pins, indent=2))


def _shorten(home: Path) -> None:
    """Locks of a distribution or two, and an apt that is content with what the base image has."""
    tools = (home / "requirements/rocm-tools.txt").read_text()
    tests = (home / "requirements/rocm-test.txt").read_text()
    used = ("iniconfig", "pluggy", "pygments", "pytest", "uv")
    (home / "requirements/rocm-test.txt").write_text("".join(entry(tests, name) for name in used))
    for name in ("rocm-rust", "rocm-runtime", "rocm-lmcache"):
        (home / f"requirements/{name}.txt").write_text(entry(tools, "tomlkit"))
    (home / "requirements/rocm-tools.txt").write_text(entry(tools, "auditwheel") + entry(tools, "pyelftools"))
    (home / "scripts/sdist-install.sh").write_text("exit 0\n")
    shutil.copy(home / "scripts/apt-install.sh", home / "scripts/apt-real.sh")
    (home / "scripts/apt-install.sh").write_text('echo "left out: $*"\n')
