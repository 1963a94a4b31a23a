"""The only reader of the environment; every value knows where it came from.

Precedence is flag > environment > stack > default.  Names of our own begin with
``ROCM_CI_``; an unknown one is an error, because a misspelt variable that is
silently ignored is how the wrong image gets released.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .documents import suggest
from .errors import Problem, masked

PREFIX = "ROCM_CI_"


class Known(NamedTuple):
    """One variable we read: its meaning, the flag that beats it, its default and the values it may have."""

    name: str
    meaning: str
    flag: str = ""
    default: str = ""
    allowed: tuple[str, ...] = ()


KNOWN: tuple[Known, ...] = (
    Known("ROCM_CI_STACK", "stack to build: a shipped name or a path to a stack file", "--stack", "local"),
    Known("ROCM_CI_REGISTRY", "registry and namespace that images are looked up in and pushed to", "--registry"),
    Known("ROCM_CI_STATE", "folder of ledger, leases, caches and run folders", "", "/var/tmp/rocm-ci"),  # noqa: S108
    Known(
        "ROCM_CI_ON_UNKNOWN",
        "what a lookup without an answer means: stop (exit 4) or build",
        "--on-unknown",
        "stop",
        allowed=("stop", "build"),
    ),
    Known(
        "ROCM_CI_ARTIFACT_ONLY",
        "1: build-test ships an artifact bundle instead of an image, as --artifact-only does",
        "",
        "0",
        allowed=("0", "1"),
    ),
    Known(
        "ROCM_CI_RUNTIME",
        "where tests run: docker (a container per step) or native (the container we are in)",
        "--runtime",
        "docker",
        allowed=("docker", "native"),
    ),
    Known("ROCM_CI_MODEL_CACHE", "folder of the models that tests need (an HF_HOME), shared by all jobs of this host"),
    Known("ROCM_CI_STORE", "folder or s3://BUCKET/PREFIX of releases, where builds that push meet as well", "--store"),
    Known(
        "ROCM_CI_POLICY",
        "file that says whom this host trusts, outside of every tree",
        "",
        "/etc/rocm-ci/policy.yaml",
    ),
    Known("ROCM_CI_CACHE_FOLDER", "folder of build caches, for stacks whose caches may be in one"),
    Known("ROCM_CI_SIGNING_KEY", "key that published images are signed with, as cosign takes it (a file or a KMS URL)"),
    Known("ROCM_CI_BUILDER", "buildx builder that builds; default the engine's own"),
    Known("PYTORCH_ROCM_ARCH", "gfx targets to build for", "--arch"),
    Known("DEEPEP_ROCM_ARCH", "gfx targets rocSHMEM and DeepEP are built for"),
    Known("NIC_BACKEND", "NIC userspace in the images: none, ainic, bnxt or all", "--nic-backend"),
    Known("AINIC_VERSION", "version of AMD's AINIC packages; counts under ainic and all only", "--ainic-version"),
    Known("UBUNTU_CODENAME", "Ubuntu release of the base image"),
)
"""Every variable of ours, and the standard names of the build arguments."""

HANDED = "ROCM_CI_HANDOFF_"
"""A family: ``ROCM_CI_HANDOFF_CI_BASE`` has the image of tier ci-base that another job of GitHub handed on."""

HOST_NAMES = (
    "CI",
    "BUILDKITE", "BUILDKITE_REPO", "BUILDKITE_BRANCH", "BUILDKITE_TAG", "BUILDKITE_COMMIT", "BUILDKITE_PULL_REQUEST",
    "BUILDKITE_PULL_REQUEST_REPO", "BUILDKITE_PULL_REQUEST_BASE_BRANCH", "BUILDKITE_PULL_REQUEST_LABELS",
    "BUILDKITE_BUILD_ID", "BUILDKITE_BUILD_URL", "BUILDKITE_JOB_ID",
    "BUILDKITE_STEP_KEY",
    "GITHUB_ACTIONS", "GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_EVENT_NAME", "GITHUB_EVENT_PATH", "GITHUB_REF",
    "GITHUB_HEAD_REF", "GITHUB_BASE_REF", "GITHUB_SHA", "GITHUB_RUN_ID", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY",
    "GITHUB_WORKFLOW_REF",
    "LANG", "LC_ALL", "LC_CTYPE", "NO_COLOR", "FORCE_COLOR", "TERM",
    "COLUMNS", "HOME", "PATH", "USER",
    "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY",
    "BUILDX_CONFIG", "KUBECONFIG",
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_TRUSTED_HOST", "PIP_CONFIG_FILE",
    "PIP_NO_INDEX", "MAX_JOBS", "XDG_CONFIG_HOME",
    "ROCM_PATH", "HIP_PATH", "HIP_CLANG_PATH", "HIP_DEVICE_LIB_PATH", "LD_LIBRARY_PATH", "TMPDIR",
    "SCCACHE_BUCKET", "SCCACHE_REGION", "SCCACHE_ENDPOINT", "SCCACHE_S3_NO_CREDENTIALS",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL",
    "CCACHE_DIR", "SCCACHE_DIR", "XDG_CACHE_HOME", "SLURM_CONF", "HF_TOKEN",
    "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL",
)  # fmt: skip
"""Names of other programs that we honour; everything else in the environment is invisible to us."""

_ARGUMENT = re.compile("[A-Z][A-Z0-9]*_[A-Z0-9_]*")

_SECRET_WORDS = ("token", "password", "secret", "credential", "access_key")
_BARE = re.compile(r"(?<!\S)[^\s/]+@(?!sha256:)")
"""What stands in front of a host without a scheme: in a value it is a login, in a sentence it may be a mail address."""


class Setting(NamedTuple):
    """A value and where it came from, for example ``flag --arch`` or ``stack local.yaml:9``."""

    name: str
    value: str
    source: str

    @property
    def shown(self) -> str:
        """The value as a person may see it: a token is no value, and a URL loses its credentials."""
        if self.value and any(word in self.name.lower() for word in _SECRET_WORDS):
            return "****"
        return masked(_BARE.sub("****@", self.value))


@dataclass(frozen=True)
class Settings:
    """The environment as it was when the run began, and the flags that beat it."""

    environ: Mapping[str, str]
    flags: Mapping[str, str]
    offered: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """The rest of it that could name a build argument: looked up only by a name that a stack declares for that."""
    names: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
    """Every name that is set, without its value: whoever knows that one means nothing here may say so."""

    def get(self, name: str, stack_value: str = "", stack_source: str = "stack") -> Setting:
        """The value of a ``KNOWN`` name by the one precedence; an unset name has value and source empty."""
        known = _BY_NAME[name]
        if known.flag and known.flag in self.flags:
            return Setting(name, self.flags[known.flag], f"flag {known.flag}")
        if name in self.environ:
            return Setting(name, self.environ[name], "environment")
        if stack_value:
            return Setting(name, stack_value, stack_source)
        return Setting(name, known.default, "default" if known.default else "")

    def host(self, name: str) -> str:
        """A variable of another program (``HOST_NAMES``), empty when unset."""
        return self.environ.get(name, "")


_BY_NAME = {known.name: known for known in KNOWN}


def capture(flags: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the environment once, keeping only the names we know."""
    source = os.environ if environ is None else environ
    kept = {name: source[name] for name in (*_BY_NAME, *HOST_NAMES) if name in source}
    kept.update({name: value for name, value in source.items() if name.startswith(PREFIX)})
    offered = {name: value for name, value in source.items() if _ARGUMENT.fullmatch(name)}
    return Settings(kept, dict(flags or {}), offered, frozenset(source))


