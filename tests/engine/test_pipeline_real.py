"""A pipeline that was made of a change, its jobs carried out as Buildkite would: upload, shell, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests import plants
from tests.engine.conftest import Cli, docker, remove_images
from tests.engine.own import FAMILY, own
from tests.engine.test_handoff_real import AGENT
from tests.images import listed
from tests.plain_git import AUTHOR
from tests.unit.interpolation import uploaded

POOLS = f"""\
schema: 1
tool: [{sys.executable}, -m, ci]
pools:
  here: {{memory_gb: 1, builds: true, buildkite: {{queue: here}}}}
"""
JOB = {
    "BUILDKITE": "true",
    "BUILDKITE_REPO": "https://git.example/team/project",
    "BUILDKITE_BRANCH": "main",
    "BUILDKITE_PULL_REQUEST": "false",
}
LIMITS = {"limits": {"minutes": 2}}
STEPS: Mapping[str, Mapping[str, Any]] = {
    "one": {"commands": [{"run": ["cat", "/mark"]}], "sources": ["a/"], **LIMITS},
    "two": {"commands": [{"run": ["false"]}], "sources": ["b/"], **LIMITS},
    "three": {
        "commands": [{"run": ["false"]}], "sources": ["a/"], "soft": {"reason": "new", "until": "2099-12-31"}, **LIMITS,
    },
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, busy_root: str) -> Iterator[Path]:
    """A repository with a recipe in it, and a change of ``a/``."""
    folder = tmp_path / "project"
    stack = plants.write(folder / "ci", STEPS)
    stack.write_text(own(stack.read_text()) + "pipeline: pools.yaml\n")
    (folder / "ci" / "pools.yaml").write_text(POOLS)
    (folder / "ci" / "Dockerfile.plant").write_text(
        f"ARG ROOT=x\nFROM ${{ROOT}} AS t\nRUN echo {tmp_path.name} > /mark\n"
    )
    git = ("git", *AUTHOR, "-C", str(folder))
    for said in (
        ("init", "-q", "-b", "main"),
        ("add", "."),
        ("commit", "-q", "-m", "one"),
        ("switch", "-q", "-c", "x"),
    ):
        subprocess.run([*git, *said], check=True)
    (folder / "a").mkdir()
    (folder / "a" / "file").write_text("")
    for said in (("add", "."), ("commit", "-q", "-m", "two")):
        subprocess.run([*git, *said], check=True)
    assert busy_root
    yield folder
    remove_images(f"{FAMILY}/plant")


@pytest.fixture
def environ(cli: Cli, tmp_path: Path, registry: str) -> Mapping[str, str]:
    """What an agent has set for each job: its own programs, the registry, and whose job it is."""
    agent = tmp_path / "agent"
    agent.mkdir()
    (agent / "buildkite-agent").write_text(AGENT.format(folder=agent))
    (agent / "buildkite-agent").chmod(0o755)
    mine = {"ROCM_CI_STATE": str(cli.state), "ROCM_CI_REGISTRY": registry, "PATH": f"{agent}:{os.environ['PATH']}"}
    return {**cli.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **mine, **JOB}


def test_the_jobs_of_a_change_do_what_they_say(cli: Cli, project: Path, environ: Mapping[str, str]) -> None:
    options = ("--stack", "ci/plant.yaml", "--format", "buildkite", "--base", "main")
    made = cli("pipeline", *options, cwd=project).stdout
    steps = YAML(typ="safe").load(made)["steps"]
    assert [step["key"] for step in steps] == ["image-test", "test-one", "test-three"], "b/ has not changed"

    codes: dict[str, int] = {}
    logs = {}
    for step in steps:
        assert set(step.get("depends_on", ())) <= codes.keys()
        line = uploaded(step["command"], environ)
        done = subprocess.run(
            ["sh", "-c", line], cwd=project, env=environ, capture_output=True, text=True, timeout=600, check=False
        )
        codes[step["key"]], logs[step["key"]] = done.returncode, done.stdout + done.stderr
        if step["key"] == "image-test":
            _forget_the_images(environ["ROCM_CI_REGISTRY"])
    assert codes == {"image-test": 0, "test-one": 0, "test-three": 1}, logs
    soft = {step["key"]: [each["exit_status"] for each in step["soft_fail"]] for step in steps}
    assert (soft["test-one"], soft["test-three"]) == ([5], [5, 1])


def _forget_the_images(registry: str) -> None:
    """The tests may run on another node: whatever the job made is in the registry alone."""
    names = listed("--format", "{{.Repository}}:{{.Tag}}")
    made = [name for name in names if name.startswith((f"{FAMILY}/plant", f"{registry}/"))]
    assert made
    docker("image", "rm", "--force", *made)


def test_a_job_whose_image_nobody_handed_on_is_red(cli: Cli, project: Path, environ: Mapping[str, str]) -> None:
    options = ("--stack", "ci/plant.yaml", "--format", "buildkite", "--only", "one")
    *_, test = YAML(typ="safe").load(cli("pipeline", *options, cwd=project).stdout)["steps"]
    line = uploaded(test["command"], environ)
    done = subprocess.run(
        ["sh", "-c", line], cwd=project, env=environ, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 2
    assert "nobody handed on an image of test" in done.stderr
