"""Real compiles with the toolchain image, and with a local hipcc: the one inside that image."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci.audit import code_object, elf
from ci.audit.inspect import inspect
from tests.engine.conftest import ROOT, Cli, Ran, docker
from tests.engine.slurm import until
from tests.unit.gpu_suite import module as gpu_module
from tests.unit.probe import module

ARCHS = ("gfx90a", "gfx942", "gfx950")
SLOW = """\
#include "shared.h"
template <int N> __device__ float poly(float x) {{
  float sum = 0;
#pragma unroll
  for (int i = 0; i < N; ++i) sum = sum * x + sinf(x + i + {number});
  return sum;
}}
extern "C" __global__ void slow{number}(float* a) {{ a[threadIdx.x] = poly<60>(a[threadIdx.x]) + kShared; }}
"""


class Hip:
    """``hip-compile`` on one project, with no local hipcc in sight."""

    def __init__(self, cli: Cli, project: Path, folder: Path) -> None:
        self.cli, self.project, self.out = cli, project, folder / "out"
        self.path = folder / "bin"
        self.path.mkdir(exist_ok=True)
        for name in ("docker", "git"):
            (self.path / name).symlink_to(str(shutil.which(name)))

    def __call__(self, *arguments: str, check: int | None = 0) -> Ran:
        return self.cli(*self.words(*arguments), check=check, PATH=str(self.path))

    def words(self, *arguments: str) -> tuple[str, ...]:
        where = ("--project", str(self.project), "--out", str(self.out))
        return ("hip-compile", *where, "--json", *arguments)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        env = {
            **self.cli.environ,
            "ROCM_CI_STATE": str(self.cli.state),
            "PATH": str(self.path),
            "PYTHONPATH": str(ROOT),
        }
        argv = [sys.executable, "-m", "ci", *self.words(*arguments)]
        return subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    @property
    def objects(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.out)): path.read_bytes() for path in sorted(self.out.rglob("*.hsaco"))}

    def containers(self) -> list[str]:
        """The containers of our runs that are there now."""
        runs = {path.name for path in (self.cli.state / "runs").glob("*")}
        names = docker("ps", "--all", "--format", "{{.Names}}").splitlines()
        return [name for name in names if any(run in name for run in runs)]

    def staging(self) -> list[Path]:
        return list((self.cli.state / "runs").glob("*/objects"))


@pytest.fixture
def probe(cli: Cli, tmp_path: Path) -> Hip:
    """A copy of kernels/, as a person may edit it."""
    ignore = shutil.ignore_patterns("objects", "__pycache__")
    return Hip(cli, shutil.copytree(ROOT / "kernels", tmp_path / "kernels", ignore=ignore), tmp_path)


@pytest.fixture
def slow(cli: Cli, tmp_path: Path) -> Hip:
    """Four files that take a second each, with a header for all of them."""
    project = tmp_path / "slow"
    project.mkdir()
    (project / "pyproject.toml").write_text('[tool.rocm-ci.kernels]\ninclude = ["."]\n')
    (project / "shared.h").write_text("#include <hip/hip_runtime.h>\nconstexpr float kShared = 1;\n")
    for number in range(4):
        (project / f"slow{number}.hip").write_text(SLOW.format(number=number))
    return Hip(cli, project, tmp_path)


@pytest.fixture(scope="module")
def image() -> str:
    """The toolchain image, made if it is not there."""
    done = subprocess.run(
        [sys.executable, "-m", "ci", "build-ci-base", "--json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    tier = next(row for row in json.loads(done.stdout)["tiers"] if row["tier"] == "toolchain")
    return str(tier["reference"])


def compiled(ran: Ran) -> list[str]:
    return sorted(row["object"] for row in ran.json["objects"] if not row["cached"])


def test_every_arch_is_in_its_object_and_the_packing_is_the_compilers(probe: Hip) -> None:
    ran = probe("--arch", "gfx90a;gfx942;gfx950")
    assert len(compiled(ran)) == 12
    signatures = module("arguments").SIGNATURES
    seen = set()
    for name in probe.objects:
        found = inspect(probe.out / name)
        assert (found.kind, found.targets) == ("code-object", (name.partition("/")[0],))
        for kernel, places in arguments_of(probe.out / name).items():
            assert places == module("arguments").layout(signatures[kernel]), f"{kernel} of {name}"
            seen.add(kernel)
    assert seen == set(signatures)
    owner = {(path.stat().st_uid, path.stat().st_mode & 0o777) for path in probe.out.rglob("*.hsaco")}
    assert owner == {(os.getuid(), 0o644)}
    rows = {kernel["name"]: kernel for row in ran.json["objects"] for kernel in row["kernels"]}
    assert rows["expert_slots"]["lds"] == 1024
    assert all(kernel["vgprs"] > 0 and kernel["vgpr_spills"] == 0 for kernel in rows.values())

    again = probe("--arch", "gfx950,gfx90a gfx942")
    assert compiled(again) == []
    assert again.json["written"] == 0
    assert probe.containers() == []
    assert probe.staging() == []


def arguments_of(path: Path) -> dict[str, tuple[tuple[int, int], ...]]:
    """(offset, size) of each explicit argument of each kernel, as the compiler wrote them down."""
    metadata: Any = code_object._metadata(elf.read(memoryview(path.read_bytes())))
    return {
        kernel[".name"]: tuple(
            (each[".offset"], each[".size"])
            for each in kernel[".args"]
            if not each[".value_kind"].startswith("hidden_")
        )
        for kernel in metadata["amdhsa.kernels"]
    }


def test_a_header_recompiles_what_includes_it_and_a_touch_nothing(probe: Hip) -> None:
    probe("--arch", "gfx942")
    header = probe.project / "include/rocm_probe/routing.h"
    os.utime(header)
    assert compiled(probe("--arch", "gfx942")) == []
    header.write_text(header.read_text() + "// more\n")
    assert compiled(probe("--arch", "gfx942")) == ["gfx942/expert_parallel.hsaco"]


def test_a_syntax_error_is_told_once_with_its_archs(probe: Hip) -> None:
    source = probe.project / "src/vector_add.hip"
    good = source.read_text()
    source.write_text(good.replace("sum[i] = left[i] + right[i];", "sum[i] = left[i] + right[i]"))
    ran = probe("--arch", "gfx942;gfx950", check=1)
    (problem,) = ran.json["problems"]
    assert problem["message"] == "src/vector_add.hip does not compile for gfx942, gfx950"
    assert problem["context"].count("expected ';'") == 1
    assert problem["place"].startswith("src/vector_add.hip:6:")
    assert probe.objects == {}
    assert probe.containers() == []
    source.write_text(good)
    assert compiled(probe("--arch", "gfx942;gfx950")) == ["gfx942/vector_add.hsaco", "gfx950/vector_add.hsaco"]


@pytest.mark.without_engine
def test_an_unknown_arch_is_refused_before_anything_is_asked(probe: Hip) -> None:
    ran = probe("--arch", "gfx94a", check=2)
    assert "did you mean gfx942 or gfx90a?" in ran.json["problems"][0]["hint"]
    assert not probe.cli.state.exists()


def test_the_plan_writes_nothing(probe: Hip) -> None:
    ran = probe("--arch", "gfx942", "--plan")
    assert {row["decision"] for row in ran.json["objects"]} == {"compile"}
    assert not probe.cli.state.exists()
    assert not probe.out.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_ended_at_any_moment_and_run_again(slow: Hip, number: signal.Signals) -> None:
    wait = random.uniform(0.0, 4.0)  # noqa: S311 - any moment
    hears = gpu_module("processes").hears
    with slow.start("--arch", "gfx942") as process:
        if number is not signal.SIGKILL:  # SIGTERM is heard last
            until(lambda: hears(process.pid, signal.SIGTERM) or process.poll() is not None, "it hears signals")
        time.sleep(wait)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    moment = f"after {wait:.2f} s: {stderr.decode()}"
    if number is not signal.SIGKILL:
        results = [json.loads(path.read_text()) for path in slow.cli.state.glob("runs/*/result.json")]
        over = [result["exit_code"] for result in results] == [0]  # afterwards nobody has to listen
        assert process.returncode in ({0, 128 + number, -number} if over else {128 + number}), moment
        assert slow.containers() == [], moment
        assert slow.staging() == [], moment
        if not over:
            assert json.loads(stdout)["outcome"] == "interrupted", moment
    for path in slow.out.rglob("*.hsaco"):
        assert inspect(path).targets == ("gfx942",), moment

    ran = slow("--arch", "gfx942")
    assert len(slow.objects) == 4
    assert len(compiled(ran)) <= 4
    slow.cli("reap")
    assert slow.containers() == [], moment
    assert slow.staging() == [], moment
    found = slow.objects
    shutil.rmtree(slow.cli.state)
    shutil.rmtree(slow.out)
    slow("--arch", "gfx942")
    assert slow.objects == found, moment


def test_killed_again_and_again_beside_another_run(slow: Hip, tmp_path: Path) -> None:
    """Three rounds of two runs at once on one cache, one of them killed: the other never sees anything half-made."""
    (tmp_path / "other").mkdir()
    other = Hip(slow.cli, slow.project, tmp_path / "other")
    moments = []
    for number in range(3):
        (slow.project / "shared.h").write_text(f"#include <hip/hip_runtime.h>\nconstexpr float kShared = {number};\n")
        moments.append(random.uniform(0.3, 3.0))  # noqa: S311 - any moment
        with slow.start("--arch", "gfx942") as doomed, other.start("--arch", "gfx942") as lucky:
            time.sleep(moments[-1])
            doomed.kill()
            doomed.communicate(timeout=60)
            stdout, stderr = lucky.communicate(timeout=120)
        assert lucky.returncode == 0, f"after {moments}: {stdout.decode()}{stderr.decode()}"
    slow("--arch", "gfx942")
    slow.cli("reap")
    assert (slow.containers(), slow.staging()) == ([], []), moments
    kept = list((slow.cli.state).rglob("kernels/objects/*/*"))
    assert kept
    assert [path for path in kept if hashlib.sha256(path.read_bytes()).hexdigest() != path.stem] == [], moments
    assert slow.objects == other.objects, moments
    shutil.rmtree(slow.cli.state)
    slow("--arch", "gfx942")
    assert slow.objects == other.objects, moments


def test_two_at_once_share_the_cache(slow: Hip, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Hip(slow.cli, slow.project, tmp_path / "other")
    with slow.start("--arch", "gfx942") as first, other.start("--arch", "gfx942") as second:
        results = [process.communicate(timeout=120) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], results
    assert len(slow.objects) == 4
    assert slow.objects == other.objects
    assert compiled(slow("--arch", "gfx942")) == []


def test_a_compiler_that_is_killed_is_probably_memory(slow: Hip) -> None:
    for path in sorted(slow.project.glob("*.hip"))[1:]:
        path.unlink()
    source = slow.project / "slow0.hip"
    source.write_text(source.read_text().replace("poly<60>", "poly<900>"))
    with slow.start("--arch", "gfx942") as process:
        killed = False
        while process.poll() is None and not killed:
            for pid in compilers("slow0.hip", slow.containers()):
                docker("exec", slow.containers()[0], "kill", "-9", pid)
                killed = True
            time.sleep(0.05)
        stdout, stderr = process.communicate(timeout=120)
    assert killed, stderr
    assert process.returncode == 4, stderr
    problem = json.loads(stdout)["problems"][0]
    assert problem["message"] == "slow0.hip: the compiler was killed, probably memory, for gfx942"
    assert "MAX_JOBS" in problem["hint"]


def compilers(source: str, containers: list[str]) -> Iterator[str]:
    """Process ids, as the container counts them, of what compiles ``source``."""
    script = (
        'for d in /proc/[0-9]*; do tr "\\0" " " <$d/cmdline 2>/dev/null | grep -q "[-]cc1 .*$0" && '
        "echo ${d#/proc/}; done"
    )
    for name in containers:
        yield from docker("exec", name, "sh", "-c", script, source, check=False).split()


@pytest.fixture(scope="module")
def parser(image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The mount of PyYAML for the Python of the toolchain image, which is not ours: libyaml is compiled for each."""
    folder = tmp_path_factory.mktemp("parser")
    version = in_image(image, "python3 -c 'import sys; print(*sys.version_info[:2], sep=chr(46))'").strip()
    words = ("--quiet", "--no-deps", "--only-binary", ":all:", "--python-version", version, "--target", str(folder))
    argv = [sys.executable, "-m", "pip", "install", *words, f"pyyaml=={yaml.__version__}"]
    subprocess.run(argv, check=True, timeout=300)
    return f"{folder}:/parser:ro"


