"""Facts about this host: its CA bundle, package manager options, cores, memory and disk."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InfraError
from ..settings import Settings
from .process import Command, run

_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")

APT_KEYS = (
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
    "Acquire::ForceIPv4",
    "Acquire::Retries",
    "Acquire::http::Proxy",
    "Acquire::https::Proxy",
)
"""apt's options that say how packages arrive; the rest of its configuration is the host's own business."""


def ca_bundle(settings: Settings) -> str:
    """The CA certificates this host trusts, PEM text; empty where there is no bundle."""
    names = (settings.host("SSL_CERT_FILE"), settings.host("REQUESTS_CA_BUNDLE"), *_BUNDLES)
    for name in names:
        if name and Path(name).is_file():
            return Path(name).read_text(encoding="ascii", errors="ignore")
    return ""


def pip_files(settings: Settings) -> tuple[str, ...]:
    """The texts of pip's configuration files, in the order pip reads them."""
    home = Path(settings.host("HOME") or Path.home())
    config = Path(settings.host("XDG_CONFIG_HOME") or home / ".config")
    named = settings.host("PIP_CONFIG_FILE")
    paths = [Path("/etc/pip.conf"), home / ".pip/pip.conf", config / "pip/pip.conf", *([Path(named)] if named else [])]
    if named == os.devnull:
        return ()
    return tuple(path.read_text() for path in paths if path.is_file())


def apt_options(keys: Sequence[str]) -> Mapping[str, str]:
    """Those of apt's options that are set on this host; empty where there is no apt."""
    from shutil import which

    if not which("apt-config"):
        return {}
    dump = run(Command(("apt-config", "dump", "Acquire"), deadline=5)).stdout
    pairs = re.findall(r'^(\S+) "(.*)";$', dump, re.MULTILINE)
    return {key: value for key, value in pairs if key in keys and value}


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def memory() -> int:
    """Bytes of memory of this host."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def kernel() -> str:
    """The running kernel: name, release, machine."""
    about = os.uname()
    return f"{about.sysname} {about.release} {about.machine}"


def free_disk(folder: Path) -> int:
    """Free bytes on the file system of ``folder`` or its nearest parent that exists."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    from shutil import disk_usage

    return disk_usage(there).free


def mirror(suite_of: str = "debian") -> str:
    """The first archive mirror in this host's apt sources when the host is a Debian, else empty.

    Distributions keep their suites under one mirror, so it serves another suite as well.
    """
    release = Path("/etc/os-release")
    identity = re.search(r'^ID="?([a-z]+)', release.read_text(), re.MULTILINE) if release.is_file() else None
    if identity is None or identity[1] != suite_of:
        return ""
    folder = Path("/etc/apt")
    for path in sorted(folder.glob("sources.list.d/*.sources")):
        if found := re.search(r"^URIs:\s*(\S+/debian/?)(\s|$)", path.read_text(), re.MULTILINE):
            return found[1]
    for path in (folder / "sources.list", *sorted(folder.glob("sources.list.d/*.list"))):
        if path.is_file():
            found = re.search(r"^deb\s+(?:\[[^]]*\]\s+)?(\S+/debian/?)\s", path.read_text(), re.MULTILINE)
            if found:
                return found[1]
    return ""


def is_root() -> bool:
    """Whether this process may do what only root may."""
    return os.geteuid() == 0


def require(program: str, purpose: str) -> str:
    """The path of ``program``; ``InfraError`` that says what to install."""
    from shutil import which

    path = which(program) or which(program, path="/usr/sbin:/sbin")
    if path is None:
        raise InfraError("no-program", f"{program} is needed {purpose}", hint=f"apt-get install {program}")
    return path
