"""A workflow to commit: it has the jobs of every step, and a first one asks at run time which of them run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..jobs import ABSENT, Job, Pipeline
from . import github, text

SELECT = "select"
RESULT = "result"

_EVENTS = {"schedule": "nightly", "push": "main", "pull_request": "pr"}
_MINUTES = 15
_SELECTED = f"needs.{SELECT}.outputs.jobs"
NOT_RUN = "not-run"
"""The output with the keys of tests that nobody can run and whose absence fails the workflow."""

_NOT_RUN = f"needs.{SELECT}.outputs.{NOT_RUN}"


def emit(pipeline: Pipeline, select: Job, profiles: Sequence[str], remarks: Sequence[str]) -> str:
    """The workflow; ``select`` gets ``--profile`` of what started it, and tells the keys of the jobs that run.

    Its last job is the one to require: it fails where any other did not do what it was to, and where one that had to
    run cannot. Raises ``ConfigError`` as ``github.emit`` does.
    """
    github.refuse_unlabelled(pipeline._replace(jobs=(select, *pipeline.jobs)))
    made = github.makers(pipeline)
    jobs = {
        SELECT: _select(pipeline, select, profiles),
        **{job.key: github.job_of(pipeline, made, job, _condition(job), (SELECT,)) for job in pipeline.jobs},
        RESULT: _result(pipeline, select),
    }
    return github.workflow(pipeline.name, _triggers(profiles), jobs, remarks)


def drifted(made: str, committed: str) -> tuple[str, ...]:
    """The jobs of the workflow ``made`` that ``committed`` does not have as they are; what it has beside is its own.

    None where ``committed`` asks nobody which jobs run.
    """
    if _SELECTED not in committed:
        return ()
    there = _blocks(committed)
    return tuple(key for key, block in _blocks(made).items() if there.get(key) != block)


def _blocks(workflow: str) -> Mapping[str, str]:
    """Key of a job to its lines."""
    found: dict[str, str] = {}
    key = ""
    for line in workflow.partition("\njobs:\n")[2].splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not line.startswith(" "):
            break
        if line[2:3] != " ":
            key = line.strip().rstrip(":")
        found[key] = f"{found.get(key, '')}{line}\n"
    return found


def _condition(job: Job) -> str:
    """Code for whether a job runs; needed jobs that do not run stop none, those that fail do."""
    return f"!cancelled() && !failure() && contains(fromJSON({_SELECTED}), '{job.key}')"


def _select(pipeline: Pipeline, job: Job, profiles: Sequence[str]) -> dict[str, text.Value]:
    by_event = " || ".join(f"github.event_name == '{event}' && '{profile}'" for event, profile in _EVENTS.items())
    by_hand = f"{github.one_of(profiles, 'inputs.profile')} && inputs.profile"
    asked = github.expression(f"{by_event} || {by_hand} || 'pr'")
    return {
        "name": github.escape(job.label),
        "runs-on": [github.escape(each) for each in job.pool.github],
        "timeout-minutes": _MINUTES,
        "outputs": {name: github.expression(f"steps.run.outputs.{name}") for name in ("jobs", NOT_RUN)},
        "steps": [
            github.checkout(pipeline, **{"fetch-depth": 0}),
            {"id": "run", "run": f"{github.command(job.command)} --profile {asked}"},
        ],
    }


def _result(pipeline: Pipeline, select: Job) -> dict[str, text.Value]:
    others = (f"contains(needs.*.result, '{result}')" for result in ("failure", "cancelled"))
    # One that is skipped, by a condition that somebody gave it, leaves all others skipped, and none of them failed.
    bad = " || ".join((f"needs.{SELECT}.result != 'success'", *others))
    absent = f"always() && {_NOT_RUN} != ''"
    return {
        "name": RESULT,
        "if": github.expression("always()"),
        "needs": [SELECT, *(job.key for job in pipeline.jobs)],
        "runs-on": [github.escape(each) for each in select.pool.github],
        "timeout-minutes": _MINUTES,
        "steps": [
            {"name": RESULT, "if": github.expression(bad), "run": "exit 1"},
            {"name": f"not run: {github.expression(_NOT_RUN)}", "if": github.expression(absent), "run": ABSENT},
        ],
    }


def _triggers(profiles: Sequence[str]) -> dict[str, text.Value]:
    choice: dict[str, text.Value] = {"type": "choice", "options": list(profiles), "default": "pr"}
    return {
        "pull_request": {"types": ["opened", "synchronize", "reopened", "labeled"]},
        "push": {"branches": ["main"]},
        "schedule": [{"cron": "0 4 * * *"}],
        "workflow_dispatch": {"inputs": {"profile": choice}},
    }
