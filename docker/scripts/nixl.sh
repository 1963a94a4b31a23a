#!/bin/sh
# nixl.sh SOURCE SUBPROJECTS UCX PREFIX OUT: NIXL on the UCX below UCX, installed below PREFIX, its ROCm wheel in OUT.
#
# SUBPROJECTS is what nixl-subprojects.sh has fetched. gcc, because it is what the vendor's image has; a warning that
# a newer one or a newer library has learned is no error.
# The wheel leaves out what the image has: the HIP runtime, and two libraries that differ between base images. Its
# platform tag is what the C library of the base image makes it, 2.34 or 2.35 on the vendor's.
# shellcheck source=native-env.sh
set -eu

source=${1:?"usage: nixl.sh SOURCE SUBPROJECTS UCX PREFIX OUT"}
subprojects=${2:?"usage: nixl.sh SOURCE SUBPROJECTS UCX PREFIX OUT"}
ucx=${3:?"usage: nixl.sh SOURCE SUBPROJECTS UCX PREFIX OUT"}
prefix=${4:?"usage: nixl.sh SOURCE SUBPROJECTS UCX PREFIX OUT"}
out=${5:?"usage: nixl.sh SOURCE SUBPROJECTS UCX PREFIX OUT"}
export CC=gcc CXX=g++
. "${NATIVE_ENV:?"the path of native-env.sh"}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -a "$source/." "$work/"
mkdir -p "$work/subprojects"
cp -a "$subprojects/." "$work/subprojects/"
cd "$work"
export CC="${CACHE_LAUNCHER:+$CACHE_LAUNCHER }$CC" CXX="${CACHE_LAUNCHER:+$CACHE_LAUNCHER }$CXX"
export PATH="$ucx/bin:$PATH" LD_LIBRARY_PATH="$ucx/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
options="-Ducx_path=$ucx -Dwheel_variant=rocm -Dbuild_tests=false -Dbuild_examples=false -Dwerror=false"
libraries=$prefix/lib/$(uname -m)-linux-gnu
# Left to itself Meson takes this folder only where dpkg-dev is installed.
# shellcheck disable=SC2086
meson setup build --prefix="$prefix" --libdir="$libraries" $options
ninja -C build -j"$MAX_JOBS" install
export LD_LIBRARY_PATH="$libraries:$libraries/plugins:$LD_LIBRARY_PATH"
python3 contrib/tomlutil.py --wheel-name nixl-rocm pyproject.toml
set --
for option in $options; do set -- "$@" "-Csetup-args=$option"; done
# What it lists to build with names a torch; nothing of torch is in it.
python3 -m build --wheel --no-isolation --skip-dependency-check --outdir dist "$@"
mkdir -p "$out"
auditwheel repair --plat auto --wheel-dir "$out" \
    --exclude 'libamdhip64*' --exclude 'libcore*' --exclude 'libpull*' dist/nixl_rocm*.whl
python3 contrib/wheel_add_ucx_plugins.py --ucx-plugins-dir "$ucx/lib/ucx" --nixl-plugins-dir "$libraries/plugins" "$out"/*.whl
cache_report
