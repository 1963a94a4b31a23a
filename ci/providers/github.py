"""GitHub Actions' facts: the variables of the runner, and of a pull request the event it wrote to a file.

Under some events (``pull_request_target``, ``workflow_run``, ``issue_comment``) the variables name
the base branch while a workflow checks somebody else's code out.  So only events that are a
branch's or a tag's own are taken by their name; every other one is unclear.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .facts import Facts, repository

NAME = "github"
OWN = ("push", "schedule", "workflow_dispatch", "release", "merge_group")
"""Events whose code is that of the branch or tag they name.

The branch of a merge queue, ``gh-readonly-queue/main/pr-12-...``, is made by GitHub in the repository itself, of what
somebody who may merge has queued; its jobs get secrets and token as those of a push.
"""

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PULL = re.compile(r"refs/pull/([1-9][0-9]*)/.+", re.DOTALL)


def facts(environ: Mapping[str, str], event: Mapping[str, Any]) -> Facts:
    """The job that ``environ`` tells of; ``event`` is the document at ``GITHUB_EVENT_PATH``, empty without one."""
    server = environ.get("GITHUB_SERVER_URL", "")
    slug = environ.get("GITHUB_REPOSITORY", "")
    own = repository(f"{server}/{slug}") if server and slug else ""
    kind = environ.get("GITHUB_EVENT_NAME", "")
    reference = environ.get("GITHUB_REF", "")
    number = _number(kind, reference, event)
    run = environ.get("GITHUB_RUN_ID", "")
    branch, tag = _named(reference, environ.get("GITHUB_HEAD_REF", ""), pull_request=bool(number))
    return Facts(
        NAME,
        own,
        _head(server, event) if number else own,
        branch=branch,
        tag=tag,
        commit=environ.get("GITHUB_SHA", ""),
        pull_request=number,
        build=run,
        url=f"{server}/{slug}/actions/runs/{run}" if server and slug and run else "",
        unclear=_unclear(own, kind, number),
        base=environ.get("GITHUB_BASE_REF", "") if number else _queued_for(kind, event),
        labels=tuple(_labels(event)) if number else (),
        before=_before(event) if kind == "push" else "",
    )


def _number(kind: str, reference: str, event: Mapping[str, Any]) -> str:
    """The number of a pull request, empty where there is none."""
    if match := _PULL.fullmatch(reference):
        return match[1]
    pull = event.get("pull_request")
    number = pull.get("number") if kind.startswith("pull_request") and isinstance(pull, dict) else None
    return str(number) if isinstance(number, int) else ""


def _head(server: str, event: Mapping[str, Any]) -> str:
    """The repository a pull request comes from; empty where it is not told, as for one that was deleted."""
    value: object = event
    for key in ("pull_request", "head", "repo", "full_name"):
        value = value.get(key) if isinstance(value, dict) else None
    return repository(f"{server}/{value}") if isinstance(value, str) else ""


def _labels(event: Mapping[str, Any]) -> Iterator[str]:
    """The labels the pull request had when the event happened."""
    pull = event.get("pull_request")
    found = pull.get("labels") if isinstance(pull, dict) else None
    for label in found if isinstance(found, list) else ():
        name = label.get("name") if isinstance(label, dict) else None
        if isinstance(name, str) and name:
            yield name


def _queued_for(kind: str, event: Mapping[str, Any]) -> str:
    """The branch a merge queue is for, empty for other events."""
    group = event.get("merge_group") if kind == "merge_group" else None
    found = group.get("base_ref") if isinstance(group, dict) else None
    return found.removeprefix("refs/heads/") if isinstance(found, str) else ""


def _before(event: Mapping[str, Any]) -> str:
    """The commit a branch was at before the push; empty for a branch that is new."""
    found = event.get("before")
    return found if isinstance(found, str) and _COMMIT.fullmatch(found) and found.strip("0") else ""


def _named(reference: str, head: str, *, pull_request: bool) -> tuple[str, str]:
    """Branch and tag."""
    if pull_request:
        return head, ""
    for start, place in (("refs/heads/", 0), ("refs/tags/", 1)):
        if reference.startswith(start):
            name = reference.removeprefix(start)
            return ("", name) if place else (name, "")
    return "", ""


def _unclear(own: str, kind: str, number: str) -> str:
    if not own:
        return "GITHUB_SERVER_URL and GITHUB_REPOSITORY name no repository"
    if number or kind in OWN:
        return ""
    return f"under the event {kind or '(none)'} the code may be anybody's"
