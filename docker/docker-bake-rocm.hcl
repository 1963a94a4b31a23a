# The vllm stack by hand, with the arguments the tool passes:
#
#   docker buildx bake -f docker/pins.json -f docker/docker-bake-rocm.hcl test-rocm
#
# Run it from the folder above docker/, in which the source of vLLM is given as VLLM_SOURCE=PATH, or REMOTE_VLLM=1
# takes a commit of its repository. A variable is set from the environment, else from pins.json, else from its default
# here. ci-rocm.hcl after this file adds the targets of CI: components, caches, pushed tags.
#
# Where a pin that a target needs is not resolved, the context of that target is a message instead of a folder: the
# build ends with it, while targets that do not need the pin still build. `inv check --overlay FILE` tells where the
# arguments of another file differ from those of `inv plan`.

# From pins.json; no default, so that there is one place to change them.
variable "EPOCH" {}
variable "BASE_IMAGE_DIGEST" {}
variable "DEADSNAKES_REPO" {}
variable "DEADSNAKES_SIGNER_URL" {}
variable "DEADSNAKES_FINGERPRINT" {}
variable "TOOLCHAIN_TEST_REPO" {}
variable "TOOLCHAIN_TEST_SIGNER_URL" {}
variable "TOOLCHAIN_TEST_FINGERPRINT" {}
variable "SCCACHE_URL" {}
variable "SCCACHE_SHA256" {}
variable "TRITON_REPO" {}
variable "TRITON_BRANCH" {}
variable "PYTORCH_REPO" {}
variable "PYTORCH_BRANCH" {}
variable "PYTORCH_VISION_REPO" {}
variable "PYTORCH_VISION_BRANCH" {}
variable "PYTORCH_AUDIO_REPO" {}
variable "PYTORCH_AUDIO_BRANCH" {}
variable "FA_REPO" {}
variable "FA_BRANCH" {}
variable "AITER_REPO" {}
variable "AITER_BRANCH" {}
variable "AITER_VERSION" {}
variable "MORI_REPO" {}
variable "MORI_BRANCH" {}
variable "ROCM_SYSTEMS_REPO" {}
variable "ROCM_RUNTIME_COMMIT" {}
variable "ROCPROFILER_SDK_COMMIT" {}
variable "ROCPROFILER_PATCH_7796_URL" {}
variable "ROCPROFILER_PATCH_7796_SHA256" {}
variable "ROCPROFILER_PATCH_7924_URL" {}
variable "ROCPROFILER_PATCH_7924_SHA256" {}
variable "VLLM_REPO" {}
variable "VLLM_BRANCH" {}
variable "RUSTUP_URL" {}
variable "RUSTUP_SHA256" {}
variable "PROTOC_URL" {}
variable "PROTOC_SHA256" {}
variable "UCX_REPO" {}
variable "UCX_BRANCH" {}
variable "NIXL_REPO" {}
variable "NIXL_BRANCH" {}
variable "ROCSHMEM_REPO" {}
variable "ROCSHMEM_BRANCH" {}
variable "DEEPEP_REPO" {}
variable "DEEPEP_BRANCH" {}
variable "LMCACHE_REPO" {}
variable "LMCACHE_REF" {}
variable "LMCACHE_VERSION" {}
variable "TORCHCODEC_REPO" {}
variable "TORCHCODEC_COMMIT" {}
variable "RDMA_CORE_REPO" {}
variable "RDMA_CORE_BRANCH" {}
variable "AINIC_VERSION" {}
variable "AINIC_REPO" {}
variable "AINIC_SIGNER_URL" {}
variable "AINIC_FINGERPRINT" {}
variable "BNXT_VERSION" {}
variable "BNXT_REPO" {}
variable "BNXT_SIGNER_URL" {}
variable "BNXT_FINGERPRINT" {}

variable "RECIPE" {
  default     = "docker"
  description = "the folder of this file"
}
variable "VLLM_SOURCE" {
  default     = "."
  description = "the source of vLLM, unless REMOTE_VLLM is 1"
}
variable "REMOTE_VLLM" {
  default     = "0"
  description = "1: build the commit VLLM_BRANCH of VLLM_REPO, and no file of this host"
  validation {
    condition     = contains(["0", "1"], REMOTE_VLLM)
    error_message = "REMOTE_VLLM is 0 or 1."
  }
}
variable "VLLM_VERSION" {
  default     = "0.0.0+rocm"
  description = "the version that the wheel is stamped with"
}

