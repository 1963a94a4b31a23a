#!/bin/sh
# ucx.sh SOURCE PREFIX: UCX with ROCm and verbs, below PREFIX.
#
# gcc, which it is developed with; a warning that a newer one has learned is no error.
# shellcheck source=native-env.sh
set -eu

source=${1:?"usage: ucx.sh SOURCE PREFIX"}
prefix=${2:?"usage: ucx.sh SOURCE PREFIX"}
export CC=gcc CXX=g++
. "${NATIVE_ENV:?"the path of native-env.sh"}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -a "$source/." "$work/"
cd "$work"
[ -x configure ] || ./autogen.sh
mkdir build
cd build
CC="${CACHE_LAUNCHER:+$CACHE_LAUNCHER }$CC" CXX="${CACHE_LAUNCHER:+$CACHE_LAUNCHER }$CXX" CFLAGS="-g -O2 -Wno-error" CXXFLAGS="-g -O2 -Wno-error" ../configure \
    --prefix="$prefix" --enable-shared --disable-static --disable-doxygen-doc --enable-optimizations \
    --enable-devel-headers --enable-mt --with-rocm="${ROCM_PATH:-/opt/rocm}" --with-verbs --with-dm
make -j"$MAX_JOBS"
make install
cache_report
