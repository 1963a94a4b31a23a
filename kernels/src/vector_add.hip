// Correctness: the smallest kernel that needs compiler, loader, memory and launch to be right.
#include "rocm_probe/common.h"

ROCM_PROBE_KERNEL void vector_add(const float* left, const float* right, float* sum, std::uint64_t count) {
  for (std::uint64_t i = rocm_probe::thread_index(); i < count; i += rocm_probe::thread_count()) {
    sum[i] = left[i] + right[i];
  }
}
