"""Caches and attestations on a real engine and a real registry: read on another host, and never what decides."""

from __future__ import annotations

import json
import secrets
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ci.build import bake
from ci.build.cache_look import look
from ci.build.cache_refs import Ref, Shelf
from ci.build.events import StepDone
from ci.build.progress import Progress
from ci.world.bucket import Bucket
from ci.world.clock import SystemClock
from tests.engine.conftest import Cli, Ran, docker
from tests.engine.own import FAMILY, own
from tests.faults.front import Front, front
from tests.images import listed
from tests.unit.registry_replies import API, JSON, Reply, errors

DOCKERFILE = """\
ARG ROOT=busybox
FROM ${ROOT} AS native
COPY native.txt /opt/MARK-native
RUN cat /opt/MARK-native; dd if=/dev/urandom of=/opt/MARK-made bs=1k count=16

FROM ${ROOT} AS base
COPY --from=native /opt/MARK-made /opt/MARK-made
COPY late.txt /opt/MARK-late
RUN cat /opt/MARK-late > /opt/MARK-copy
"""

STACK = """\
schema: 1
name: tiny
summary: a tier with a component that has a cache of its own
repository: rocm-ci-test/MARK
platform: linux/amd64
caches:
  backends: [registry, folder]
  sources: [content, "component:native", branch, upstream]
  upstream: main
components:
  native: {dockerfile: Dockerfile.tiny, target: native, base: ROOT}
roots:
  MARK: {image: "IMAGE"}
tiers:
  base: {dockerfile: Dockerfile.tiny, target: base, parents: {ROOT: MARK}}
"""

CI = {"BUILDKITE": "true", "BUILDKITE_REPO": "https://git.example/team/software.git", "BUILDKITE_PULL_REQUEST": "false"}


@dataclass
class Recipe:
    """A recipe whose every step has a word that no other has, so that its part of BuildKit's cache can be forgotten."""

    cli: Cli
    folder: Path
    mark: str
    root: str

    def __post_init__(self) -> None:
        self.folder.mkdir()
        for name, text in {"Dockerfile.tiny": DOCKERFILE, "tiny.yaml": STACK}.items():
            (self.folder / name).write_text(own(text.replace("MARK", self.mark).replace("IMAGE", self.root)))
        (self.folder / "native.txt").write_text(f"native of {self.mark}\n")
        self.edit("first")

    def edit(self, word: str) -> None:
        """What is copied last."""
        (self.folder / "late.txt").write_text(f"{word} of {self.mark}\n")

    def build(self, *options: str, branch: str = "", state: str = "", **environ: Any) -> dict[str, Any]:
        """The row of the tier, built as a CI's job of ``branch`` where one is given; ``state`` is another host's."""
        told: dict[str, Any] = {**CI, "BUILDKITE_BRANCH": branch} if branch else {}
        told |= {"ROCM_CI_STATE": str(self.cli.state.with_name(state))} if state else {}
        self.ran: Ran = self.cli(
            "build-base", "--stack", f"{self.folder}/tiny.yaml", "--json", *options, **told, **environ
        )
        return self.ran.tier("base")

    def made(self, row: dict[str, Any]) -> str:
        """What the component's step made in an image: random bytes, equal only where it did not run again."""
        name = row["reference"].partition("@")[0]
        return docker("run", "--rm", name, "/bin/busybox", "sha256sum", f"/opt/{self.mark}-made")

    def ran_natively(self, row: dict[str, Any]) -> bool:
        """Whether the component's step was executed, from BuildKit's own record."""
        progress = Progress()
        lines = (Path(self.ran.json["run_folder"]) / row["tier"] / bake.LOG).read_text().splitlines()
        done = [event for line in lines for event in progress.feed(line) if isinstance(event, StepDone)]
        return any(event.stage == "native" and " RUN " in f" {event.step}" and not event.cached for event in done)

    def remove(self) -> None:
        """Take its images from the engine, by every name."""
        for _ in range(2):  # a name by digest is listed once the tags beside it are gone
            rows = listed("--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}")
            mine = [row.split() for row in rows if self.mark in row.partition(" ")[0]]
            names = [f"{name}@{digest}" if tag == "<none>" else f"{name}:{tag}" for name, tag, digest in mine]
            if names:
                docker("rmi", "--force", *names, check=False)

    def forget(self) -> None:
        """Become another host: this recipe's images and steps are gone from the engine, everybody else's stay."""
        self.remove()
        mine = ("--filter", f"description~={self.mark}")
        for _ in range(20):  # what an ended build still holds is not taken at once
            # all of them: for a while BuildKit believes of some that an image that is gone shares them
            docker("buildx", "prune", "--force", "--all", *mine)
            if not (left := docker("buildx", "du", *mine, "--format", "{{.ID}}")):
                return
            time.sleep(0.5)
        raise AssertionError(f"BuildKit keeps what {self.mark} made: {left}")


@pytest.fixture
def recipe(cli: Cli, tmp_path: Path, sandbox_image: str) -> Iterator[Recipe]:
    made = Recipe(cli, tmp_path / "recipe", f"caches{secrets.token_hex(4)}", sandbox_image)
    yield made
    made.remove()


