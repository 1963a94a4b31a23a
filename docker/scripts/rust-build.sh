#!/bin/sh
# rust-build.sh SOURCE OUT: the Rust programs and modules of the source, in OUT.
#
# Four jobs: rustc opens more files at once than hosts allow. target/ is not kept: it outlives source updates.
set -eu

source=${1:?"usage: rust-build.sh SOURCE OUT"}
out=${2:?"usage: rust-build.sh SOURCE OUT"}
export CARGO_BUILD_JOBS=4 CARGO_NET_RETRY=10
if [ "${USE_SCCACHE:-0}" = 1 ]; then export RUSTC_WRAPPER=sccache SCCACHE_SERVER_PORT=4227; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -a "$source/." "$work/"
cd "$work"
mkdir -p vllm
bash build_rust.sh
test -x vllm/vllm-rs
mkdir -p "$out"
find vllm -maxdepth 1 \( -name vllm-rs -o -name '_rust_*.so' \) -exec cp {} "$out/" \;
