#!/bin/sh
# wheel-build.sh SOURCE OUT [SETUP-OPTION...]: the wheel of a Python project, in OUT; SOURCE stays as it is.
#
# Its setup.py, at the top or in a folder python, makes the wheel; a project that has pyproject.toml alone takes no
# option of ours.
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
# What a setup.py asks for while it runs is here, or the build ends: it would come unpinned.
export PIP_NO_INDEX=1
. "${NATIVE_ENV:?"the path of native-env.sh"}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -a "$source/." "$work/"
cd "$work"
if [ ! -f setup.py ] && [ -f python/setup.py ]; then cd python; fi
if [ -f setup.py ]; then
    python3 setup.py "$@" bdist_wheel --dist-dir "$work/dist"
else
    python3 -m pip wheel --no-input --no-deps --no-build-isolation --wheel-dir "$work/dist" .
fi
cache_report
found=$(find "$work/dist" -name '*.whl' | wc -l)
if [ "$found" -ne 1 ]; then
    echo "wheel-build.sh: one wheel expected of $source, $found found" >&2
    exit 1
fi
cp "$work"/dist/*.whl "$out/"
