"""The host's network settings for RUN steps, as secrets: they change how bytes arrive, never which.

A secret is no part of BuildKit's cache key, of the image or of its history, so a CA bundle,
a proxy with a password or the number of jobs can neither leak nor cause a rebuild.
"""

from __future__ import annotations

import configparser
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import ConfigError
from ..settings import Settings
from ..world import host, wheelhouse

_PIP_KEYS = ("index-url", "extra-index-url", "find-links", "trusted-host", "no-index", "timeout", "retries")
_SCCACHE = (
    "SCCACHE_BUCKET", "SCCACHE_REGION", "SCCACHE_ENDPOINT", "SCCACHE_S3_NO_CREDENTIALS",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
)  # fmt: skip
"""Where sccache keeps what it compiled, for the RUNs that ask for it: an image has none of it, on or off."""

_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_SECRET_MOUNT = re.compile(r"--mount=(\S*\btype=secret\b\S*)")
_SECRET_ID = re.compile(r"(?:^|,)id=([^,\s]+)")
_JOB_MEMORY = 2 * 1024**3
"""Memory one hipcc or C++ job may take; more jobs than that get the compiler killed."""


@dataclass(frozen=True, slots=True)
class Network:
    """Secret id → value (never printed), and the local wheel folders RUN steps cannot reach by path."""

    secrets: Mapping[str, str]
    notices: tuple[str, ...]


def mounted(instructions: Iterable[str]) -> frozenset[str]:
    """The ids of the secrets that these instructions mount: a build gets no other."""
    mounts = (mount for text in instructions for mount in _SECRET_MOUNT.findall(text))
    return frozenset(found[1] for mount in mounts if (found := _SECRET_ID.search(mount)))


@contextmanager
def network(settings: Settings, wanted: frozenset[str], gateway: Callable[[], str]) -> Iterator[Network]:
    """The ``wanted`` settings of the host for the time of a build; local wheel folders are served on its bridge."""
    secrets = {name: value for name, value in _plain(settings).items() if name in wanted and value}
    notices: tuple[str, ...] = ()
    with ExitStack() as stack:
        if "pip_conf" in wanted:
            options = host_pip_options(settings)
            served: Mapping[Path, str] = {}
            folders = _local_folders(options)
            if folders and (address := gateway()):
                served = stack.enter_context(wheelhouse.serve(folders, address))
            pip, skipped = _reachable(options, served)
            unreachable = "is a path of this host that builds cannot reach"
            notices = tuple(f"pip option {name} {unreachable}" for name in dict.fromkeys(skipped))
            if pip:
                secrets["pip_conf"] = _ini(pip)
        yield Network(secrets, notices)


def _plain(settings: Settings) -> dict[str, str]:
    """The secrets that are there as they are; empty where this host has no such setting."""
    apt = host.apt_options(host.APT_KEYS)
    return {
        "max_jobs": max_jobs(settings),
        "ca": host.ca_bundle(settings),
        "apt_conf": "".join(f'{key} "{value}";\n' for key, value in apt.items()),
        **{name: settings.host(name) or settings.host(name.upper()) for name in _PROXIES},
        **{name.lower(): settings.host(name) for name in _SCCACHE},
    }


def host_pip_options(settings: Settings) -> dict[str, tuple[str, ...]]:
    """``pip_options`` of this host; raises ``ConfigError`` for a configuration that pip cannot read either."""
    try:
        return pip_options(settings, host.pip_files(settings))
    except configparser.Error as error:
        hint = "pip itself refuses this file: pip config debug names it"
        message = f"a configuration file of pip cannot be read: {str(error).splitlines()[0]}"
        raise ConfigError("pip-config", message, hint=hint) from None


def max_jobs(settings: Settings) -> str:
    """``MAX_JOBS`` where it is a number from 1, else one job per core that memory allows."""
    given = settings.host("MAX_JOBS")
    return (
        given if re.fullmatch(r"[1-9][0-9]*", given) else str(max(1, min(host.cores(), host.memory() // _JOB_MEMORY)))
    )


def pip_options(settings: Settings, texts: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """pip's options as pip reads them, as lists of words.

    Later files win, [install] of any file beats [global] of all, ``PIP_*`` variables beat both.
    A text that is no configuration raises ``configparser.Error``.
    """
    parsers = [_parsed(text) for text in texts]
    options = {
        key.replace("_", "-"): tuple(value.split())
        for section in ("global", "install")
        for parser in parsers
        if parser.has_section(section)
        for key, value in parser.items(section)
    }
    for key in _PIP_KEYS:
        if value := settings.host("PIP_" + key.upper().replace("-", "_")):
            options[key] = tuple(value.split())
    return {key: options[key] for key in _PIP_KEYS if options.get(key)}


def _parsed(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    return parser


def _local_folders(options: Mapping[str, tuple[str, ...]]) -> tuple[Path, ...]:
    paths = (_local(word) for word in options.get("find-links", ()))
    return tuple(path for path in paths if path is not None and path.is_dir())


def _local(word: str) -> Path | None:
    parts = urlsplit(word)
    return Path(parts.path) if parts.scheme in ("", "file") else None


def _reachable(
    options: Mapping[str, tuple[str, ...]], served: Mapping[Path, str]
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The options as a RUN step can use them: local folders by URL, other local paths left out and named."""
    result: dict[str, tuple[str, ...]] = {}
    skipped: list[str] = []
    for key, words in options.items():
        kept = []
        for word in words:
            path = _local(word) if key in ("find-links", "index-url", "extra-index-url") else None
            if path is None:
                kept.append(word)
            elif path in served:
                kept.append(served[path])
            else:
                skipped.append(key)
        if kept:
            result[key] = tuple(kept)
    if served:
        hosts = {urlsplit(url).netloc for url in served.values()}
        result["trusted-host"] = (*result.get("trusted-host", ()), *sorted(hosts))
    return result, skipped


def _ini(options: Mapping[str, tuple[str, ...]]) -> str:
    parser = configparser.RawConfigParser()
    parser["global"] = {key: "\n".join(words) for key, words in options.items()}
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()
