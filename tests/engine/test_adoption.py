"""The wheel in a clean environment builds a foreign repository's own small stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests import recipes
from tests.engine.conftest import ROOT, docker, remove_images
from tests.engine.own import TINY, own


def run(*command: str | Path, cwd: Path, **environ: str) -> str:
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(command, cwd=cwd, env={**env, **environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    pip = (sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", str(folder), str(ROOT), cwd=folder)
    return next(folder.glob("rocm_ci-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` folder of an environment that holds the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=True)
    run(folder / "bin/python", "-m", "pip", "--quiet", "install", str(wheel), cwd=folder)
    return folder / "bin"


def test_the_wheel_holds_the_package_and_the_recipe_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "rocm_ci/recipe_data/stacks/local.yaml" in names
    assert "rocm_ci/recipe_data/archs.yaml" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"rocm_ci"}
    assert not [name for name in names if name.endswith(("bootstrap", ".pyc"))]


def test_a_foreign_repository_builds_its_own_stack(installed: Path, tmp_path: Path, busy_root: str) -> None:
    assert busy_root
    remove_images(TINY)
    foreign = tmp_path / "foreign"
    (foreign / "ci").mkdir(parents=True)
    (foreign / "ci/__init__.py").write_text("raise RuntimeError('the foreign ci package was imported')\n")
    (foreign / "docker").mkdir()
    (foreign / "docker/Dockerfile").write_text("FROM nothing-of-ours\n")
    (foreign / "tasks.py").write_text("from rocm_ci.invoke_door import namespace\nns = namespace()\n")
    recipes.write(foreign / "ci", stack=own(recipes.STACK))
    (foreign / "ci/recipe").rename(foreign / "ci/rocm")
    (foreign / "ci/src/lib").rename(foreign / "lib")  # --source src is the git root by default
    for step in (("init", "--quiet"), ("add", "--all")):
        run("git", *step, cwd=foreign)
    state = str(tmp_path / "state")
    stack = ("--stack", "./ci/rocm/tiny.yaml", "--json")
    built = json.loads(run(installed / "rocm-ci", "build-ci-base", *stack, cwd=foreign, ROCM_CI_STATE=state))
    assert [(row["tier"], row["decision"]) for row in built["tiers"]] == [("base", "build"), ("ci-base", "build")]
    name = built["tiers"][1]["reference"].partition("@")[0]
    assert "deep" in docker("run", "--rm", name, "ls", "/opt/lib")

    reused = json.loads(run(installed / "inv", "build-ci-base", *stack, cwd=foreign, ROCM_CI_STATE=state))
    assert [row["decision"] for row in reused["tiers"]] == ["reuse"]
    planned = run(installed / "python", "-m", "rocm_ci", "plan", "--stack", "local", cwd=foreign, ROCM_CI_STATE=state)
    assert "ci-base" in planned
