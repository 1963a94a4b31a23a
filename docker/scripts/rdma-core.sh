#!/bin/sh
# rdma-core.sh SOURCE PREFIX: the verbs libraries that rocSHMEM's cx7 and io backends need, staged below PREFIX/usr.
# shellcheck source=native-env.sh
set -eu

source=${1:?"usage: rdma-core.sh SOURCE PREFIX"}
prefix=${2:?"usage: rdma-core.sh SOURCE PREFIX"}
. "${NATIVE_ENV:?"the path of native-env.sh"}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake -G Ninja -S "$source" -B "$work" -DCMAKE_INSTALL_PREFIX=/usr -DNO_MAN_PAGES=1
cmake --build "$work" --parallel "$MAX_JOBS"
DESTDIR=$prefix cmake --install "$work"
cache_report
