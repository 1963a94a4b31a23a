#!/bin/sh
# rocshmem.sh SOURCE PREFIX ARCHS: rocSHMEM for a ;-list of gfx targets, below PREFIX.
#
# SOURCE is the project itself or a checkout that has it as projects/rocshmem. The configuration is the one with
# all backends; a source without it (releases before that script, small projects) is configured by CMake alone,
# with the options in ROCSHMEM_OPTIONS.
# shellcheck source=native-env.sh
set -eu

source=${1:?"usage: rocshmem.sh SOURCE PREFIX ARCHS"}
prefix=${2:?"usage: rocshmem.sh SOURCE PREFIX ARCHS"}
archs=${3:?"usage: rocshmem.sh SOURCE PREFIX ARCHS"}
mkdir -p "$prefix"
if [ "$archs" = none ]; then
    echo "no gfx target of this build is supported" >"$prefix/ABSENT"
    exit 0
fi
. "${NATIVE_ENV:?"the path of native-env.sh"}"
if [ -d "$source/projects/rocshmem" ]; then source=$source/projects/rocshmem; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -a "$source/." "$work/"
mkdir -p "$work/build"
cd "$work/build"
export CMAKE_BUILD_PARALLEL_LEVEL="$MAX_JOBS"
set -- "-DROCM_PATH=${ROCM_PATH:-/opt/rocm}" "-DGPU_TARGETS=$archs" "-DAMDGPU_TARGETS=$archs" "-DCMAKE_HIP_ARCHITECTURES=$archs"
if [ -f ../scripts/build_configs/all_backends ]; then
    INSTALL_PREFIX=$prefix bash ../scripts/build_configs/all_backends "$@" -DUSE_EXTERNAL_MPI=OFF
else
    # shellcheck disable=SC2086
    cmake -G Ninja -DCMAKE_BUILD_TYPE=Release "-DCMAKE_INSTALL_PREFIX=$prefix" "$@" ${ROCSHMEM_OPTIONS:-} ..
    cmake --build . --parallel "$MAX_JOBS"
    cmake --install .
fi
cache_report
