#!/bin/sh
# vllm-wheel.sh SOURCE NATIVE RUST OUT VERSION: the whole vLLM wheel in OUT, over the native wheel in NATIVE.
#
# Nothing is compiled: the extensions are taken from NATIVE, the Rust files from RUST.
set -eu

source=${1:?"usage: vllm-wheel.sh SOURCE NATIVE RUST OUT VERSION"}
native=${2:?"usage: vllm-wheel.sh SOURCE NATIVE RUST OUT VERSION"}
rust=${3:?"usage: vllm-wheel.sh SOURCE NATIVE RUST OUT VERSION"}
out=${4:?"usage: vllm-wheel.sh SOURCE NATIVE RUST OUT VERSION"}
version=${5:?"usage: vllm-wheel.sh SOURCE NATIVE RUST OUT VERSION"}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -a "$source/." "$work/"
find "$rust" -maxdepth 1 -type f -exec cp {} "$work/vllm/" \;
cd "$work"
export VLLM_TARGET_DEVICE=rocm VLLM_USE_PRECOMPILED=1 VLLM_DOCKER_BUILD_CONTEXT=1 SETUPTOOLS_SCM_PRETEND_VERSION="$version"
VLLM_PRECOMPILED_WHEEL_LOCATION=$(echo "$native"/*.whl)
export VLLM_PRECOMPILED_WHEEL_LOCATION
python3 setup.py bdist_wheel --dist-dir "$work/dist"
mkdir -p "$out"
cp "$work"/dist/*.whl "$out/"
