"""A pipeline as a GitHub Actions workflow, which reads expressions in every text it is given.

A step of a job runs the command, a second one the same once more where the first said ``infra``, and the last one
fails the job unless the outcome that was written is one that fails nothing: one that is missing fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from ...errors import ConfigError, Outcome, Problem
from ...settings import HANDED
from ..jobs import ABSENT, ABSENT_MINUTES, RETRIED, SOFT, Absent, Job, Pipeline
from . import text

NEVER_FAIL = (Outcome.OK, Outcome.SKIPPED, *SOFT)


def emit(pipeline: Pipeline, remarks: Sequence[str]) -> str:
    """The workflow that runs these jobs; ``remarks`` stand in front as comments.

    Raises ``ConfigError`` for pools without labels, and where the file of the pools names no checkout.
    """
    refuse_unlabelled(pipeline)
    made = makers(pipeline)
    jobs = {job.key: job_of(pipeline, made, job) for job in pipeline.jobs}
    jobs |= {each.key: _absent(each) for each in pipeline.absent}
    return workflow(pipeline.name, {"workflow_dispatch": {}}, jobs or {"nothing-to-run": _nothing(remarks)}, remarks)


def workflow(name: str, on: Mapping[str, text.Value], jobs: Mapping[str, text.Value], remarks: Sequence[str]) -> str:
    """A whole workflow, that may read the repository and nothing else."""
    found: dict[str, text.Value] = {"name": escape(name), "on": on, "permissions": {"contents": "read"}, "jobs": jobs}
    return "".join(f"{text.comment(each)}\n" for each in remarks) + text.dump(found)


def escape(value: str) -> str:
    """``value`` so that no expression begins in it: one that gives the opening back stands in its place."""
    return value.replace("${{", "${{ '${{' }}")


def makers(pipeline: Pipeline) -> Mapping[str, str]:
    """Tier to the key of the job that makes its image."""
    return {tier: job.key for job in pipeline.jobs for tier in job.makes}


def job_of(
    pipeline: Pipeline, made: Mapping[str, str], job: Job, condition: str = "", first: tuple[str, ...] = ()
) -> dict[str, text.Value]:
    """A job, its images ``made`` by others; ``condition`` says whether it runs, ``first`` are jobs it needs as well."""
    found: dict[str, text.Value] = {"name": escape(job.label)}
    if condition:
        found["if"] = expression(condition)
    if first or job.after:
        found["needs"] = [*first, *job.after]
    found["runs-on"] = [escape(each) for each in job.pool.github]
    found["timeout-minutes"] = job.minutes
    if job.makes:
        found["outputs"] = {f"image-{tier}": expression(_either(f"image-{tier}")) for tier in job.makes}
    if env := _environment(made, job):
        found["env"] = env
    found["steps"] = [checkout(pipeline), *steps_of(job)]
    return found


def checkout(pipeline: Pipeline, **options: text.Value) -> dict[str, text.Value]:
    """The step that brings the source; no later one gets its credentials."""
    return {"uses": escape(pipeline.checkout), "with": {"persist-credentials": False, **options}}


def command(words: Sequence[str]) -> str:
    """The words as one line of a shell."""
    return escape(text.line(words))


def expression(code: str) -> str:
    """``code`` as what is evaluated."""
    return f"${{{{ {code} }}}}"


def one_of(words: Sequence[str], code: str) -> str:
    """Code for whether the value of ``code`` is one of ``words``, which have no quotes; empty is none."""
    return f"contains(fromJSON('{json.dumps(words)}'), {code})"


def _either(output: str) -> str:
    """Code for an output of the second try, or else of the first."""
    return f"steps.again.outputs.{output} || steps.run.outputs.{output}"


def steps_of(job: Job) -> list[text.Value]:
    """What a job runs."""
    return judged(
        command((*job.command, *(("--handoff", "github") if job.makes or job.takes else ()))), soft=bool(job.soft)
    )


def judged(line: str, *, soft: bool = False) -> list[text.Value]:
    """A command of ours, that once more after ``infra``, and the end that its outcome is; ``line`` is a shell's."""
    fine = (*NEVER_FAIL, *((Outcome.FAILED,) if soft else ()))
    again = expression(one_of(RETRIED, "steps.run.outputs.outcome"))
    return [
        {"id": "run", "continue-on-error": True, "run": line},
        {"id": "again", "if": again, "continue-on-error": True, "run": line},
        {"name": "outcome", "if": expression(f"!{one_of(fine, _either('outcome'))}"), "run": "exit 1"},
    ]


def _environment(made: Mapping[str, str], job: Job) -> dict[str, text.Value]:
    handed: dict[str, text.Value] = {
        HANDED + tier.upper().replace("-", "_"): expression(f"needs.{made[tier]}.outputs.image-{tier}")
        for tier in job.takes
    }
    return {**{name: escape(value) for name, value in (job.env or {}).items()}, **handed}


def _nothing(remarks: Sequence[str]) -> dict[str, text.Value]:
    """A job that never starts: a workflow without any is none."""
    return _never(f"nothing to run: {remarks[0] if remarks else 'no step was selected'}")


def _absent(absent: Absent) -> dict[str, text.Value]:
    if absent.pool is None:
        return _never(f"{absent.label}: {absent.why}")
    return {
        "name": escape(absent.label),
        "runs-on": [escape(each) for each in absent.pool.github],
        "timeout-minutes": ABSENT_MINUTES,
        "steps": [{"name": escape(absent.why), "run": ABSENT}],
    }


def _never(name: str) -> dict[str, text.Value]:
    return {"name": escape(name), "if": False, "runs-on": ["none"], "steps": [{"run": "true"}]}


def refuse_unlabelled(pipeline: Pipeline) -> None:
    """Raise ``ConfigError`` with all that keeps the pipeline from GitHub."""
    if problems := list(_unlabelled(pipeline)):
        raise ConfigError.of(problems)


def _unlabelled(pipeline: Pipeline) -> Iterator[Problem]:
    pools = (*(job.pool for job in pipeline.jobs), *(each.pool for each in pipeline.absent if each.pool))
    for name in dict.fromkeys(pool.name for pool in pools if not pool.github):
        hint = "give it some, `github: [NAME]`, or take it away with --away"
        yield Problem("no-labels", f"pool {name} has no labels of GitHub's runners", hint)
    if not pipeline.checkout:
        hint = "add to the pipeline file: `github: {checkout: OWNER/NAME@COMMIT}`"
        yield Problem("no-checkout", "the pipeline file names no action that brings the source", hint)
