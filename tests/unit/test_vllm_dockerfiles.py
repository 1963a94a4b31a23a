"""What the stages of the vllm stack hold: environment, locks, mounts, records, and what an argument brings in."""

from __future__ import annotations

import re
from functools import cache

import pytest

from ci.recipe import dockerfile
from ci.recipe import stack as stacks
from ci.recipe.dockerfile.model import Dockerfile, Stage
from ci.recipe.stack import HOME

FILES = ("Dockerfile.rocm_base", "Dockerfile.rocm")
NVIDIA = re.compile(r"(?m)^(nvidia|nvtx|cufile|cuda|cupy|torch==|triton==)")
IMAGES = ("ci_base", "test", "test_smoke", "final", "vllm-openai")


@cache
def model(name: str) -> Dockerfile:
    return dockerfile.parse((HOME / name).read_text(), name)


def stage(name: str) -> Stage:
    """The stage of that name; both files have a final, the image of a release comes first."""
    return next(each for file in reversed(FILES) for each in model(file).stages if each.name == name)


def runs(name: str) -> list[str]:
    return [line.text for line in stage(name).instructions if line.keyword == "RUN"]


def reached(target: str, **values: str) -> set[str]:
    """The stages that a target of Dockerfile.rocm needs."""
    given = {"BASE_IMAGE": "base:1", "CI_BASE_IMAGE": "ci:1", "BASE_WHEELS_IMAGE": "wheels:1", **values}
    found = dockerfile.reach(
        model("Dockerfile.rocm"), target, given, platform="linux/amd64", contexts=frozenset({"vllm"})
    )
    return set(found.stages)


def pinned(name: str) -> dict[str, str]:
    """Distribution to version of a hash lock."""
    text = (HOME / f"requirements/{name}.txt").read_text()
    return dict(re.findall(r"(?m)^([a-z0-9][a-z0-9._-]*)==([^\s;]+)", text))


# --- what is in the images -------------------------------------------------------------------


def test_the_environment_is_what_upstream_sets() -> None:
    wanted = {
        "mori_base": {
            "HSA_ENABLE_IPC_MODE_LEGACY": "1", "UCX_RMA_PPLN_ENABLE": "y", "UCX_ROCM_COPY_SIGPOOL_MAX_ELEMS": "inf",
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1", "KINETO_CONFIG": "/app/libkineto.conf",
        },
        "ci_base": {
            "HF_XET_HIGH_PERFORMANCE": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "60", "MIOPEN_DEBUG_CONV_DIRECT": "0",
            "MIOPEN_DEBUG_CONV_GEMM": "0",
        },
        "final": {"TOKENIZERS_PARALLELISM": "false", "SAFETENSORS_FAST_GPU": "1", "HIP_FORCE_DEV_KERNARG": "1"},
    }  # fmt: skip
    for name, values in wanted.items():
        text = " ".join(line.text for line in stage(name).instructions if line.keyword == "ENV")
        for key, value in values.items():
            assert re.search(rf"\b{key}={re.escape(value)}(\s|$)", text), (name, key)


def test_what_ci_base_has_for_tests() -> None:
    text = "\n".join(runs("ci_base"))
    for package in ("libavcodec-dev", "libavformat-dev", "libswresample-dev", "pkg-config", "unzip"):
        assert package in text
    assert "rocm-sdists.txt" in text
    assert "fastsafetensors" in pinned("rocm-sdists")
    assert "--no-binary :all:" in (HOME / "scripts/sdist-install.sh").read_text()
    copied = " ".join(line.text for line in stage("native").instructions if line.keyword == "COPY")
    for source in ("build_rdma_core", "build_rocshmem", "build_ucx"):
        assert f"--from={source} " in copied
    assert "build_torchcodec" in "".join(runs("native"))


def test_the_proxy_of_mori_io_is_there_whatever_the_nic_is() -> None:
    assert pinned("rocm-mori").keys() >= {"blinker", "quart", "msgpack", "aiohttp", "pyzmq"}
    first, nic = runs("mori_base")[:2]
    assert "PIP_IGNORE_INSTALLED=1" in first, "pip cannot remove the blinker of a distribution"
    assert "rocm-mori.txt" in first
    assert "nic-vendor.sh" in nic
    before = [line.text for line in stage("mori_base").instructions]
    assert before.index(first) < next(at for at, text in enumerate(before) if text.startswith("ARG NIC_BACKEND"))


@pytest.mark.parametrize("name", ["rocm-runtime", "rocm-test", "rocm-mori", "rocm-lmcache", "rocm-tools", "rocm-rust"])
def test_no_lock_brings_in_what_the_base_builds_or_cuda(name: str) -> None:
    assert not NVIDIA.findall((HOME / f"requirements/{name}.txt").read_text())


def test_lmcache_moves_no_version_of_vllm() -> None:
    runtime = pinned("rocm-runtime")
    for name, version in pinned("rocm-lmcache").items():
        assert runtime.get(name, version) == version, name


def test_lmcache_is_in_the_images_where_it_is_asked_for_and_known_by_a_full_commit() -> None:
    for target in ("ci_base", "final"):
        assert "build_lmcache" not in reached(target, INSTALL_LMCACHE="false")
        assert "build_lmcache" in reached(target, INSTALL_LMCACHE="true")
    assert re.fullmatch("[0-9a-f]{40}", stacks.load("vllm").pins["LMCACHE_REF"])


def test_device_code_is_compared_with_the_targets_where_it_is_made_and_in_what_is_released() -> None:
    for name in ("csrc-build", "build_lmcache", "build_deepep", "build_vllm_wheel_release"):
        assert "code-objects.sh" in runs(name)[-1], name


