"""A step file of another project, run as it is: its commands end to end, and what bash and the pipeline say of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from ci.suites.dialects import line
from tests import plants
from tests.engine.conftest import Cli

STEPS = """\
steps:
- label: Chain
  working_dir: {folder}
  no_gpu: true
  parallelism: 2
  commands:
  - export MODE=one
  - pytest -q test_a.py -k none_at_all && pytest -q test_a.py --shard-id=$$BUILDKITE_PARALLEL_JOB --num-shards=$$BUILDKITE_PARALLEL_JOB_COUNT
  - MODE=two PYTHONPATH={folder}/lib pytest -q test_b.py -k 'not other and (mode or x)'
  - test "$$MODE" = one | cat
"""  # noqa: E501 - as people write it
TESTS = {
    "test_a.py": "import os\ndef test_mode(): assert os.environ['MODE'] == 'one'\n",
    "test_b.py": "import os, ours\ndef test_mode(): assert os.environ['MODE'] == 'two'\n",
    "lib/ours.py": "",
}


@pytest.fixture
def steps(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    (folder / "lib").mkdir(parents=True)
    for name, text in TESTS.items():
        (folder / name).write_text(text)
    path = tmp_path / "test-gpus.yaml"
    path.write_text(STEPS.format(folder=folder))
    return path


def test_a_step_file_runs_as_it_is(cli: Cli, steps: Path, tmp_path: Path) -> None:
    """The first of a chain collects nothing, the rest runs all the same, and the step is not green (exit 6)."""
    stack = plants.write(tmp_path / "plant", {"x": {"commands": [plants.python("pass")]}})
    words = ("test", "test-gpus", "--stack", str(stack), "--catalogue", str(steps), "--runtime", "native", "--json")
    ran = cli(*words, check=None)
    told = [each["outcome"] for each in ran.json["steps"][0]["commands"]]
    assert told == ["empty", "ok", "ok", "ok"]
    assert ran.code == 6
    assert "is a Buildkite step file: 1 steps" in ran.stderr
    assert f"--catalogue {steps}" in ran.stdout + ran.stderr


def test_convert_writes_a_file_that_runs_as_well(cli: Cli, steps: Path, tmp_path: Path) -> None:
    stack = str(plants.write(tmp_path / "plant", {"x": {"commands": [plants.python("pass")]}}))
    made = cli("catalogue", "convert", "--stack", stack, "--catalogue", str(steps))
    assert f"{steps}:1:1: the tokens that every step could read there" in made.stderr
    ours = tmp_path / "ours.yaml"
    ours.write_text(made.stdout)
    words = ("test", "test-gpus", "--stack", stack, "--catalogue", str(ours), "--plan", "--json")
    assert [each["step"] for each in cli(*words).json["steps"]] == ["chain"]
    again = cli("catalogue", "convert", "--stack", stack, "--catalogue", str(ours), check=2)
    assert "is a suite file of ours already" in again.stderr
    assert json.loads(cli("catalogue", "convert", "--stack", stack, "--catalogue", str(steps), "--json").stdout)["lost"]


def test_the_door_refuses_what_it_cannot_mean(cli: Cli, steps: Path) -> None:
    assert "did you mean convert?" in cli("catalogue", "covert", "--catalogue", str(steps), check=2).stderr
    assert "needs --catalogue" in cli("catalogue", "convert", check=2).stderr
    assert "there is no file" in cli("catalogue", "convert", "--catalogue", "nowhere.yaml", check=2).stderr


@pytest.mark.parametrize(
    "content", [b"steps:\n- " + b"[" * 10_000_000, b"steps:\n- label: \xff\n", b"steps: [a: {b: &x [*x]}]\n- c"]
)
def test_a_broken_step_file_is_exit_2_with_its_line(cli: Cli, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "steps.yaml"
    path.write_bytes(content)
    ran = cli("pipeline", "--catalogue", str(path), check=2)
    assert f"{path}:" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    "text",
    [
        "p 'a b' \"c $x\"",
        "A=1 B='x y' p a",
        'p "a \\"b\\" \\\\ \\c" d\\ e',
        "p a.py::b[c-1] {} {a} a=b ''",
        "p a#b '#c' \\*",
    ],
)
def test_bash_gives_the_same_words(text: str) -> None:
    """What needs no shell here are the words that bash gives."""
    (part,) = line.read(text).parts
    if not part.plain:
        return
    names = [name for name, _ in part.given]
    shown = "".join(f' "${name}"' for name in names)
    script = f"p() {{ printf '%s\\0' \"$@\"{shown}; }}; {text}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    words = done.stdout.decode().split("\0")[:-1]
    assert [*part.words[1:], *(value for _, value in part.given)] == words
