"""A pipeline for ``buildkite-agent pipeline upload``, which expands ``$`` in every text it is given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from ...errors import ConfigError, Problem
from ..jobs import ABSENT, ABSENT_MINUTES, RETRIED, SOFT, Absent, Job, Pipeline
from . import text

_LOST: tuple[text.Value, ...] = ({"exit_status": -1, "limit": 1}, {"signal_reason": "agent_stop", "limit": 1})
"""An agent that went away, and one that was told to: a spot instance that is taken back."""

_TAKEN = re.compile(r"(?<!\\)(?:\\\\)*\\\$")
"""A dollar behind an odd number of backslashes, the last of which the upload takes for its own."""

_FAILED = 1
_REASON = 70
"""Characters of a reason that Buildkite takes."""


def emit(pipeline: Pipeline, remarks: Sequence[str]) -> str:
    """The pipeline to upload; ``remarks`` stand in front as comments.

    One without jobs has a step that is skipped, whose reason is the first remark; a test that nobody can run is one
    that is skipped or fails. Raises ``ConfigError`` for pools without tags, and for text that no upload gives back.
    """
    _refuse_untagged(pipeline)
    steps = [*map(_step, pipeline.jobs), *map(_absent, pipeline.absent)] or [_nothing(remarks)]
    return "".join(f"{text.comment(each)}\n" for each in remarks) + text.dump({"steps": steps})


def escape(value: str) -> str:
    """``value`` so that the upload expands it to itself.

    The upload takes a backslash before a dollar for its own, and knows no way to write the two: ``ConfigError``. Two
    backslashes are two to it.
    """
    if _TAKEN.search(value):
        hint = "write it without the backslash, or without the dollar"
        raise ConfigError("not-for-buildkite", f"no upload gives back a backslash before a dollar: {value}", hint=hint)
    return value.replace("$", "$$")


def command(words: Sequence[str]) -> str:
    """The words as one line of a shell, escaped for the upload."""
    # A backslash stands in single quotes here: closing and opening them parts it from the dollar.
    return escape(text.line(words).replace("\\$", "\\''$"))


def _step(job: Job) -> dict[str, text.Value]:
    handed = ("--handoff", "buildkite") if job.makes or job.takes else ()
    found: dict[str, text.Value] = {
        "key": job.key,
        "label": escape(job.label),
        "command": command((*job.command, *handed)),
        "agents": _escaped(job.pool.buildkite),
    }
    if job.after:
        found["depends_on"] = list(job.after)
    if job.env:
        found["env"] = _environment(job.env)
    found["timeout_in_minutes"] = job.minutes
    if job.priority:
        found["priority"] = job.priority
    found["retry"] = {"automatic": [*({"exit_status": each.exit_code, "limit": 1} for each in RETRIED), *_LOST]}
    codes = [each.exit_code for each in SOFT] + ([_FAILED] if job.soft else [])
    found["soft_fail"] = [{"exit_status": code} for code in codes]
    return found


def _environment(env: Mapping[str, str]) -> Mapping[str, str]:
    for name in env:
        # The upload puts an expanded name back into the map that it goes through, and may meet it and its value again.
        if "$" in name:
            hint = "give the variable a name without the dollar"
            raise ConfigError("not-for-buildkite", f"no upload gives back a variable named {name}", hint=hint)
    return {name: escape(value) for name, value in env.items()}


def _escaped(values: Mapping[str, str]) -> dict[str, text.Value]:
    return {escape(name): escape(value) for name, value in values.items()}


def _nothing(remarks: Sequence[str]) -> dict[str, text.Value]:
    return _skipped("nothing to run", remarks[0] if remarks else "no step was selected")


def _absent(absent: Absent) -> dict[str, text.Value]:
    if absent.pool is None:
        return {"key": absent.key, **_skipped(absent.label, absent.why)}
    return {
        "key": absent.key,
        "label": escape(absent.label),
        "command": [command(("echo", f"{absent.label}: {' '.join(absent.why.split())}")), ABSENT],
        "agents": _escaped(absent.pool.buildkite),
        "timeout_in_minutes": ABSENT_MINUTES,
    }


def _skipped(label: str, why: str) -> dict[str, text.Value]:
    why = " ".join(why.split())
    reason = why if len(why) <= _REASON else why[: _REASON - 3] + "..."
    return {"label": escape(label), "command": "true", "skip": escape(reason.replace("\\$", "\\ $"))}


def _refuse_untagged(pipeline: Pipeline) -> None:
    if problems := list(_untagged(pipeline)):
        raise ConfigError.of(problems)


def _untagged(pipeline: Pipeline) -> Iterator[Problem]:
    pools = (*(job.pool for job in pipeline.jobs), *(each.pool for each in pipeline.absent if each.pool))
    for name in dict.fromkeys(pool.name for pool in pools if not pool.buildkite):
        hint = "give it some, `buildkite: {queue: NAME}`, or take it away with --away"
        yield Problem("no-tags", f"pool {name} has no tags of Buildkite's agents", hint)
