// Peer copy: a device reads another one's memory over the fabric (or its own, where it is alone).
#include "rocm_probe/common.h"

ROCM_PROBE_KERNEL void peer_copy(const uint4* remote, uint4* local, std::uint64_t count) {
  for (std::uint64_t i = rocm_probe::thread_index(); i < count; i += rocm_probe::thread_count()) {
    local[i] = remote[i];
  }
}
