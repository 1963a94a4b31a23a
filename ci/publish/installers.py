"""pip and uv as a user has them, told what this host's pip is told, without anything of the caller's but that."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..build.host import host_pip_options
from ..errors import InfraError
from ..settings import Settings
from ..wheels.install import Line
from ..world import files, host

_PASSED = ("PATH", "LANG", "LC_ALL", "TMPDIR", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
_PATIENCE = "300"
"""Seconds an installer waits for the next byte: a large wheel may have to be brought from a bucket first."""


@dataclass(frozen=True)
class Installer:
    """``pip`` or ``uv``; ``program`` is the uv to use."""

    name: str
    program: str

    def environment(self, python: str, folder: Path) -> tuple[str, ...]:
        """The command that makes a new environment of ``python``, with pip where pip is tried."""
        if self.name == "pip":
            return (python, "-m", "venv", str(folder))
        return (self.program, "venv", "--quiet", "--python", python, str(folder))

    def printed(self, line: Line, python: str) -> tuple[str, ...]:
        """The install line as we print it, for the environment of ``python``."""
        words = shlex.split(line.pip if self.name == "pip" else line.uv)
        if self.name == "pip":
            return (python, "-m", *words)
        return (self.program, *words[1:3], "--python", python, *words[3:])

    def alone(self, line: Line, python: str) -> tuple[str, ...]:
        """The same wheel from the same index, and nothing else from anywhere."""
        if self.name == "pip":
            choice = ("--no-deps", "--ignore-installed", "--index-url", line.url)
            return (python, "-m", "pip", "install", *choice, line.requirement)
        choice = ("--no-deps", "--reinstall", "--default-index", line.url)
        return (self.program, "pip", "install", "--python", python, *choice, line.requirement)


def installers(settings: Settings, ours: str = sys.executable) -> tuple[Installer, ...]:
    """Both of them, the uv beside our own Python first; raises ``InfraError`` where there is none."""
    from shutil import which

    beside = Path(ours).with_name("uv")
    program = str(beside) if beside.is_file() else which("uv", path=settings.host("PATH") or os.defpath)
    if not program:
        hint = f"{Path(ours).name} -m pip install 'uv>=0.9'"
        raise InfraError("no-uv", "uv is not installed, and half of the users install with it", hint=hint)
    return Installer("pip", ""), Installer("uv", program)


def finding(settings: Settings) -> dict[str, str]:
    """The environment to look for interpreters in: they may lie in the home folder."""
    return {**_kept(settings, (*_PASSED, "HOME")), "UV_PYTHON_DOWNLOADS": "never", "UV_NO_CONFIG": "1"}


def environ(settings: Settings, home: Path, index: str) -> dict[str, str]:
    """The environment of an install: a home of its own, and the indices of this host's pip configuration.

    Where that forbids an index, ``index`` is the only one.
    """
    options = dict(host_pip_options(settings))
    if options.pop("no-index", ("false",))[0].lower() in {"1", "yes", "on", "true"}:
        options |= {"index-url": (index,), "extra-index-url": ()}
    aside = [settings.host("no_proxy") or settings.host("NO_PROXY"), "127.0.0.1"]
    no_proxy = ",".join(filter(None, aside))
    fixed = {"HOME": str(home), "no_proxy": no_proxy, "NO_PROXY": no_proxy}
    return {**_kept(settings, _PASSED), **_trust(settings, home), **_pip(options), **_uv(options), **fixed}


def _kept(settings: Settings, names: Sequence[str]) -> dict[str, str]:
    return {name: settings.host(name) for name in names if settings.host(name)}


def _trust(settings: Settings, home: Path) -> dict[str, str]:
    """The certificates this host trusts, as a file for both."""
    text = host.ca_bundle(settings)
    if not text:
        return {}
    path = home / "ca.pem"
    files.write_whole(path, text.encode())
    return dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"), str(path))


def _pip(options: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    told = {f"PIP_{key.upper().replace('-', '_')}": " ".join(words) for key, words in options.items() if words}
    quiet = {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_CACHE_DIR": "1"}
    return {"PIP_TIMEOUT": _PATIENCE, **told, **quiet, "PIP_CONFIG_FILE": os.devnull}


def _uv(options: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """pip's options in uv's words."""
    names = (
        ("UV_DEFAULT_INDEX", "index-url", " "),
        ("UV_EXTRA_INDEX_URL", "extra-index-url", " "),
        ("UV_FIND_LINKS", "find-links", ","),
        ("UV_INSECURE_HOST", "trusted-host", " "),
    )
    told = {name: between.join(options[key]) for name, key, between in names if options.get(key)}
    quiet = {"UV_NO_CONFIG": "1", "UV_NO_CACHE": "1", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    return {"UV_HTTP_TIMEOUT": _PATIENCE, **told, **quiet}
