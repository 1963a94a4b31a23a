"""What ``docker login`` left behind: ``config.json`` and its credential helpers.

The Docker SDK reads the file and knows its oddities; the helper we run ourselves,
because the SDK gives it no time limit.  Whatever is wrong with either is said in one
line and means "no credentials", since most lookups need none.  No secret is in any
message.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HELPER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user with a password, or an ``identity_token`` to trade for access tokens."""

    username: str
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


Lookup = Callable[[str], Credentials | None]


def docker_credentials(
    say: Callable[[str], None], *, config: Path | None = None, seconds: float = HELPER_SECONDS
) -> Lookup:
    """A function from registry host to its credentials; each host is asked for once.

    ``config`` names a ``config.json``; the default is where the Docker CLI keeps it.
    ``say`` receives one line when something is configured but unusable.
    """
    known: dict[str, Credentials | None] = {}

    def credentials(host: str) -> Credentials | None:
        if host not in known:
            try:
                known[host] = _read(host, config, seconds)
            except _Unusable as error:
                say(f"no credentials for {host}: {error}")
                known[host] = None
        return known[host]

    return credentials


class _Unusable(Exception):
    """Credentials are configured but cannot be had; says why, without them."""


def _read(host: str, path: Path | None, seconds: float) -> Credentials | None:
    from docker.auth import AuthConfig, load_config
    from docker.errors import DockerException

    file, content = _config(path)
    try:
        config = load_config(config_dict=content) if content else AuthConfig({})
        helper = config.get_credential_store(host)
        entry = _ask_helper(helper, _helper_key(host), seconds) if helper else None
        entry = entry or AuthConfig({"auths": config.auths}).resolve_authconfig(host)
    except (DockerException, ValueError, TypeError, AttributeError, KeyError) as error:
        raise _Unusable(f"{file} cannot be understood ({type(error).__name__})") from None
    return _credentials(entry or {})


def _config(path: Path | None) -> tuple[Path, dict[str, Any]]:
    """The file and what is in it: the SDK takes a broken file for an empty one."""
    from docker.utils.config import find_config_file

    file = path or Path(str(find_config_file() or "config.json"))
    if not file.exists():
        return file, {}
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _Unusable(f"{file} cannot be read as JSON ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise _Unusable(f"{file} is not a JSON object")
    return file, content


def _helper_key(host: str) -> str:
    from docker.auth import INDEX_NAME, INDEX_URL

    return INDEX_URL if host == INDEX_NAME else host


def _ask_helper(name: str, server: str, seconds: float) -> dict[str, str] | None:
    """The helper's answer for ``server``; None where it has none."""
    program = f"docker-credential-{name}"
    path = shutil.which(program)
    if path is None:
        raise _Unusable(f"the credential helper {program} is not installed or not in PATH")
    try:
        done = subprocess.run([path, "get"], input=server.encode(), capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise _Unusable(f"the credential helper {program} did not answer within {seconds:g} s") from None
    except OSError as error:
        raise _Unusable(f"the credential helper {program} cannot be run ({error.strerror})") from None
    if done.returncode:
        if b"credentials not found" in done.stdout.lower():
            return None
        # Its output stays unsaid: nobody knows what a helper prints.
        raise _Unusable(
            f"the credential helper {program} failed with code {done.returncode}; "
            f"to see why: printf {server} | {program} get"
        )
    return _helper_answer(program, done.stdout)


def _helper_answer(program: str, output: bytes) -> dict[str, str]:
    from docker.auth import TOKEN_USERNAME

    try:
        answer = json.loads(output)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise _Unusable(f"the credential helper {program} answered something that is no answer") from None
    return {"IdentityToken": secret} if user == TOKEN_USERNAME else {"Username": user, "Password": secret}


def _credentials(entry: dict[str, Any]) -> Credentials | None:
    """One shape for the SDK's two spellings; an empty entry is what a logout leaves."""
    values = {str(key).lower(): str(value) for key, value in entry.items() if value is not None}
    found = Credentials(values.get("username", ""), values.get("password", ""), values.get("identitytoken", ""))
    return found if found.username or found.identity_token else None
