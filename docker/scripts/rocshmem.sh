#!/bin/sh
# rocshmem.sh SOURCE PREFIX ARCHS: rocSHMEM for a ;-list of gfx targets, below PREFIX.
#
# SOURCE is the project itself or a checkout that has it as projects/rocshmem. The configuration is the one with
# all backends, without its tests, which fetch a test framework; a source without it (releases before that script,
# small projects) is configured by CMake alone, with the options in ROCSHMEM_OPTIONS.
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
set -- "-DROCM_PATH=$ROCM_HOME" "-DGPU_TARGETS=$archs" "-DAMDGPU_TARGETS=$archs" "-DCMAKE_HIP_ARCHITECTURES=$archs"
if [ -f ../scripts/build_configs/all_backends ]; then
    # The number of jobs is written in it.
    sed -i "s/--parallel [0-9]*/--parallel $MAX_JOBS/" ../scripts/build_configs/all_backends
    INSTALL_PREFIX=$prefix bash ../scripts/build_configs/all_backends "$@" -DUSE_EXTERNAL_MPI=OFF \
        -DBUILD_FUNCTIONAL_TESTS=OFF -DBUILD_UNIT_TESTS=OFF -DBUILD_EXAMPLES=OFF -DBUILD_CTESTS=OFF
    # Where it misses a library, it leaves out the backend of the network cards and goes on.
    if ! grep -q '^#define USE_GDA' "$prefix/include/rocshmem/rocshmem_config.h"; then
        echo "rocshmem.sh: built without USE_GDA, the backend of the network cards" >&2
        exit 1
    fi
else
    # shellcheck disable=SC2086
    cmake -G Ninja -DCMAKE_BUILD_TYPE=Release "-DCMAKE_INSTALL_PREFIX=$prefix" "$@" ${ROCSHMEM_OPTIONS:-} ..
    cmake --build . --parallel "$MAX_JOBS"
    cmake --install .
fi
cache_report
