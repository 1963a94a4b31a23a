"""Buildkite's facts, as its agent gives them to a job.

A command of the job can set others: facts keep honest runs apart, credentials the rest.
"""

from __future__ import annotations

from collections.abc import Mapping

from .facts import Facts, repository

NAME = "buildkite"


def facts(environ: Mapping[str, str]) -> Facts:
    """The job that ``environ`` tells of.

    ``BUILDKITE_BRANCH`` alone proves nothing: a fork's pull request from its own ``main`` has it, and so has a
    tag called ``main``.
    """
    given = {name: environ.get(f"BUILDKITE_{name}", "").strip() for name in _NAMES}
    own = repository(given["REPO"])
    asked = given["PULL_REQUEST"]
    number = asked if asked not in ("", "false") else ""
    tag = given["TAG"]
    return Facts(
        NAME,
        own,
        repository(given["PULL_REQUEST_REPO"]) if number else own,
        branch="" if tag else given["BRANCH"],
        tag="" if number else tag,
        commit=given["COMMIT"],
        pull_request=number,
        build=given["BUILD_ID"],
        url=f"{given['BUILD_URL']}#{given['JOB_ID']}" if given["BUILD_URL"] and given["JOB_ID"] else given["BUILD_URL"],
        unclear=_unclear(own, asked),
        base=given["PULL_REQUEST_BASE_BRANCH"] if number else "",
        labels=tuple(filter(None, map(str.strip, given["PULL_REQUEST_LABELS"].split(",")))) if number else (),
    )


def _unclear(own: str, asked: str) -> str:
    if not own:
        return "BUILDKITE_REPO names no repository"
    return "" if asked else "BUILDKITE_PULL_REQUEST is not set"


_NAMES = (
    "REPO", "BRANCH", "TAG", "COMMIT", "PULL_REQUEST", "PULL_REQUEST_REPO", "PULL_REQUEST_BASE_BRANCH",
    "PULL_REQUEST_LABELS", "BUILD_ID", "BUILD_URL", "JOB_ID",
)  # fmt: skip
