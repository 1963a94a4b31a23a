"""Which pool a step goes to, and why the others cannot take it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from pathlib import Path

import pytest

from ci.errors import ConfigError
from ci.pipeline import placing, pools
from ci.pipeline.placing import Placed
from ci.recipe import stack as stacks
from ci.recipe.values import resolve_args
from ci.settings import capture
from ci.suites import catalogue

TODAY = date(2026, 11, 22)
VLLM = stacks.load("vllm")
STEPS = catalogue.load(VLLM)
NODES = pools.load(VLLM)
ARCHS = stacks.archs()
LITTLE = """\
schema: 1
pools:
  mi300x-8: {family: MI300X, gpus: 8, memory_gb: 1024, nodes: 2, rdma: true, nics: [ainic]}
  mi300x-1: {family: MI300X, gpus: 1, memory_gb: 64}
  mi250-2: {family: MI250, gpus: 2, memory_gb: 128}
  mi355x-4: {family: MI355X, gpus: 4, memory_gb: 512}
  cpu-build: {memory_gb: 8, builds: true}
  cpu: {memory_gb: 64}
"""


def put(
    tmp_path: Path, step: str, *, runtime: str = "rocm", nodes: str = LITTLE, away: Collection[str] = ()
) -> tuple[Placed, ...]:
    """Where a step with these lines goes."""
    suite, file = tmp_path / "s.yaml", tmp_path / "p.yaml"
    suite.write_text(
        f"schema: 1\nruntime: {runtime}\nsteps:\n  it:\n    summary: s\n    limits: {{minutes: 10}}\n"
        f"    commands: [{{run: ['true']}}]\n    {step}\nsuites: {{all: {{summary: s, steps: [it]}}}}\n"
    )
    file.write_text(nodes)
    steps = catalogue.read(suite, ("test",), ("deepep",))
    return placing.place(steps, "it", pools.read(file, ARCHS), TODAY, away)


def only(found: tuple[Placed, ...]) -> tuple[str, str, dict[str, str]]:
    (one,) = found
    return one.pool.name if one.pool else "", one.arch, dict(one.refused)


def test_with_mi355x_away_a_deepep_step_goes_to_mi325x() -> None:
    pool, arch, refused = only(placing.place(STEPS, "deepep-example", NODES, TODAY))
    assert (pool, arch) == ("mi355x-2", "gfx950")
    pool, arch, refused = only(placing.place(STEPS, "deepep-example", NODES, TODAY, ("MI355X",)))
    assert (pool, arch, refused["mi355x-2"]) == ("mi325x-2", "gfx942", "away (--away)")


def test_mi250_is_refused_for_deepep_with_that_reason() -> None:
    away = ("MI355X", "MI325X", "MI300X")
    (found,) = placing.place(STEPS, "deepep-example", NODES, TODAY, away)
    refused = dict(found.refused)
    assert found.pool is None
    assert {refused[f"mi250-{gpus}"] for gpus in (1, 2, 4, 8)} == {"deepep is not built for gfx90a (archs.yaml)"}
    assert "mi250-1, mi250-2, mi250-4, mi250-8: deepep is not built for gfx90a (archs.yaml); cpu: has no GPU" in str(
        found
    )
    (other,) = placing.place(STEPS, "data-parallel", NODES, TODAY, away)
    assert str(other) == "mi250-2", "without DeepEP it is good enough"


@pytest.mark.parametrize(("gpus", "pool"), [(1, "mi300x-1"), (2, "mi300x-8"), (8, "mi300x-8")])
def test_a_step_takes_no_more_gpus_than_it_has_to_of_the_first_family(tmp_path: Path, gpus: int, pool: str) -> None:
    assert only(put(tmp_path, f"needs: {{gpus: {gpus}}}"))[0] == pool


def test_the_first_family_is_preferred_even_where_another_wastes_less(tmp_path: Path) -> None:
    pool, _, refused = only(put(tmp_path, "needs: {gpus: 2}"))
    assert pool == "mi300x-8"
    assert refused == {
        "mi300x-1": "has 1 of the 2 GPUs it needs",
        "cpu-build": "has no GPU",
        "cpu": "has no GPU",
    }, "mi250-2 could take it too, and refuses nothing"


def test_a_small_pool_that_is_away_leaves_the_step_to_a_big_one(tmp_path: Path) -> None:
    assert only(put(tmp_path, "needs: {gpus: 1}", away=("mi300x-1",)))[0] == "mi300x-8"


@pytest.mark.parametrize(
    ("needs", "pool", "why"),
    [
        ("gpus: 1, archs: [gfx950]", "mi355x-4", "has gfx942, it needs gfx950"),
        ("gpus: 1, memory_gb: 512, archs: [gfx950]", "mi355x-4", "has gfx942, it needs gfx950"),
        ("gpus: 1, rdma: true", "mi300x-8", "has no RDMA devices"),
        ("gpus: 1, nic: ainic", "mi300x-8", "has no ainic NIC"),
        ("gpus: 1, nic: bnxt", "", "has no bnxt NIC"),
        ("gpus: 1, memory_gb: 65", "mi300x-8", "has 64 of the 65 GB of memory it needs"),
        ("gpus: 16", "", "has 1 of the 16 GPUs it needs"),
        ("gpus: 1, components: [deepep]", "mi300x-1", ""),
    ],
)
def test_what_a_step_needs(tmp_path: Path, needs: str, pool: str, why: str) -> None:
    found, _, refused = only(put(tmp_path, f"needs: {{{needs}}}"))
    assert (found, refused.get("mi300x-1", "")) == (pool, why)


def test_a_step_on_several_nodes(tmp_path: Path) -> None:
    pool, _, refused = only(put(tmp_path, "needs: {gpus: 1, nodes: 2}"))
    assert (pool, refused["mi300x-1"]) == ("mi300x-8", "has 1 of the 2 nodes it needs")


def test_a_step_without_gpus_sits_on_no_gpu(tmp_path: Path) -> None:
    pool, arch, refused = only(put(tmp_path, "needs: {memory_gb: 8}"))
    assert (pool, arch) == ("cpu-build", "")
    assert {refused[name] for name in ("mi300x-8", "mi250-2", "mi355x-4")} == {"has GPUs, and it needs none"}
    assert only(put(tmp_path, "needs: {memory_gb: 9}"))[0] == "cpu"
    (as_it_is_there,) = put(tmp_path, "cpu: {env: {WHERE: cpu}}")
    assert (str(as_it_is_there), as_it_is_there.step.env) == ("cpu-build", {"WHERE": "cpu"})
    gone = ("cpu", "cpu-build")
    assert only(put(tmp_path, "needs: {}", away=gone))[0] == "", "rather nowhere than on a GPU"


def test_a_step_with_gpus_never_runs_as_its_cpu_variant_where_the_images_have_a_gpu_runtime(tmp_path: Path) -> None:
    gone = ("MI300X", "MI250", "MI355X")
    pool, _, refused = only(put(tmp_path, "needs: {gpus: 1}\n    cpu: {env: {A: b}}", away=gone))
    assert (pool, refused["cpu"]) == ("", "has no GPU")


def test_images_without_a_gpu_runtime_go_to_cpu_pools_as_their_cpu_variant(tmp_path: Path) -> None:
    (found,) = put(tmp_path, "needs: {gpus: 2}\n    cpu: {env: {WHERE: cpu}}", runtime="cpu")
    assert str(found) == "cpu-build"
    assert found.arch == ""
    assert (found.step.needs.gpus, found.step.env) == (0, {"WHERE": "cpu"})
    assert dict(found.refused)["mi300x-8"] == "has GPUs, and the image has no GPU runtime"


def test_a_gpu_step_without_a_cpu_variant_goes_nowhere_where_the_images_have_no_gpu_runtime(tmp_path: Path) -> None:
    (found,) = put(tmp_path, "needs: {gpus: 2}\n    matrix: [gfx942, gfx950]", runtime="cpu")
    assert (found.pool, found.arch) == (None, "")
    assert dict(found.refused)["cpu"] == "has no GPU, and the image has no GPU runtime"


def test_a_matrix_runs_once_on_each_arch_as_it_is_there(tmp_path: Path) -> None:
    step = (
        "needs: {gpus: 1}\n    matrix: [gfx90a, gfx942, gfx1100]\n    archs: {gfx942: {needs: {gpus: 4}, env: {A: b}}}"
    )
    old, new, none = put(tmp_path, step)
    assert [(each.pool.name if each.pool else "", each.arch) for each in (old, new, none)] == [
        ("mi250-2", "gfx90a"),
        ("mi300x-8", "gfx942"),
        ("", "gfx1100"),
    ]
    assert (old.step.needs.gpus, new.step.needs.gpus, new.step.env) == (1, 4, {"A": "b"})
    assert dict(new.refused)["mi250-2"] == "has gfx90a, this run is on gfx942"
    assert dict(new.refused)["mi300x-1"] == "has 1 of the 4 GPUs it needs"
    assert dict(none.refused)["cpu"] == "has no GPU"


def test_an_arch_changes_what_a_step_needs_there(tmp_path: Path) -> None:
    step = "needs: {gpus: 1}\n    archs: {gfx942: {needs: {gpus: 16}}, gfx90a: {needs: {gpus: 4}}}"
    pool, arch, refused = only(put(tmp_path, step))
    assert (pool, arch) == ("mi355x-4", "gfx950")
    assert refused["mi250-2"] == "has 2 of the 4 GPUs it needs"


def test_an_arch_on_which_a_step_is_left_out_does_not_get_it(tmp_path: Path) -> None:
    step = 'needs: {gpus: 1}\n    archs: {gfx942: {skip: {reason: hangs, until: "%s"}}}'
    pool, _, refused = only(put(tmp_path, step % "2026-11-22"))
    assert (pool, refused["mi300x-1"]) == ("mi250-2", "left out on gfx942: hangs (until 2026-11-22)")
    assert only(put(tmp_path, step % "2026-11-21"))[0] == "mi300x-1", "it is over"
    everywhere = 'needs: {gpus: 1}\n    skip: {reason: hangs, until: "2027-01-01"}'
    assert only(put(tmp_path, everywhere))[0] == "mi300x-1", "whether it runs at all is not asked here"


def test_a_pool_that_is_away_takes_nothing_even_past_its_day(tmp_path: Path) -> None:
    day = 'memory_gb: 64, away: {reason: no agents, until: "2026-11-01"}}'
    nodes = LITTLE.replace("gpus: 1, memory_gb: 64}", f"gpus: 1, {day}")
    pool, _, refused = only(put(tmp_path, "needs: {gpus: 1}", nodes=nodes))
    assert (pool, refused["mi300x-1"]) == ("mi300x-8", "away until 2026-11-01: no agents")


def test_that_a_pool_is_away_is_the_last_thing_said_of_it(tmp_path: Path) -> None:
    _, _, refused = only(put(tmp_path, "needs: {gpus: 2, components: [deepep]}", away=("MI250", "MI300X")))
    assert refused["mi250-2"] == "deepep is not built for gfx90a (archs.yaml)"
    assert refused["mi300x-1"] == "has 1 of the 2 GPUs it needs"
    assert refused["mi300x-8"] == "away (--away)"


@pytest.mark.parametrize(("name", "near"), [("MI355", "MI355X"), ("mi355x-3", "mi355x-")])
def test_a_pool_that_nobody_has_cannot_be_away(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"vllm.yaml has no pool or family '{name}'") as caught:
        placing.place(STEPS, "smoke", NODES, TODAY, ("mi250-1", name))
    assert near in caught.value.problems[0].hint


def test_a_build_for_fewer_archs_goes_only_where_it_has_code() -> None:
    def put_with(step: str = "deepep-example", **environ: str) -> tuple[str, dict[str, str]]:
        built = placing.built_for(VLLM, resolve_args(VLLM, capture({}, environ), ARCHS))
        pool, _, refused = only(placing.place(STEPS, step, NODES, TODAY, built=built))
        return pool, refused

    assert put_with()[0] == "mi355x-2"
    pool, refused = put_with(PYTORCH_ROCM_ARCH="gfx90a;gfx942")
    assert (pool, refused["mi355x-2"]) == ("mi325x-2", "this build has deepep for gfx942")
    pool, refused = put_with(DEEPEP_ROCM_ARCH="gfx942")
    assert (pool, refused["mi355x-2"]) == ("mi325x-2", "this build has deepep for gfx942")
    pool, refused = put_with(PYTORCH_ROCM_ARCH="gfx90a")
    assert (pool, refused["mi355x-2"]) == ("", "this build has deepep for none")
    pool, refused = put_with("data-parallel", PYTORCH_ROCM_ARCH="gfx90a")
    assert (pool, refused["mi300x-2"]) == ("mi250-2", "this build is for gfx90a, not for gfx942")


def test_who_builds_images(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(LITTLE.replace("cpu: {memory_gb: 64}", "cpu: {memory_gb: 64, builds: true}"))
    found = pools.read(file, ARCHS)
    assert placing.builder(found).name == "cpu-build"
    assert placing.builder(found, ("cpu-build",)).name == "cpu"
    with pytest.raises(ConfigError, match=r"no pool that builds images is there: cpu-build, cpu: away \(--away\)"):
        placing.builder(found, ("cpu-build", "cpu"))


def test_every_step_that_is_shipped_goes_somewhere_or_says_why_not() -> None:
    found = {name: placing.place(STEPS, name, NODES, TODAY) for name in STEPS.data}
    assert {name: [str(each) for each in each_arch] for name, each_arch in found.items()} == {
        "smoke": ["mi355x-1"],
        "probe": ["mi250-1", "mi325x-1", "mi355x-1"],
        "shutdown": ["mi355x-1"],
        "all-to-all": ["mi250-4", "mi325x-4", "mi355x-4"],
        "data-parallel": ["mi355x-2"],
        "deepep-example": ["mi355x-2"],
        "fused-allreduce-rms": ["mi355x-2"],
        "sequence-parallelism": ["mi355x-2"],
    }
    local = stacks.load("local")
    steps, nodes = catalogue.load(local), pools.load(local)
    where = {name: str(placing.place(steps, name, nodes, TODAY)[0]) for name in steps.data}
    assert where.pop("probe") == "cpu: has no GPU, and the image has no GPU runtime"
    assert set(where.values()) == {"cpu"}
