#!/bin/sh
# rocprofiler.sh SOURCE PATCHES OUT: rocprofiler-sdk of a rocm-systems commit with the patches of a folder, staged in OUT.
# shellcheck source=native-env.sh
set -eu

source=${1:?"usage: rocprofiler.sh SOURCE PATCHES OUT"}
patches=${2:?"usage: rocprofiler.sh SOURCE PATCHES OUT"}
out=${3:?"usage: rocprofiler.sh SOURCE PATCHES OUT"}
. "${NATIVE_ENV:?"the path of native-env.sh"}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -a "$source/." "$work/"
cd "$work"
for patch in "$patches"/*.patch; do
    git apply -p1 --include='projects/rocprofiler-sdk/source/lib/rocprofiler-sdk/hsa/*' "$patch"
done
cmake -G Ninja -S projects/rocprofiler-sdk -B build -DCMAKE_BUILD_TYPE=Release "-DCMAKE_PREFIX_PATH=$ROCM_HOME" \
    "-DCMAKE_INSTALL_PREFIX=$out" -DROCPROFILER_BUILD_TESTS=OFF -DROCPROFILER_BUILD_SAMPLES=OFF -DROCPROFILER_BUILD_DOCS=OFF
cmake --build build --parallel "$MAX_JOBS"
cmake --install build --strip
cache_report