# Parents. Each is an image by name; a name:tag@sha256:... is the only one that cannot move.
variable "ROCM_DEV_IMAGE" {
  default     = ""
  description = "under base-rocm; empty: the pinned one"
}
variable "BASE_IMAGE" {
  default     = "rocm/vllm-dev:base"
  description = "under ci-base, test and release: what base-rocm makes"
}
variable "CI_BASE_IMAGE" {
  default     = ""
  description = "under test; empty: the ci_base stage as it is here, so that an edit of it is tested"
}
variable "BASE_WHEELS_IMAGE" {
  default     = "rocm/vllm-dev:base-wheels"
  description = "the wheels that a released wheel asks for: what base-wheels-rocm makes, as an image"
}
variable "TOOLS_IMAGE" {
  default     = ""
  description = "under each component of the base; empty: the tools stage as it is here"
}

variable "PYTORCH_ROCM_ARCH" {
  default     = "gfx90a;gfx942;gfx950"
  description = "gfx targets, joined by ;"
}
variable "FA_ROCM_ARCH" {
  default     = ""
  description = "gfx targets of flash-attention; empty: all it supports"
}
variable "AITER_ROCM_ARCH" {
  default     = ""
  description = "gfx targets of AITER; empty: all it supports"
}
variable "MORI_ROCM_ARCH" {
  default     = ""
  description = "gfx targets of MoRI; empty: all it supports"
}
variable "DEEPEP_ROCM_ARCH" {
  default     = ""
  description = "gfx targets of rocSHMEM and DeepEP; empty: all they support"
}
variable "LMCACHE_ROCM_ARCH" {
  default     = ""
  description = "gfx targets of LMCache; empty: all it supports"
}
variable "INSTALL_LMCACHE" {
  default     = "false"
  description = "true: LMCache is in the images"
  validation {
    condition     = contains(["false", "true"], INSTALL_LMCACHE)
    error_message = "INSTALL_LMCACHE is false or true."
  }
}
variable "ROCSHMEM_OPTIONS" {
  default     = ""
  description = "CMake options for a rocSHMEM source without its script of all backends"
}
variable "NIC_BACKEND" {
  default     = "none"
  description = "NIC userspace; AINIC_* count under ainic and all, BNXT_* under bnxt and all"
  validation {
    condition     = contains(["none", "ainic", "bnxt", "all"], NIC_BACKEND)
    error_message = "NIC_BACKEND is none, ainic, bnxt or all."
  }
}
variable "UBUNTU_CODENAME" {
  default     = "jammy"
  description = "the Ubuntu release of the base image"
  validation {
    condition     = UBUNTU_CODENAME == "jammy"
    error_message = "UBUNTU_CODENAME is jammy: the root image of this stack is Ubuntu 22.04."
  }
}
variable "USE_SCCACHE" {
  default     = "0"
  description = "1: sccache compiles, with the bucket of SCCACHE_* and AWS_*"
  validation {
    condition     = contains(["0", "1"], USE_SCCACHE)
    error_message = "USE_SCCACHE is 0 or 1."
  }
}

# The host's settings: files and values that reach RUN as secrets, each only when set.
variable "CA_FILE" { default = "" }
variable "PIP_CONF_FILE" { default = "" }
variable "APT_CONF_FILE" { default = "" }
variable "http_proxy" { default = "" }
variable "https_proxy" { default = "" }
variable "no_proxy" { default = "" }
variable "MAX_JOBS" { default = "" }
variable "CI_MAX_JOBS" {
  default     = ""
  description = "beats MAX_JOBS"
}
variable "SCCACHE_BUCKET" { default = "" }
variable "SCCACHE_REGION" { default = "" }
variable "SCCACHE_ENDPOINT" { default = "" }
variable "SCCACHE_S3_NO_CREDENTIALS" { default = "" }
variable "AWS_ACCESS_KEY_ID" { default = "" }
variable "AWS_SECRET_ACCESS_KEY" { default = "" }

