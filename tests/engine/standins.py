"""Small sources that stand in for the components of the vllm stack: each compiles one kernel with the real compiler."""

from __future__ import annotations

import subprocess
from pathlib import Path

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
for word in "$@"; do case "$word" in --prefix=*) prefix=${word#--prefix=} ;; esac; done
here=$(dirname "$0")
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
