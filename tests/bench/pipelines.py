"""Pipeline generation: a large catalogue and a large change, beside a plain PyYAML and Jinja generator of the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from .goals import Measured
from .measure import BenchError, Process, environment, in_turn, output

if TYPE_CHECKING:
    from .scenes import Bench

TOP = Path(__file__).resolve().parents[2]
ROUNDS = 21
RIVAL = "yaml.safe_load as it is and one template (tests/bench/pipeline_rival.*), the same steps checked before"
STEPS, CHANGED = 250, 500
AREAS, MODULES = 60, 60
GPUS = (0, 1, 1, 1, 1, 2, 2, 4, 4, 8)
SUITES = 5

STACK = """\
schema: 1
name: bench
summary: a framework with a large catalogue
repository: rocm-ci-bench/pipeline
platform: linux/amd64
sources: [src]
suites: suites.yaml
pipeline: pools.yaml
args:
  PYTORCH_ROCM_ARCH: {type: arch-list, default: gfx942}
roots:
  busy: {image: "rocm-ci-bench/busy:1"}
tiers:
  base: {dockerfile: Dockerfile.bench, target: base, parents: {ROOT: busy}}
  ci-base: {dockerfile: Dockerfile.bench, target: ci_base, parents: {BASE_IMAGE: base}}
  test: {dockerfile: Dockerfile.bench, target: test, parents: {CI_BASE_IMAGE: ci-base}}
"""
DOCKERFILE = """\
ARG ROOT=busy
ARG BASE_IMAGE=base
ARG CI_BASE_IMAGE=ci_base
FROM ${ROOT} AS base
ARG PYTORCH_ROCM_ARCH
COPY install.sh /opt/install.sh
RUN sh /opt/install.sh

FROM ${BASE_IMAGE} AS ci_base
COPY --from=src requirements/ /opt/requirements/
COPY --from=src csrc/ /opt/csrc/
RUN ls /opt/csrc

FROM ${CI_BASE_IMAGE} AS test
COPY --from=src package/ /opt/package/
COPY --from=src tests/ /opt/tests/
"""
POOLS = """\
schema: 1
tool: [./ci/bootstrap, python, -m, ci]
docs: [docs/, "*.md"]
pools:
  mi300x-1: {family: MI300X, gpus: 1, memory_gb: 128, buildkite: {queue: amd_mi300_1}}
  mi300x-2: {family: MI300X, gpus: 2, memory_gb: 256, buildkite: {queue: amd_mi300_2}}
  mi300x-4: {family: MI300X, gpus: 4, memory_gb: 512, buildkite: {queue: amd_mi300_4}}
  mi300x-8: {family: MI300X, gpus: 8, memory_gb: 1024, buildkite: {queue: amd_mi300_8}}
  cpu: {memory_gb: 32, builds: true, buildkite: {queue: amd-cpu}}
"""


def pipelines(bench: Bench) -> dict[str, Measured]:
    """Both generators as whole processes; raises ``BenchError`` unless they say the same."""
    repository = write(bench.folder / "pipelines")
    both = {"ours": ours(repository), "rival": rival(repository)}
    same(*(output(each.argv, each.cwd, each.env) for each in both.values()))
    found = in_turn(both, ROUNDS)
    return {"pipeline": Measured(found["ours"]), "pipeline-rival": Measured(found["ours"], found["rival"])}


def ours(repository: Path) -> Process:
    """The verb, as a CI's first job calls it."""
    words = ("pipeline", "--stack", "rocm/bench.yaml", "--format", "buildkite", "--profile", "pr", "--base", "main")
    return Process((sys.executable, "-m", "ci", *words), repository, _environment())


def rival(repository: Path) -> Process:
    """The plain generator, on the same files."""
    words = ("-m", "tests.bench.pipeline_rival", "rocm/suites.yaml", "main")
    return Process((sys.executable, *words), repository, _environment())


def same(mine: str, its: str) -> None:
    """Raise ``BenchError`` unless two pipelines have the same steps in the same order; comments do not count."""
    found, expected = (yaml.load(text, yaml.CSafeLoader)["steps"] for text in (mine, its))
    for number, (one, other) in enumerate(zip(found, expected, strict=False)):
        if one != other:
            raise BenchError(f"step {number} is {one}, and the other's is {other}")
    if len(found) != len(expected):
        raise BenchError(f"{len(found)} steps, and the other has {len(expected)}")


