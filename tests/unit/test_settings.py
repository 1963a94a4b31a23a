"""Settings: one precedence for every name, no misspelt variable passes, no secret is shown."""

from __future__ import annotations

import pytest

from ci import settings
from ci.settings import KNOWN, Setting, capture


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_flag_beats_environment_beats_stack_beats_default(known: settings.Known) -> None:
    environ = {known.name: "from-env"}
    flags = {known.flag: "from-flag"} if known.flag else {}
    best = capture(flags, environ).get(known.name, "from-stack", "stack f:1:2")
    assert best == (
        Setting(known.name, "from-flag", f"flag {known.flag}")
        if known.flag
        else Setting(known.name, "from-env", "environment")
    )
    assert capture({}, environ).get(known.name, "from-stack") == Setting(known.name, "from-env", "environment")
    from_stack = capture({}, {}).get(known.name, "from-stack", "stack f:1:2")
    assert from_stack == Setting(known.name, "from-stack", "stack f:1:2")
    source = "default" if known.default else ""
    assert capture({}, {}).get(known.name) == Setting(known.name, known.default, source)


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
@pytest.mark.parametrize(
    ("value", "reference"),
    [
        ("", "empty-value"),
        ("  ", "empty-value"),
        ("a\nb", "control-character"),
        ("a\n", "control-character"),
        ("a\rb", "control-character"),
        ("a\x7f", "control-character"),
    ],
)
def test_a_value_nobody_meant_is_an_error(known: settings.Known, value: str, reference: str) -> None:
    (problem,) = settings.problems(capture({}, {known.name: value}))
    assert problem.reference == reference
    assert known.name in problem.message
    assert problem.hint
    assert "\n" not in problem.message
    if known.flag:
        (problem,) = settings.problems(capture({known.flag: value}, {}))
        assert (problem.reference, known.flag in problem.message) == (reference, True)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ROCM_CI_REGISTERY", "did you mean ROCM_CI_REGISTRY"),
        ("ROCM_CI_ONUNKNOWN", "did you mean ROCM_CI_ON_UNKNOWN"),
        ("ROCM_CI_ZZZZZZZZZZZZZZZZZZ", "allowed: "),
        ("ROCM_CI_stack", "ROCM_CI_STACK"),
    ],
)
def test_an_unknown_name_of_ours_is_an_error_with_a_suggestion(name: str, hint: str) -> None:
    (problem,) = settings.problems(capture({}, {name: "x"}))
    assert problem.reference == "unknown-variable"
    assert name in problem.message
    assert hint in problem.hint


def test_only_allowed_values() -> None:
    (problem,) = settings.problems(capture({}, {"ROCM_CI_ON_UNKNOWN": "biuld"}))
    assert (problem.reference, problem.hint) == ("wrong-value", "did you mean build?")
    assert settings.problems(capture({"--on-unknown": "build"}, {"ROCM_CI_ON_UNKNOWN": "stop"})) == ()


def test_all_problems_at_once() -> None:
    found = settings.problems(capture({"--arch": ""}, {"ROCM_CI_X": "1", "ROCM_CI_STATE": "", "NIC_BACKEND": "a\nb"}))
    assert sorted(problem.reference for problem in found) == [
        "control-character",
        "empty-value",
        "empty-value",
        "unknown-variable",
    ]


def test_names_of_nobody_are_invisible() -> None:
    taken = capture({}, {"SECRET_OF_CI": "x", "MAX_JOBS": "4", "ROCM_CI_X": "1"})
    assert dict(taken.environ) == {"MAX_JOBS": "4", "ROCM_CI_X": "1"}
    assert (taken.host("MAX_JOBS"), taken.host("HOME")) == ("4", "")


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("PIP_INDEX_URL", "https://me:hunter2@index.example/simple", "https://****@index.example/simple"),
        ("PIP_EXTRA_INDEX_URL", "https://a:hunter2@b/ https://c:hunter2@d/", "https://****@b/ https://****@d/"),
        ("PIP_FIND_LINKS", "https://x.example/w?token=hunter2&a=1", "https://x.example/w?token=****&a=1"),
        ("http_proxy", "http://me:hunter2@proxy:3128", "http://****@proxy:3128"),
        ("HTTPS_PROXY", "me:hunter2@proxy:3128", "****@proxy:3128"),
        ("https_proxy", "http://me:p@hunter2@proxy:3128", "http://****@proxy:3128"),
        ("https_proxy", "http://me:p/hunter2@proxy:3128", "http://****@proxy:3128"),
        ("ROCM_CI_REGISTRY", "me:hunter2@registry.example/team", "****@registry.example/team"),
        ("HTTPS_PROXY", "hunter2@proxy:3128", "****@proxy:3128"),
        ("ROCM_CI_REGISTRY", "registry.example:5000/team", "registry.example:5000/team"),
        ("SOME_TOKEN", "hunter2", "****"),
        ("SOME_PASSWORD", "hunter2", "****"),
        ("SOME_TOKEN", "", ""),
        ("MAX_JOBS", "4", "4"),
        ("no_proxy", "localhost,.example", "localhost,.example"),
        ("BASE", "name:tag@sha256:" + "a" * 64, "name:tag@sha256:" + "a" * 64),
    ],
)
def test_secrets_are_masked_and_nothing_else(name: str, value: str, shown: str) -> None:
    assert Setting(name, value, "environment").shown == shown
    assert "hunter2" not in Setting(name, value, "environment").shown


def test_names_and_flags_are_unique() -> None:
    assert len({known.name for known in KNOWN}) == len(KNOWN)
    flags = [known.flag for known in KNOWN if known.flag]
    assert len(set(flags)) == len(flags)
    assert all(known.meaning for known in KNOWN)
