"""Artifact-only mode for real: a bundle shipped from one place makes the same image in another."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ci.wheels import bundle
from ci.world.bucket import Bucket
from ci.world.ledger import Ledger
from tests import recipes
from tests.engine.conftest import ROOT, Cli, Ran, docker, remove_images
from tests.engine.own import BUSY, FAMILY, own
from tests.engine.test_stops import processes, wait_for
from tests.faults.stand import soon, wake

REPOSITORY = f"{FAMILY}/artifact"
SECONDS = f"300.{secrets.randbelow(10**6):06}"
SLEEP = f"sleep {SECONDS}"


@pytest.fixture
def stack(tmp_path: Path, busy_root: str) -> Iterator[Path]:
    """The stack file of the recipe with an artifact stage, none of its images in the engine."""
    assert busy_root
    remove_images(REPOSITORY)
    yield recipes.write(tmp_path, recipes.ARTIFACT_DOCKERFILE, own(recipes.ARTIFACT_STACK))
    remove_images(REPOSITORY)


def options(stack: Path) -> tuple[str, ...]:
    return ("--stack", str(stack), "--source", f"src={stack.parent.parent / 'src'}", "--json")


@pytest.fixture
def tiny(stack: Path) -> tuple[str, ...]:
    return options(stack)


@pytest.fixture
def made(cli: Cli, tiny: tuple[str, ...], tmp_path: Path) -> Path:
    """A bundle, its ci-base in the engine."""
    cli("build-ci-base", *tiny)
    return Path(cli("build-test", "--artifact-only", "--out", str(tmp_path / "out"), *tiny).json["bundle"]["place"])


def contents(image: str) -> dict[str, tuple[int, int, str, bytes]]:
    """Every path of an image with mode, owner, link and bytes; times left out."""
    container = docker("create", image, "sh")
    try:
        data = subprocess.run(["docker", "export", container], capture_output=True, check=True).stdout
    finally:
        docker("rm", container)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            item.name: (
                item.mode,
                item.uid,
                item.linkname,
                stream.read() if (stream := _stream(archive, item)) else b"",
            )
            for item in archive
        }


def _stream(archive: tarfile.TarFile, item: tarfile.TarInfo) -> io.BufferedReader | None:
    return archive.extractfile(item) if item.isreg() else None  # type: ignore[return-value]


def problems(ran: Ran) -> list[str]:
    return [problem["reference"] for problem in ran.json["problems"]]


def remade(path: Path, folder: Path, change: Callable[[Path], object]) -> None:
    """The bundle once more, honest in itself, after ``change`` went over its files."""
    facts = bundle.unpack(path, folder)
    change(folder)
    paths = {member.path: folder / member.path for member in facts.members}
    bundle.make(path, paths, facts)


def test_the_image_of_a_bundle_has_the_files_of_the_ordinary_one(cli: Cli, tiny: tuple[str, ...], made: Path) -> None:
    used = cli("build-test", "--artifact", str(made.parent), *tiny)
    assert [(row["tier"], row["decision"]) for row in used.json["tiers"]] == [("ci-base", "reuse"), ("test", "build")]
    row = used.tier("test")
    name, _, digest = row["reference"].partition("@")
    assert name.startswith(f"{REPOSITORY}:test-artifact-")
    assert docker("image", "inspect", "--format", "{{.Id}}", name) == digest == row["digest"]
    assert used.json["fallback"] is None
    assert docker("run", "--rm", name, "sh", "/opt/bin/tool") == "tool"
    assert docker("run", "--rm", name, "cat", "/opt/from-artifact") == "1234567890"

    ordinary = cli("build-test", *tiny).tier("test")
    assert ordinary["decision"] == "build", "the image of a bundle must not stand under the content tag"
    assert contents(name) == contents(ordinary["reference"].partition("@")[0])

    again = cli("build-test", "--artifact", str(made), *tiny).tier("test")
    assert (again["decision"], again["reference"]) == ("reuse", row["reference"])
    assert list((cli.state / "runs").glob("*/*/artifact")) == [], "unpacked files stay behind"


def test_the_bundle_is_what_the_image_is_made_from(cli: Cli, tiny: tuple[str, ...], made: Path, tmp_path: Path) -> None:
    """Its stage would give other bytes: nothing of it is run."""
    remade(made, tmp_path / "x", lambda folder: (folder / "data/deep/both").write_text("from the bundle"))
    name = cli("build-test", "--artifact", str(made), *tiny).tier("test")["reference"].partition("@")[0]
    assert docker("run", "--rm", name, "cat", "/opt/from-artifact") == "from the bundle"


def test_the_same_inputs_give_the_same_bundle(cli: Cli, tiny: tuple[str, ...], made: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        other = Cli(tmp_path / "other-state", cli.environ)
        second = other("build-test", "--artifact-only", "--out", str(tmp_path / "again"), *tiny).json["bundle"]
    finally:
        os.umask(before)
    assert Path(second["place"]).name == made.name
    assert Path(second["place"]).read_bytes() == made.read_bytes()
    assert second["base"] == docker("image", "inspect", "--format", "{{.Id}}", _tag("ci-base"))
    assert [row["path"] for row in second["files"] if row.get("executable")] == ["bin/tool"]
    assert list((cli.state / "runs").glob("*/*/artifact")) == [], "exported files stay behind"


def _tag(tier: str) -> str:
    names = docker("images", "--format", "{{.Repository}}:{{.Tag}}", REPOSITORY).splitlines()
    return next(name for name in names if f":{tier}-v1-" in name)


@pytest.mark.parametrize("extra", [("--artifact-only",), ("--artifact", "nowhere")])
def test_without_its_parents_there_is_no_artifact_mode(
    cli: Cli, tiny: tuple[str, ...], extra: tuple[str, ...], tmp_path: Path
) -> None:
    cli("build-base", *tiny)
    for plan in ((), ("--plan",)):
        refused = cli("build-test", *extra, *plan, *tiny, check=2, cwd=tmp_path)
        assert problems(refused) == ["parent-not-there"]
        assert "inv build-ci-base" in refused.json["problems"][0]["hint"]
    assert not (tmp_path / "dist").exists()
    assert docker("images", "-q", f"{REPOSITORY}:*ci-base*") == ""


def test_a_plan_writes_nothing_and_the_variable_does_as_the_option(
    cli: Cli, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    cli("build-ci-base", *tiny)
    plan = cli("build-test", "--plan", *tiny, cwd=tmp_path, ROCM_CI_ARTIFACT_ONLY="1").json
    assert plan["bundle"]["out"] == "dist"
    assert not (tmp_path / "dist").exists()
    shipped = cli("build-test", *tiny, cwd=tmp_path, ROCM_CI_ARTIFACT_ONLY="1").json["bundle"]
    (path,) = (tmp_path / "dist").iterdir()
    assert path.name == plan["bundle"]["name"] == Path(shipped["place"]).name
    used = cli("build-test", "--artifact", "dist", *tiny, cwd=tmp_path, ROCM_CI_ARTIFACT_ONLY="1")
    assert used.tier("test")["decision"] == "build", "a job that names a bundle uses it"


def test_a_stack_without_an_artifact_stage_has_no_artifact_mode(cli: Cli, tmp_path: Path, busy_root: str) -> None:
    assert busy_root
    tiny = options(recipes.write(tmp_path / "plain", stack=own(recipes.STACK)))
    assert problems(cli("build-test", "--artifact-only", *tiny, check=2)) == ["no-artifact-stage"]


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = data.rindex(b"1234567890")
    data[at] ^= 1
    path.write_bytes(bytes(data))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3500])


@pytest.mark.parametrize("harm", [_flip, _cut, lambda path: path.write_bytes(b"")], ids=["poisoned", "cut", "empty"])
def test_a_broken_bundle_stops_before_anything_is_made(
    cli: Cli, tiny: tuple[str, ...], made: Path, harm: Callable[[Path], None]
) -> None:
    harm(made)
    refused = cli("build-test", "--artifact", str(made), *tiny, check=3)
    assert problems(refused) == ["broken-bundle"]
    assert "test-artifact" not in docker("images", "--format", "{{.Tag}}", REPOSITORY)
    assert list((cli.state / "runs").glob("*/*/artifact")) == []


def test_a_bundle_for_another_checkout_stops(cli: Cli, tiny: tuple[str, ...], made: Path, stack: Path) -> None:
    (stack.parent / "test.txt").write_text("changed\n")
    assert problems(cli("build-test", "--artifact", str(made), *tiny, check=3)) == ["other-bundle"]
    missing = cli("build-test", "--artifact", str(made.parent), *tiny, check=4)
    assert problems(missing) == ["no-bundle"], "in a folder it is found by the identity"


def test_another_ci_base_stops_and_a_fallback_is_said_and_recorded(cli: Cli, tiny: tuple[str, ...], made: Path) -> None:
    old = docker("image", "inspect", "--format", "{{.Id}}", _tag("ci-base"))
    docker("rmi", "-f", _tag("ci-base"))
    new = cli("build-ci-base", *tiny).tier("ci-base")["digest"]
    assert new != old, "a rebuilt image has another digest"
    refused = cli("build-test", "--artifact", str(made), *tiny, check=3)
    assert problems(refused) == ["other-bundle"]
    assert old in refused.json["problems"][0]["message"]
    assert new in refused.json["problems"][0]["message"]

    fallen = cli("build-test", "--artifact", str(made), "--allow-fallback", *tiny)
    assert old in fallen.json["fallback"]["why"]
    row = fallen.tier("test")
    assert (row["decision"], ":test-v1-" in row["reference"]) == ("build", True)
    warnings = [number for number, line in enumerate(fallen.stderr.splitlines()) if old in line]
    lines = fallen.stderr.splitlines()
    assert lines.pop().startswith("timeline: ")
    build = next(number for number, line in enumerate(lines) if line.startswith("[test]"))
    assert warnings[0] < build < warnings[-1] == len(lines) - 1
    recorded = json.loads((Path(fallen.json["run_folder"]) / "result.json").read_text())
    assert recorded["fallback"] == fallen.json["fallback"]
    text = cli("build-test", "--artifact", str(made), "--allow-fallback", *tiny[:-1]).stdout
    assert text.splitlines()[-1].startswith("warning: this image does not come from the bundle")


def test_a_fallback_that_fails_says_what_it_was(cli: Cli, tiny: tuple[str, ...], made: Path, stack: Path) -> None:
    dockerfile = stack.parent / "Dockerfile.tiny"
    dockerfile.write_text(dockerfile.read_text().replace("COPY test.txt /opt/test.txt", "RUN false"))
    failed = cli("build-test", "--artifact", str(made), "--allow-fallback", *tiny, check=1)
    assert problems(failed) == ["run-failed", "fell-back"]


def test_a_product_that_fails_on_its_bundle_is_no_reason_to_fall_back(
    cli: Cli, tiny: tuple[str, ...], stack: Path, tmp_path: Path
) -> None:
    dockerfile = stack.parent / "Dockerfile.tiny"
    dockerfile.write_text(dockerfile.read_text().replace("COPY test.txt /opt/test.txt", "RUN false"))
    cli("build-ci-base", *tiny)
    cli("build-test", "--artifact-only", "--out", str(tmp_path / "out"), *tiny)
    failed = cli("build-test", "--artifact", str(tmp_path / "out"), "--allow-fallback", *tiny, check=1)
    assert problems(failed) == ["run-failed"]


def test_two_at_once_make_it_once(cli: Cli, tiny: tuple[str, ...], made: Path) -> None:
    env = {**cli.environ, "ROCM_CI_STATE": str(cli.state), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "ci", "build-test", "--artifact", str(made), *tiny]
    pipe = subprocess.PIPE
    both = [subprocess.Popen(argv, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    ends = [child.communicate(timeout=120) for child in both]
    assert [child.returncode for child in both] == [0, 0], ends
    rows = [json.loads(stdout)["tiers"][-1] for stdout, _ in ends]
    assert sorted(row["decision"] for row in rows) == ["build", "reuse"]
    assert len({row["reference"] for row in rows}) == 1


def test_a_moved_tag_is_no_reuse(cli: Cli, tiny: tuple[str, ...], made: Path) -> None:
    name = cli("build-test", "--artifact", str(made), *tiny).tier("test")["reference"].partition("@")[0]
    ordinary = cli("build-test", *tiny).tier("test")["reference"].partition("@")[0]
    docker("tag", ordinary, name)
    assert problems(cli("build-test", "--artifact", str(made), *tiny, check=3)) == ["moved-tag"]


def test_a_bundle_through_a_bucket(  # noqa: PLR0917 - fixtures
    cli: Cli, tiny: tuple[str, ...], bucket: str, access: dict[str, str], tmp_path: Path, made: Path
) -> None:
    place = bucket.replace("/rocm/stable", "/bundles")
    there = Cli(cli.state, {**cli.environ, **access})
    assert problems(there("build-test", "--artifact", place, *tiny, check=4)) == ["no-bundle"]
    shipped = there("build-test", "--artifact-only", "--out", place, *tiny, cwd=tmp_path).json["bundle"]
    assert shipped["place"] == f"{place}/{made.name}"
    assert Bucket.at(place).read(made.name) == made.read_bytes()
    assert not (tmp_path / "dist").exists()
    assert there("build-test", "--artifact", place, *tiny).tier("test")["decision"] == "build"
    Bucket.at(place).write(made.name, made.read_bytes()[:3500])
    assert problems(there("build-test", "--artifact", place, *tiny, check=3)) == ["broken-bundle"]
    assert problems(there("build-test", "--artifact", "gs://x", "--allow-fallback", *tiny, check=2)) == [
        "unknown-place"
    ]


def test_parents_that_only_the_registry_has(cli: Cli, tiny: tuple[str, ...], registry: str, tmp_path: Path) -> None:
    """Shipped on one host and used on another, neither of which ever built ci-base."""
    tiny = (*tiny, "--registry", f"{registry}/team")
    pushed = cli("build-ci-base", "--push", *tiny).tier("ci-base")
    remove_images(REPOSITORY)
    shipped = cli("build-test", "--artifact-only", "--out", str(tmp_path / "out"), *tiny)
    assert shipped.json["bundle"]["base"] == pushed["digest"]
    assert "no other host" not in shipped.stderr
    remove_images(REPOSITORY)
    used = cli("build-test", "--artifact", str(tmp_path / "out"), *tiny)
    assert [(row["tier"], row["decision"], row["published"]) for row in used.json["tiers"]] == [
        ("ci-base", "reuse", "registry"),
        ("test", "build", "engine"),
    ]
    name = used.tier("test")["reference"].partition("@")[0]
    assert docker("run", "--rm", name, "cat", "/opt/from-artifact") == "1234567890"

    published = pushed["reference"].partition("@")[0]
    docker("tag", BUSY, published)
    docker("push", published)
    assert problems(cli("build-test", "--artifact", str(tmp_path / "out"), *tiny, check=3)) == ["moved-tag"]


def test_a_base_that_only_this_engine_has_is_warned_of(
    cli: Cli, tiny: tuple[str, ...], registry: str, tmp_path: Path
) -> None:
    cli("build-ci-base", *tiny)
    words = ("build-test", "--artifact-only", "--out", str(tmp_path / "out"), "--registry", registry, *tiny)
    assert "ci-base is in this engine only" in cli(*words).stderr


def test_a_registry_that_is_silent_decides_nothing(cli: Cli, tiny: tuple[str, ...], made: Path) -> None:
    silent = ("--registry", "127.0.0.1:1")
    for words in (("--artifact-only",), ("--artifact", str(made))):
        refused = cli("build-test", *words, *silent, *tiny, check=4)
        assert problems(refused) == ["could-not-tell"]


AGENT = """\
#!/bin/sh
# artifact download QUERY FOLDER: copies what matches below $UPLOADED, by its path there, as the real one does.
[ "$1 $2" = "artifact download" ] || exit 64
cd "$UPLOADED" || exit 1
found=1
for path in $(find . -type f | cut -c3-); do
    case "$path" in
    $3) found=0; mkdir -p "$4/$(dirname "$path")"; cp "$path" "$4/$path" ;;
    esac