def in_image(image: str, script: str, *mounts: str) -> str:
    """Run a script in the toolchain image, as somebody who works there would."""
    site = Path(yaml.__file__).parents[1]
    volumes = (f"{ROOT}:/tool:ro", f"{site}:/site:ro", *mounts)
    return docker(
        "run", "--rm", "--network=none", "--tmpfs", "/tmp:exec",
        *(word for volume in volumes for word in ("--volume", volume)),
        "--env", "PYTHONPATH=/tool:/parser:/site", "--env", "PYTHONDONTWRITEBYTECODE=1", "--env", "HOME=/tmp",
        "--env", "ROCM_CI_STATE=/tmp/state", "--workdir", "/tool", image, "sh", "-c", script,
    )  # fmt: skip


def test_a_local_hipcc_makes_the_same_objects(probe: Hip, image: str, parser: str) -> None:
    probe("--arch", "gfx942")
    command = "python3 -m ci hip-compile --project /project --out /tmp/out --json --arch gfx942"
    script = f"{command} >/tmp/1 && {command} && cd /tmp/out && sha256sum */*.hsaco"
    shown, _, sums = in_image(image, script, f"{probe.project}:/project:ro", parser).rpartition("}\n")
    document = json.loads(shown + "}")
    assert document["compiler"]["name"].startswith("/usr/bin/hipcc (HIP version")
    assert all(row["cached"] for row in document["objects"])
    expected = {row["object"]: row["sha256"] for row in document["objects"]}
    assert {name: digest for digest, name in (line.split() for line in sums.splitlines())} == expected
    assert {name: hashlib.sha256(data).hexdigest() for name, data in probe.objects.items()} == expected