# As docker/archs.yaml has it; a test compares.
archs         = ["gfx90a", "gfx942", "gfx950", "gfx1100", "gfx1101", "gfx1150", "gfx1151", "gfx1200", "gfx1201"]
archs_of_fa   = ["gfx90a", "gfx942", "gfx950"]
archs_of_rest = ["gfx942", "gfx950"]

function "words" {
  params = [asked]
  result = asked == "" ? [] : split(";", asked)
}
arch_lists = {
  PYTORCH_ROCM_ARCH = { asked = split(";", PYTORCH_ROCM_ARCH), allowed = archs }
  FA_ROCM_ARCH      = { asked = words(FA_ROCM_ARCH), allowed = archs_of_fa }
  AITER_ROCM_ARCH   = { asked = words(AITER_ROCM_ARCH), allowed = archs_of_rest }
  MORI_ROCM_ARCH    = { asked = words(MORI_ROCM_ARCH), allowed = archs_of_rest }
  DEEPEP_ROCM_ARCH  = { asked = words(DEEPEP_ROCM_ARCH), allowed = archs_of_rest }
  LMCACHE_ROCM_ARCH = { asked = words(LMCACHE_ROCM_ARCH), allowed = archs_of_rest }
}
wrong_archs = join("\n", concat(
  [
    for name, list in arch_lists :
    "${name} cannot be '${join(";", list.asked)}'; allowed: ${join(", ", list.allowed)}, joined by ; without blanks"
    if length(setsubtract(list.asked, list.allowed)) > 0
  ],
  [
    for name, list in arch_lists : "${name} has a gfx target that PYTORCH_ROCM_ARCH has not"
    if length(setsubtract(setintersection(list.asked, list.allowed), arch_lists.PYTORCH_ROCM_ARCH.asked)) > 0
  ],
))
# In a variable, because only those are validated; one for all lists, because a file that declares a list anew would
# take the list's own validation away. Its condition asks wrong_archs, which no environment sets.
variable "refused_archs" {
  default     = wrong_archs
  description = "set by this file: what is wrong with the lists of gfx targets"
  validation {
    condition     = wrong_archs == ""
    error_message = wrong_archs
  }
}

# What a component supports of PYTORCH_ROCM_ARCH, or of a shorter list that somebody asks for.
function "narrowed" {
  params = [list]
  result = join(";", [
    for arch in split(";", PYTORCH_ROCM_ARCH) : arch
    if contains(list.allowed, arch) && (length(list.asked) == 0 ? true : contains(list.asked, arch))
  ])
}
function "targets_of" {
  params = [list]
  result = narrowed(list) == "" ? "none" : narrowed(list)
}

function "unresolved" {
  params = [args]
  result = join(", ", [
    for name, value in args : name
    if value == null ? false : value == "" ? true : trimprefix(value, "unresolved:") != value
  ])
}
function "recipe" {
  params = [args]
  result = unresolved(args) == "" ? RECIPE : "not resolved: ${unresolved(args)}; put -f pins.json first, and see: inv pins"
}

fa_archs      = targets_of(arch_lists.FA_ROCM_ARCH)
aiter_archs   = targets_of(arch_lists.AITER_ROCM_ARCH)
mori_archs    = targets_of(arch_lists.MORI_ROCM_ARCH)
deepep_archs  = targets_of(arch_lists.DEEPEP_ROCM_ARCH)
lmcache_archs = targets_of(arch_lists.LMCACHE_ROCM_ARCH)
ainic         = contains(["ainic", "all"], NIC_BACKEND)
bnxt          = contains(["bnxt", "all"], NIC_BACKEND)
sccache       = USE_SCCACHE == "1"
remote        = REMOTE_VLLM == "1"
pinned        = trimprefix(BASE_IMAGE_DIGEST, "unresolved:") == BASE_IMAGE_DIGEST
dev_image     = "rocm/dev-ubuntu-22.04:7.2.3-complete"

# ---- arguments: one group for what each source, stage or image reads ------------------------------

