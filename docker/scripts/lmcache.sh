#!/bin/sh
# lmcache.sh SOURCE OUT: the LMCache wheel for ROCm in OUT; SOURCE stays as it is.
#
# Its list of requirements is for CUDA, too. What is NVIDIA's alone goes; anything else of theirs that is left ends
# the build, because pip would bring it into the image of whoever installs the wheel.
set -eu

source=${1:?"usage: lmcache.sh SOURCE OUT"}
out=${2:?"usage: lmcache.sh SOURCE OUT"}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -a "$source/." "$work/"
list=$work/requirements/common.txt
sed -i -E '/^(cufile-python|nvtx)([<=>~!;[:space:]]|$)/d' "$list"
if grep -inE '^[^#]*(nvidia|cuda|cufile|cupy|nvtx)' "$list"; then
    echo "lmcache.sh: these requirements are for CUDA alone" >&2
    exit 1
fi
if [ -n "${ARCHS:-}" ] && [ "$ARCHS" != none ]; then
    HIPCC_COMPILE_FLAGS_APPEND="--offload-arch=$(printf '%s' "$ARCHS" | sed 's/;/ --offload-arch=/g')"
    export HIPCC_COMPILE_FLAGS_APPEND
fi
export BUILD_WITH_HIP=1 CXX=hipcc
sh "${WHEEL_BUILD:?"the path of wheel-build.sh"}" "$work" "$out"