def portable_ccache(folder: Path) -> Path:
    """Debian's ccache with the libraries that the toolchain image does not have; gives its folder."""
    program = shutil.which("ccache")
    if program is None:
        pytest.fail("ccache is not installed: apt-get install ccache")
    for name in ("bin", "lib"):
        (folder / name).mkdir(parents=True)
    shutil.copy(program, folder / "bin")
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.split()
    for library in (Path(word) for word in listed if word.startswith("/")):
        if not library.name.startswith(("ld-", "libc.", "libm.", "libgcc_s.", "libstdc++.")):
            shutil.copy(library, folder / "lib")
    script = folder / "ccache"
    script.write_text('#!/bin/sh\nexec /lib64/ld-linux-x86-64.so.2 --library-path /opt/lib /opt/bin/ccache "$@"\n')
    script.chmod(0o755)
    return folder


CCACHE = """\
set -e
cp -r /given /tmp/project
export CCACHE_DIR=/tmp/ccache
plain=$PATH PATH=/opt:$PATH
run() {
  ROCM_CI_STATE=/tmp/state-$2 python3 -m ci hip-compile --project /tmp/project --json --arch gfx942 --out /tmp/$1
  echo ---
}
run cold one
run warm two
sed -i 's/kShared = 1/kShared = 2/' /tmp/project/shared.h
run header one
run noticed two
PATH=$plain
run without three
cd /tmp && sha256sum */gfx942/*.hsaco
"""


