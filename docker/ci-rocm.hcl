# The targets of CI, after docker-bake-rocm.hcl; what they need to know of the build comes in upstream's variables:
#
#   docker buildx bake -f docker/pins.json -f docker/docker-bake-rocm.hcl -f docker/ci-rocm.hcl test-rocm-ci
#
# Nothing is written anywhere unless a variable names the place: without IMAGE_TAG a test image is only cached, without
# DOCKERHUB_CACHE_REPO no cache is read or written. A cache that cannot be written fails no build.
# No value of one build (number, id, commit) is an argument or a label: equal inputs give equal images.

variable "IMAGE_TAG" {
  default     = ""
  description = "reference to push the test image under"
}
variable "IMAGE_TAG_LATEST" {
  default     = ""
  description = "a second reference for it; counts with IMAGE_TAG"
}
variable "CI_BASE_IMAGE_TAG" {
  default     = ""
  description = "reference to push the ci_base image under"
}
variable "DOCKERHUB_CACHE_REPO" {
  default     = ""
  description = "repository of the caches; empty: none"
}

# What caches are called after. A commit or branch that nobody names is left out.
variable "BUILDKITE_COMMIT" {
  default     = ""
  description = "the cache of this commit"
}
variable "PARENT_COMMIT" {
  default     = ""
  description = "its parent's cache, read"
}
variable "VLLM_MERGE_BASE_COMMIT" {
  default     = ""
  description = "the merge base's cache, read where PARENT_COMMIT is empty"
}
variable "ROCM_CACHE_BRANCH_TAG" {
  default     = ""
  description = "the branch's cache"
}
variable "ROCM_CACHE_UPSTREAM_BRANCH_TAG" {
  default     = ""
  description = "the upstream branch's cache, read where ROCM_CACHE_BRANCH_TAG is empty"
}
variable "CSRC_CACHE_KEY" { default = "" }
variable "RUST_CACHE_KEY" { default = "" }
variable "NIXL_CACHE_KEY" { default = "" }
variable "ROCSHMEM_CACHE_KEY" { default = "" }
variable "DEEPEP_CACHE_KEY" { default = "" }
variable "ROCM_CSRC_CACHE_TO_MODE" {
  default = "max"
  validation {
    condition     = contains(["min", "max"], ROCM_CSRC_CACHE_TO_MODE)
    error_message = "ROCM_CSRC_CACHE_TO_MODE is min or max."
  }
}
variable "ROCM_RUST_CACHE_TO_MODE" {
  default = "max"
  validation {
    condition     = contains(["min", "max"], ROCM_RUST_CACHE_TO_MODE)
    error_message = "ROCM_RUST_CACHE_TO_MODE is min or max."
  }
}
variable "ROCM_FINAL_CACHE_TO_MODE" {
  default = "min"
  validation {
    condition     = contains(["min", "max"], ROCM_FINAL_CACHE_TO_MODE)
    error_message = "ROCM_FINAL_CACHE_TO_MODE is min or max."
  }
}

# Taken so that whoever sets them is not refused; each changes nothing.
variable "BUILDKITE_BUILD_NUMBER" {
  default     = ""
  description = "without effect: no build number is in an image"
}
variable "BUILDKITE_BUILD_ID" {
  default     = ""
  description = "without effect: IMAGE_TAG has it, if anything"
}
variable "COMMIT" {
  default     = ""
  description = "without effect: no label has the commit"
}
variable "CI_BASE_CONTENT_HASH" {
  default     = ""
  description = "without effect: the identity is derived, see inv plan"
}
variable "CI_BASE_TRUSTED_CONTENT_REF" {
  default     = ""
  description = "without effect: inv build-ci-base looks content tags up"
}
variable "DOCKERHUB_CACHE_TO" {
  default     = ""
  description = "without effect, as upstream"
}

# At most three caches are read: each is a round trip.
parent   = PARENT_COMMIT != "" ? PARENT_COMMIT : VLLM_MERGE_BASE_COMMIT
branch   = ROCM_CACHE_BRANCH_TAG != "" ? ROCM_CACHE_BRANCH_TAG : ROCM_CACHE_UPSTREAM_BRANCH_TAG
lineage  = [BUILDKITE_COMMIT, parent, branch == "" ? "" : "branch-${branch}"]
writable = [BUILDKITE_COMMIT, ROCM_CACHE_BRANCH_TAG == "" ? "" : "branch-${ROCM_CACHE_BRANCH_TAG}"]

function "caches_from" {
  params = [prefix, names]
  result = [
    for name in names : "type=registry,ref=${DOCKERHUB_CACHE_REPO}:${prefix}-rocm-${name}"
    if name != "" && DOCKERHUB_CACHE_REPO != ""
  ]
}
function "caches_to" {
  params = [prefix, names, mode]
  result = [for cache in caches_from(prefix, names) : "${cache},mode=${mode},ignore-error=true"]
}

group "test-rocm-ci-with-artifacts" {
  targets = ["rust-rocm-ci", "csrc-rocm-ci", "export-wheel-rocm"]
}
group "test-rocm-ci-with-wheel" {
  targets = ["rust-rocm-ci", "csrc-rocm-ci", "export-wheel-rocm", "test-rocm-ci", "smoke-test-rocm-ci"]
}
group "ci-base-rocm-ci-with-deps" {
  targets = ["nixl-rocm-ci", "rocshmem-rocm-ci", "deepep-rocm-ci", "ci-base-rocm-ci"]
}

