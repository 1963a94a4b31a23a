"""From the job that builds to the job that tests: the image by its digest, the outcome and the page to the CI; and
the command that runs again what failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests import plants
from tests.engine.conftest import ROOT, Cli, Ran, docker
from tests.engine.own import FAMILY, own
from tests.engine.suite_runs import Play, step

AGENT = """\
#!/bin/sh
# Buildkite's agent, as far as a job needs it: meta-data in files, the last annotation in one.
cd {folder} || exit 1
case "$1 $2" in
  "meta-data exists") [ -f "meta-$3" ] || exit 100 ;;
  "meta-data get") cat "meta-$3" ;;
  "meta-data set") printf %s "$4" >"meta-$3" ;;
  annotate*) cat >page; echo "$*" >annotated ;;
  *) exit 1 ;;
esac
"""
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
SAYS = {"says": {"commands": [{"run": ["cat", "/mark"]}]}}


@pytest.fixture
def plant(tmp_path: Path, busy_root: str) -> Iterator[Path]:
    """A stack whose image has a mark in it; its images are removed afterwards."""
    stack = plants.write(tmp_path / "plant", SAYS)
    stack.write_text(own(stack.read_text()))
    (stack.parent / "Dockerfile.plant").write_text(
        f"ARG ROOT=x\nFROM ${{ROOT}} AS t\nRUN echo {tmp_path.name} > /mark\n"
    )
    assert busy_root
    yield stack
    for name in images():
        docker("image", "rm", "--force", name, check=False)


def images() -> Mapping[str, str]:
    """The tagged images of planted stacks, with their digests."""
    rows = docker("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", f"{FAMILY}/plant")
    return dict(row.split() for row in rows.splitlines())


def within(cli: Cli, environ: Mapping[str, str]) -> Cli:
    """The command line in a job of a CI."""
    return replace(cli, environ={**cli.environ, **environ})


@pytest.fixture
def buildkite(tmp_path: Path, cli: Cli) -> Cli:
    """The command line in a Buildkite job with a stand-in for the agent."""
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "buildkite-agent").write_text(AGENT.format(folder=folder))
    (folder / "buildkite-agent").chmod(0o755)
    return within(cli, {"BUILDKITE": "true", "BUILDKITE_STEP_KEY": "one-job", "PATH": f"{folder}:{PATH}"})


def said(ran: Ran) -> str:
    """What the one command of the step printed."""
    return Path(step(ran, "says")["commands"][0]["folder"], "log.txt").read_text().strip()


def test_what_is_tested_is_what_was_built_wherever_its_tag_went(plant: Path, buildkite: Cli, tmp_path: Path) -> None:
    built = buildkite("build-test", "--stack", str(plant), "--handoff", "buildkite", "--json")
    reference = built.tier("test")["reference"]
    tag, _, digest = reference.partition("@")
    row = json.loads((tmp_path / "agent" / "meta-rocm-ci:test").read_text())
    assert (row["reference"], row["tier"], row["stack"]) == (reference, "test", "plant")
    assert "### `build-test` (plant): ok" in (tmp_path / "agent" / "page").read_text()

    other = docker("import", "-", "--change", "LABEL moved=1", f"{FAMILY}/plant:other", stdin=_empty_archive())
    docker("tag", f"{FAMILY}/plant:other", tag)
    assert images()[tag] == other != digest
    ran = buildkite("test", "all", "--stack", str(plant), "--handoff", "buildkite", "--json")
    assert said(ran) == tmp_path.name
    assert step(ran, "says")["image"] == digest, "the name is another image's by now"
    words = (tmp_path / "agent" / "annotated").read_text()
    assert words == "annotate --context rocm-ci test one-job --style success\n"
    assert "| says | ok |" in (tmp_path / "agent" / "page").read_text()
    docker("image", "rm", "--force", digest)  # no name leads to it


def test_jobs_that_share_a_folder_hand_on_through_a_file(cli: Cli, plant: Path, tmp_path: Path) -> None:
    place = ("--stack", str(plant), "--handoff", str(tmp_path / "images.json"))
    early = cli("test", "all", *place, check=2)
    assert "there is no file" in early.stderr
    cli("build-test", *place)
    again = cli("build-test", *place)
    assert "handed on through" in again.stderr, "the same image, handed on twice, is no other"
    ran = cli("test", "all", *place, "--json")
    assert said(ran) == tmp_path.name
    dockerfile = plant.parent / "Dockerfile.plant"
    before = dockerfile.read_text()
    dockerfile.write_text("ARG ROOT=x\nFROM ${ROOT} AS t\nRUN echo changed > /mark\n")
    other = cli("build-test", *place, check=2)
    assert other.stderr.count("@sha256:") >= 2, "both images are named"
    for more in ((), ("--plan",)):
        refused = cli("test", "all", *place, "--json", *more, check=3)
        (problem,) = refused.json["problems"]
        assert (problem["reference"], refused.json["outcome"]) == ("other-handoff", "contract")
        assert "instruction" in problem["context"]
    assert "inv explain test --against " in refused.stderr
    dockerfile.write_text(before)
    assert said(cli("test", "all", *place, "--json")) == tmp_path.name, "the first one is still what is tested"

    rows = json.loads((tmp_path / "images.json").read_text())
    rows["images"]["test"]["found"] = {}
    (tmp_path / "images.json").write_text(json.dumps(rows))
    blind = cli("test", "all", *place, "--plan")
    assert "nobody compared it with what this job would build: busy is not here yet" in blind.stderr


def test_an_image_with_other_arguments_is_not_what_a_job_tests(cli: Cli, plant: Path, tmp_path: Path) -> None:
    """Equal stack, equal commit: the agent that builds has another environment, and another state folder."""
    text = plant.read_text()
    plant.write_text(
        text.replace("roots:", "args:\n  LIB_LEVEL: {type: text, default: one, environment: true}\nroots:")
    )
    assert plant.read_text() != text
    dockerfile = plant.parent / "Dockerfile.plant"
    dockerfile.write_text(dockerfile.read_text().replace("RUN ", "ARG LIB_LEVEL\nRUN : ${LIB_LEVEL};"))
    place = ("--stack", str(plant), "--handoff", str(tmp_path / "images.json"))
    cli("build-test", *place, LIB_LEVEL="two")
    taker = replace(cli, state=tmp_path / "other-state")
    refused = taker("test", "all", *place, "--json", check=3)
    (problem,) = refused.json["problems"]
    assert problem["reference"] == "other-handoff"
    assert "LIB_LEVEL: two there, one here" in problem["context"]
    assert said(taker("test", "all", *place, "--json", LIB_LEVEL="two")) == tmp_path.name


def test_a_job_whose_hand_off_fails_is_red(plant: Path, buildkite: Cli, tmp_path: Path) -> None:
    (tmp_path / "agent" / "buildkite-agent").write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    ran = buildkite("build-test", "--stack", str(plant), "--handoff", "buildkite", check=4)
    assert "meta-data exists ended with 1" in ran.stderr
    assert "the page of this build is not told" in ran.stderr
    buildkite("build-test", "--stack", str(plant))


def test_github_is_told_the_outcome_and_the_image(cli: Cli, plant: Path, tmp_path: Path) -> None:
    files = {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    job = within(cli, {"GITHUB_ACTIONS": "true", **files})
    job("build-test", "--stack", str(plant), "--handoff", "github")
    outputs = dict(line.split("=", 1) for line in (tmp_path / "GITHUB_OUTPUT").read_text().splitlines())
    assert outputs["outcome"] == "ok"
    ran = job(
        "test", "all", "--stack", str(plant), "--handoff", "github", "--json",
        ROCM_CI_HANDOFF_TEST=outputs["image-test"],
    )  # fmt: skip
    assert said(ran) == tmp_path.name
    assert (tmp_path / "GITHUB_STEP_SUMMARY").read_text().count("\n### ") == 2
    job("test", "all", "--stack", str(plant), "--handoff", "github", check=2)
    assert (tmp_path / "GITHUB_OUTPUT").read_text().endswith("outcome=ok\noutcome=config\n")

    (plant.parent / "Dockerfile.plant").write_text("ARG ROOT=x\nFROM ${ROOT} AS t\nRUN echo '*said*'; exit 7\n")
    job("build-test", "--stack", str(plant), "--handoff", "github", check=1)
    assert (tmp_path / "GITHUB_OUTPUT").read_text().endswith("outcome=config\noutcome=failed\n"), "no image is told"
    page = (tmp_path / "GITHUB_STEP_SUMMARY").read_text().rpartition("\n### ")[2]
    assert page.startswith("`build-test` (plant): failed in")
    assert "**FAILED:**" in page
    assert "\n*said*\n" in page.partition("```text")[2], "its last lines, as they are"


MANY = """\
import os
import pytest
@pytest.mark.parametrize("number", range(9))
def test_many(number):
    assert number != 4