sccache_args = {
  USE_SCCACHE = USE_SCCACHE
}
tools_args = {
  EPOCH                      = EPOCH
  USE_SCCACHE                = USE_SCCACHE
  SCCACHE_URL                = sccache ? SCCACHE_URL : null
  SCCACHE_SHA256             = sccache ? SCCACHE_SHA256 : null
  BASE_IMAGE                 = ROCM_DEV_IMAGE != "" ? ROCM_DEV_IMAGE : pinned ? "${dev_image}@${BASE_IMAGE_DIGEST}" : dev_image
  UBUNTU_CODENAME            = UBUNTU_CODENAME
  DEADSNAKES_REPO            = DEADSNAKES_REPO
  DEADSNAKES_SIGNER_URL      = DEADSNAKES_SIGNER_URL
  DEADSNAKES_FINGERPRINT     = DEADSNAKES_FINGERPRINT
  TOOLCHAIN_TEST_REPO        = TOOLCHAIN_TEST_REPO
  TOOLCHAIN_TEST_SIGNER_URL  = TOOLCHAIN_TEST_SIGNER_URL
  TOOLCHAIN_TEST_FINGERPRINT = TOOLCHAIN_TEST_FINGERPRINT
}
triton_args = {
  TRITON_REPO   = TRITON_REPO
  TRITON_BRANCH = TRITON_BRANCH
}
pytorch_args = merge(sccache_args, {
  PYTORCH_REPO      = PYTORCH_REPO
  PYTORCH_BRANCH    = PYTORCH_BRANCH
  PYTORCH_ROCM_ARCH = PYTORCH_ROCM_ARCH
})
torchvision_args = merge(pytorch_args, {
  PYTORCH_VISION_REPO   = PYTORCH_VISION_REPO
  PYTORCH_VISION_BRANCH = PYTORCH_VISION_BRANCH
})
torchaudio_args = merge(pytorch_args, {
  PYTORCH_AUDIO_REPO   = PYTORCH_AUDIO_REPO
  PYTORCH_AUDIO_BRANCH = PYTORCH_AUDIO_BRANCH
})
fa_args = merge(pytorch_args, {
  FA_REPO      = FA_REPO
  FA_BRANCH    = FA_BRANCH
  FA_ROCM_ARCH = fa_archs
})
aiter_args = merge(pytorch_args, {
  AITER_REPO      = AITER_REPO
  AITER_BRANCH    = AITER_BRANCH
  AITER_VERSION   = AITER_VERSION
  AITER_ROCM_ARCH = aiter_archs
})
mori_args = merge(pytorch_args, {
  MORI_REPO      = MORI_REPO
  MORI_BRANCH    = MORI_BRANCH
  MORI_ROCM_ARCH = mori_archs
})
rocm_runtime_args = {
  ROCM_SYSTEMS_REPO   = ROCM_SYSTEMS_REPO
  ROCM_RUNTIME_COMMIT = ROCM_RUNTIME_COMMIT
}
rocprofiler_args = {
  ROCM_SYSTEMS_REPO             = ROCM_SYSTEMS_REPO
  ROCPROFILER_SDK_COMMIT        = ROCPROFILER_SDK_COMMIT
  ROCPROFILER_PATCH_7796_URL    = ROCPROFILER_PATCH_7796_URL
  ROCPROFILER_PATCH_7796_SHA256 = ROCPROFILER_PATCH_7796_SHA256
  ROCPROFILER_PATCH_7924_URL    = ROCPROFILER_PATCH_7924_URL
  ROCPROFILER_PATCH_7924_SHA256 = ROCPROFILER_PATCH_7924_SHA256
}
base_wheels_args = merge(tools_args, triton_args, torchvision_args, torchaudio_args, fa_args, aiter_args)
base_args        = merge(base_wheels_args, mori_args, rocm_runtime_args, rocprofiler_args)

