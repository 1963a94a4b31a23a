#!/bin/sh
# pytorch.sh SOURCE OUT: the torch wheel for ROCm in OUT; SOURCE stays as it is.
#
# A source without its converter (a small project) is built as it is.
set -eu

source=${1:?"usage: pytorch.sh SOURCE OUT"}
out=${2:?"usage: pytorch.sh SOURCE OUT"}
if command -v gcc-13 >/dev/null; then export CC=gcc-13 CXX=g++-13; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -a "$source/." "$work/"
cd "$work"
if [ -f tools/amd_build/build_amd.py ]; then python3 tools/amd_build/build_amd.py; fi
CMAKE_PREFIX_PATH=$(python3 -c 'import sys; print(sys.prefix)')
export CMAKE_PREFIX_PATH
sh "${WHEEL_BUILD:-/run/recipe/wheel-build.sh}" "$work" "$out"
