"""Components of the vllm stack, each alone on the local HIP toolchain, from small sources that stand in for theirs."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ci.audit.inspect import inspect
from ci.recipe import dockerfile
from ci.recipe.stack import HOME
from ci.world import git
from tests.engine import standins
from tests.engine.conftest import Cli, Ran, docker

TORCH = "torch"


@pytest.fixture(scope="module", autouse=True)
def tidy() -> Iterator[None]:
    """Only what these tests made goes."""
    before = set(docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "rocm-ci/vllm").split())
    yield
    after = set(docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "rocm-ci/vllm").split())
    for name in after - before:
        docker("image", "rm", name, check=False)


def build(cli: Cli, toolchain: str, name: str, *sources: Path, stack: str = "vllm", **environ: str) -> str:
    """Build a component; gives the image."""
    words = [word for path in sources for word in ("--source", f"{path.name}={path}")]
    given = ("--stack", stack, "--base-image", toolchain, "--json", *words)
    ran = replace(cli, environ={**cli.environ, **environ})("build-component", name, *given)
    return str(ran.tier(name)["reference"]).partition("@")[0]


def taken(image: str, path: str, folder: Path) -> Path:
    """A folder of an image, as files."""
    container = docker("create", image, "true").strip()
    try:
        docker("cp", f"{container}:{path}", str(folder))
    finally:
        docker("rm", container)
    return folder


def targets(folder: Path) -> set[str]:
    """The gfx targets of all device code below a folder."""
    return {target for path in folder.rglob("*.so") for target in inspect(path).targets}


def test_built_for_one_target_nothing_of_the_other_is_in_rocshmem_and_deepep(
    cli: Cli, toolchain: str, tmp_path: Path
) -> None:
    rocshmem = standins.rocshmem(tmp_path / "rocshmem")
    deepep = standins.wheel(tmp_path / "deepep", "deep_ep", needs=("lib/librocshmem.so",))
    image = build(cli, toolchain, "deepep", rocshmem, deepep, DEEPEP_ROCM_ARCH="gfx942")
    assert targets(taken(image, "/opt/rocshmem", tmp_path / "library")) == {"gfx942"}
    wheels = taken(image, "/app/install", tmp_path / "wheels")
    (wheel,) = wheels.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "wheel", "zip")
    assert targets(tmp_path / "wheel") == {"gfx942"}
    both = build(cli, toolchain, "rocshmem", rocshmem)
    assert targets(taken(both, "/opt/rocshmem", tmp_path / "both")) == {"gfx942", "gfx950"}


def test_a_component_without_a_target_is_absent_and_says_so(cli: Cli, toolchain: str, tmp_path: Path) -> None:
    rocshmem = standins.rocshmem(tmp_path / "rocshmem")
    image = build(cli, toolchain, "rocshmem", rocshmem, PYTORCH_ROCM_ARCH="gfx1100")
    found = taken(image, "/opt/rocshmem", tmp_path / "out")
    assert [path.name for path in found.iterdir()] == ["ABSENT"]


@pytest.mark.parametrize("name", ["aiter", "flash-attention", "mori", "torchvision", "torchaudio"])
def test_what_is_compiled_against_torch(cli: Cli, toolchain: str, tmp_path: Path, name: str) -> None:
    torch = standins.wheel(tmp_path / "pytorch", TORCH)
    source = standins.wheel(tmp_path / name, name.replace("-", "_"))
    image = build(cli, toolchain, name, torch, source, PYTORCH_ROCM_ARCH="gfx942")
    assert list(taken(image, "/app/install", tmp_path / "out").glob("*.whl"))


@pytest.mark.parametrize("name", ["triton", "pytorch", "torchcodec"])
def test_what_has_a_setup_script(cli: Cli, toolchain: str, tmp_path: Path, name: str) -> None:
    image = build(cli, toolchain, name, standins.wheel(tmp_path / name, name))
    assert list(taken(image, "/app/install", tmp_path / "out").glob("*.whl"))


def test_lmcache_asks_for_nothing_of_cuda(cli: Cli, toolchain: str, tmp_path: Path) -> None:
    image = build(cli, toolchain, "lmcache", standins.lmcache(tmp_path / "lmcache"), PYTORCH_ROCM_ARCH="gfx942")
    (wheel,) = taken(image, "/app/install", tmp_path / "out").glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "wheel", "zip")
    assert targets(tmp_path / "wheel") == {"gfx942"}


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        (
            {"setup.py": ('.get("PYTORCH_ROCM_ARCH", "gfx942")', '.get("NOBODY", "gfx950")')},
            "is for gfx942 gfx950, wanted is gfx942",
        ),
        ({"requirements/common.txt": ("nvtx", "cupy-cuda13x")}, "these requirements are for CUDA alone"),
    ],
)
def test_a_wheel_for_other_targets_or_for_cuda_ends_the_build(
    cli: Cli, toolchain: str, tmp_path: Path, planted: dict[str, tuple[str, str]], said: str
) -> None:
    source = standins.lmcache(tmp_path / "lmcache")
    for name, (old, new) in planted.items():
        (source / name).write_text((source / name).read_text().replace(old, new))
    words = ("--stack", "vllm", "--base-image", toolchain, "--source", f"lmcache={source}", "--arch", "gfx942")
    assert said in cli("build-component", "lmcache", *words, check=1).stderr


def test_what_is_configured(cli: Cli, toolchain: str, tmp_path: Path) -> None:
    image = build(cli, toolchain, "ucx", standins.ucx(tmp_path / "ucx"))
    assert list(taken(image, "/usr/local/ucx", tmp_path / "out").rglob("libucp.so"))
    image = build(cli, toolchain, "rdma-core", standins.rdma_core(tmp_path / "rdma-core"))
    assert list(taken(image, "/app/install", tmp_path / "rdma").rglob("libibverbs.so"))


def test_the_same_component_again_is_there(cli: Cli, toolchain: str, tmp_path: Path) -> None:
    source = standins.ucx(tmp_path / "ucx")
    first = build(cli, toolchain, "ucx", source)
    ran = cli(
        "build-component", "ucx", "--stack", "vllm", "--base-image", toolchain, "--source", f"ucx={source}", "--json"
    )
    assert ran.tier("ucx")["decision"] == "reuse"
    (source / "ucx.c").write_text("int ucx(void) { return 2; }\n")
    assert build(cli, toolchain, "ucx", source) != first


# --- a commit instead of a folder -----------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The rocSHMEM stand-in as a repository that is fetched by commit: its URL and the commit."""
    with standins.serving(standins.rocshmem(tmp_path / "served" / "rocshmem.git")) as found:
        yield found


