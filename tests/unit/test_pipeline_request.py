"""Options of ``pipeline``: what cannot be meant is refused before anything is looked at."""

from __future__ import annotations

from typing import Any

import pytest

from ci.errors import ConfigError
from ci.pipeline.request import Request, read


def refused(**values: Any) -> tuple[str, str, str]:
    with pytest.raises(ConfigError) as error:
        read({name.replace("_", "-"): value for name, value in values.items()})
    (problem,) = error.value.problems
    return problem.reference, problem.message, problem.hint


def test_nothing_given_is_a_table_of_a_pull_request() -> None:
    assert read({}) == Request("", "pr", False, (), "", (), (), False, 0, "")


def test_everything_given_is_kept_lists_without_repetitions() -> None:
    values = {
        "format": "json", "profile": "nightly", "only": ["a", "b", "a"], "base": "v1", "label": ["x"],
        "away": ["MI250"], "deepen": "200", "catalogue": "a.yaml",
    }  # fmt: skip
    wanted = Request("json", "nightly", False, ("a", "b"), "v1", ("x",), ("MI250",), False, 200, "a.yaml")
    assert read(values) == wanted


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        ({"format": "x"}, "--format cannot be 'x'", "allowed: buildkite, github, json"),
        ({"format": "buildkit"}, "--format cannot be 'buildkit'", "did you mean buildkite?"),
        ({"profile": "nightly2"}, "--profile cannot be 'nightly2'", "did you mean nightly?"),
        ({"deepen": "0"}, "--deepen cannot be '0'", "give a number of commits: --deepen 200"),
        ({"deepen": "2e3"}, "--deepen cannot be '2e3'", "give a number of commits: --deepen 200"),
        ({"deepen": "\u0663"}, "--deepen cannot be '\u0663'", "give a number of commits: --deepen 200"),
    ],
)
def test_a_value_that_cannot_be_meant_comes_with_the_nearest(values: dict[str, str], message: str, hint: str) -> None:
    assert refused(**values) == ("wrong-value", message, hint)


@pytest.mark.parametrize("form", ["buildkite", "github", "json"])
def test_explain_is_for_people(form: str) -> None:
    assert refused(explain=True, format=form)[:2] == ("unused-option", f"--explain means nothing with --format {form}")


@pytest.mark.parametrize("form", ["", "buildkite", "json"])
def test_only_github_has_a_workflow_to_commit(form: str) -> None:
    found = refused(committed=True, format=form)
    assert found[:2] == ("unused-option", "--committed means nothing without --format github")


@pytest.mark.parametrize("option", ["profile", "only", "base", "label", "deepen"])
def test_a_committed_workflow_finds_out_at_run_time(option: str) -> None:
    value: Any = {"profile": "pr", "base": "x", "deepen": "9"}.get(option, ["x"])
    found = refused(**{"committed": True, "format": "github", option: value})
    assert found[1] == f"--{option} means nothing with --committed"