def write(folder: Path, steps: int = STEPS, changed: int = CHANGED) -> Path:
    """A git repository whose branch is ``changed`` files away from main, with a catalogue of ``steps``; its folder."""
    files = {path: f"# {path}\n" for path in tree()}
    files |= {"requirements/test.txt": "pytest\n", "csrc/kernel.hip": "// nothing\n", "README.md": "about\n"}
    files |= {"rocm/bench.yaml": STACK, "rocm/Dockerfile.bench": DOCKERFILE, "rocm/install.sh": "true\n"}
    files |= {"rocm/pools.yaml": POOLS, "rocm/suites.yaml": catalogue(steps), "rocm/pins.json": "{}\n"}
    _save(folder, files)
    _git(folder, "init", "--quiet", "--initial-branch=main")
    _commit(folder, "main")
    _git(folder, "switch", "--quiet", "--create", "change")
    near = list(tree())[: AREAS * MODULES * 2 // 5]  # the change is in two areas of five
    edited = near[:: len(near) // changed][:changed]
    _save(folder, {path: f"# {path}, changed\n" for path in edited})
    _commit(folder, "change")
    return folder


def tree() -> Iterator[str]:
    """The files of the framework."""
    for number in range(AREAS * MODULES):
        area, module = divmod(number, MODULES)
        top, name = ("tests", f"test_{module:02}.py") if module % 3 == 0 else ("package", f"module{module:02}.py")
        yield f"{top}/area{area:02}/{name}"


def catalogue(count: int) -> str:
    """A suite file as people write it, of steps that differ."""
    names = [f"area{number % AREAS:02}-step-{number:03}" for number in range(count)]
    rows = ["schema: 1", "runtime: rocm", "workspace: /workspace", "steps:"]
    for number, name in enumerate(names):
        rows += [f"  {name}:", *(f"    {line}" for line in _step(number))]
    rows.append("suites:")
    for suite in range(SUITES):
        rows += [f"  suite-{suite}:", f"    summary: part {suite} of the catalogue", "    steps:"]
        rows += [f"      - {name}" for name in names[suite::SUITES]]
    return "\n".join([*rows, ""])


def _step(number: int) -> Iterator[str]:
    area, gpus = number % AREAS, GPUS[number % len(GPUS)]
    yield f"summary: what area {area} does, part {number // AREAS}, on {gpus} GPUs"
    yield from ("limits:", f"  minutes: {10 + number % 9 * 10}", f"  silent_minutes: {5 + number % 9 * 5}")
    if gpus:
        yield from ("needs:", f"  gpus: {gpus}", "  archs:", "    - gfx942")
    yield "sources:"
    yield from (f"  - package/area{(area + near * 7) % AREAS:02}/" for near in range(3 + number % 5))
    yield from (
        f"  - package/area{(area + 11) % AREAS:02}/module{module:02}.py" for module in range(1, 4 + number % 5, 3)
    )
    if number % 4 == 1:
        yield f"  - package/area{(area + 13) % AREAS:02}/module1*.py"
    yield from (f"  - tests/area{area:02}/", f"  - '!tests/area{area:02}/test_00.py'")
    yield from ("env:", '  HF_HUB_OFFLINE: "1"', "  WORKER_METHOD: spawn", f'  SEED: "{number}"')
    yield "commands:"
    for part in range(1 + number % 3):
        words = ("-v", "-s", f"tests/area{area:02}/test_{part * 3:02}.py", f"--seed={number}", "-k", f"not slow{part}")
        yield from ("  - pytest:", *(f"      - {word}" for word in words))
    if number % 8 == 3:
        yield f"shards: {2 + number % 3}"
    if number % 9 == 4:
        yield from ("profiles:", "  - nightly", "  - full")
    if number % 12 == 7:
        yield from ("soft:", f"  reason: area {area} is new", '  until: "2099-12-31"')


def _environment() -> dict[str, str]:
    return environment(PYTHONPATH=str(TOP))


def _save(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _commit(folder: Path, message: str) -> None:
    _git(folder, "add", "--all")
    _git(folder, "-c", "user.name=bench", "-c", "user.email=bench@example.org", "commit", "--quiet", "-m", message)


def _git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)
