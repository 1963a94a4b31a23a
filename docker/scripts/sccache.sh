#!/bin/sh
# sccache.sh ARCHIVE: the program from an archive whose hash was checked, and clang wrappers for HIP_CLANG_PATH.
set -eu

archive=${1:?"usage: sccache.sh ARCHIVE"}
tar --extract --gzip --file "$archive" --directory /usr/local/bin --strip-components=1 --no-same-owner --wildcards '*/sccache'
mkdir -p /opt/sccache-wrappers
for compiler in clang clang++; do
    printf '#!/bin/sh\nexec sccache "%s/llvm/bin/%s" "$@"\n' "${ROCM_PATH:-/opt/rocm}" "$compiler" >"/opt/sccache-wrappers/$compiler"
    chmod 755 "/opt/sccache-wrappers/$compiler"
done
sccache --version