def problems(settings: Settings) -> tuple[Problem, ...]:
    """Everything wrong with our variables and flags: unknown names, empty values, line breaks."""
    found = []
    for name, value in settings.environ.items():
        if name.startswith(HANDED):
            continue  # whoever takes it reads it strictly
        if name.startswith(PREFIX) and name not in _BY_NAME:
            hint = suggest(name.upper(), [known for known in _BY_NAME if known.startswith(PREFIX)])
            found.append(Problem("unknown-variable", f"environment variable {name} is not one of ours", hint))
        elif name in _BY_NAME:
            found += _value_problems(f"environment variable {name}", value, _BY_NAME[name])
    by_flag = {known.flag: known for known in KNOWN if known.flag}
    for flag, value in settings.flags.items():
        found += _value_problems(f"option {flag}", value, by_flag[flag])
    return tuple(found)


def emptied(what: str) -> Problem:
    """What is wrong with something that was set to nothing; the same words for all who find it."""
    return Problem("empty-value", f"{what} is set but empty", "give it a value or do not set it")


def _value_problems(what: str, value: str, known: Known) -> list[Problem]:
    if not value.strip():
        return [emptied(what)]
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        shown = value.encode("unicode_escape").decode()
        hint = "a line break often comes from a copied value or an unquoted $(...)"
        return [Problem("control-character", f"{what} holds a control character: {shown}", hint)]
    if known.allowed and value not in known.allowed:
        return [Problem("wrong-value", f"{what} cannot be {value!r}", suggest(value, known.allowed))]
    return []


def under_nox() -> bool:
    """Whether a Nox session started us."""
    return "NOX_CURRENT_SESSION" in os.environ


def nox_process() -> int:
    """The process id of the Nox that started us, as our noxfile tells it; 0 when nobody does."""
    told = os.environ.get("NOX_PID", "")
    return int(told) if told.isascii() and told.isdigit() else 0
