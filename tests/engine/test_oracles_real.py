"""BuildKit as the oracle: equal identities are cached whole, and nothing outside the manifest is read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ci.build.progress import Progress
from tests import recipes
from tests.engine.conftest import Cli, docker, remove_images
from tests.engine.own import TINY, own

COPY = st.sampled_from(
    [
        "COPY scripts/ /opt/scripts/",
        "COPY first.txt second.txt /opt/",
        "COPY --chmod=0755 scripts/[ab].sh /opt/x/",
        "COPY --from=src lib /opt/lib",
        "ADD lists /opt/lists",
        "COPY . /opt/all",
    ]
)
RUN = st.sampled_from(
    [
        "RUN echo ${LEVEL} > /opt/level",
        "RUN --mount=type=bind,source=lists,target=/run/lists cat /run/lists/needs.txt > /opt/needs",
        "RUN --mount=type=bind,from=src,source=lib,target=/run/lib ls /run/lib > /opt/listing",
        "RUN <<EOF\n# kept\necho a > /opt/a\nEOF",
        'RUN ["sh", "-c", "echo $COLOUR > /opt/colour"]',
        "ENV COLOUR=green",
        "WORKDIR /opt/w",
        "ARG LEVEL=2",
        "LABEL a=b",
    ]
)
STACK = """\
schema: 1
name: tiny
summary: generated
repository: rocm-ci-test/tiny
platform: linux/amd64
sources: [src]
roots:
  busy: {image: rocm-ci-test/busy:1}
tiers:
  base: {dockerfile: Dockerfile.tiny, target: last, parents: {ROOT: busy}}
"""


def dockerfile(first: list[str], second: list[str], comment: str) -> str:
    head = ["ARG ROOT=busybox", "FROM ${ROOT} AS first", "ARG LEVEL=1", f"# {comment}", *first]
    return "\n".join([*head, "FROM first AS last", *second, "COPY --from=first /bin/busybox /opt/copy", ""])


def progress_of(result: dict[str, Any]) -> Progress:
    progress = Progress()
    for line in (Path(result["run_folder"]) / "base" / "progress.jsonl").read_text().splitlines():
        progress.feed(line)
    return progress


steps = st.lists(COPY | RUN, max_size=4)


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(steps, steps)
@example([], ["COPY . /opt/all"])
def test_equal_identity_means_everything_is_cached(
    cli: Cli, busy_root: str, tmp_path_factory: Any, first: list[str], second: list[str]
) -> None:
    assert busy_root
    folder: Path = tmp_path_factory.mktemp("generated")
    file = recipes.write(folder, dockerfile(first, second, "one"), own(STACK))
    (folder / "recipe/.dockerignore").write_text("Dockerfile.tiny\n")  # COPY . would make its comments an input
    # A Dockerfile that `COPY .` takes along is an input like any other, down to its comments: here it stays out.
    (folder / "recipe/.dockerignore").write_text("**/*.md\nDockerfile.tiny\n")
    options = ("--stack", str(file), "--source", f"src={folder / 'src'}", "--json")
    one = cli("build-base", *options)
    remove_images(TINY)
    (folder / "recipe/Dockerfile.tiny").write_text(dockerfile(first, second, "two\n\n# three"))
    for path in (folder / "recipe").rglob("*.sh"):
        os.utime(path, (10, 10), follow_symlinks=False)
    two = cli("build-base", *options, MAX_JOBS="3")
    assert one.tier("base")["identity"] == two.tier("base")["identity"]
    assert two.tier("base")["decision"] == "build"
    assert progress_of(two.json).all_cached
    remove_images(TINY)


def test_provenance_names_no_image_outside_the_manifest(cli: Cli, busy_root: str, tmp_path: Path) -> None:
    assert busy_root
    stack = recipes.write(tmp_path, stack=own(recipes.STACK))
    options = ("--stack", str(stack), "--source", f"src={tmp_path / 'src'}", "--json")
    built = cli("build-ci-base", *options).json
    folder = Path(built["run_folder"]) / "ci-base"
    docker("buildx", "version")
    metadata = json.loads((folder / "metadata.json").read_text())["ci-base"]
    materials = metadata["buildx.build.provenance"].get("materials", [])
    base = next(row for row in built["tiers"] if row["tier"] == "base")
    assert [item["digest"]["sha256"] for item in materials] == [base["digest"].removeprefix("sha256:")]


def test_what_the_model_misses_fails_the_build_instead_of_going_stale(cli: Cli, busy_root: str, tmp_path: Path) -> None:
    """A file that RUN reads through a mount of a narrower source is not in the context at all."""
    assert busy_root
    reads = recipes.DOCKERFILE.replace("cat /run/needs.txt", "cat /run/../first.txt")
    stack = recipes.write(tmp_path, reads, own(recipes.STACK))
    options = ("--stack", str(stack), "--source", f"src={tmp_path / 'src'}", "--json")
    assert cli("build-base", *options, check=1).json["outcome"] == "failed"
