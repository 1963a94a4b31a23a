"""The suites of the vllm stack on the nodes they are for: which steps run, and why the others do not."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from ci.recipe import stack as stacks
from ci.recipe.stack import HOME
from ci.recipe.values import absent, resolve_args
from ci.settings import capture
from ci.suites import catalogue, plan
from ci.suites.plan import Here, SuitePlan, Wish
from ci.world.fakes import FakeRun
from ci.world.gpus import allotted, inventory
from tests.nodes import answers, tree
from tests.unit.probe import module

TODAY = date(2026, 11, 21)
VLLM = catalogue.read(HOME / "suites" / "vllm.yaml", ("base", "ci-base", "test"), ("deepep",))
CUDA = "the pass it tests exists for CUDA only"
WHOLE = ["smoke", "probe", "all-to-all", "data-parallel", "deepep-example", "fused-allreduce-rms", "shutdown"]


def made(folder: Path, machine: str, suite: str, wish: Wish = Wish(), mask: str = "") -> SuitePlan:  # noqa: B008 - frozen
    settings = capture({}, {"HIP_VISIBLE_DEVICES": mask} if mask else {})
    node = inventory(settings, tree(folder, machine), start=FakeRun(answers(machine)), seconds=30)
    archs = tuple(gpu.arch for gpu in allotted(settings, node))
    return plan.make(VLLM, suite, Here(archs, 2000, bool(node.rdma)), wish, TODAY)


def skips(found: SuitePlan) -> dict[str, str]:
    return {each.name: each.skip for each in found.steps if each.skip}


def runs(found: SuitePlan) -> list[str]:
    return [each.name for each in found.steps if not each.skip]


@pytest.mark.parametrize("machine", ["mi300x", "mi325x", "mi355x"])
def test_what_runs_on_cdna_3_and_4(tmp_path: Path, machine: str) -> None:
    found = made(tmp_path, machine, "rocm-distributed-tests")
    assert runs(found) == WHOLE
    assert list(skips(found)) == ["sequence-parallelism"]
    assert skips(found)["sequence-parallelism"].startswith(f"{CUDA} (until 2027-05-31, https://")
    assert runs(made(tmp_path / "2", machine, "deepep-data-parallel")) == ["data-parallel", "deepep-example"]


def test_what_runs_on_mi250(tmp_path: Path) -> None:
    """rocSHMEM and DeepEP know neither of its two dies."""
    found = made(tmp_path, "mi250", "rocm-distributed-tests")
    assert runs(found) == [name for name in WHOLE if name != "deepep-example"]
    lacks = "needs 2 GPUs (gfx942 or gfx950): this node has 8 GPUs (gfx90a)"
    assert (skips(found)["deepep-example"], [*skips(found)]) == (lacks, ["deepep-example", "sequence-parallelism"])
    assert [each.unmet for each in found.steps if each.skip] == [True, False]


def test_what_runs_on_one_gpu_of_many(tmp_path: Path) -> None:
    """The caller was given one."""
    found = made(tmp_path, "mi355x", "rocm-distributed-tests", mask="3")
    assert runs(found) == ["smoke", "probe", "shutdown"]
    assert skips(found)["all-to-all"] == "needs 4 GPUs: this node has 1 GPU (gfx950)"


def test_what_runs_on_partitions(tmp_path: Path) -> None:
    assert runs(made(tmp_path, "mi325x-dpx", "rocm-distributed-tests")) == WHOLE, "four of them"
    assert runs(made(tmp_path / "2", "mi300x-cpx", "rocm-distributed-tests")) == WHOLE


def test_without_a_gpu_nothing_runs_and_each_step_says_so() -> None:
    found = plan.make(VLLM, "rocm-distributed-tests", Here((), 64), Wish(), TODAY)
    assert runs(found) == []
    assert {each.skip for each in found.steps if each.unmet} == {
        f"needs {count}: this node has no GPU" for count in ("1 GPU", "2 GPUs", "4 GPUs")
    }


def test_a_step_whose_component_is_left_out_is_skipped_and_says_why() -> None:
    stack = stacks.load("vllm")
    args = resolve_args(stack, capture({}, {"PYTORCH_ROCM_ARCH": "gfx90a"}), stacks.archs())
    lacks = absent(stack, args)
    assert lacks["deepep"] == "deepep supports nothing of PYTORCH_ROCM_ARCH (gfx90a)"
    found = plan.make(VLLM, "deepep-data-parallel", Here(("gfx942",) * 8, 2000, absent=lacks), Wish(), TODAY)
    assert runs(found) == ["data-parallel"]
    assert skips(found)["deepep-example"] == f"needs deepep, which this build leaves out: {lacks['deepep']}"
    assert absent(stack, resolve_args(stack, capture({}, {}), stacks.archs())) == {}


def test_its_limits_fit_a_deadline_of_two_hours() -> None:
    found = plan.make(VLLM, "rocm-distributed-tests", Here(("gfx942",) * 8, 2000), Wish(deadline=7200), TODAY)
    assert runs(found) == WHOLE


def test_its_health_program_is_one_the_probe_understands() -> None:
    """Every GPU of a node would be found unwell by one that is not."""
    assert VLLM.health
    interpreter, option, name, *words = VLLM.health.argv
    assert (interpreter, option, name) == ("python3", "-m", "rocm_probe")
    main = module("__main__")
    infra = main.main(words, library=NoDevice())
    assert infra == main.CODES["infra"], "it came as far as asking for a device"


class NoDevice:
    """A runtime without a device."""

    def __getattr__(self, name: str) -> object:
        if name == "hipGetErrorString":
            return lambda _code: b"no ROCm-capable device is detected"
        return lambda *_arguments: 100
