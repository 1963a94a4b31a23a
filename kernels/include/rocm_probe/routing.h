// How expert parallelism routes: pair p = token * top_k + choice goes to expert experts[p], into slot slots[p].
#pragma once

#include "rocm_probe/common.h"

namespace rocm_probe {

// A pair that goes nowhere: the router chose no expert, or the expert is full.
constexpr std::int32_t kDropped = -1;

// Sum of `mine` over the threads before this one, and the block's total, over LDS of kBlock entries.
// Every thread of the block has to call it.
__device__ inline std::int32_t exclusive_sum(std::int32_t mine, std::int32_t* scratch, std::int32_t& total) {
  const int lane = threadIdx.x;
  scratch[lane] = mine;
  __syncthreads();
  for (int reach = 1; reach < kBlock; reach *= 2) {
    const std::int32_t before = lane >= reach ? scratch[lane - reach] : 0;
    __syncthreads();
    scratch[lane] += before;
    __syncthreads();
  }
  total = scratch[kBlock - 1];
  const std::int32_t result = scratch[lane] - mine;
  __syncthreads();
  return result;
}

}  // namespace rocm_probe
