// What every kernel of the probe shares: unmangled entry points and the index of a thread.
#pragma once

#include <hip/hip_runtime.h>

#include <cstdint>

// The launcher finds kernels by name in a code object, so names are not mangled.
// Blocks have at most 256 threads; saying so lets the compiler use more registers per thread.
#define ROCM_PROBE_KERNEL extern "C" __global__ __launch_bounds__(rocm_probe::kBlock)

namespace rocm_probe {

constexpr int kBlock = 256;

// 64 bits: a bandwidth test of more than 4 Gi elements must not wrap around.
__device__ inline std::uint64_t thread_index() {
  return static_cast<std::uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ inline std::uint64_t thread_count() {
  return static_cast<std::uint64_t>(gridDim.x) * blockDim.x;
}

}  // namespace rocm_probe
