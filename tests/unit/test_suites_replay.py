"""The command that runs a step again: what it says, and what it must not."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from ci import command_line
from ci.build.workspace import Workspace
from ci.recipe.values import ArgValue
from ci.settings import Settings
from ci.suites.plan import Wish
from ci.suites.replay import PROGRAM, Replay, replay
from ci.suites.request import Request, read
from tests.unit.test_suites_crewing import STEP

IMAGE = "rocm-ci/local:test-v1@sha256:" + "a" * 64


def work(*args: ArgValue, flags: dict[str, str] | None = None, **environ: str) -> Workspace:
    """What a replay needs of a workspace."""
    found = SimpleNamespace(settings=Settings(environ, flags or {}), args=SimpleNamespace(values=args))
    return cast("Workspace", found)


def words(made: Replay, shard: str = "", image: str = IMAGE, **step: Any) -> list[str]:
    return shlex.split(made.command(STEP._replace(**step), shard, image))


def test_it_is_called_as_this_very_program() -> None:
    assert " ".join(PROGRAM) == command_line.PROGRAM


def test_nothing_is_said_that_goes_without_saying() -> None:
    made = replay(Request("all", Wish()), work(), None)
    assert words(made) == [*PROGRAM, "test", "all", "--only", "kernels", "--image", IMAGE]
    assert words(made, image="") == [*PROGRAM, "test", "all", "--only", "kernels"]


def test_everything_that_changes_the_run_is_said() -> None:
    values = {
        "require-gpu": True,
        "source": ["a=/x y", "b=/z"],
        "durations": "d.json",
        "jobs": "1",
        "catalogue": "c.yaml",
    }
    made = replay(read("all", values, "docker"), work(flags={"--stack": "./my stack.yaml"}), None)
    assert words(made, "2/4") == [
        *PROGRAM, "test", "all", "--only", "kernels", "--shard", "2/4", "--image", IMAGE, "--durations", "d.json",
        "--stack", "./my stack.yaml", "--catalogue", "c.yaml",
        "--source", "a=/x y", "--source", "b=/z", "--require-gpu",
    ]  # fmt: skip
    assert "--durations" not in words(made), "a whole step is not planned from anything"
    native = replay(read("all", {}, "native"), work(ROCM_CI_STACK="other"), None)
    assert words(native, image="")[-4:] == ["--stack", "other", "--runtime", "native"]


def test_the_shards_of_a_run_with_jobs_have_a_plan_of_their_own() -> None:
    made = replay(Request("all", Wish(), durations="d.json"), work(), Path("/runs/1/planned-from.json"))
    assert words(made, "1/2")[-2:] == ["--durations", "/runs/1/planned-from.json"]


def test_arguments_that_somebody_gave_stand_in_front_and_secrets_nowhere() -> None:
    args = (
        ArgValue("PYTORCH_ROCM_ARCH", "gfx90a;gfx942", "flag --arch"),
        ArgValue("SOME_REF", "it's $(this)", "environment"),
        ArgValue("SOME_URL", "https://me:hunter2@example.org/x.git", "environment"),
        ArgValue("API_TOKEN", "hunter2", "environment"),
        ArgValue("NIC_BACKEND", "none", "stack local.yaml:9"),
        ArgValue("PINNED", "1" * 40, "pins.json"),
    )
    made = replay(Request("all", Wish()), work(*args, HF_TOKEN="hunter2", DOCKER_HOST="tcp://x"), None)
    line = made.command(STEP, "", IMAGE)
    assert "hunter2" not in line
    assert words(made)[:2] == ["PYTORCH_ROCM_ARCH=gfx90a;gfx942", "SOME_REF=it's $(this)"]
    assert words(made)[2:5] == [*PROGRAM]
    assert line.startswith("PYTORCH_ROCM_ARCH='gfx90a;gfx942' SOME_REF="), "a shell takes it for an assignment"


def test_the_folder_of_models_is_for_steps_that_have_some() -> None:
    made = replay(Request("all", Wish()), work(ROCM_CI_MODEL_CACHE="/models"), None)
    assert words(made, models=("a/b",))[0] == "ROCM_CI_MODEL_CACHE=/models"
    assert words(made)[0] == PROGRAM[0]
