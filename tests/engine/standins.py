"""Small sources that stand in for the components of the vllm stack: each compiles one kernel with the real compiler."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.servers import git_server

KERNEL = """\
#include <hip/hip_runtime.h>

extern "C" __global__ void standin(float *out, const float *in, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = 2.0f * in[i];
}
"""

CMAKE = """\
cmake_minimum_required(VERSION 3.20)
project(rocshmem CXX)
find_program(HIPCC hipcc REQUIRED)
set(out ${CMAKE_BINARY_DIR}/librocshmem.so)
list(TRANSFORM GPU_TARGETS PREPEND --offload-arch= OUTPUT_VARIABLE targets)
add_custom_command(OUTPUT ${out} DEPENDS ${CMAKE_SOURCE_DIR}/put.hip
  COMMAND ${HIPCC} -shared -fPIC ${targets} ${CMAKE_SOURCE_DIR}/put.hip -o ${out} VERBATIM)
add_custom_target(all_of_it ALL DEPENDS ${out})
install(FILES ${out} DESTINATION lib)
"""

SETUP = """\
import os, subprocess, sys
from setuptools import setup
from setuptools.command.build_py import build_py

NEEDS = {needs!r}
# Options of a real project's own, in front of setuptools' command.
sys.argv[1:] = sys.argv[sys.argv.index("bdist_wheel"):]


class Build(build_py):
    def run(self):
        super().run()
        for path in NEEDS:
            assert os.path.exists(os.path.join(os.environ.get("ROCSHMEM_DIR", ""), path)), path
        archs = os.environ.get("PYTORCH_ROCM_ARCH", "gfx942").split(";")
        out = os.path.join(self.build_lib, {name!r}, "kernel.so")
        targets = ["--offload-arch=" + arch for arch in archs]
        subprocess.check_call(["hipcc", "-shared", "-fPIC", *targets, "kernel.hip", "-o", out])


