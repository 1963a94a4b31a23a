"""What CIs tell of a job, and that nothing somebody else can choose is taken for the repository's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ci.providers import buildkite, github
from ci.providers.facts import Facts, repository
from ci.providers.here import facts_of
from ci.settings import capture

OWN, FORK = "github.com/team/project", "github.com/somebody/project"
BUILDKITE = {
    "BUILDKITE": "true",
    "BUILDKITE_REPO": "git@github.com:team/project.git",
    "BUILDKITE_BRANCH": "main",
    "BUILDKITE_COMMIT": "a" * 40,
    "BUILDKITE_PULL_REQUEST": "false",
    "BUILDKITE_BUILD_ID": "0192",
    "BUILDKITE_BUILD_URL": "https://buildkite.com/team/project/builds/7",
    "BUILDKITE_JOB_ID": "0193",
}
GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "team/project",
    "GITHUB_EVENT_NAME": "push",
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_SHA": "a" * 40,
    "GITHUB_RUN_ID": "42",
}


@pytest.mark.parametrize(
    ("remote", "name"),
    [
        ("git@github.com:team/project.git", OWN),
        ("git@GitHub.com:team/project", OWN),
        ("https://github.com/team/project.git", OWN),
        ("https://github.com/team/project/", OWN),
        ("https://user:secret@github.com/team/project.git", OWN),
        ("ssh://git@github.com:22/team/project.git", OWN),
        ("https://host.example/group/sub/project", "host.example/group/sub/project"),
        ("", ""),
        ("project", ""),
        ("/srv/git/project", ""),
        ("file:///srv/git/project", ""),
        ("https://github.com/", ""),
        ("https://github.com/team", ""),
        ("https://github.com/team/project?x=github.com/other/one", ""),
        ("https://evil.example#@github.com/team/project", ""),
        ("https://evil.example/x@github.com/team/project", "evil.example/x@github.com/team/project"),
        ("git@github.com:team/pro ject", ""),
    ],
)
def test_a_remote_in_any_spelling_names_one_repository(remote: str, name: str) -> None:
    assert repository(remote) == name


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"branch": "main", "pull_request": "", "source": OWN, "fork": False, "unclear": ""}),
        (  # a fork's pull request from its own main carries the name of our branch
            {"BUILDKITE_PULL_REQUEST": "12", "BUILDKITE_PULL_REQUEST_REPO": "https://github.com/somebody/project.git"},
            {"branch": "main", "pull_request": "12", "source": FORK, "fork": True, "unclear": ""},
        ),
        (
            {"BUILDKITE_PULL_REQUEST": "12", "BUILDKITE_PULL_REQUEST_REPO": "git@github.com:team/project"},
            {"pull_request": "12", "source": OWN, "fork": False},
        ),
        ({"BUILDKITE_PULL_REQUEST": "12"}, {"pull_request": "12", "source": "", "fork": True}),
        ({"BUILDKITE_TAG": "v1"}, {"branch": "", "tag": "v1"}),
        ({"BUILDKITE_TAG": "main"}, {"branch": "", "tag": "main"}),
        ({"BUILDKITE_PULL_REQUEST": "12", "BUILDKITE_TAG": "v1"}, {"branch": "", "tag": "", "pull_request": "12"}),
        ({"BUILDKITE_PULL_REQUEST": ""}, {"unclear": "BUILDKITE_PULL_REQUEST is not set"}),
        ({"BUILDKITE_REPO": "/tmp/somewhere"}, {"repository": "", "unclear": "BUILDKITE_REPO names no repository"}),
    ],
)
def test_what_buildkite_tells(changes: Mapping[str, str], expected: Mapping[str, object]) -> None:
    found = buildkite.facts({**BUILDKITE, **changes})
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.commit == "a" * 40
    assert found.url == "https://buildkite.com/team/project/builds/7#0193"


def pull(number: int, source: str | None) -> dict[str, Any]:
    return {"pull_request": {"number": number, "head": {"repo": {"full_name": source} if source else None}}}


PULL = {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_REF": "refs/pull/12/merge", "GITHUB_HEAD_REF": "main"}
QUEUE = {"GITHUB_EVENT_NAME": "merge_group", "GITHUB_REF": "refs/heads/gh-readonly-queue/main/pr-12-0193"}
QUEUED = {"merge_group": {"base_ref": "refs/heads/main", "head_ref": QUEUE["GITHUB_REF"]}}
TARGET = {"GITHUB_EVENT_NAME": "pull_request_target"}


@pytest.mark.parametrize(
    ("changes", "event", "expected"),
    [
        ({}, {}, {"branch": "main", "pull_request": "", "source": OWN, "fork": False, "unclear": ""}),
        ({"GITHUB_REF": "refs/tags/v1"}, {}, {"branch": "", "tag": "v1", "unclear": ""}),
        ({"GITHUB_REF": "refs/tags/heads/main"}, {}, {"branch": "", "tag": "heads/main"}),
        ({"GITHUB_REF": "main"}, {}, {"branch": "", "tag": ""}),
        (PULL, pull(12, "somebody/project"), {"pull_request": "12", "source": FORK, "fork": True, "branch": "main"}),
        (PULL, pull(12, "team/project"), {"pull_request": "12", "source": OWN, "fork": False}),
        (PULL, pull(12, None), {"pull_request": "12", "source": "", "fork": True}),  # a fork that was deleted
        (PULL, {}, {"pull_request": "12", "source": "", "fork": True}),
        # here the variables name the base branch, and a workflow may have checked the pull request out
        (TARGET, pull(12, "somebody/project"), {"pull_request": "12", "source": FORK, "branch": ""}),
        (TARGET, {}, {"pull_request": "", "unclear": "under the event pull_request_target the code may be anybody's"}),
        (
            {"GITHUB_EVENT_NAME": "workflow_run"},
            {},
            {"unclear": "under the event workflow_run the code may be anybody's"},
        ),
        (
            QUEUE,
            QUEUED,
            {"branch": "gh-readonly-queue/main/pr-12-0193", "pull_request": "", "fork": False, "unclear": ""},
        ),
        (QUEUE, QUEUED, {"base": "main"}),
        (QUEUE, {"merge_group": 12}, {"base": "", "unclear": ""}),
        ({}, QUEUED, {"base": ""}),
        ({"GITHUB_EVENT_NAME": ""}, {}, {"unclear": "under the event (none) the code may be anybody's"}),
        ({"GITHUB_REPOSITORY": ""}, {}, {"unclear": "GITHUB_SERVER_URL and GITHUB_REPOSITORY name no repository"}),
    ],
)
def test_what_github_tells(
    changes: Mapping[str, str], event: Mapping[str, Any], expected: Mapping[str, object]
) -> None:
    found = github.facts({**GITHUB, **changes}, event)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize("event", [{"pull_request": 12}, {"pull_request": {"head": "x"}}, {"pull_request": {}}])
def test_an_event_of_another_shape_makes_a_fork(event: Mapping[str, Any]) -> None:
    found = github.facts({**GITHUB, **PULL}, event)
    assert (found.pull_request, found.fork) == ("12", True)


def test_the_event_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    file.write_text(json.dumps(pull(12, "team/project")))
    environ = {**GITHUB, **PULL, "GITHUB_EVENT_PATH": str(file)}
    found = facts_of(capture({}, environ))
    assert found is not None
    assert not found.fork
    for broken in ("", "[", "[]", "12"):
        file.write_text(broken)
        found = facts_of(capture({}, environ))
        assert found is not None
        assert found.fork


def test_which_ci_it_is() -> None:
    assert facts_of(capture({}, {})) is None
    assert facts_of(capture({}, {"CI": "true"})) is None
    for environ, provider in ((BUILDKITE, "buildkite"), (GITHUB, "github")):
        found = facts_of(capture({}, environ))
        assert found is not None
        assert (found.provider, found.unclear) == (provider, "")


def test_two_cis_at_once_are_none_that_can_be_believed() -> None:
    found = facts_of(capture({}, {**BUILDKITE, **GITHUB}))
    assert found is not None
    assert (found.provider, found.unclear) == ("unknown", "GITHUB_ACTIONS and BUILDKITE are both set")


def test_a_job_does_not_get_out_of_its_ci_by_an_odd_mark() -> None:
    found = facts_of(capture({}, {**BUILDKITE, "BUILDKITE": "false"}))
    assert found is not None
    assert found.provider == "buildkite"


def test_a_source_that_was_not_told_is_a_fork() -> None:
    assert Facts("github", "", "", pull_request="12").fork
    assert not Facts("github", OWN, OWN, pull_request="12").fork


def test_facts_read_as_a_sentence() -> None:
    assert str(Facts("github", OWN, OWN, branch="main")) == f"github: branch main of {OWN}"
    assert str(Facts("github", OWN, OWN, tag="v1")) == f"github: tag v1 of {OWN}"
    assert str(Facts("github", OWN, FORK, pull_request="12")) == f"github: pull request 12 of {OWN}, from {FORK}"
    assert str(Facts("github", OWN, OWN, pull_request="12")) == f"github: pull request 12 of {OWN}"
    assert str(Facts("github", OWN, "", pull_request="12")).endswith("from an unknown repository")


@pytest.mark.parametrize(
    ("changes", "base", "labels"),
    [
        ({"BUILDKITE_PULL_REQUEST": "12"}, "release", ("ready", "two words")),
        ({"BUILDKITE_PULL_REQUEST": "false"}, "", ()),
        ({"BUILDKITE_PULL_REQUEST": "12", "BUILDKITE_PULL_REQUEST_LABELS": ""}, "release", ()),
    ],
)
def test_what_buildkite_says_a_pull_request_is_for(
    changes: Mapping[str, str], base: str, labels: tuple[str, ...]
) -> None:
    told = {
        "BUILDKITE_PULL_REQUEST_BASE_BRANCH": "release",
        "BUILDKITE_PULL_REQUEST_LABELS": "ready, two words,,",
    }
    found = facts_of(capture({}, {**BUILDKITE, **told, **changes}))
    assert found is not None
    assert (found.base, found.labels) == (base, labels)


def test_what_github_says_a_branch_was_before_a_push() -> None:
    pushed = github.facts(GITHUB, {"before": "a" * 40})
    assert (GITHUB["GITHUB_EVENT_NAME"], pushed.before) == ("push", "a" * 40)
    assert github.facts({**GITHUB, "GITHUB_EVENT_NAME": "schedule"}, {"before": "a" * 40}).before == ""
    for other in ("0" * 40, "--output=x", "main", 3, None):  # none; or nothing that may be given to git
        assert github.facts(GITHUB, {"before": other}).before == ""


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([{"name": "ready"}, {"name": "two words"}], ("ready", "two words")),
        ([{"name": ""}, {"id": 3}, "x", {"name": 4}], ()),
        ({"name": "ready"}, ()),
        (None, ()),
    ],
)
def test_what_github_says_a_pull_request_is_for(tmp_path: Path, labels: object, expected: tuple[str, ...]) -> None:
    file = tmp_path / "event.json"
    file.write_text(json.dumps({"pull_request": {**pull(12, "team/project")["pull_request"], "labels": labels}}))
    environ = {**GITHUB, **PULL, "GITHUB_BASE_REF": "release", "GITHUB_EVENT_PATH": str(file)}
    found = facts_of(capture({}, environ))
    assert found is not None
    assert (found.base, found.labels) == ("release", expected)
    pushed = github.facts({**GITHUB, "GITHUB_BASE_REF": "release"}, {"pull_request": {"labels": [{"name": "ready"}]}})
    assert (pushed.base, pushed.labels) == ("", ())