def test_the_smoke_stage_has_no_network_and_imports_what_matters() -> None:
    for name in ("test_smoke", "vllm-openai"):
        (text,) = runs(name)
        assert "--network=none" in text
        for module in ("torch", "triton", "vllm", "nixl_rocm", "deep_ep?DEEPEP_ROCM_ARCH", "torchcodec"):
            assert module in text, (name, module)


# --- records ---------------------------------------------------------------------------------


def test_the_records_have_the_keys_of_upstream() -> None:
    """The names of versions.txt of upstream's images."""
    base = {
        "BASE_IMAGE", *(f"{name}_{end}" for end in ("BRANCH", "REPO") for name in (
            "TRITON", "PYTORCH", "PYTORCH_VISION", "PYTORCH_AUDIO", "FA", "AITER", "MORI")),
    }  # fmt: skip
    native = {"VLLM_BASE_IMAGE", "MORI_NIC_BACKEND", "AINIC_VERSION"}
    for name, keys in (("final", base), ("native", native)):
        file = FILES[0] if name == "final" else FILES[1]
        found = next(each for each in model(file).stages if each.name == name)
        text = next(line.text for line in found.instructions if "build-record.py /app/versions.txt" in line.text)
        assert set(re.findall(r'"(\w+)=', text)) >= keys


def test_a_commit_of_vllm_is_in_the_record_and_only_where_one_is_built() -> None:
    for target in ("test", "final"):
        assert "vllm_record_1" not in reached(target, REMOTE_VLLM="0")
        assert "vllm_record_1" in reached(target, REMOTE_VLLM="1")
    declared = {line.text for line in stage("vllm_record_1").instructions if line.keyword == "ARG"}
    assert declared == {"ARG VLLM_REPO", "ARG VLLM_BRANCH"}


# --- how it is built -------------------------------------------------------------------------


def test_apt_looks_at_its_sources_once_in_each_stage() -> None:
    for file in FILES:
        for each in model(file).stages:
            looks = [
                line.text
                for line in each.instructions
                if line.keyword == "RUN"
                and re.search(r"sh /run/recipe/(apt-install|need|nic-vendor|python-apt)\.sh", line.text)
            ]
            assert len(looks) <= 1, each.name


def test_a_cache_mount_is_named_for_its_purpose_and_targets() -> None:
    for file in FILES:
        for each in model(file).stages:
            for line in each.instructions:
                for mount in re.findall(r"--mount=(\S*type=cache\S*)", line.text):
                    assert re.search(r"id=rocm-ci-[a-z]", mount), (each.name, mount)
                    archs = re.search(r'ARCHS="\$\{(\w+)\}"|rocshmem "\$\{(\w+)\}"', line.text)
                    if archs and "ccache" in mount:
                        assert f"${{{archs[1] or archs[2]}}}" in mount, (each.name, mount)


def test_sccache_is_nowhere_unless_it_is_on_and_in_no_image_ever() -> None:
    for target in (*IMAGES, "csrc-build", "export_vllm_wheel_release"):
        assert "sccache_archive" not in reached(target, USE_SCCACHE="0"), target
    assert "sccache_archive" in reached("csrc-build", USE_SCCACHE="1")
    for name in (*IMAGES, "mori_base", "native", "native_lmcache_false", "native_lmcache_true"):
        assert "sccache" not in " ".join(line.text for line in stage(name).instructions).lower(), name


def test_the_wheel_of_a_release_is_pinned_to_the_wheels_that_are_released_with_it() -> None:
    tier = stacks.load("vllm").tiers["wheel"]
    assert dict(tier.parents) == {"BASE_IMAGE": "base", "BASE_WHEELS_IMAGE": "base-wheels"}
    assert tier.target == "export_vllm_wheel_release"
    assert "pin-requirements.py" in runs("build_vllm_wheel_release")[0]


def test_no_wheel_is_taken_from_elsewhere_and_none_has_a_version_made_up() -> None:
    """flash-attention asks its releases first; AITER's version is in git alone, and a source here has none."""
    assert "FLASH_ATTENTION_FORCE_BUILD=TRUE" in runs("build_fa")[-1]
    assert 'SETUPTOOLS_SCM_PRETEND_VERSION="${AITER_VERSION}"' in runs("build_aiter")[-1]
    assert stacks.load("vllm").pins["AITER_VERSION"] in stacks.load("vllm").pins["AITER_BRANCH"]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("build_fa", "py:packaging py:psutil"),
        ("build_aiter", "py:packaging py:pandas py:psutil py:pybind11 py:setuptools_scm"),
        ("build_mori", "h:pci/pci.h h:infiniband/verbs.h py:pybind11"),
        ("build_rocshmem", "h:numa.h"),
        ("nixl_tools", "git g++ meson"),
        ("build_rocprofiler_sdk", "git"),
    ],
)
def test_what_a_project_looks_for_while_it_is_built_is_there(name: str, wanted: str) -> None:
    assert set(wanted.split()) <= set(re.findall(r"(\S+)=\S+", runs(name)[0]))


def test_what_setup_scripts_would_fetch_for_themselves_is_in_the_lock() -> None:
    assert pinned("rocm-tools").keys() >= {"packaging", "pandas", "psutil", "pybind11", "setuptools-scm", "ninja"}


def test_nixl_is_built_without_a_network_from_what_was_checked() -> None:
    assert "--network=none" in runs("build_nixl")[-1]
    assert "nixl-subprojects.sh" in runs("nixl_subprojects")[-1]
    stack = stacks.load("vllm")
    assert stack.components["nixl"].fetch == ("nixl_tools", "nixl_subprojects")
