"""What is said of an engine that does not answer, or not as it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigError, InfraError

if TYPE_CHECKING:
    from .engine import Endpoint


def silent(at: Endpoint, error: BaseException) -> InfraError:
    """The error for an engine that cannot be talked to."""
    message = f"no Docker Engine answers at {at.host} (from {at.source}): {reason(error)}"
    denied = isinstance(error, PermissionError) or "Permission denied" in str(error)
    hint = (
        "join the group docker (newgrp docker) or use root"
        if denied
        else "run inv doctor, or ./ci/bootstrap to get one"
    )
    return InfraError("no-engine", message, hint=hint)


def unmeant(at: Endpoint, error: BaseException) -> ConfigError:
    """The error for an address that is none."""
    hint = "an address is unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST; unset DOCKER_HOST for the usual engine"
    return ConfigError("engine-address", f"{at.source} is no address of an engine: {error}", hint=hint)


def reason(error: BaseException) -> str:
    """What the system says where it said anything: libraries wrap that in addresses of objects of theirs."""
    from .http import causes

    for cause in causes(error):
        if isinstance(cause, OSError) and cause.errno and cause.strerror:
            return cause.strerror
    if isinstance(error, TimeoutError):
        return "it is silent"
    return str(error) or type(error).__name__


def broken(at: Endpoint, what: str) -> InfraError:
    """The error for an engine that did ``what``, which is no answer."""
    return InfraError("engine", f"the engine at {at.host} failed: {what}", hint="run inv doctor; see the engine's log")


def stream_hint(detail: str) -> str:
    """What to do about an error record of a stream."""
    if "no space left" in detail.lower():
        return "free disk space: docker system df, then docker image prune"
    return "the registry or the network is at fault; run the same command again, or inv doctor"
