"""What a line of Python costs: the staged build of the vllm stack beside one stage that does the same work.

Both sides have the stand-ins of ``tests/engine``, the same base image, and kernels that take about a minute to
compile for three targets; a real engine's take an hour. The edit is new in every round, so nothing is served from
the round before.
"""

from __future__ import annotations

import json
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engine import standin_recipe, standins

from . import recipes
from .goals import Measured
from .kernels import ARCHS, SOURCE
from .measure import BenchError, Process, in_turn

if TYPE_CHECKING:
    from .scenes import Bench

KERNELS, TERMS, ROUNDS = 24, 24, 2
TOP = Path(__file__).resolve().parents[2]

DOCKERFILE = """\
ARG BASE_IMAGE=scratch
FROM ${BASE_IMAGE}
COPY --from=triton-kernels /python/triton_kernels/triton_kernels /triton
COPY --from=vllm . /src
RUN cd /src && PYTORCH_ROCM_ARCH='ARCHS' TRITON_KERNELS_SRC_DIR=/triton SETUPTOOLS_SCM_PRETEND_VERSION=1 \\
    python3 setup.py -q bdist_wheel && python3 -m pip install --no-index --no-deps dist/*.whl
"""


def python_only(bench: Bench) -> dict[str, Measured]:
    """An edit of one Python file, until the test image is there."""
    work = bench.workspace("local", "toolchain")
    tag = work.plan(("toolchain",)).tiers[-1].tag
    image = work.engine.image(tag)
    if image is None:
        raise BenchError("the toolchain image is not there: run inv build-ci-base first")
    folder = bench.folder / "python-only"
    folder.mkdir()
    with standin_recipe.recipe(folder, tag, image.id, f"{recipes.REPOSITORY}/vllm") as made:
        source = made.sources["vllm"]
        kernels = {f"csrc/poly{number}.hip": SOURCE.format(number=number, terms=TERMS) for number in range(KERNELS)}
        standins.write(source, kernels | {"csrc/shared.h": "#pragma once\nconstexpr float kShared = 2;\n"})
        env = {**bench.env, "PYTORCH_ROCM_ARCH": ";".join(ARCHS)}
        words = bench.ours("build-test", *made.words)
        done = subprocess.run(words, cwd=TOP, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"the images of the stand-ins cannot be built\n{done.stderr[-2000:]}")

        def edit() -> None:
            (source / "vllm/engine.py").write_text(f'ANSWER = "{uuid.uuid4().hex}"\n')

        cases = {
            "ours": Process(words, TOP, env, edit),
            "single": Process(_single(folder, made, _base(done.stdout)), TOP, env, edit),
        }
        found = in_turn(cases, ROUNDS, warm_ups=1)
    return {"python-only": Measured(found["ours"], found["single"])}


def _base(result: str) -> str:
    return next(str(row["reference"]) for row in json.loads(result)["tiers"] if row["tier"] == "base")


def _single(folder: Path, made: standin_recipe.Recipe, base: str) -> tuple[str, ...]:
    """The rival: everything in one stage, as it is without a design."""
    (folder / "Dockerfile.single").write_text(DOCKERFILE.replace("ARCHS", ";".join(ARCHS)))
    contexts = [f"--build-context={name}={made.sources[name]}" for name in ("vllm", "triton-kernels")]
    return (
        "docker", "buildx", "--builder", "default", "build", *contexts, f"--build-arg=BASE_IMAGE={base}",
        f"--file={folder / 'Dockerfile.single'}", f"--output=type=image,name={recipes.REPOSITORY}/single:1",
        str(folder),
    )  # fmt: skip