done
[ $found = 0 ] || echo "fatal: No artifacts found for downloading" >&2
exit $found
"""


def test_a_bundle_from_a_buildkite_build(cli: Cli, tiny: tuple[str, ...], made: Path, tmp_path: Path) -> None:
    uploaded, agent = tmp_path / "uploaded/dist", tmp_path / "bin/buildkite-agent"
    uploaded.mkdir(parents=True)
    agent.parent.mkdir()
    agent.write_text(AGENT)
    agent.chmod(0o755)
    more = {"PATH": f"{agent.parent}:{cli.environ['PATH']}", "UPLOADED": str(uploaded.parent)}
    job = Cli(cli.state, {**cli.environ, **more})
    words = ("build-test", "--artifact", "buildkite:", *tiny)
    nothing = job(*words, check=4)
    assert problems(nothing) == ["buildkite-artifact"]
    assert "No artifacts found" in nothing.json["problems"][0]["context"]
    shutil.copy(made, uploaded)
    assert job(*words).tier("test")["decision"] == "build"
    assert problems(cli(*words, check=4)) == ["no-program"]


@pytest.mark.parametrize("verb", ["ship", "use"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_killed_in_the_middle_and_run_again(
    cli: Cli, tmp_path: Path, busy_root: str, verb: str, number: signal.Signals
) -> None:
    """BuildKit works on in neither case, nothing is left that reap does not find, and the rerun ends well."""
    assert busy_root
    remove_images(REPOSITORY)
    before = "FROM scratch AS test_artifact" if verb == "ship" else "COPY --from=test_artifact"
    slow = f"RUN echo {os.getpid()}-{time.monotonic_ns()} && ({SLEEP} || true)\n{before}"
    dockerfile = recipes.ARTIFACT_DOCKERFILE.replace(before, slow)
    tiny = options(recipes.write(tmp_path, dockerfile, own(recipes.ARTIFACT_STACK)))
    out = tmp_path / "out"
    cli("build-ci-base", *tiny)
    words = ("build-test", "--artifact-only", "--out", str(out), *tiny)
    if verb == "use":
        cli(*words)
        words = ("build-test", "--artifact", str(out), *tiny)
    env = {**cli.environ, "ROCM_CI_STATE": str(cli.state), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "ci", *words]
    with subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        wait_for(SLEEP)
        child.send_signal(number)
        child.communicate(timeout=60)
    assert child.returncode in {-signal.SIGKILL, 128 + signal.SIGTERM}
    soon(lambda: not processes(str(cli.state)) and not processes(SLEEP), "something works on")
    assert verb == "use" or not out.exists(), "half a bundle"
    cli("reap")
    assert [thing for folder in (cli.state / "runs").iterdir() for thing in Ledger(folder).open_things()] == []
    assert list((cli.state / "runs").glob("*/*/artifact")) == []
    assert "building-" not in docker("images", "--format", "{{.Tag}}", REPOSITORY)
    waker = threading.Thread(target=wake, args=(SECONDS,))
    waker.start()
    assert cli(*words).tier("test")["outcome"] == "ok"
    waker.join()
    remove_images(REPOSITORY)