def states(row: dict[str, Any]) -> list[str]:
    """What became of each cache that was to be written."""
    return [kept["state"] for kept in row["cache"]]


def test_another_host_reads_what_was_kept_and_compiles_nothing(recipe: Recipe, registry: str) -> None:
    at = ("--registry", f"{registry}/team")
    first = recipe.build(*at, "--push", branch="main")
    assert first["cache_read"] == []
    assert states(first) == ["written"] * 3, first["cache"]
    made = recipe.made(first)
    recipe.forget()

    recipe.edit("second")
    second = recipe.build(*at, "--push", branch="feature/x", state="other")
    assert len(second["cache_read"]) == 2, "the component's and the upstream branch's"
    assert recipe.made(second) == made
    assert not recipe.ran_natively(second)
    assert states(second) == ["written", "written", "skipped"], second["cache"]
    assert not second["warnings"]

    recipe.forget()
    recipe.edit("third")
    third = recipe.build(*at, branch="feature/x", state="third")
    assert third["cache_read"][1:] == [second["cache"][1]["where"], first["cache"][1]["where"]]
    assert third["cache"] == [], "who does not push keeps nothing"
    assert recipe.made(third) == made


def test_a_folder_serves_where_there_is_no_registry(recipe: Recipe, tmp_path: Path) -> None:
    folder = {"ROCM_CI_CACHE_FOLDER": str(tmp_path / "a folder, with a comma")}
    first = recipe.build(branch="main", **folder)
    assert states(first) == ["written", "written"], first["cache"]
    made = recipe.made(first)
    recipe.forget()
    recipe.edit("second")
    second = recipe.build(branch="main", state="other", **folder)
    assert len(second["cache_read"]) == 2
    assert not recipe.ran_natively(second)
    assert recipe.made(second) == made


BROKEN = Reply(500, {**API, **JSON}, errors("UNKNOWN", "the store is ill"))
GONE = Reply(404, {**API, **JSON}, errors("BLOB_UNKNOWN", "it was here yesterday"))


@pytest.fixture
def door(registry: str) -> Iterator[Front]:
    """A door to the registry that spoils nothing yet."""
    with front(int(registry.rpartition(":")[2]), lambda _method, _path: None) as opened:
        yield opened


@pytest.mark.parametrize("how", ["broken", "hangs"])
def test_a_place_that_does_not_answer_is_left_out(recipe: Recipe, door: Front, how: str) -> None:
    """BuildKit itself would wait for one that hangs without end."""
    over = threading.Event()

    def spoil(_method: str, path: str) -> Reply | None:
        if "/cache/" not in path:
            return None
        if how == "hangs":
            over.wait(60)
            return Reply(fault="close")
        return BROKEN

    door.spoil = spoil
    try:
        row = recipe.build("--registry", f"127.0.0.1:{door.port}/team", "--push", branch="main")
    finally:
        over.set()
    assert (row["outcome"], row["cache_read"]) == ("ok", [])
    assert "is left out" in row["warnings"][-1]
    assert set(states(row)) == {"failed"}
    assert not [path for _, path in door.asked if "/cache/blobs/" in path], "nobody waited for more"


def test_a_cache_that_lacks_layers_or_has_others_costs_time_and_nothing_else(
    recipe: Recipe, registry: str, door: Front
) -> None:
    """BuildKit itself fails the build that asks for such a layer."""
    assert recipe.build("--registry", f"{registry}/team", "--push", branch="main")["outcome"] == "ok"
    for number, bad in enumerate((GONE, Reply(200, API, b"no layer of anybody's"))):
        recipe.forget()
        recipe.edit(f"edit {number}")
        door.spoil = lambda method, path, bad=bad: bad if _is_layer(registry, method, path) else None  # type: ignore[misc]
        at = ("--registry", f"127.0.0.1:{door.port}/team", "--push")
        row = recipe.build(*at, branch="main", state=f"host-{number}")
        assert row["outcome"] == "ok"
        assert "built once more without caches" in " ".join(row["warnings"]), "it had the layers from elsewhere"
        assert states(row) == ["written"] * 3, "the component's too, which was there and no good"
        assert recipe.ran_natively(row)
        assert (Path(recipe.ran.json["run_folder"]) / "base" / bake.FIRST_LOG).is_file()


def _is_layer(registry: str, method: str, path: str) -> bool:
    return method == "GET" and "/cache/blobs/" in path and not _is_config(registry, path)


def _is_config(registry: str, path: str) -> bool:
    """Whether a blob is the document that says what is cached."""
    with urllib.request.urlopen(f"http://{registry}{path}") as answer:
        return bytes(answer.read(9)) == b'{"layers"'


