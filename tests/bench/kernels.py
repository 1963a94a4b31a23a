"""Kernels: a cold compile beside ``hipcc`` as people call it, and what an unchanged file costs.

Rival's flags, in the same image, in a container that is up already and with one ``docker exec`` in all:
``hipcc --genco -c -O3 -I. --offload-arch=A --offload-arch=B --offload-arch=C -o FILE.co FILE.hip``, file after
file; and the same with ``-parallel-jobs=N`` where the compiler has it (AMD's has, Debian's clang has not).
Ours is the whole of ``python -m ci hip-compile``: Python, plan, container, compiles, audit of each object, cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .goals import Measured
from .measure import BenchError, Process, Series, in_turn, output

if TYPE_CHECKING:
    from .scenes import Bench

RIVAL = (
    "`hipcc --genco -c -O3 -I.` with every `--offload-arch` at once, file after file, in a container that is up; "
    "a second row, with `-parallel-jobs`, where the compiler knows it (AMD's does, Debian's clang does not)"
)
ARCHS = ("gfx90a", "gfx942", "gfx950")
COLD_FILES, COLD_ROUNDS = 6, 3
MANY, FEW, WARM_ROUNDS = 100, 1, 11
JOBS = len(os.sched_getaffinity(0))

SOURCE = """\
#include <hip/hip_runtime.h>
#include "shared.h"

template <int N> __device__ float poly(float x, float y) {{
  float sum = 0;
#pragma unroll
  for (int i = 0; i < N; ++i) sum = fmaf(sum, x, sinf(y + i + {number}));
  return sum;
}}

extern "C" __global__ void poly{number}(const float* x, float* y, int n) {{
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = poly<{terms}>(x[i], y[i]) * kShared;
}}
"""


def measure(bench: Bench) -> dict[str, Measured]:
    """The goals of this scene; the second is left out where the compiler has no ``-parallel-jobs``."""
    return cold(bench) | warm(bench)


def cold(bench: Bench) -> dict[str, Measured]:
    """Nothing is cached on either side."""
    project = generate(bench.folder / "cold-kernels", COLD_FILES, terms=24)
    state = bench.folder / "cold-state"
    words = ("--project", str(project), "--out", str(bench.folder / "cold-out"), "--arch", ";".join(ARCHS))
    ours = Process(
        bench.ours("hip-compile", *words),
        bench.folder,
        {**bench.env, "ROCM_CI_STATE": str(state)},
        before=lambda: _forget(state, bench.folder / "cold-out"),
    )
    with _container(project, _image(bench)) as name:
        rivals = {"kernels-cold": _rival(bench, name)}
        parallel = _rival(bench, name, f"-parallel-jobs={JOBS}")
        if _works(parallel):
            rivals["kernels-parallel"] = parallel
        series = in_turn({"ours": ours, **rivals}, COLD_ROUNDS, warm_ups=1)
    return {key: Measured(series["ours"], series[key]) for key in rivals}


def warm(bench: Bench) -> dict[str, Measured]:
    """Runs over many and over few files, all of them cached; the difference is what a file adds."""
    cases = {}
    for name, count in (("many", MANY), ("few", FEW)):
        project = generate(bench.folder / f"{name}-kernels", count, terms=1)
        words = ("--project", str(project), "--out", str(bench.folder / f"{name}-out"), "--arch", ";".join(ARCHS))
        cases[name] = Process(bench.ours("hip-compile", *words), bench.folder, bench.env)
    series = in_turn(cases, WARM_ROUNDS, warm_ups=2)
    above = series["many"].above(series["few"])
    return {"kernels-warm": Measured(Series(tuple(seconds / (MANY - FEW) for seconds in above.seconds)))}


def generate(folder: Path, count: int, *, terms: int) -> Path:
    """A project of ``count`` small files with a header for all of them."""
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[tool.rocm-ci.kernels]\ninclude = ["."]\nflags = ["-O3"]\n')
    (folder / "shared.h").write_text("#pragma once\nconstexpr float kShared = 2;\n")
    for number in range(count):
        (folder / f"poly{number}.hip").write_text(SOURCE.format(number=number, terms=terms))
    return folder


def _forget(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _image(bench: Bench) -> str:
    """The toolchain image; whoever measures kernels has built it."""
    from ci.kernels import toolchain

    with_stack = bench.workspace("local", "toolchain")
    found = toolchain.planned(with_stack)
    if not found.identity:
        raise BenchError("the toolchain image is not there: run inv build-ci-base first")
    return found.identity


@contextmanager
def _container(project: Path, image: str) -> Iterator[str]:
    name = f"rocm-ci-bench-{uuid.uuid4().hex[:8]}"
    output(["docker", "run", "-d", "--init", "--network=none", "-v", f"{project}:/src:ro", "--name", name,
            "--entrypoint", "sleep", image, "infinity"])  # fmt: skip
    try:
        yield name
    finally:
        subprocess.run(["docker", "rm", "-f", name], capture_output=True, check=False)


def _rival(bench: Bench, container: str, *flags: str) -> Process:
    archs = " ".join(f"--offload-arch={arch}" for arch in ARCHS)
    call = f"hipcc --genco -c -O3 -I. {archs} {' '.join(flags)} -o /tmp/$f.co $f"
    script = f"for f in *.hip; do {call} || exit 1; done"
    return Process(("docker", "exec", "-w", "/src", container, "sh", "-c", script), bench.folder, bench.env)


def _works(process: Process) -> bool:
    try:
        process.seconds()
    except BenchError:
        return False
    return True