setup(name={name!r}, version="1.0", packages=[{name!r}], cmdclass={{"build_py": Build}})
"""

CONFIGURE = """\
#!/bin/sh
for word in "$@"; do
    case "$word" in --prefix=*) prefix=${word#--prefix=} ;; --with-rocm=*) rocm=${word#--with-rocm=} ;; esac
done
here=$(dirname "$0")
# As the real one: what it does not find it leaves out.
echo '#define HAVE_IB 1' >config.h
[ ! -e "$rocm/include/hsa/hsa.h" ] || printf '#define HAVE_ROCM 1\n#define HAVE_HIP 1\n' >>config.h
printf 'all:\\n\\t%s -shared -fPIC %s/ucx.c -o libucp.so\\n' "$CC" "$here" >Makefile
printf 'install: all\\n\\tmkdir -p %s/lib\\n\\tcp libucp.so %s/lib/\\n' "$prefix" "$prefix" >>Makefile
"""

RDMA = """\
cmake_minimum_required(VERSION 3.20)
project(rdma C)
add_library(ibverbs SHARED verbs.c)
install(TARGETS ibverbs DESTINATION lib)
"""


def write(folder: Path, files: dict[str, str]) -> Path:
    """The files in a git repository, all tracked, as a person would pass them with ``--source``."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o644)
    for words in (("init", "--quiet"), ("add", "--all")):
        subprocess.run(("git", "-C", str(folder), *words), check=True)
    return folder


def wheel(folder: Path, name: str, needs: tuple[str, ...] = ()) -> Path:
    """A setup.py that compiles one kernel for ``PYTORCH_ROCM_ARCH``."""
    files = {"setup.py": SETUP.format(name=name, needs=needs), f"{name}/__init__.py": "", "kernel.hip": KERNEL}
    return write(folder, files)


def rocshmem(folder: Path) -> Path:
    """A CMake project that compiles one kernel for ``GPU_TARGETS``."""
    return write(folder, {"CMakeLists.txt": CMAKE, "put.hip": KERNEL})


def ucx(folder: Path) -> Path:
    """A project with a configure script."""
    return write(folder, {"configure": CONFIGURE, "ucx.c": "int ucx(void) { return 1; }\n"})


def rdma_core(folder: Path) -> Path:
    """A CMake project that installs a library."""
    return write(folder, {"CMakeLists.txt": RDMA, "verbs.c": "int verbs(void) { return 1; }\n"})


def base_dockerfile() -> str:
    """What stands in for the base image: CPython with pip, and torch's family from the folders of ``family``."""
    mounts = (
        "--mount=type=bind,source=scripts/apt-real.sh,target=/run/recipe/apt-install.sh",
        "--mount=type=cache,id=rocm-ci-apt-rocm,target=/var/cache/rocm-ci-apt,sharing=locked",
        "--mount=type=secret,id=ca,mode=0444",
        "--mount=type=secret,id=apt_conf,target=/etc/apt/apt.conf.d/99host,mode=0444",
        *(f"--mount=type=secret,id={name},env={name}" for name in ("http_proxy", "https_proxy", "no_proxy")),
    )
    return BASE.replace("MOUNTS", " ".join(mounts))


BASE = """\
ARG BASE_IMAGE=scratch
FROM ${BASE_IMAGE} AS python
ARG EPOCH
RUN MOUNTS sh /run/recipe/apt-install.sh ca-certificates g++ gcc make meson ninja-build \\
    patchelf python-is-python3 python3-build python3-dev python3-mesonpy python3-pip python3-pybind11 \\
    python3-setuptools python3-setuptools-scm python3-wheel \\
    && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED

FROM python AS wheels
COPY family/ /family/
RUN mkdir /wheels && for each in /family/*; do (cd $each && python3 setup.py -q bdist_wheel -d /wheels) || exit 1; done

FROM scratch AS base_wheels
COPY --from=wheels /wheels/ /

FROM python AS final
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \\
    --mount=type=bind,source=scripts/protected.py,target=/run/protected.py \\
    --mount=type=bind,source=scripts/build-record.py,target=/run/build-record.py \\
    python3 -m pip install --no-index --no-deps --no-cache-dir /wheels/*.whl \\
    && mkdir /app && python3 /run/protected.py write /app/protected.json \\
    && python3 /run/build-record.py /app/versions.txt BASE_IMAGE=stand-in
"""

FAMILY = {
    "torch": 'class version:\n    hip = "7.0"\n__version__ = "2.13.0+rocm"\n',
    "triton": "",
    "torchvision": "",
    "torchaudio": "",
}
"""Distributions of the base image that later stages look at, and what their modules say."""

PLAIN = "from setuptools import setup\nsetup(name={name!r}, version={version!r}, packages=[{name!r}])\n"

VLLM = """\
import glob, os, subprocess, zipfile
from setuptools import Distribution, setup
from setuptools.command.build_py import build_py


def requirements(name):
    for line in open(os.path.join("requirements", name)):
        if line.startswith("-r "):
            yield from requirements(line[3:].strip())
        elif line.strip() and not line.startswith("#"):
            yield line.strip()


class Build(build_py):
    def run(self):
        super().run()
        out = os.path.join(self.build_lib, "vllm")
        if os.environ.get("VLLM_USE_PRECOMPILED"):
            wheel = zipfile.ZipFile(os.environ["VLLM_PRECOMPILED_WHEEL_LOCATION"])
            wheel.extract("vllm/_C.so", self.build_lib)
            return
        assert os.path.exists(os.path.join(os.environ["TRITON_KERNELS_SRC_DIR"], "__init__.py"))
        targets = ["--offload-arch=" + arch for arch in os.environ["PYTORCH_ROCM_ARCH"].split(";")]
        subprocess.check_call(["hipcc", "-shared", "-fPIC", *targets, *glob.glob("csrc/*.hip"), "-o", out + "/_C.so"])


class Native(Distribution):
    def has_ext_modules(self):
        return True


setup(
    name="vllm", version=os.environ["SETUPTOOLS_SCM_PRETEND_VERSION"], packages=["vllm"], distclass=Native,
    package_data={"vllm": ["vllm-rs", "_rust_*.so"]}, cmdclass={"build_py": Build},
    install_requires=list(requirements("rocm.txt")),
)
"""

VLLM_FILES = {
    "setup.py": VLLM,
    "CMakeLists.txt": "",
    "pyproject.toml": "",
    "rust-toolchain.toml": '[toolchain]\nchannel = "1.90.0"\n',
    "build_rust.sh": "#!/bin/bash\nset -e\ncargo build\nprintf '#!/bin/sh\\n' >vllm/vllm-rs\nchmod 755 vllm/vllm-rs\n",
    "requirements/common.txt": "numpy\n",
    "requirements/rocm.txt": "-r common.txt\ntorch>=2\nTriton\n",
    "requirements/build/rust.txt": "setuptools-rust\n",
    "tools/build_rust.py": "",
    "cmake/a.cmake": "",
    "csrc/kernel.hip": KERNEL,
    "vllm/__init__.py": '__version__ = "1"\n',
    "vllm/envs.py": "",
    "vllm/engine.py": "ANSWER = 1\n",
    "rust/Cargo.toml": "",
    "tests/vllm_test_utils/setup.py": PLAIN.format(name="vllm_test_utils", version="1.0"),
    "tests/vllm_test_utils/vllm_test_utils/__init__.py": "",
    "benchmarks/a.py": "",
    "docker/Dockerfile": "",
    "examples/a.py": "",
    "scripts/a.py": "",
    ".buildkite/a.yaml": "",
}

RUSTUP = """\
#!/bin/sh
mkdir -p "$CARGO_HOME/bin" "$RUSTUP_HOME"
for name in rustc cargo; do printf '#!/bin/sh\\necho %s stand-in\\n' $name >"$CARGO_HOME/bin/$name"; done
chmod 755 "$CARGO_HOME"/bin/*
"""

NIXL_FILES = {
    "meson.build": """\
project('nixl', 'c', version: '1.0')
py = import('python').find_installation(pure: false)
folder = 'nixl_' + get_option('wheel_variant')
py.extension_module('_bindings', 'nixl.c', subdir: folder, install: true)
py.install_sources('__init__.py', subdir: folder)
shared_library('plugin_UCX', 'plugin.c', install: true, install_dir: get_option('libdir') / 'plugins')
""",
    "meson_options.txt": """\
option('ucx_path', type: 'string', value: '')
option('wheel_variant', type: 'string', value: '')
option('build_tests', type: 'boolean', value: true)
option('build_examples', type: 'boolean', value: true)
""",
    "pyproject.toml": """\
[build-system]
requires = ["meson-python", "torch==2.11.*"]
build-backend = "mesonpy"
[project]
name = "nixl-cu12"
version = "1.0"
""",
    "nixl.c": """\
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_bindings", 0, -1, 0};
PyMODINIT_FUNC PyInit__bindings(void) { return PyModule_Create(&module); }
""",
    "__init__.py": "from . import _bindings\n",
    "contrib/tomlutil.py": """\
import pathlib, sys
path = pathlib.Path(sys.argv[3])
path.write_text(path.read_text().replace("nixl-cu12", sys.argv[2]))
""",
    "plugin.c": "int plugin(void) { return 1; }\n",
    "contrib/wheel_add_ucx_plugins.py": """\
import os, sys
folder = sys.argv[sys.argv.index("--nixl-plugins-dir") + 1]
assert os.listdir(folder), folder
""",
    "subprojects/moving.wrap": "[wrap-git]\nurl = https://host.invalid/moving.git\nrevision = v1\n",
}
"""A Meson project as NIXL is one, with a subproject that follows a tag."""


def vllm(folder: Path, **changed: str) -> Path:
    """A project with the files that the stack takes from vLLM; its extension is one real kernel."""
    return write(folder, VLLM_FILES | changed)


def family(folder: Path) -> None:
    """The projects of torch's family."""
    for name, text in FAMILY.items():
        files = {
            "setup.py": PLAIN.format(name=name, version="2.13.0+rocm"),
            f"{name}/__init__.py": text,
        }
        for path, content in files.items():
            (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / name / path).write_text(content)


def nixl(folder: Path) -> Path:
    """A Meson project with a small extension."""
    return write(folder, NIXL_FILES)


def lmcache(folder: Path) -> Path:
    """A setup.py that compiles one kernel, and a list of requirements that is for CUDA, too."""
    wheel(folder, "lmcache")
    return write(folder, {"requirements/common.txt": "nvtx\ncufile-python==0.2\nnumpy<=2.2.6\n"})


def triton_kernels(folder: Path) -> Path:
    """The one package that the native extensions take from Triton."""
    return write(folder, {"python/triton_kernels/triton_kernels/__init__.py": ""})


def sources(folder: Path) -> dict[str, Path]:
    """A stand-in for everything that Dockerfile.rocm is built from."""
    return {
        "vllm": vllm(folder / "vllm"),
        "triton-kernels": triton_kernels(folder / "triton-kernels"),
        "ucx": ucx(folder / "ucx"),
        "nixl": nixl(folder / "nixl"),
        "rocshmem": rocshmem(folder / "rocshmem"),
        "deepep": wheel(folder / "deepep", "deep_ep", needs=("lib/librocshmem.so",)),
        "lmcache": lmcache(folder / "lmcache"),
        "torchcodec": wheel(folder / "torchcodec", "torchcodec"),
        "rdma-core": rdma_core(folder / "rdma-core"),
    }


@contextlib.contextmanager
def serving(source: Path) -> Iterator[tuple[str, str]]:
    """A source of these, committed, as a repository that is fetched by commit: its URL and the commit."""
    who = ("-c", "user.name=t", "-c", "user.email=t@example.invalid")
    subprocess.run(("git", "-C", str(source), *who, "commit", "--quiet", "--message", "one"), check=True)
    head = subprocess.run(("git", "-C", str(source), "rev-parse", "HEAD"), check=True, capture_output=True, text=True)
    with git_server(source.parent) as url:
        yield f"{url}/{source.name}", head.stdout.strip()