def test_a_bucket_is_asked_and_not_being_able_to_is_told(bucket: str) -> None:
    there, not_there = (Ref(Shelf("s3", bucket, writes=False), name) for name in ("kept", "never"))
    Bucket.at(bucket).write("manifests/kept", b"{}")
    assert look([there, not_there], SystemClock()) == {there: True, not_there: False}
    nowhere = Ref(Shelf("s3", "s3://a-bucket-that-nobody-made", writes=False), "kept")
    assert isinstance(look([nowhere], SystemClock())[nowhere], str)


# --- attestations -------------------------------------------------------------------------------

SCANNER = """\
#!/bin/sh
echo '{"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://spdx.dev/Document",
"predicate": {"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "name": "stand-in", "packages": []}}' \\
> "$BUILDKIT_SCAN_DESTINATION/sbom.spdx.json"
"""


@pytest.fixture
def scanner(tmp_path: Path, sandbox_image: str) -> Iterator[tuple[str, str]]:
    """An image that scans nothing and writes an SBOM: its name and digest."""
    name = f"{FAMILY}/scanner-{secrets.token_hex(4)}:1"
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "scan.sh").write_text(SCANNER)
    (tmp_path / "scan" / "Dockerfile").write_text(
        f"FROM {sandbox_image}@{docker('image', 'inspect', '--format', '{{.Id}}', sandbox_image)}\n"
        'COPY scan.sh /bin/scan.sh\nENTRYPOINT ["/bin/sh", "/bin/scan.sh"]\n'
    )
    docker("buildx", "build", "--quiet", "--provenance=false", "--tag", name, str(tmp_path / "scan"))
    yield name, docker("image", "inspect", "--format", "{{.Id}}", name)
    docker("rmi", "--force", name, check=False)


class Published:
    """An image of a registry, taken apart."""

    def __init__(self, reference: str) -> None:
        name, _, self.digest = reference.partition("@")
        host, _, path = name.rpartition(":")[0].partition("/")
        self.url = f"http://{host}/v2/{path}"
        rows = self._document(f"manifests/{self.digest}")["manifests"]
        beside = [row for row in rows if row["platform"]["os"] == "unknown"]
        image = next(row for row in rows if row not in beside)
        self.config = self._document("blobs/" + self._document(f"manifests/{image['digest']}")["config"]["digest"])
        layers = [layer for row in beside for layer in self._document(f"manifests/{row['digest']}")["layers"]]
        self.attested = {layer["annotations"]["in-toto.io/predicate-type"].split("/")[2]: layer for layer in layers}

    def statement(self, kind: str) -> dict[str, Any]:
        return self._document(f"blobs/{self.attested[kind]['digest']}")

    def _document(self, path: str) -> dict[str, Any]:
        kinds = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/{path}", headers={"Accept": kinds})) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found


def test_provenance_always_and_an_sbom_where_the_scanner_is_pinned(
    recipe: Recipe, registry: str, scanner: tuple[str, str]
) -> None:
    at = ("--registry", f"{registry}/team", "--push")
    plain = recipe.build(*at)
    assert plain["attested"][:2] == ["provenance", "no SBOM: no SBOM_SCANNER is pinned"]
    image = Published(plain["reference"])
    assert set(image.attested) == {"slsa.dev"}
    said = json.dumps(image.statement("slsa.dev"))
    assert "llbDefinition" in said, "the mode that tells everything"
    assert image.config["config"]["Labels"]["org.rocm-ci.identity"] == plain["identity"]

    name, digest = scanner
    (recipe.folder / "pins.json").write_text(json.dumps({"SBOM_SCANNER": name, "SBOM_SCANNER_DIGEST": digest}))
    recipe.edit("second")
    scanned = recipe.build(*at)
    assert scanned["attested"][:2] == ["provenance", f"SBOM by {name}"]
    assert Published(scanned["reference"]).statement("spdx.dev")["predicate"]["name"] == "stand-in"


def test_a_scanner_that_breaks_is_told_and_decides_nothing(recipe: Recipe, sandbox_image: str) -> None:
    digest = docker("image", "inspect", "--format", "{{.Id}}", sandbox_image)  # an image with nothing to run in it
    pins = {"SBOM_SCANNER": sandbox_image, "SBOM_SCANNER_DIGEST": digest}
    (recipe.folder / "pins.json").write_text(json.dumps(pins))
    row = recipe.build()
    assert row["outcome"] == "ok"
    assert row["attested"][1].startswith("no SBOM: ")
    assert "without caches and scanner" in row["warnings"][-1]


def test_two_builds_of_one_identity_differ_in_times_and_layers_only(recipe: Recipe, registry: str) -> None:
    """The layers hold the times of what a step wrote; all that somebody wrote down is equal to the byte."""
    found = []
    for name in ("one", "other"):
        row = recipe.build("--registry", f"{registry}/{name}", "--push", state=name)
        found.append((row["identity"], row["digest"], Published(row["reference"]).config))
        recipe.forget()
    (identity, digest, config), (same, another, second) = found
    assert identity == same
    assert digest != another, "nothing was built anew, so this proves nothing"
    for each in (config, second):
        assert len(each.pop("rootfs")["diff_ids"]) == 4
        assert each.pop("created")
        assert all(row.pop("created") for row in each["history"])
    assert config == second
