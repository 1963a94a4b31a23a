#!/bin/sh
# nixl-subprojects.sh SOURCE OUT: what Meson takes into the build of NIXL, in OUT, each archive checked by its hash.
#
# A wrap without a hash follows a tag, which can move: what it stands for is left out, and NIXL builds without it.
set -eu

source=${1:?"usage: nixl-subprojects.sh SOURCE OUT"}
out=${2:?"usage: nixl-subprojects.sh SOURCE OUT"}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -a "$source/." "$work/"
cd "$work"
mkdir -p subprojects "$out"
for wrap in subprojects/*.wrap; do
    [ -e "$wrap" ] || continue
    if grep -q '^source_hash' "$wrap"; then
        meson subprojects download "$(basename "$wrap" .wrap)"
    else
        echo "nixl-subprojects.sh: $wrap has no hash; left out"
        rm "$wrap"
    fi
done
cp -a subprojects/. "$out/"
