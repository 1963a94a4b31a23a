#!/bin/sh
# wheel-build.sh SOURCE OUT [SETUP-OPTION...]: the wheel of a project with setup.py, in OUT; SOURCE stays as it is.
#
# ARCHS is the ;-list of gfx targets; `none` writes OUT/ABSENT with the reason instead of a wheel. Each project
# reads the list from a variable of its own, so all of them are set.
# shellcheck source=native-env.sh
set -eu

source=${1:?"usage: wheel-build.sh SOURCE OUT [SETUP-OPTION...]"}
out=${2:?"usage: wheel-build.sh SOURCE OUT [SETUP-OPTION...]"}
shift 2
mkdir -p "$out"
if [ "${ARCHS:-}" = none ]; then
    echo "no gfx target of this build is supported" >"$out/ABSENT"
    exit 0
fi
if [ -n "${ARCHS:-}" ]; then
    export PYTORCH_ROCM_ARCH="$ARCHS" GPU_ARCHS="$ARCHS" AITER_ROCM_ARCH="$ARCHS" MORI_GPU_ARCHS="$ARCHS" HIP_ARCHITECTURES="$ARCHS"
fi
. "${NATIVE_ENV:?"the path of native-env.sh"}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -a "$source/." "$work/"
cd "$work"
[ -f setup.py ] || cd "${SETUP_FOLDER:-python}"
python3 setup.py "$@" bdist_wheel --dist-dir "$work/dist"
cache_report
found=$(find "$work/dist" -name '*.whl' | wc -l)
if [ "$found" -ne 1 ]; then
    echo "wheel-build.sh: one wheel expected of $source, $found found" >&2
    exit 1
fi
cp "$work"/dist/*.whl "$out/"
