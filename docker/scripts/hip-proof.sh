#!/bin/sh
# hip-proof.sh ARCHS: compile a kernel for each arch of a ;-list and look for its code object.
#
# A toolchain image that cannot do this has no reason to exist, so the build of it ends here.
set -eu

archs=${1:?"usage: hip-proof.sh ARCH[;ARCH...]"}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/proof.hip" <<'HIP'
#include <hip/hip_runtime.h>

extern "C" __global__ void proof(float *out, const float *in, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = 2.0f * in[i];
}
HIP

printf '%s\n' "$archs" | tr ';' '\n' | xargs -P "${MAX_JOBS:-$(nproc)}" -I {} \
    hipcc --offload-arch={} --offload-device-only --no-gpu-bundle-output -O2 "$work/proof.hip" -o "$work/{}.co"

# The text form of the ELF flags ("Flags: 0x54C, gfx942, ...") names what a code object runs on.
printf '%s\n' "$archs" | tr ';' '\n' | while read -r arch; do
    if ! llvm-readelf --file-header "$work/$arch.co" | grep -q "Flags:.* $arch\b"; then
        echo "hip-proof.sh: hipcc made no code object for $arch" >&2
        exit 1
    fi
    echo "hip-proof.sh: $arch ok"
done