on_base_args = {
  EPOCH      = EPOCH
  BASE_IMAGE = BASE_IMAGE
}
vllm_args = {
  VLLM_REPO   = remote ? VLLM_REPO : null
  VLLM_BRANCH = remote ? VLLM_BRANCH : null
}
rust_args = merge(vllm_args, {
  RUSTUP_URL    = RUSTUP_URL
  RUSTUP_SHA256 = RUSTUP_SHA256
  PROTOC_URL    = PROTOC_URL
  PROTOC_SHA256 = PROTOC_SHA256
})
csrc_args = merge(on_base_args, vllm_args, triton_args, sccache_args, {
  SCCACHE_URL       = sccache ? SCCACHE_URL : null
  SCCACHE_SHA256    = sccache ? SCCACHE_SHA256 : null
  PYTORCH_ROCM_ARCH = PYTORCH_ROCM_ARCH
})
wheel_args = merge(csrc_args, rust_args, {
  VLLM_VERSION = VLLM_VERSION
})
ucx_args = {
  UCX_REPO   = UCX_REPO
  UCX_BRANCH = UCX_BRANCH
}
nixl_args = merge(ucx_args, {
  NIXL_REPO   = NIXL_REPO
  NIXL_BRANCH = NIXL_BRANCH
})
rocshmem_args = {
  ROCSHMEM_REPO    = ROCSHMEM_REPO
  ROCSHMEM_BRANCH  = ROCSHMEM_BRANCH
  ROCSHMEM_OPTIONS = ROCSHMEM_OPTIONS == "" ? null : ROCSHMEM_OPTIONS
  DEEPEP_ROCM_ARCH = deepep_archs
}
deepep_args = merge(rocshmem_args, {
  DEEPEP_REPO   = DEEPEP_REPO
  DEEPEP_BRANCH = DEEPEP_BRANCH
})
lmcache_args = {
  LMCACHE_REPO      = LMCACHE_REPO
  LMCACHE_REF       = LMCACHE_REF
  LMCACHE_VERSION   = LMCACHE_VERSION
  LMCACHE_ROCM_ARCH = lmcache_archs
}
torchcodec_args = {
  TORCHCODEC_REPO   = TORCHCODEC_REPO
  TORCHCODEC_COMMIT = TORCHCODEC_COMMIT
}
rdma_core_args = {
  RDMA_CORE_REPO   = RDMA_CORE_REPO
  RDMA_CORE_BRANCH = RDMA_CORE_BRANCH
}
nic_args = {
  NIC_BACKEND       = NIC_BACKEND
  UBUNTU_CODENAME   = UBUNTU_CODENAME
  AINIC_VERSION     = ainic ? AINIC_VERSION : null
  AINIC_REPO        = ainic ? AINIC_REPO : null
  AINIC_SIGNER_URL  = ainic ? AINIC_SIGNER_URL : null
  AINIC_FINGERPRINT = ainic ? AINIC_FINGERPRINT : null
  BNXT_VERSION      = bnxt ? BNXT_VERSION : null
  BNXT_REPO         = bnxt ? BNXT_REPO : null
  BNXT_SIGNER_URL   = bnxt ? BNXT_SIGNER_URL : null
  BNXT_FINGERPRINT  = bnxt ? BNXT_FINGERPRINT : null
}
native_args = merge(
  on_base_args, nic_args, nixl_args, deepep_args, torchcodec_args, rdma_core_args,
  { INSTALL_LMCACHE = INSTALL_LMCACHE }, INSTALL_LMCACHE == "true" ? lmcache_args : {},
)
ci_base_args = merge(native_args, rust_args)
on_ci_base   = CI_BASE_IMAGE == "" ? ci_base_args : { CI_BASE_IMAGE = CI_BASE_IMAGE }
test_args    = merge(on_ci_base, wheel_args, { REMOTE_VLLM = REMOTE_VLLM })
final_args   = merge(native_args, wheel_args, { REMOTE_VLLM = REMOTE_VLLM })
release_args = merge(wheel_args, { BASE_WHEELS_IMAGE = BASE_WHEELS_IMAGE })

# ---- targets --------------------------------------------------------------------------------------

group "default" {
  targets = ["test-rocm"]
}

