// Memory bandwidth: STREAM's copy and triad, 16 bytes per thread and step.
#include "rocm_probe/common.h"

ROCM_PROBE_KERNEL void bandwidth_copy(const float4* from, float4* to, std::uint64_t count) {
  for (std::uint64_t i = rocm_probe::thread_index(); i < count; i += rocm_probe::thread_count()) {
    to[i] = from[i];
  }
}

ROCM_PROBE_KERNEL void bandwidth_triad(const float4* left, const float4* right, float4* to, float scale,
                                       std::uint64_t count) {
  for (std::uint64_t i = rocm_probe::thread_index(); i < count; i += rocm_probe::thread_count()) {
    const float4 a = left[i];
    const float4 b = right[i];
    // One rounding for each operation's pair, on every arch: the reference can tell what to expect.
    to[i] = make_float4(fmaf(scale, b.x, a.x), fmaf(scale, b.y, a.y), fmaf(scale, b.z, a.z), fmaf(scale, b.w, a.w));
  }
}
