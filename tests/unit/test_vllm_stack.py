"""The vllm stack as it ships: what its Dockerfiles reach, what its arguments may be, what it lacks."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ci.build import component
from ci.build import plan as planning
from ci.build.inputs import RECIPE
from ci.build.lookup import Absent
from ci.build.perform import refuse_lacking
from ci.build.plan import Plan
from ci.documents import read
from ci.errors import ConfigError
from ci.identity import Manifest
from ci.publish import channel
from ci.recipe import dockerfile, pins
from ci.recipe import stack as stacks
from ci.recipe.dockerfile.model import Stage
from ci.recipe.stack import HOME, Stack
from ci.recipe.tree import Tree
from ci.recipe.values import Resolved, found_commits, resolve_args
from ci.settings import capture
from ci.world.engine import Engine
from tests import recipes

FILES = ("Dockerfile.rocm_base", "Dockerfile.rocm")
SOURCE = (
    "setup.py", "CMakeLists.txt", "pyproject.toml", "rust-toolchain.toml", "build_rust.sh", "requirements/common.txt",
    "requirements/rocm.txt", "requirements/build/rust.txt", "tools/build_rust.py", "cmake/a.cmake", "csrc/kernel.hip",
    "vllm/__init__.py", "vllm/envs.py", "vllm/engine.py", "rust/Cargo.toml", "tests/vllm_test_utils/setup.py",
    "benchmarks/a.py", "docker/Dockerfile", "examples/a.py", "scripts/a.py", ".buildkite/a.yaml",
)  # fmt: skip
STANDINS = {"BRANCH": "a" * 40, "COMMIT": "b" * 40, "DIGEST": f"sha256:{'c' * 64}", "SHA256": "d" * 64,
            "FINGERPRINT": "E" * 40, "URL": "https://host.invalid/file"}  # fmt: skip


def model(name: str) -> dockerfile.Dockerfile:
    return dockerfile.parse((HOME / name).read_text(), name)


def text() -> str:
    files = [*(HOME / name for name in FILES), *sorted(path for path in (HOME / "scripts").glob("*") if path.is_file())]
    return "".join(path.read_text() for path in files)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a file of each kind that the stack takes from vLLM."""
    for name in SOURCE:
        path = tmp_path / "vllm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")
    return tmp_path / "vllm"


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The stack with a lock in which every pin is resolved, to values of the test."""
    recipe = tmp_path_factory.mktemp("recipe") / "docker"
    shutil.copytree(HOME, recipe)
    lock = json.loads((recipe / "pins.json").read_text())
    for name, value in lock.items():
        if value.startswith(pins.MARK):
            lock[name] = STANDINS[name.rpartition("_")[2]]
    (recipe / "pins.json").write_text(json.dumps(lock))
    return stacks.load(str(recipe / "stacks/vllm.yaml"))


def arguments(stack: Stack, **environ: str) -> Resolved:
    return resolve_args(stack, capture({}, environ), stacks.archs())


def planned(stack: Stack, source: Path | None, *goals: str, **environ: str) -> Plan:
    args = arguments(stack, **environ)
    trees = {RECIPE: Tree(RECIPE, stack.recipe, {}, lambda _root: None)}
    if source:
        trees["vllm"] = Tree("vllm", source, {}, lambda _root: None)
    wanted = goals or tuple(stack.tiers)
    planning.check_args(stack, args, wanted, trees)
    return planning.make(
        stack, wanted, args, trees, roots={}, lookup=lambda *_: Absent(), last=lambda _: None, everything=True
    )


def manifests(plan: Plan) -> Mapping[str, Manifest]:
    return {tier.name: tier.inputs.manifest for tier in plan.tiers if tier.inputs.manifest}


def refused(**environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        planned(stacks.load("vllm"), None, **environ)
    return [problem.reference for problem in caught.value.problems]


# --- what it lacks --------------------------------------------------------------------------


def test_what_nobody_resolved_has_no_identity_and_says_how_to_resolve_it() -> None:
    plan = planned(stacks.load("vllm"), None)
    assert {tier.decision for tier in plan.tiers} == {"unknown"}
    assert {row["identity"] for row in plan.to_json()["tiers"]} == {None}
    assert plan.missing_roots == ()
    assert "inv pins --update BASE_IMAGE_DIGEST" in plan.tiers[0].reasons[0]
    assert any("--source vllm=PATH, or REMOTE_VLLM=1" in reason for tier in plan.tiers for reason in tier.reasons)
    with pytest.raises(ConfigError) as caught:
        refuse_lacking(plan)
    assert {problem.reference for problem in caught.value.problems} == {"unresolved"}
    assert len(caught.value.problems) == len(plan.lacking)


def test_a_resolved_lock_gives_the_full_plan(locked: Stack, source: Path) -> None:
    for plan in (planned(locked, source), planned(locked, None, REMOTE_VLLM="1", VLLM_BRANCH="f" * 40)):
        assert plan.lacking == ()
        assert set(manifests(plan)) == {"base", "base-wheels", "ci-base", "wheel", "test", "release"}
        assert {tier.decision for tier in plan.tiers} == {"build"}


def test_one_unresolved_pin_leaves_what_does_not_need_it(locked: Stack, source: Path) -> None:
    lock = {**locked.pins, "ROCSHMEM_BRANCH": "unresolved:f0acb0c6"}
    plan = planned(replace(locked, pins=lock), source)
    assert set(manifests(plan)) == {"base", "base-wheels", "wheel"}
    assert [item.name for item in plan.lacking] == ["ROCSHMEM_BRANCH"]
    reasons = {tier.name: tier.reasons for tier in plan.tiers}
    assert reasons["test"] == ("ci-base has no identity yet, so there is none to look up",)


def test_no_pin_moves_and_every_one_is_used() -> None:
    lock = json.loads((HOME / "pins.json").read_text())
    assert not list(pins.problems(read(json.dumps(lock), "pins.json")))
    declared = set(re.findall(r"^ARG (\w+)", text(), re.MULTILINE)) | {
        "BASE_IMAGE_DIGEST",
        "SBOM_SCANNER",
        "SBOM_SCANNER_DIGEST",
    }
    assert set(lock) <= declared


# --- the Dockerfiles ------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_every_stage_can_be_read(name: str) -> None:
    found = model(name)
    for stage in found.stages:
        dockerfile.reach(found, stage.name, {}, platform="linux/amd64", contexts=frozenset())


def test_every_source_and_component_is_a_stage() -> None:
    stack = stacks.load("vllm")
    stages = {name: {stage.name: stage for stage in model(name).stages} for name in FILES}
    everywhere = {name: stage for each in stages.values() for name, stage in each.items()}
    assert {everywhere[name].base for name in stack.fetched} == {"scratch"}
    for each in stack.components.values():
        assert each.target in stages[each.dockerfile]


def test_a_component_has_the_base_image_alone_for_a_parent() -> None:
    stack = stacks.load("vllm")
    for each in stack.components.values():
        found = dockerfile.reach(
            model(each.dockerfile), each.target, {each.base: "given:1"}, platform="linux/amd64", contexts=frozenset()
        )
        assert {image.ref for image in found.images} == {"given:1"}, each.name


def chain(name: str, lmcache: str = "false") -> list[str]:
    """The stages a stage is made FROM, in Dockerfile.rocm as it is by hand."""
    stages: dict[str, Stage] = {stage.name: stage for stage in model("Dockerfile.rocm").stages if stage.name}
    found = []
    while name in stages:
        found.append(name)
        name = stages[name].base.replace("${CI_BASE_IMAGE}", "ci_base").replace("${INSTALL_LMCACHE}", lmcache)
    return found


@pytest.mark.parametrize("name", ["ci_base", "test", "test_smoke", "final", "vllm-openai"])
@pytest.mark.parametrize("lmcache", ["false", "true"])
def test_every_image_descends_from_mori_base(name: str, lmcache: str) -> None:
    assert "mori_base" in chain(name, lmcache)
    assert "native" in chain(name, lmcache), "DeepEP and the rocSHMEM runtime are in every one of them"


def test_the_target_list_of_deepep_reaches_rocshmem_and_deepep() -> None:
    stages = {stage.name: stage for stage in model("Dockerfile.rocm").stages}
    for name in ("build_rocshmem", "build_deepep"):
        runs = [line.text for line in stages[name].instructions if line.keyword == "RUN"]
        assert "${DEEPEP_ROCM_ARCH}" in re.sub(r"--mount=\S+", "", runs[-1]), name
        assert any(line.text.startswith("ARG DEEPEP_ROCM_ARCH") for line in stages[name].instructions)


def test_the_targets_of_a_build_are_no_environment_of_an_image() -> None:
    for name in FILES:
        for stage in model(name).stages:
            for line in stage.instructions:
                assert not (line.keyword == "ENV" and re.search("ARCH|MAX_JOBS|SCCACHE|AWS", line.text)), line.text


def test_nothing_is_fetched_unchecked() -> None:
    commands = "\n".join(line for line in text().splitlines() if not line.lstrip().startswith("#"))
    assert not re.findall(r"\b(?:curl|wget) .*http|git clone|git fetch", commands)


def test_what_it_releases_and_tests_is_there() -> None:
    found = channel.load(stacks.load("vllm"))
    assert (found.images, [wheel.tier for wheel in found.wheels]) == (
        {"main": "release", "base": "base"}, ["wheel", "base-wheels"]
    )  # fmt: skip
    stages = {stage.name: stage for name in FILES for stage in model(name).stages}
    assert {stages["vllm_wheels"].base, stages["base_wheels"].base, stages["export_vllm"].base} == {"scratch"}


# --- what changes what ----------------------------------------------------------------------


def native(stack: Stack, source: Path) -> Manifest:
    """The inputs of the native extensions alone."""
    image = f"toolchain:1@sha256:{'9' * 64}"
    alone = component.alone(stack, Engine.__new__(Engine), name="csrc", image=image)
    (manifest,) = manifests(planned(alone, source)).values()
    return manifest


def test_an_edit_of_python_changes_no_input_of_the_native_build(locked: Stack, source: Path) -> None:
    before, images = native(locked, source), manifests(planned(locked, source))
    (source / "vllm/engine.py").write_text("edited\n")
    assert native(locked, source) == before
    after = manifests(planned(locked, source))
    assert after["test"] != images["test"]
    assert after["ci-base"] == images["ci-base"]
    (source / "csrc/kernel.hip").write_text("edited\n")
    assert native(locked, source) != before


def test_a_nic_choice_rebuilds_no_base(locked: Stack, source: Path) -> None:
    none, bnxt = (manifests(planned(locked, source, NIC_BACKEND=word)) for word in ("none", "bnxt"))
    assert none["base"] == bnxt["base"]
    assert none["ci-base"] != bnxt["ci-base"]
    assert not {item.name for item in none["ci-base"].inputs if item.kind == "arg"} & {"BNXT_VERSION", "AINIC_VERSION"}


def test_a_commit_is_built_without_one_file_of_this_host(locked: Stack, source: Path) -> None:
    (source / "csrc/poison.hip").write_text("poison\n")
    plan = planned(locked, None, REMOTE_VLLM="1", VLLM_BRANCH="f" * 40)
    for tier in plan.tiers:
        assert set(tier.inputs.selected) <= {RECIPE}, tier.name
    remotes = [item.name for item in manifests(plan)["test"].inputs if item.kind == "remote"]
    assert f"https://github.com/vllm-project/vllm.git#{'f' * 40}" in remotes
    local = planned(locked, source)
    assert "csrc/poison.hip" in next(tier for tier in local.tiers if tier.name == "test").inputs.selected["vllm"]
    assert not any("vllm.git" in item.name for item in manifests(local)["test"].inputs if item.kind == "remote")


def test_a_branch_is_asked_for_and_built_as_the_commit_it_stands_at(locked: Stack) -> None:
    args = arguments(locked, REMOTE_VLLM="1", VLLM_BRANCH="main")
    assert args.get("VLLM_BRANCH") == "unresolved:main"
    found = found_commits(locked, args, lambda url, name: "1" * 40 if (url, name) == (_VLLM, "main") else "")
    assert found.get("VLLM_BRANCH") == "1" * 40
    assert f"VLLM_BRANCH: main of {_VLLM} is {'1' * 40}" in found.notices
    silent = found_commits(locked, args, lambda _url, _name: "")
    assert silent.get("VLLM_BRANCH") == "unresolved:main"


_VLLM = "https://github.com/vllm-project/vllm.git"


# --- arguments ------------------------------------------------------------------------------


def test_closed_types_refuse_what_cannot_be_meant() -> None:
    assert refused(DEEPEP_ROCM_ARCH="gfx942", PYTORCH_ROCM_ARCH="gfx90a;gfx950") == ["arch-outside"]
    assert refused(DEEPEP_ROCM_ARCH="gfx90a") == ["unsupported-arch"]
    assert refused(AINIC_VERSION="1.117.5-a-77") == ["unused-ainic"]
    assert refused(NIC_BACKEND="mlx5") == ["unknown-nic"]
    assert refused(UBUNTU_CODENAME="noble") == ["wrong-value"]
    assert refused(REMOTE_VLLM="yes") == ["wrong-value"]
    assert refused(REMOTE_VLLM="") == ["empty-value"]
    assert refused(REMOTE_VLLM="1", VLLM_REPO="https://me:hunter2@host/x.git") == ["wrong-value"]
    assert refused(REMOTE_VLLM="1", VLLM_BRANCH="--upload-pack=x") == ["wrong-value"]


@pytest.mark.parametrize("word", ["True", "1", "yes"])
def test_a_wrong_word_is_told_by_its_argument_and_not_by_a_dockerfile(word: str) -> None:
    """``FROM native_lmcache_True`` is a mistake too, of nobody who reads that message."""
    with pytest.raises(ConfigError) as caught:
        planned(stacks.load("vllm"), None, INSTALL_LMCACHE=word)
    (problem,) = caught.value.problems
    assert (problem.reference, problem.hint) == ("wrong-value", "allowed: false, true")


@pytest.mark.parametrize("word", ["not a version", "v1", "0.12.0-rc1"])
def test_a_version_that_no_wheel_could_have_is_refused_before_anything_compiles(word: str) -> None:
    assert refused(VLLM_VERSION=word) == ["wrong-value"]


def test_a_commit_without_remote_mode_is_refused(source: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(stacks.load("vllm"), source, VLLM_BRANCH="f" * 40)
    assert [problem.reference for problem in caught.value.problems] == ["unused-arg"]


@pytest.mark.parametrize(
    ("given", "deepep", "flash"),
    [
        ("gfx90a;gfx942;gfx950", "gfx942;gfx950", "gfx90a;gfx942;gfx950"),
        ("gfx942", "gfx942", "gfx942"),
        ("MI355X gfx1100", "gfx950", "gfx950"),
        ("gfx1100", "none", "none"),
    ],
)
def test_a_component_is_built_for_what_it_supports(given: str, deepep: str, flash: str) -> None:
    args = arguments(stacks.load("vllm"), PYTORCH_ROCM_ARCH=given)
    assert args.problems == ()
    assert (args.get("DEEPEP_ROCM_ARCH"), args.get("FA_ROCM_ARCH")) == (deepep, flash)
    assert any("DEEPEP_ROCM_ARCH" in notice for notice in args.notices) == (given != "gfx942")
    if deepep == "none":
        assert (
            "DEEPEP_ROCM_ARCH: deepep supports nothing of PYTORCH_ROCM_ARCH; it is left out of the images"
            in args.notices
        )


def test_the_list_of_deepep_is_an_input_of_what_it_is_in(locked: Stack, source: Path) -> None:
    one = manifests(planned(locked, source, DEEPEP_ROCM_ARCH="gfx942"))
    both = manifests(planned(locked, source))
    assert one["base"] == both["base"]
    assert one["ci-base"] != both["ci-base"]
    assert ("arg", "DEEPEP_ROCM_ARCH", "gfx942") in one["ci-base"].inputs


# --- sources, roots and components in any stack ---------------------------------------------


def test_a_root_with_a_digest_is_known_without_being_here(tmp_path: Path) -> None:
    stack = recipes.STACK.replace("busy: {image: rocm-ci-test/busy:1}", "busy: {image: busy:1, digest: BUSY_DIGEST}")
    file = recipes.write(tmp_path, stack=stack)
    with pytest.raises(ConfigError, match=r"pins\.json has no BUSY_DIGEST"):
        stacks.load(str(file))
    digest = f"sha256:{'5' * 64}"
    (tmp_path / "recipe/pins.json").write_text(json.dumps({"BUSY_DIGEST": digest}))
    loaded = stacks.load(str(file))
    plan = planned(replace(loaded, sources=()), None, "base")
    assert plan.tiers[0].inputs.parents[0].reference == f"busy:1@{digest}"
    assert ("root", "ROOT", digest) in manifests(plan)["base"].inputs
    assert plan.missing_roots == ()


def test_a_component_stands_alone() -> None:
    stack = stacks.load("vllm")
    engine = Engine.__new__(Engine)
    alone = component.alone(stack, engine, name="rocshmem", image=f"tc:1@sha256:{'9' * 64}")
    assert list(alone.tiers) == ["rocshmem"]
    assert alone.tiers["rocshmem"].parents == (("BASE_IMAGE", component.BASE),)
    for name, image, reference, hint in (
        ("rocshmen", "x", "unknown-component", "did you mean rocshmem?"),
        ("rocshmem", "", "no-base-image", "--base-image"),
    ):
        with pytest.raises(ConfigError) as caught:
            component.alone(stack, engine, name=name, image=image)
        (problem,) = caught.value.problems
        assert problem.reference == reference
        assert hint in problem.hint