target "_ci-rocm" {
  cache-from = caches_from("final", lineage)
}

target "test-rocm-ci" {
  inherits = ["test-rocm", "_ci-rocm"]
  tags     = [for tag in [IMAGE_TAG, IMAGE_TAG_LATEST] : tag if tag != "" && IMAGE_TAG != ""]
  output   = IMAGE_TAG == "" ? ["type=cacheonly"] : ["type=registry"]
  cache-to = caches_to("final", writable, ROCM_FINAL_CACHE_TO_MODE)
}

target "smoke-test-rocm-ci" {
  inherits = ["test-rocm", "_ci-rocm"]
  target   = "export_test_smoke"
  tags     = []
  output   = ["type=local,dest=build/rocm-smoke-export"]
}

target "export-wheel-rocm" {
  cache-from = caches_from("final", lineage)
  cache-to   = caches_to("final", writable, ROCM_FINAL_CACHE_TO_MODE)
}

target "ci-base-rocm-ci" {
  inherits   = ["ci-base-rocm"]
  tags       = CI_BASE_IMAGE_TAG == "" ? [] : [CI_BASE_IMAGE_TAG]
  output     = CI_BASE_IMAGE_TAG == "" ? ["type=cacheonly"] : ["type=registry"]
  cache-from = concat(caches_from("nixl", [NIXL_CACHE_KEY]), caches_from("rocshmem", [ROCSHMEM_CACHE_KEY]), caches_from("deepep", [DEEPEP_CACHE_KEY]))
}

target "csrc-rocm-ci" {
  inherits   = ["_vllm-rocm"]
  context    = recipe(csrc_args)
  target     = "csrc-build"
  args       = csrc_args
  output     = ["type=cacheonly"]
  cache-from = caches_from("csrc", concat([CSRC_CACHE_KEY], CSRC_CACHE_KEY == "" ? lineage : [parent, lineage[2]]))
  cache-to   = caches_to("csrc", concat([CSRC_CACHE_KEY], writable), ROCM_CSRC_CACHE_TO_MODE)
}

target "rust-rocm-ci" {
  inherits   = ["_vllm-rocm"]
  context    = recipe(merge(rust_args, { BASE_IMAGE = BASE_IMAGE }))
  target     = "rust_build"
  args       = merge(rust_args, { BASE_IMAGE = BASE_IMAGE })
  output     = ["type=cacheonly"]
  cache-from = caches_from("rust", concat([RUST_CACHE_KEY], RUST_CACHE_KEY == "" ? lineage : [parent, lineage[2]]))
  cache-to   = caches_to("rust", concat([RUST_CACHE_KEY], writable), ROCM_RUST_CACHE_TO_MODE)
}

# The components over the base image: NAME-rocm-ci.
target "component-rocm-ci" {
  name = "${component.name}-rocm-ci"
  matrix = {
    component = [
      { name = "ucx", target = "build_ucx", args = ucx_args, key = "" },
      { name = "nixl", target = "build_nixl", args = nixl_args, key = NIXL_CACHE_KEY },
      { name = "rocshmem", target = "build_rocshmem", args = rocshmem_args, key = ROCSHMEM_CACHE_KEY },
      { name = "deepep", target = "build_deepep", args = deepep_args, key = DEEPEP_CACHE_KEY },
      { name = "lmcache", target = "build_lmcache", args = lmcache_args, key = "" },
      { name = "torchcodec", target = "build_torchcodec", args = torchcodec_args, key = "" },
      { name = "rdma-core", target = "build_rdma_core", args = rdma_core_args, key = "" },
    ]
  }
  inherits   = ["_common-rocm"]
  dockerfile = "Dockerfile.rocm"
  context    = recipe(merge(on_base_args, component.args))
  target     = component.target
  args       = merge(on_base_args, component.args)
  output     = ["type=cacheonly"]
  cache-from = caches_from(component.name, [component.key])
  cache-to   = caches_to(component.name, [component.key], "min")
}

# The components of the base, each on TOOLS_IMAGE, or on the tools stage and all that it takes.
target "base-component-rocm-ci" {
  name = "${component.name}-rocm-ci"
  matrix = {
    component = [
      { name = "triton", target = "build_triton", args = triton_args },
      { name = "amdsmi", target = "build_amdsmi", args = {} },
      { name = "pytorch", target = "build_pytorch", args = pytorch_args },
      { name = "torchvision", target = "build_torchvision", args = torchvision_args },
      { name = "torchaudio", target = "build_torchaudio", args = torchaudio_args },
      { name = "flash-attention", target = "build_fa", args = fa_args },
      { name = "aiter", target = "build_aiter", args = aiter_args },
      { name = "mori", target = "build_mori", args = mori_args },
      { name = "rocm-runtime", target = "build_rocm_runtime", args = rocm_runtime_args },
      { name = "rocprofiler", target = "build_rocprofiler_sdk", args = rocprofiler_args },
    ]
  }
  inherits = ["_base-rocm"]
  context  = recipe(merge(on_tools(component.name), component.args))
  target   = component.target
  args     = merge(on_tools(component.name), component.args)
  output   = ["type=cacheonly"]
}

# What stands below the component; amdsmi installs nothing, so that the day of the packages does not count.
function "on_tools" {
  params = [name]
  result = TOOLS_IMAGE == "" ? tools_args : {
    TOOLS_IMAGE = TOOLS_IMAGE
    EPOCH       = name == "amdsmi" ? null : EPOCH
  }
}
