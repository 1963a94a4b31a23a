// Expert parallelism: the data movement of a mixture of experts, without its matrix products.
//
//   expert_slots     which place in its expert's buffer each (token, choice) pair gets, in order of the pairs
//   expert_dispatch  copies rows of tokens to the experts' buffers
//   expert_combine   adds the experts' rows up for each token, weighted, in order of the choices
#include "rocm_probe/routing.h"

using rocm_probe::kBlock;
using rocm_probe::kDropped;

// One block per expert. `used[e]` is how many pairs want expert e, also those that did not fit.
ROCM_PROBE_KERNEL void expert_slots(const std::int32_t* experts, std::int32_t* slots, std::int32_t* used,
                                    std::uint32_t pairs, std::uint32_t capacity) {
  __shared__ std::int32_t scratch[kBlock];
  const std::int32_t expert = static_cast<std::int32_t>(blockIdx.x);
  std::int32_t taken = 0;
  for (std::uint64_t begin = 0; begin < pairs; begin += kBlock) {
    const std::uint64_t pair = begin + threadIdx.x;
    const bool ours = pair < pairs && experts[pair] == expert;
    std::int32_t total = 0;
    const std::int32_t slot = taken + rocm_probe::exclusive_sum(ours ? 1 : 0, scratch, total);
    if (ours) {
      slots[pair] = static_cast<std::uint32_t>(slot) < capacity ? slot : kDropped;
    }
    taken += total;
  }
  if (threadIdx.x == 0) {
    used[expert] = taken;
  }
}

// One block per pair. `buffers` is [expert][capacity][width].
ROCM_PROBE_KERNEL void expert_dispatch(const float* tokens, const std::int32_t* experts, const std::int32_t* slots,
                                       float* buffers, std::uint32_t top_k, std::uint32_t width,
                                       std::uint32_t capacity) {
  const std::uint64_t pair = blockIdx.x;
  const std::int32_t expert = experts[pair];
  const std::int32_t slot = slots[pair];
  if (expert < 0 || slot == kDropped) {
    return;
  }
  const float* from = tokens + pair / top_k * width;
  float* to = buffers + (static_cast<std::uint64_t>(expert) * capacity + slot) * width;
  for (std::uint32_t i = threadIdx.x; i < width; i += blockDim.x) {
    to[i] = from[i];
  }
}

// One block per token; a token whose pairs were all dropped becomes zero.
ROCM_PROBE_KERNEL void expert_combine(const float* buffers, const std::int32_t* experts, const std::int32_t* slots,
                                      const float* weights, float* tokens, std::uint32_t top_k, std::uint32_t width,
                                      std::uint32_t capacity) {
  const std::uint64_t token = blockIdx.x;
  for (std::uint32_t i = threadIdx.x; i < width; i += blockDim.x) {
    float sum = 0.0f;
    for (std::uint32_t choice = 0; choice < top_k; ++choice) {
      const std::uint64_t pair = token * top_k + choice;
      const std::int32_t expert = experts[pair];
      const std::int32_t slot = slots[pair];
      if (expert >= 0 && slot != kDropped) {
        const std::uint64_t row = static_cast<std::uint64_t>(expert) * capacity + slot;
        sum = fmaf(weights[pair], buffers[row * width + i], sum);
      }
    }
    tokens[token * width + i] = sum;
  }
}
