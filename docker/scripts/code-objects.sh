#!/bin/sh
# code-objects.sh FOLDER ARCHS: the wheel in FOLDER has device code for every target of a ;-list and for no other.
#
# A target that is missing is otherwise seen on the GPU, and one too many is a minute of every build and megabytes of
# every image. Of several libraries each may leave a target out that it does not support: all of them count together.
set -eu

folder=${1:?"usage: code-objects.sh FOLDER ARCHS"}
archs=${2:?"usage: code-objects.sh FOLDER ARCHS"}
if [ -f "$folder/ABSENT" ]; then exit 0; fi
PATH="${ROCM_PATH:-/opt/rocm}/llvm/bin:/opt/llvm:$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m zipfile -e "$folder"/*.whl "$work"
find "$work" -type f -name '*.so*' >"$work/libraries"
# It writes what it finds beside the library.
while read -r library; do llvm-objdump --offloading "$library"; done <"$work/libraries" >"$work/listing"
found=$(grep -o 'gfx[0-9a-f]*' "$work/listing" | sort -u)
wanted=$(printf '%s\n' "$archs" | tr ';' '\n' | sort -u)
if [ "$found" != "$wanted" ]; then
    echo "code-objects.sh: $(echo "$folder"/*.whl) is for $(echo ${found:-nothing}), wanted is $(echo $wanted)" >&2
    exit 1
fi
