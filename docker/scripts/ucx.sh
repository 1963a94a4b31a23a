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
    --enable-devel-headers --enable-mt --with-rocm="$ROCM_HOME" --with-verbs --with-dm
# configure only warns of a ROCm or of verbs that it does not find, and goes on without.
for feature in HAVE_ROCM HAVE_HIP HAVE_IB; do
    if ! grep -q "^#define $feature 1" config.h; then
        echo "ucx.sh: config.h has no $feature; ROCm was looked for in $ROCM_HOME" >&2
        exit 1
    fi
done
make -j"$MAX_JOBS"
make install
cache_report
