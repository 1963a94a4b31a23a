"""Pipelines to copy, made from the local stack: whoever takes one changes the words of the tool and the pools."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from ci.pipeline import make
from ci.pipeline.make import Given
from ci.pipeline.request import Request
from ci.pipeline.wiring import on_pool
from ci.providers.emit import buildkite, github, text
from ci.providers.jobs import Job, Pipeline
from ci.settings import capture

TODAY = date(2026, 11, 22)
_RELEASE_MINUTES = 355


def all_examples() -> Mapping[str, str]:
    """File below docs/examples to its text."""
    given = make.given(capture({"--stack": "local"}, {}), Request(), TODAY)
    return {
        "buildkite/pipeline.yml": _bootstrap(given),
        "buildkite/release.yml": _buildkite_release(given),
        "buildkite/promote.yml": _buildkite_promote(given),
        "github/rocm-ci.yml": make.workflow(given)[0],
        "github/release.yml": _github_release(given),
        "github/promote.yml": _github_promote(given),
    }


def _head(*lines: str) -> str:
    return "".join(f"{text.comment(line)}\n" for line in lines)


def _agents(given: Given) -> dict[str, Any]:
    return dict(given.terms.builder.buildkite)


def _bootstrap(given: Given) -> str:
    """What stands in the repository or in Buildkite's settings: it makes the rest, and uploads it."""
    tool = text.line(given.terms.pools.tool)
    pull_request = "build.pull_request.id != null || build.branch != pipeline.default_branch"
    profiles = {
        "nightly": 'build.source == "schedule"',
        "main": f'build.source != "schedule" && !({pull_request})',
        "pr": f'build.source != "schedule" && ({pull_request})',
    }
    steps: list[text.Value] = [
        {
            "key": f"select-{profile}",
            "label": f"select {profile}",
            "if": condition,
            "command": f"set -o pipefail; {tool} pipeline --stack local --format buildkite --profile {profile}"
            " | buildkite-agent pipeline upload",
            "agents": _agents(given),
            "timeout_in_minutes": 15,
        }
        for profile, condition in profiles.items()
    ]
    head = _head(
        "The pipeline of a repository: one step makes the others for the change at hand.",
        "Where the tool fails nothing is uploaded, and the build fails.",
    )
    return head + text.dump({"steps": steps})


def _release(given: Given) -> Pipeline:
    terms = given.terms
    words = (*terms.pools.tool, "release-nightly", "--stack", "local")
    job = Job("release-nightly", "release nightly", words, on_pool(terms.builder), _RELEASE_MINUTES)
    return Pipeline("release nightly", (job,), terms.pools.checkout)


def _buildkite_release(given: Given) -> str:
    head = _head(
        "For a schedule of the trusted branch, with ROCM_CI_REGISTRY and ROCM_CI_STORE in its environment.",
        "An older commit than the one that stands ends as superseded, which fails nothing.",
    )
    return head + buildkite.emit(_release(given), ())


def _buildkite_promote(given: Given) -> str:
    tool = text.line(given.terms.pools.tool)
    field: dict[str, text.Value] = {"text": "commit or version of the release", "key": "release", "required": True}
    steps: list[text.Value] = [
        {"input": "which release", "key": "which", "fields": [field]},
        {
            "key": "promote",
            "label": "promote",
            "depends_on": ["which"],
            "command": f'{tool} promote "$$(buildkite-agent meta-data get release)" --to release --stack local',
            "agents": _agents(given),
            "timeout_in_minutes": 60,
            "soft_fail": [{"exit_status": 5}],
        },
    ]
    return _head("By hand: a nightly that was built and proven becomes the release.") + text.dump({"steps": steps})


def _github_release(given: Given) -> str:
    pipeline = _release(given)
    (job,) = pipeline.jobs
    made = github.job_of(pipeline, {}, job)
    made |= {"env": _places(), "steps": [github.checkout(pipeline, **{"fetch-depth": 0}), *github.steps_of(job)]}
    on: dict[str, text.Value] = {"schedule": [{"cron": "0 2 * * *"}], "workflow_dispatch": {}}
    remarks = ("The whole history: a release is refused from a shallow clone.",)
    return github.workflow(pipeline.name, on, {job.key: made}, remarks)


def _github_promote(given: Given) -> str:
    pipeline = _release(given)
    tool = text.line(given.terms.pools.tool)
    job: dict[str, text.Value] = {
        "runs-on": list(given.terms.builder.github),
        "timeout-minutes": 60,
        # A person's words reach the shell as the value of a variable: never as a part of the line.
        "env": {"RELEASE": github.expression("inputs.release"), **_places()},
        "steps": [
            github.checkout(pipeline, **{"fetch-depth": 0}),
            *github.judged(f'{tool} promote "$RELEASE" --to release --stack local'),
        ],
    }
    asked: dict[str, text.Value] = {"description": "commit or version", "required": True, "type": "string"}
    on: dict[str, text.Value] = {"workflow_dispatch": {"inputs": {"release": asked}}}
    return github.workflow(
        "promote", on, {"promote": job}, ("By hand: a nightly that was proven becomes the release.",)
    )


def _places() -> dict[str, text.Value]:
    return {name: github.expression(f"vars.{name}") for name in ("ROCM_CI_REGISTRY", "ROCM_CI_STORE")}
