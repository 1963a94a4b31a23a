"""Jobs of a pipeline: which images come first, what each job runs, and what nobody can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import MappingProxyType

import pytest

from ci.pipeline import placing, pools
from ci.pipeline.wiring import VERBS, Chosen, Terms, Wired, inner_minutes, outer_minutes, wire
from ci.providers.jobs import Job
from ci.recipe import stack as stacks
from ci.recipe.stack import Stack
from ci.suites import catalogue
from ci.suites.plan import Here, Wish, make
from ci.verbs import VERBS as TABLE

TODAY = date(2026, 11, 22)
LOCAL = stacks.load("local")
NODES = """\
schema: 1
tool: [tool]
github: {checkout: "actions/checkout@%s"}
pools:
  mi300x-8: {family: MI300X, gpus: 8, memory_gb: 1024, nodes: 2, buildkite: {queue: eight}}
  mi300x-1: {family: MI300X, gpus: 1, memory_gb: 64, buildkite: {queue: one}}
  mi355x-1: {family: MI355X, gpus: 1, memory_gb: 64, buildkite: {queue: new}}
  cpu-build: {memory_gb: 8, builds: true, buildkite: {queue: build}}
  cpu: {memory_gb: 64, buildkite: {queue: cpu}}
""" % ("0" * 40)
BUNDLE = NODES + "bundle: s3://bucket/prefix\n"


def wired(
    tmp_path: Path,
    *steps: str,
    nodes: str = NODES,
    stack: Stack = LOCAL,
    named: str = "local",
    file: str = "",
    env: Mapping[str, str] = MappingProxyType({}),
    strict: bool = False,
    runtime: str = "rocm",
) -> Wired:
    """The pipeline of the steps with these lines, called a, b, ... and all of them chosen."""
    names = "abcdef"[: len(steps)]
    suite, nodes_file = tmp_path / "s.yaml", tmp_path / "p.yaml"
    lines = [
        f"  {name}:\n    summary: s\n    commands: [{{run: ['true']}}]\n"
        + ("" if "limits" in step else "    limits: {minutes: 10}\n")
        + f"    {step}\n"
        for name, step in zip(names, steps, strict=True)
    ]
    suite.write_text(
        f"schema: 1\nruntime: {runtime}\nsteps:\n" + "".join(lines) + "suites:\n"
        f"  every: {{summary: s, steps: [{', '.join(names)}]}}\n  last: {{summary: s, steps: [{names[-1]}]}}\n"
    )
    nodes_file.write_text(nodes)
    found, where = catalogue.read(suite, tuple(stack.tiers)), pools.read(nodes_file, stacks.archs())
    chosen = [Chosen(at, f"why {name}") for name in names for at in placing.place(found, name, where, TODAY)]
    return wire(Terms(stack, found, where, placing.builder(where), named, file, env, TODAY), chosen, strict=strict)


def jobs(found: Wired) -> dict[str, Job]:
    result = {job.key: job for job in found.pipeline.jobs}
    assert len(result) == len(found.pipeline.jobs), "two jobs have one key"
    return result


def test_images_come_first_and_only_those_that_steps_need(tmp_path: Path) -> None:
    found = jobs(wired(tmp_path, "needs: {gpus: 1}"))
    assert list(found) == ["image-base", "image-ci-base", "image-test", "test-a"]
    assert [found[key].after for key in found] == [(), ("image-base",), ("image-ci-base",), ("image-test",)]
    assert found["image-ci-base"].command == ("tool", "build-ci-base", "--stack", "local", "--push")
    assert [found[key].makes for key in found] == [("base",), ("ci-base",), ("test",), ()]
    assert found["test-a"].takes == ("test",)
    found = jobs(wired(tmp_path, "tier: ci-base"))
    assert list(found) == ["image-base", "image-ci-base", "test-a"]
    assert (found["test-a"].takes, found["test-a"].after) == (("ci-base",), ("image-ci-base",))


def test_images_are_made_where_images_are_built_before_any_test(tmp_path: Path) -> None:
    found = jobs(wired(tmp_path, "needs: {gpus: 1}"))
    assert {found[key].pool.name for key in found if key.startswith("image-")} == {"cpu-build"}
    assert min(found[key].priority for key in found if key.startswith("image-")) > found["test-a"].priority


def test_a_tier_that_no_verb_builds_is_left_to_whoever_needs_it() -> None:
    verbs = {verb.name for verb in TABLE}
    assert {f"build-{tier}" for tier in VERBS} <= verbs
    assert "toolchain" in LOCAL.tiers
    assert "build-toolchain" not in verbs


def test_what_comes_before_a_tier_without_a_job_comes_before_whoever_needs_it(tmp_path: Path) -> None:
    middle = LOCAL.tiers["ci-base"]._replace(name="middle")
    above = LOCAL.tiers["test"]._replace(parents=(("CI_BASE_IMAGE", "middle"),))
    stack = replace(LOCAL, tiers={**LOCAL.tiers, "middle": middle, "test": above})
    found = jobs(wired(tmp_path, "tier: middle", "tier: test", stack=stack))
    assert list(found) == ["image-base", "image-test", "test-a", "test-b"]
    assert found["image-test"].after == ("image-base",)
    assert (found["test-a"].after, found["test-a"].takes) == (("image-base",), ())


def test_a_job_runs_one_step_by_the_first_suite_that_has_it(tmp_path: Path) -> None:
    found = jobs(wired(tmp_path, "needs: {gpus: 1}", "needs: {}"))
    deadline = str(inner_minutes(_step(tmp_path, "a")))
    assert found["test-a"].command == (
        "tool", "test", "every", "--only", "a", "--stack", "local", "--require-gpu", "--deadline", deadline,
    )  # fmt: skip
    assert "--require-gpu" not in found["test-b"].command
    assert found["test-b"].command[2] == "every"
    assert (found["test-a"].why, found["test-b"].why) == ("why a", "why b")


def _step(tmp_path: Path, name: str) -> catalogue.Step:
    return catalogue.read(tmp_path / "s.yaml", tuple(LOCAL.tiers)).step(name)


def test_the_file_of_the_steps_goes_with_every_test(tmp_path: Path) -> None:
    found = jobs(wired(tmp_path, "needs: {}", named="a/b.yaml", file="c/d.yaml", env={"NIC_BACKEND": "bnxt"}))
    assert found["test-a"].command[3:9] == ("--only", "a", "--stack", "a/b.yaml", "--catalogue", "c/d.yaml")
    assert "--catalogue" not in found["image-base"].command
    assert found["image-base"].command[2:4] == ("--stack", "a/b.yaml")
    assert found["image-base"].env == found["test-a"].env == {"NIC_BACKEND": "bnxt"}


def test_one_job_per_arch_and_shard_none_with_anothers_name(tmp_path: Path) -> None:
    found = jobs(wired(tmp_path, "needs: {gpus: 1}\n    shards: 2\n    matrix: [gfx942, gfx950]"))
    tests = {key: job for key, job in found.items() if key.startswith("test-")}
    assert [(key, job.label, job.pool.name) for key, job in tests.items()] == [
        ("test-a--gfx942--1", "a (gfx942) 1/2: s", "mi300x-1"),
        ("test-a--gfx942--2", "a (gfx942) 2/2: s", "mi300x-1"),
        ("test-a--gfx950--1", "a (gfx950) 1/2: s", "mi355x-1"),
        ("test-a--gfx950--2", "a (gfx950) 2/2: s", "mi355x-1"),
    ]
    shards = [job.command[job.command.index("--shard") + 1] for job in tests.values()]
    assert shards == ["1/2", "2/2", "1/2", "2/2"]


@pytest.mark.parametrize("limits", ["{minutes: 0.5}", "{minutes: 10}", "{minutes: 600, grace_seconds: 600}"])
def test_a_run_ends_itself_before_its_ci_does(tmp_path: Path, limits: str) -> None:
    job = jobs(wired(tmp_path, f"limits: {limits}"))["test-a"]
    inner = int(job.command[job.command.index("--deadline") + 1])
    step = _step(tmp_path, "a")
    assert inner == inner_minutes(step) < job.minutes == outer_minutes(step)
    found = catalogue.read(tmp_path / "s.yaml", tuple(LOCAL.tiers))
    wish = Wish(("a",), deadline=60.0 * inner)
    make(found, "every", Here(), wish, TODAY)  # it refuses a deadline that a step and its teardown do not fit in


def test_a_bundle_stands_for_the_image_that_can_be_made_of_one(tmp_path: Path) -> None:
    found = jobs(wired(tmp_path, "needs: {}", "tier: ci-base", nodes=BUNDLE))
    bundle = found["image-test"]
    assert bundle.command == (
        "tool", "build-test", "--stack", "local", "--artifact-only", "--out", "s3://bucket/prefix",
    )  # fmt: skip
    assert (bundle.makes, bundle.after) == ((), ("image-ci-base",))
    assert "--push" in found["image-ci-base"].command
    words = found["test-a"].command
    assert words[words.index("--artifact") + 1] == "s3://bucket/prefix"
    assert (found["test-a"].takes, found["test-a"].after) == ((), ("image-test",))
    assert (found["test-b"].takes, "--artifact" in found["test-b"].command) == (("ci-base",), False)


def test_a_step_that_no_pool_can_take_has_no_job_and_is_named_with_every_reason(tmp_path: Path) -> None:
    found = wired(tmp_path, "needs: {gpus: 8, rdma: true}", "needs: {}")
    assert [key for key in jobs(found) if key.startswith("test-")] == ["test-b"]
    assert [each.placed.step.name for each in found.unplaced] == ["a"]
    (notice,) = found.notices
    assert notice.startswith("step a is not run: ")
    assert "mi300x-8: has no RDMA devices" in notice


def test_a_step_that_had_to_run_fails_where_images_are_built(tmp_path: Path) -> None:
    far = "needs: {gpus: 8, rdma: true}"
    (lax,) = wired(tmp_path, far, "needs: {}").pipeline.absent
    (hard,) = wired(tmp_path, far, "needs: {}", strict=True).pipeline.absent
    assert (lax.key, lax.label, lax.pool) == ("test-a", "a is not run", None)
    assert "mi300x-8: has no RDMA devices" in lax.why
    assert replace(hard, pool=None) == lax
    assert hard.pool
    assert hard.pool.name == "cpu-build"


def test_one_arch_that_nobody_runs_fails_beside_one_that_runs(tmp_path: Path) -> None:
    found = wired(tmp_path, "needs: {gpus: 1}\n    matrix: [gfx942, gfx90a]", strict=True)
    assert "test-a--gfx942" in jobs(found)
    assert [(each.key, each.label) for each in found.pipeline.absent] == [("test-a--gfx90a", "a (gfx90a) is not run")]


@pytest.mark.parametrize(("until", "fails"), [("2026-11-22", False), ("2026-11-21", True)])
def test_a_skip_of_one_arch_excuses_its_absence_until_its_day(tmp_path: Path, until: str, fails: bool) -> None:
    skip = f'archs: {{gfx90a: {{skip: {{reason: broken, until: "{until}"}}}}}}'
    found = wired(tmp_path, f"needs: {{gpus: 1}}\n    matrix: [gfx942, gfx90a]\n    {skip}", strict=True)
    (absent,) = found.pipeline.absent
    assert (absent.pool is not None) == fails
    assert (absent.why == "broken (until 2026-11-22)") != fails
    assert ("mi300x-8: has gfx942, this run is on gfx90a" in absent.why.replace(", mi300x-1", "")) == fails


def test_what_the_images_can_run_on_no_node_fails_no_pipeline(tmp_path: Path) -> None:
    found = wired(tmp_path, "needs: {gpus: 1}", "needs: {}", strict=True, runtime="cpu")
    assert [(each.key, each.pool) for each in found.pipeline.absent] == [("test-a", None)]


def test_images_of_steps_that_nobody_runs_are_left_out(tmp_path: Path) -> None:
    found = wired(tmp_path, "needs: {gpus: 8, rdma: true}", "tier: base")
    assert list(jobs(found)) == ["image-base", "test-b"]


def test_a_soft_step_is_soft_until_its_day(tmp_path: Path) -> None:
    until = 'soft: {reason: flaky, until: "%s"}'
    found = wired(tmp_path, until % "2026-11-22", until % "2026-11-21")
    assert (jobs(found)["test-a"].soft, jobs(found)["test-b"].soft) == ("flaky (until 2026-11-22)", "")
    assert found.notices == ("step b fails the build again: its exemption ended on 2026-11-21 (flaky)",)


def test_ranks_on_several_nodes_run_in_what_the_nodes_give_them(tmp_path: Path) -> None:
    found = jobs(wired(tmp_path, "needs: {gpus: 8, nodes: 2}"))
    assert list(found) == ["test-a"]
    words = found["test-a"].command
    assert words[words.index("--runtime") + 1] == "native"
    assert (found["test-a"].takes, found["test-a"].after) == ((), ())
