"""Buildkite's agent, asked from inside a job: the meta-data of a build, and the page of a build."""

from __future__ import annotations

from ..errors import DeadlineError, InfraError
from .process import Command, Finished, Run, run

_LIMIT = 120.0
"""Seconds after which the agent is given up; it tries again by itself for a while."""

_ABSENT = 100
_HINT = "this works inside a Buildkite job; a retry may help"


def meta_data(key: str, start: Run = run) -> str | None:
    """What the build knows under ``key``, None for nothing; ``InfraError`` where the agent could not tell."""
    asked = _asked(start, "meta-data", "exists", key)
    if asked.code == _ABSENT:
        return None
    _fine(asked)
    return _fine(_asked(start, "meta-data", "get", key)).stdout


def set_meta_data(key: str, value: str, start: Run = run) -> None:
    """Let every job of the build know ``value`` under ``key``; ``InfraError`` where it is not known afterwards."""
    _fine(_asked(start, "meta-data", "set", key, value))
    seen = meta_data(key, start)
    if seen is None or seen.strip() != value.strip():
        message = f"the meta-data {key} was set and is another now: another job sets it as well"
        raise InfraError("buildkite-agent", message, context=f"ours: {value}\nthere: {seen}", hint=_HINT)


def annotate(page: str, context: str, style: str, start: Run = run) -> None:
    """Show Markdown on the build's page, in place of what stood there under ``context``; raises ``InfraError``."""
    _fine(_asked(start, "annotate", "--context", context, "--style", style, feed=page.encode("utf-8", "replace")))


def _asked(start: Run, *words: str, feed: bytes = b"") -> Finished:
    try:
        return start(Command(("buildkite-agent", *words), deadline=_LIMIT, feed=feed))
    except DeadlineError as error:
        raise InfraError("buildkite-agent", error.problems[0].message, hint=_HINT) from None


def _fine(done: Finished) -> Finished:
    if not done.ok:
        what = " ".join(done.command.argv[:3])
        raise InfraError("buildkite-agent", f"{what} ended with {done.code}", context=done.tail(), hint=_HINT)
    return done
