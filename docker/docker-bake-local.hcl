# The local stack by hand, with the arguments the tool passes:
#
#   docker buildx bake -f docker/pins.json -f docker/docker-bake-local.hcl test
#
# Run it from the folder above docker/. A variable is set from the environment, else from
# pins.json, else from its default here. Files outside that folder need `--allow fs.read=FILE`.

# From pins.json; no default, so that there is one place to change it.
variable "EPOCH" {}

variable "RECIPE" { default = "docker" }
variable "IMAGE" { default = "rocm-ci-local" }
variable "TAG" { default = "latest" }

variable "BOOKWORM_ROOT" { default = "debian:bookworm-slim" }
variable "FORKY_ROOT" { default = "debian:forky-slim" }
variable "BASE_IMAGE" { default = "base" }
variable "CI_BASE_IMAGE" { default = "ci_base" }

variable "PYTORCH_ROCM_ARCH" { default = "gfx90a;gfx942;gfx950" }
variable "DEEPEP_ROCM_ARCH" { default = "gfx942;gfx950" }
variable "NIC_BACKEND" {
  default = "none"
  validation {
    condition     = contains(["none", "bnxt"], NIC_BACKEND)
    error_message = "NIC_BACKEND of the local stack is none or bnxt."
  }
}

# As docker/archs.yaml has it; a test compares.
arch_lists = {
  PYTORCH_ROCM_ARCH = {
    asked   = split(";", PYTORCH_ROCM_ARCH)
    allowed = ["gfx90a", "gfx942", "gfx950", "gfx1100", "gfx1101", "gfx1150", "gfx1151", "gfx1200", "gfx1201"]
  }
  DEEPEP_ROCM_ARCH = { asked = split(";", DEEPEP_ROCM_ARCH), allowed = ["gfx942", "gfx950"] }
}
wrong_archs = join("\n", [
  for name, list in arch_lists :
  "${name} cannot be '${join(";", list.asked)}'; allowed: ${join(", ", list.allowed)}, joined by ; without blanks"
  if length(setsubtract(list.asked, list.allowed)) > 0
])
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

# The host's network settings: files and values that reach RUN as secrets, each only when set.
variable "CA_FILE" { default = "" }
variable "PIP_CONF_FILE" { default = "" }
variable "APT_CONF_FILE" { default = "" }
variable "http_proxy" { default = "" }
variable "https_proxy" { default = "" }
variable "no_proxy" { default = "" }
variable "MAX_JOBS" { default = "" }

group "default" {
  targets = ["toolchain", "test"]
}

target "_common" {
  context    = RECIPE
  dockerfile = "Dockerfile.local"
  args = {
    EPOCH = EPOCH
  }
  secret = concat(
    CA_FILE == "" ? [] : ["type=file,id=ca,src=${CA_FILE}"],
    PIP_CONF_FILE == "" ? [] : ["type=file,id=pip_conf,src=${PIP_CONF_FILE}"],
    APT_CONF_FILE == "" ? [] : ["type=file,id=apt_conf,src=${APT_CONF_FILE}"],
    http_proxy == "" ? [] : ["type=env,id=http_proxy,env=http_proxy"],
    https_proxy == "" ? [] : ["type=env,id=https_proxy,env=https_proxy"],
    no_proxy == "" ? [] : ["type=env,id=no_proxy,env=no_proxy"],
    MAX_JOBS == "" ? [] : ["type=env,id=max_jobs,env=MAX_JOBS"],
  )
}

target "toolchain" {
  inherits = ["_common"]
  target   = "toolchain"
  tags     = ["${IMAGE}/toolchain:${TAG}"]
  args = {
    FORKY_ROOT        = FORKY_ROOT
    PYTORCH_ROCM_ARCH = PYTORCH_ROCM_ARCH
  }
}

target "base" {
  inherits = ["_common"]
  target   = "base"
  tags     = ["${IMAGE}/base:${TAG}"]
  args = {
    BOOKWORM_ROOT = BOOKWORM_ROOT
  }
}

target "ci-base" {
  inherits = ["base"]
  target   = "ci_base"
  tags     = ["${IMAGE}/ci-base:${TAG}"]
  args = {
    BASE_IMAGE        = BASE_IMAGE
    PYTORCH_ROCM_ARCH = PYTORCH_ROCM_ARCH
    DEEPEP_ROCM_ARCH  = DEEPEP_ROCM_ARCH
    NIC_BACKEND       = NIC_BACKEND
  }
}

target "test" {
  inherits = ["ci-base"]
  target   = "test"
  tags     = ["${IMAGE}/test:${TAG}"]
  args = {
    CI_BASE_IMAGE = CI_BASE_IMAGE
  }
}

# The files that make test out of ci-base, in ./dist/test. They stand in for that stage with
# --set test.contexts.test_artifact=dist/test
target "test-artifact" {
  inherits = ["test"]
  target   = "test_artifact"
  tags     = []
  output   = ["type=local,dest=dist/test"]
}
