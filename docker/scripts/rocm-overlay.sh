#!/bin/sh
# rocm-overlay.sh RUNTIME PROFILER: put newer runtimes and the profiler over the ROCm of the image.
#
# A program may load a library by any of its names, so every name the image has leads to the new file.
set -eu

runtime=${1:?"usage: rocm-overlay.sh RUNTIME PROFILER"}
profiler=${2:?"usage: rocm-overlay.sh RUNTIME PROFILER"}
rocm=${ROCM_PATH:-/opt/rocm}
cp -a "$profiler/." "$rocm/"
for stem in libhsa-runtime64 libamdhip64; do
    new=$(find "$runtime/lib" -name "$stem.so.*" -type f)
    cp "$new" "$rocm/lib/"
    for name in "$rocm"/lib/"$stem".so*; do
        if [ ! -L "$name" ] && [ "$name" != "$rocm/lib/${new##*/}" ]; then ln -f "$rocm/lib/${new##*/}" "$name"; fi
    done
done
ldconfig