def test_a_commit_is_fetched_and_no_file_of_this_host_is_with_it(
    cli: Cli, toolchain: str, tmp_path: Path, served: tuple[str, str]
) -> None:
    url, commit = served
    recipe = tmp_path / "docker"
    shutil.copytree(HOME, recipe)
    lock = json.loads((recipe / "pins.json").read_text()) | {"ROCSHMEM_REPO": url, "ROCSHMEM_BRANCH": commit}
    (recipe / "pins.json").write_text(json.dumps(lock))
    # The stand-in of this host is newer than the commit, and does not compile.
    (tmp_path / "served" / "rocshmem.git" / "put.hip").write_text("poison\n")
    image = build(cli, toolchain, "rocshmem", stack=str(recipe / "stacks/vllm.yaml"), DEEPEP_ROCM_ARCH="gfx942")
    assert targets(taken(image, "/opt/rocshmem", tmp_path / "out")) == {"gfx942"}


def test_a_branch_is_asked_for_at_its_repository(served: tuple[str, str]) -> None:
    url, commit = served
    branch = git.remote_commit(url, "rocm-ci-test-nowhere")
    assert branch == ""
    assert commit in {git.remote_commit(url, name) for name in ("main", "master")}
    assert git.remote_commit("git://127.0.0.1:9/nowhere.git", "main") == ""


# --- by hand --------------------------------------------------------------------------------


def stages() -> Iterator[tuple[str, str]]:
    for name in ("Dockerfile.rocm_base", "Dockerfile.rocm"):
        for stage in dockerfile.parse((HOME / name).read_text(), name).stages:
            yield name, stage.name or ""


@pytest.mark.parametrize(("name", "target"), list(stages()))
def test_buildkit_finds_nothing_to_warn_of(name: str, target: str, toolchain: str) -> None:
    """Images that cannot be had here are stood in for; nothing is built."""
    contexts = [
        f"--build-context={image}=docker-image://{toolchain}"
        for image in ("rocm/dev-ubuntu-22.04:7.2.3-complete", "rocm/vllm-dev:base", "rocm/vllm-dev:base-wheels")
    ]
    words = ("docker", "buildx", "build", "--check", "--file", str(HOME / name), "--target", target, *contexts)
    ran = subprocess.run((*words, str(HOME)), capture_output=True, text=True, check=False)
    assert (ran.returncode, "no warnings found" in ran.stdout + ran.stderr) == (0, True), ran.stdout + ran.stderr


@pytest.mark.without_engine
@pytest.mark.parametrize("word", ["mlx5", "", "AINIC", "none;id"])
def test_a_wrong_nic_ends_the_step_with_the_allowed_words(word: str) -> None:
    ran = subprocess.run(
        ("sh", str(HOME / "scripts/nic-vendor.sh"), word),
        env={"PATH": "/usr/bin:/bin", "UBUNTU_CODENAME": "jammy"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, "allowed: none, ainic, bnxt, all" in ran.stderr) == (2, True)


def test_what_cannot_be_meant_is_refused_before_anything_is_built(cli: Cli, toolchain: str, tmp_path: Path) -> None:
    source = standins.rocshmem(tmp_path / "rocshmem")

    def refused(*words: str, **environ: str) -> Ran:
        return replace(cli, environ={**cli.environ, **environ})("build-component", *words, "--stack", "vllm", check=2)

    given = ("--base-image", toolchain, "--source", f"rocshmem={source}")
    assert "arch-outside" in refused("rocshmem", *given, DEEPEP_ROCM_ARCH="gfx942", PYTORCH_ROCM_ARCH="gfx950").stderr
    assert "unused-arg" in refused("rocshmem", *given, NIC_BACKEND="bnxt").stderr
    assert "no-base-image" in refused("rocshmem", "--source", f"rocshmem={source}").stderr
    assert "no-base-image" in refused("rocshmem", "--base-image", "rocm-ci-test/nowhere:1").stderr
    assert "unknown-component" in refused("rocshmen", *given).stderr
    assert "f0acb0c6" in refused("rocshmem", "--base-image", toolchain).stderr, "the pin is not resolved"