def test_a_real_ccache_is_used_and_its_rate_told(slow: Hip, image: str, parser: str, tmp_path: Path) -> None:
    """In two states, so that in ``warm`` only ccache knows the objects; and what it hands out has its headers."""
    mounts = (f"{slow.project}:/given:ro", f"{portable_ccache(tmp_path / 'ccache')}:/opt:ro", parser)
    *shown, sums = in_image(image, CCACHE, *mounts).split("\n---\n")
    names = ("cold", "warm", "header", "noticed", "without")
    runs = dict(zip(names, map(json.loads, shown), strict=True))
    rates = {name: run["wrapper"] and (run["wrapper"]["hits"], run["wrapper"]["misses"]) for name, run in runs.items()}
    assert rates == {"cold": (0, 4), "warm": (4, 0), "header": (0, 4), "noticed": (4, 0), "without": None}
    assert not any(row["cached"] for run in runs.values() for row in run["objects"])
    found: dict[str, list[str]] = {}
    for digest, path in (line.split() for line in sums.splitlines()):
        found.setdefault(path.partition("/")[0], []).append(digest)
    assert found["warm"] == found["cold"] != found["header"]
    assert found["noticed"] == found["header"] == found["without"]


def test_without_a_device_the_probe_says_so_in_the_runtimes_words(image: str) -> None:
    shown = in_image(image, "cd /tool/kernels; python3 -m rocm_probe --json; echo $?")
    document, _, code = shown.rpartition("\n")
    assert code == "4"
    assert json.loads(document)["error"] == "hipInit: no ROCm-capable device is detected (100)"


def test_the_properties_lie_where_the_runtimes_own_header_says(image: str) -> None:
    hip = module("hip")
    program = (
        "#define __HIP_PLATFORM_AMD__\n#include <hip/hip_runtime_api.h>\n#include <cstddef>\n"
        f"static_assert(sizeof(hipDeviceProp_tR0600) == {hip.PROPERTIES_SIZE});\n"
        f"static_assert(offsetof(hipDeviceProp_tR0600, gcnArchName) == {hip.ARCH_OFFSET});\n"
        f"static_assert(sizeof(hipDeviceProp_tR0600::gcnArchName) == {hip.ARCH_SIZE});\n"
        "static_assert(offsetof(hipDeviceProp_tR0600, name) == 0);\n"
        "static_assert(hipMemcpyHostToDevice == 1 && hipMemcpyDeviceToHost == 2);\n"
        "static_assert(hipErrorPeerAccessAlreadyEnabled == 704);\n"
    )
    in_image(image, f"cat >/tmp/a.cpp <<'END'\n{program}END\nclang++ -std=c++17 -fsyntax-only /tmp/a.cpp")


def test_nox_is_a_door(cli: Cli) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nox", "-s", "hip-compile", "--", "--arch", "gfx942;gfx950", "--plan", "--json"],
        cwd=ROOT,
        env={**cli.environ, "ROCM_CI_STATE": str(cli.state)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {row["arch"] for row in json.loads(done.stdout)["objects"]} == {"gfx942", "gfx950"}
