"""The scripts that build components, on this host, against sources and programs in the shape of the real ones."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ci.recipe.stack import HOME
from tests.engine import standins

pytestmark = pytest.mark.without_engine
SCRIPTS = HOME / "scripts"


def script(
    name: str, *words: Path | str, first: Path | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    path = os.environ["PATH"] if first is None else f"{first}:{os.environ['PATH']}"
    given = {"PATH": path, "NATIVE_ENV": str(SCRIPTS / "native-env.sh"), "MAX_JOBS": "3", **environ}
    argv = ("sh", str(SCRIPTS / name), *map(str, words))
    return subprocess.run(argv, env=given, capture_output=True, text=True, check=False)


def program(folder: Path, name: str, text: str) -> Path:
    """A program of that name in a folder for PATH."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def rocm(tmp_path: Path) -> Path:
    header = tmp_path / "rocm/include/hsa/hsa.h"
    header.parent.mkdir(parents=True)
    header.touch()
    return tmp_path / "rocm"


# --- where ROCm is --------------------------------------------------------------------------


def test_a_ucx_without_rocm_ends_the_build(tmp_path: Path, rocm: Path) -> None:
    """Its configure only warns of it; the library would move no memory of a GPU."""
    source = standins.ucx(tmp_path / "ucx")
    without = script("ucx.sh", source, tmp_path / "out", ROCM_HOME=str(tmp_path))
    assert (without.returncode, "config.h has no HAVE_ROCM" in without.stderr) == (1, True)
    assert not (tmp_path / "out").exists()
    assert script("ucx.sh", source, tmp_path / "out", ROCM_HOME=str(rocm)).returncode == 0
    assert (tmp_path / "out/lib/libucp.so").is_file()


def test_a_rocm_of_a_distribution_is_where_its_hipconfig_says(tmp_path: Path, rocm: Path) -> None:
    """ROCM_PATH is not set for it: clang would look for its device libraries there and nowhere else."""
    ask = program(tmp_path / "bin", "hipconfig", f"echo {rocm}")
    (tmp_path / "ask.sh").write_text(
        '. "$NATIVE_ENV"\necho "$ROCM_HOME ${ROCM_PATH-unset} $CMAKE_BUILD_PARALLEL_LEVEL"\n'
    )

    def found(**environ: str) -> str:
        given = {"PATH": f"{ask}:{os.environ['PATH']}", "NATIVE_ENV": str(SCRIPTS / "native-env.sh"), "MAX_JOBS": "3"}
        argv = ("sh", str(tmp_path / "ask.sh"))
        ran = subprocess.run(argv, env=given | environ, capture_output=True, text=True, check=True)
        return ran.stdout.splitlines()[-1]

    assert found(ROCM_HOME=str(tmp_path / "nowhere")) == f"{rocm} unset 3"
    assert found(ROCM_PATH=str(tmp_path)) == f"{tmp_path} {tmp_path} 3"


# --- wheels ---------------------------------------------------------------------------------

WHEEL = """\
echo "index ${PIP_NO_INDEX-open}: $*"
while [ $# -gt 1 ]; do
    case "$1" in *-dir) mkdir -p "$2"; touch "$2/a.whl" ;; esac
    shift
done
"""
"""A python3 that says what it is asked for, and makes a wheel."""


def test_torchcodec_takes_the_ffmpeg_that_is_installed(tmp_path: Path) -> None:
    """Its CMake asks only whether the variable is there: 0 fetches, too."""
    first = program(tmp_path / "bin", "python3", "echo /cmake/of/pybind11")
    (tmp_path / "build.sh").write_text("env\n")
    ran = script(
        "torchcodec.sh",
        "source",
        "out",
        first=first,
        WHEEL_BUILD=str(tmp_path / "build.sh"),
        BUILD_AGAINST_ALL_FFMPEG_FROM_S3="0",
    )
    seen = dict(line.split("=", 1) for line in ran.stdout.splitlines())
    assert "BUILD_AGAINST_ALL_FFMPEG_FROM_S3" not in seen
    assert (seen["pybind11_DIR"], seen["TORCHCODEC_DISABLE_COMPILE_WARNING_AS_ERROR"]) == ("/cmake/of/pybind11", "1")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("setup.py", "setup.py --option bdist_wheel"),
        ("python/setup.py", "setup.py --option bdist_wheel"),
        ("pyproject.toml", "-m pip wheel"),
    ],
)
def test_a_wheel_is_made_with_nothing_from_an_index(tmp_path: Path, file: str, said: str) -> None:
    """setuptools fetches what a setup.py requires with pip, unpinned, unless pip may not."""
    source = standins.write(tmp_path / "source", {file: ""})
    ran = script(
        "wheel-build.sh", source, tmp_path / "out", "--option", first=program(tmp_path / "bin", "python3", WHEEL)
    )
    assert (ran.returncode, "index 1: " + said in ran.stdout) == (0, True), ran.stdout + ran.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.whl"]


# --- rocSHMEM with all backends -------------------------------------------------------------

ALL_BACKENDS = """\
echo "cmake $*"
echo --parallel 8
mkdir -p "$INSTALL_PREFIX/include/rocshmem"
echo "$CONFIG" >"$INSTALL_PREFIX/include/rocshmem/rocshmem_config.h"
"""


def test_a_rocshmem_without_its_network_backend_ends_the_build(tmp_path: Path) -> None:
    """It is left out where libnuma is missing, with a line nobody reads."""
    source = standins.write(tmp_path / "rocshmem", {"scripts/build_configs/all_backends": ALL_BACKENDS})
    ran = script("rocshmem.sh", source, tmp_path / "a", "gfx942;gfx950", CONFIG="#define USE_GDA")
    assert (ran.returncode, "--parallel 3" in ran.stdout) == (0, True), ran.stderr
    for option in ("GPU_TARGETS=gfx942;gfx950", "BUILD_UNIT_TESTS=OFF", "BUILD_FUNCTIONAL_TESTS=OFF"):
        assert f"-D{option} " in ran.stdout
    ran = script("rocshmem.sh", source, tmp_path / "b", "gfx942", CONFIG="/* #undef USE_GDA */")
    assert (ran.returncode, "built without USE_GDA" in ran.stderr) == (1, True)
