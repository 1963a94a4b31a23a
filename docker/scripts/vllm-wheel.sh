#!/bin/sh
# vllm-wheel.sh SOURCE NATIVE RUST OUT VERSION [WHEELS]: the whole vLLM wheel in OUT, over the native wheel in NATIVE.
#
# Nothing is compiled: the extensions are taken from NATIVE, the Rust files from RUST. With WHEELS, a folder, it asks
# for exactly those: it is what is released together with them.
set -eu

source=${1:?"usage: vllm-wheel.sh SOURCE NATIVE RUST OUT VERSION [WHEELS]"}
native=${2:?"usage: vllm-wheel.sh SOURCE NATIVE RUST OUT VERSION [WHEELS]"}
rust=${3:?"usage: vllm-wheel.sh SOURCE NATIVE RUST OUT VERSION [WHEELS]"}
out=${4:?"usage: vllm-wheel.sh SOURCE NATIVE RUST OUT VERSION [WHEELS]"}
version=${5:?"usage: vllm-wheel.sh SOURCE NATIVE RUST OUT VERSION [WHEELS]"}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -a "$source/." "$work/"
find "$rust" -maxdepth 1 -type f -exec cp {} "$work/vllm/" \;
cd "$work"
if [ -n "${6:-}" ]; then python3 "${PIN_REQUIREMENTS:?"the path of pin-requirements.py"}" "$6" "$work"; fi
export VLLM_TARGET_DEVICE=rocm VLLM_USE_PRECOMPILED=1 VLLM_DOCKER_BUILD_CONTEXT=1 SETUPTOOLS_SCM_PRETEND_VERSION="$version"
VLLM_PRECOMPILED_WHEEL_LOCATION=$(echo "$native"/*.whl)
export VLLM_PRECOMPILED_WHEEL_LOCATION
python3 setup.py bdist_wheel --dist-dir "$work/dist"
set -- "$work"/dist/*.whl
case "$#:${1##*/}" in
1:vllm-"${version%%+*}"*.whl) ;;
*)
    echo "vllm-wheel.sh: one wheel of vllm ${version%%+*} is expected, there is ${*##*/}" >&2
    exit 1
    ;;
esac
mkdir -p "$out"
cp "$1" "$out/"