target "_common-rocm" {
  platforms = ["linux/amd64"]
  secret = concat(
    CA_FILE == "" ? [] : ["type=file,id=ca,src=${CA_FILE}"],
    PIP_CONF_FILE == "" ? [] : ["type=file,id=pip_conf,src=${PIP_CONF_FILE}"],
    APT_CONF_FILE == "" ? [] : ["type=file,id=apt_conf,src=${APT_CONF_FILE}"],
    http_proxy == "" ? [] : ["type=env,id=http_proxy,env=http_proxy"],
    https_proxy == "" ? [] : ["type=env,id=https_proxy,env=https_proxy"],
    no_proxy == "" ? [] : ["type=env,id=no_proxy,env=no_proxy"],
    CI_MAX_JOBS != "" ? ["type=env,id=max_jobs,env=CI_MAX_JOBS"] : MAX_JOBS == "" ? [] : ["type=env,id=max_jobs,env=MAX_JOBS"],
    SCCACHE_BUCKET == "" ? [] : ["type=env,id=sccache_bucket,env=SCCACHE_BUCKET"],
    SCCACHE_REGION == "" ? [] : ["type=env,id=sccache_region,env=SCCACHE_REGION"],
    SCCACHE_ENDPOINT == "" ? [] : ["type=env,id=sccache_endpoint,env=SCCACHE_ENDPOINT"],
    SCCACHE_S3_NO_CREDENTIALS == "" ? [] : ["type=env,id=sccache_s3_no_credentials,env=SCCACHE_S3_NO_CREDENTIALS"],
    AWS_ACCESS_KEY_ID == "" ? [] : ["type=env,id=aws_access_key_id,env=AWS_ACCESS_KEY_ID"],
    AWS_SECRET_ACCESS_KEY == "" ? [] : ["type=env,id=aws_secret_access_key,env=AWS_SECRET_ACCESS_KEY"],
  )
}

target "_base-rocm" {
  inherits   = ["_common-rocm"]
  dockerfile = "Dockerfile.rocm_base"
}

target "_vllm-rocm" {
  inherits   = ["_common-rocm"]
  dockerfile = "Dockerfile.rocm"
  contexts   = remote ? {} : { vllm = VLLM_SOURCE }
}

target "base-rocm" {
  inherits = ["_base-rocm"]
  context  = recipe(merge(base_args, { BASE_IMAGE_DIGEST = ROCM_DEV_IMAGE == "" ? BASE_IMAGE_DIGEST : null }))
  target   = "final"
  args     = base_args
  tags     = ["rocm/vllm-dev:base"]
}

# The wheels of the base without MoRI, as an image of nothing else.
target "base-wheels-rocm" {
  inherits = ["_base-rocm"]
  context  = recipe(merge(base_wheels_args, { BASE_IMAGE_DIGEST = ROCM_DEV_IMAGE == "" ? BASE_IMAGE_DIGEST : null }))
  target   = "base_wheels"
  args     = base_wheels_args
  tags     = ["rocm/vllm-dev:base-wheels"]
}

target "ci-base-rocm" {
  inherits = ["_vllm-rocm"]
  context  = recipe(ci_base_args)
  target   = "ci_base"
  args     = ci_base_args
  tags     = ["rocm/vllm-dev:ci_base"]
}

# With its smoke test, which takes no network and no GPU.
target "test-rocm" {
  inherits = ["_vllm-rocm"]
  context  = recipe(test_args)
  target   = "test_smoke"
  args     = test_args
  tags     = ["rocm/vllm:test"]
}

# The files that make the test image out of ci_base: wheel, tests, requirements.
target "export-wheel-rocm" {
  inherits = ["_vllm-rocm"]
  context  = recipe(wheel_args)
  target   = "export_vllm"
  args     = wheel_args
  output   = ["type=local,dest=wheel-export"]
}

# The wheel as it is released, in ./wheels: it asks for exactly the wheels of the base.
target "wheel-rocm" {
  inherits = ["_vllm-rocm"]
  context  = recipe(release_args)
  target   = "export_vllm_wheel_release"
  args     = release_args
  output   = ["type=local,dest=wheels"]
}

target "final-rocm" {
  inherits = ["_vllm-rocm"]
  context  = recipe(final_args)
  target   = "vllm-openai"
  args     = final_args
  tags     = ["rocm/vllm:latest"]
}