"""


@pytest.mark.parametrize("options", [("--jobs", "2"), ("--shard", "{shard}/2")], ids=["jobs", "shard"])
def test_the_printed_command_runs_the_same_tests_again(
    play: Play, cli: Cli, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Of a divided step: the shard that failed, on the same image, its tests and no others."""
    steps = {"many": {"commands": plants.pytest_of(MANY), "shards": 2}}
    whole = play(steps, check=1)
    assert "--shard" not in step(whole, "many")["replay"]
    seconds = {test: 100.0 if "[4]" in test else 1.0 for test in step(whole, "many")["durations"]}
    (tmp_path / "seconds.json").write_text(json.dumps({"many": seconds}))
    planned = ("--durations", str(tmp_path / "seconds.json"))
    for shard in (1, 2):
        ran = play(steps, *planned, *(word.format(shard=shard) for word in options))
        if ran.code == 1:
            break
    (failed,) = (row for row in ran.json["steps"] if row["outcome"] == "failed")
    assert [test.rpartition("[")[2] for test in failed["durations"]] == ["4]"], "as long as all others together"
    assert {row["replay"] for row in ran.json["steps"] if row != failed} <= {""}

    environ = {**cli.environ, "ROCM_CI_STATE": str(cli.state), "PATH": PATH}
    again = subprocess.run(
        ["sh", "-c", f"{failed['replay']} --json"], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert again.returncode == 1, again.stderr[-3000:]
    (row,) = json.loads(again.stdout)["steps"]
    assert row["durations"].keys() == failed["durations"].keys()
    assert (row["image"], row["shard"], row["outcome"]) == (failed["image"], failed["shard"], "failed")
    assert row["replay"] == failed["replay"], "and it says the same"


def test_a_soft_step_fails_alone_and_not_beside_one_that_counts(play: Play) -> None:
    soft = {"commands": [plants.python("raise SystemExit(3)")], "soft": {"reason": "new", "until": "2099-12-31"}}
    steps = {"firm": {"commands": [plants.python("pass")]}, "soft": soft}
    ran = play(steps, runtime="native", check=0)
    assert ran.json["outcome"] == "ok"
    assert ran.json["reasons"] == ["1 soft failure: soft: new (until 2099-12-31)"]
    assert (step(ran, "soft")["outcome"], step(ran, "soft")["soft"]) == ("failed", "new (until 2099-12-31)")
    play(steps, "--only", "soft", runtime="native", check=1)
    soft["soft"] = {"reason": "new", "until": "2020-12-31"}
    ran = play(steps, runtime="native", check=1)
    assert "step soft is soft no more: that ended on 2020-12-31 (new)" in ran.stderr


def _empty_archive() -> bytes:
    """A tar archive of nothing."""
    return bytes(10240)
