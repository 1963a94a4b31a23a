"""Real compiles for every target, audited: all are there, and the audit fails when one is taken out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.audit.inspect import inspect
from tests.engine.conftest import ROOT, Cli, docker
from tests.unit import audit_makers as make

ARCHS = ("gfx90a", "gfx942", "gfx950")
WANTED = ";".join(ARCHS)
A = " ".join(f"--offload-arch={arch}" for arch in ARCHS)
SOURCE = """
#include <hip/hip_runtime.h>
extern "C" __global__ void {name}(float* out) {{
    __shared__ float tile[64];
    tile[threadIdx.x] = out[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = tile[63 - threadIdx.x];
}}
"""
SCRIPT = f"""set -e
cd /w
hipcc -Os {A} --genco one.hip -o plain.hipfb
hipcc -Os {A} --genco --offload-compress one.hip -o zstd2.hipfb
COMPRESSED_BUNDLE_FORMAT_VERSION=3 hipcc -Os {A} --genco --offload-compress one.hip -o zstd3.hipfb
for arch in {" ".join(ARCHS)}; do
  hipcc -Os --offload-arch=$arch --genco --no-gpu-bundle-output one.hip -o $arch.hsaco
done
hipcc -Os {A} -fPIC -c one.hip -o one.o
hipcc -Os {A} -fPIC -c two.hip -o two.o
hipcc {A} -shared one.o two.o -o both.so
hipcc -Os {A} -shared -fPIC --offload-compress one.hip two.hip -o compressed.so
hipcc -Os {A} -shared -fPIC --offload-new-driver one.hip -o new-driver.so
hipcc -Os {A} -fgpu-rdc -c one.hip -o relocatable.o
hipcc -Os {A} -fgpu-rdc --offload-new-driver -c two.hip -o relocatable-new-driver.o
ar rcs librelocatable.a relocatable.o relocatable-new-driver.o
hipcc -Os --offload-arch=gfx90a --offload-arch=gfx942 -fPIC -c two.hip -o lacking.o
hipcc {A} -shared one.o lacking.o -o lacking.so
"""
BINARIES = (
    "plain.hipfb", "zstd2.hipfb", "zstd3.hipfb", "one.o", "both.so", "compressed.so", "new-driver.so",
    "relocatable.o", "relocatable-new-driver.o", "librelocatable.a",
)  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Everything a HIP compiler makes of two sources, compiled in the stack's toolchain image."""
    command = [sys.executable, "-m", "ci", "build-ci-base", "--json", "--stack", "local"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr[-4000:]
    image = next(row["reference"] for row in json.loads(done.stdout)["tiers"] if row["tier"] == "toolchain")
    folder = tmp_path_factory.mktemp("compiled")
    for name in ("one", "two"):
        (folder / f"{name}.hip").write_text(SOURCE.format(name=name))
    docker("run", "--rm", "--network=none", "-v", f"{folder}:/w", image.partition("@")[0], "bash", "-c", SCRIPT)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("name", BINARIES)
def test_all_three_targets_are_there(cli: Cli, built: Path, name: str) -> None:
    document = cli("audit", str(built / name), "--arch", WANTED, "--json").json
    (part,) = document["parts"]
    assert part["files"][0]["targets"] == list(ARCHS)
    forms = {each["form"] for each in part["files"][0]["objects"]}
    assert forms == ({"bitcode"} if "relocatable" in name else {"elf"})


@pytest.mark.parametrize("name", ["plain.hipfb", "both.so", "compressed.so", "new-driver.so"])
def test_every_kernel_is_there_for_every_target(built: Path, name: str) -> None:
    found = inspect(built / name)
    kernels = {(kernel.name, each.target, kernel.lds) for each in found.objects for kernel in each.kernels}
    names = {"one", "two"} if name in {"both.so", "compressed.so"} else {"one"}
    assert kernels == {(kernel, arch, 256) for kernel in names for arch in ARCHS}


def test_single_code_objects_are_one_file_of_several(cli: Cli, built: Path, tmp_path: Path) -> None:
    for arch in ARCHS:
        shutil.copy(built / f"{arch}.hsaco", tmp_path)
    cli("audit", str(tmp_path), "--arch", WANTED)
    (tmp_path / "gfx950.hsaco").unlink()
    assert "no device code for gfx950" in cli("audit", str(tmp_path), "--arch", WANTED, check=3).stdout


@pytest.mark.parametrize("gone", ARCHS)
def test_it_fails_when_one_is_taken_out(cli: Cli, built: Path, tmp_path: Path, gone: str) -> None:
    left = [(arch, (built / f"{arch}.hsaco").read_bytes()) for arch in ARCHS if arch != gone]
    plain = make.bundle([make.HOST, *left])
    for name, data in (("plain.hipfb", plain), ("zlib.hipfb", make.compressed(plain, 3))):
        path = tmp_path / name
        path.write_bytes(data)
        ran = cli("audit", str(path), "--arch", WANTED, check=3)
        assert f"no device code for {gone}" in ran.stdout


def test_it_fails_when_only_one_source_lacks_a_target(cli: Cli, built: Path) -> None:
    out = cli("audit", str(built / "lacking.so"), "--arch", WANTED, check=3).stdout
    assert "no device code for gfx950 in 1 of 2 bundles" in out


def test_a_name_is_no_proof(cli: Cli, built: Path, tmp_path: Path) -> None:
    """The bundle says gfx950, the ELF in it is another's."""
    objects = {arch: (built / f"{arch}.hsaco").read_bytes() for arch in ARCHS}
    path = tmp_path / "lying.hipfb"
    path.write_bytes(
        make.bundle([("gfx90a", objects["gfx90a"]), ("gfx942", objects["gfx942"]), ("gfx950", objects["gfx942"])])
    )
    assert "[wrong-target]" in cli("audit", str(path), "--arch", WANTED, check=3).stderr


@pytest.mark.parametrize("name", ["both.so", "compressed.so", "zstd3.hipfb", "gfx942.hsaco", "librelocatable.a"])
def test_a_truncated_file_is_a_broken_contract(cli: Cli, built: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes((built / name).read_bytes()[:-100])
    ran = cli("audit", str(path), check=3)
    assert ran.stdout == ""
    assert str(path) in ran.stderr


def test_a_wheel_with_a_real_import(cli: Cli, built: Path, tmp_path: Path) -> None:
    extra = {f"probe/{arch}.hsaco": (built / f"{arch}.hsaco").read_bytes() for arch in ARCHS}
    good = make.wheel(tmp_path, extra)
    document = cli("audit", str(good), "--arch", WANTED, "--import", "probe", "--json").json
    states = {rule["rule"]: rule["state"] for rule in document["parts"][0]["rules"]}
    assert (states["imports"], states["archs"], states["record"]) == ("kept", "kept", "kept")
    bad = cli("audit", str(good), "--import", "probe.nothing", check=3)
    assert "No module named 'probe.nothing'" in bad.stdout
