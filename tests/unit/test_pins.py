"""The lock: what a pin may be, its kind, and the command for one that is not resolved."""

from __future__ import annotations

import pytest

from ci import documents
from ci.recipe import pins

COMMIT, DIGEST, HASH = "a" * 40, "sha256:" + "b" * 64, "c" * 64


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X_BRANCH", COMMIT), ("X_COMMIT", COMMIT), ("X_DIGEST", DIGEST), ("X_SHA256", HASH),
        ("X_FINGERPRINT", "D" * 40), ("X_REPO", "https://host/x.git"), ("EPOCH", "2026-11"),
        ("X_BRANCH", "unresolved:main"), ("X_DIGEST", "unresolved:busybox:1"),
    ],
)  # fmt: skip
def test_what_a_pin_may_be(name: str, value: str) -> None:
    assert not list(pins.problems(documents.read(f'{{"{name}": "{value}"}}', "pins.json")))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X_BRANCH", "main"), ("X_BRANCH", COMMIT[:8]), ("X_BRANCH", COMMIT.upper()), ("X_COMMIT", "v1.0"),
        ("X_DIGEST", "latest"), ("X_DIGEST", "sha256:" + "b" * 12), ("X_SHA256", DIGEST), ("X_FINGERPRINT", "ABCD"),
        ("X_FINGERPRINT", "d" * 40),
    ],
)  # fmt: skip
def test_what_can_move_is_no_pin(name: str, value: str) -> None:
    (problem,) = pins.problems(documents.read(f'{{"{name}": "{value}"}}', "pins.json"))
    assert (problem.reference, problem.place.line if problem.place else 0) == ("loose-pin", 1)
    assert f"unresolved:{value}" in problem.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X_REPO", "https://me:hunter2@host/x.git"), ("X_REPO", "https://hunter2@host/x.git"),
        ("X_REPO", "me:hunter2@host/x.git"), ("X_URL", "https://me:hun/hunter2@host/x"),
        ("X_URL", "unresolved:https://me:hunter2@host/x"), ("X_FINGERPRINT", "unresolved:https://me:hunter2@host/x"),
    ],
)  # fmt: skip
def test_a_login_is_in_no_lock(name: str, value: str) -> None:
    (problem,) = pins.problems(documents.read(f'{{"{name}": "{value}"}}', "pins.json"))
    assert (problem.reference, problem.place.line if problem.place else 0) == ("login-in-lock", 1)
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize("value", ["https://host/@a/b", "https://host?x=@", "git@host:a/b.git", "name:tag@" + DIGEST])
def test_an_at_sign_alone_is_no_login(value: str) -> None:
    assert not list(pins.problems(documents.read(f'{{"X_REPO": "{value}"}}', "pins.json")))


def test_an_unresolved_pin_names_the_command() -> None:
    found = pins.lacking({"X_BRANCH": "unresolved:v1.1"}, "X_BRANCH")
    assert found is not None
    assert "v1.1" in found.why
    assert found.hint == "inv pins --update X_BRANCH"
    plain = pins.lacking({"X_URL": "unresolved:a page"}, "X_URL")
    assert plain is not None
    assert plain.hint == "inv pins --update X_URL --to VALUE"
    other = pins.lacking({"X_BRANCH": "unresolved:v1.1"}, "X_BRANCH", option=" --stack ./x.yaml")
    assert other is not None
    assert other.hint == "inv pins --update X_BRANCH --stack ./x.yaml"


def test_a_branch_given_for_this_run_is_not_resolved_in_the_lock() -> None:
    found = pins.lacking({"X_BRANCH": COMMIT}, "X_BRANCH", "unresolved:main")
    assert found is not None
    assert "main" in found.why
    assert "give X_BRANCH as a full commit" in found.hint


def test_a_resolved_pin_lacks_nothing() -> None:
    assert pins.lacking({"X_BRANCH": COMMIT}, "X_BRANCH") is None
    assert pins.lacking({}, "X_BRANCH") is None


def test_the_end_of_a_name_is_the_kind() -> None:
    names = ("X_BRANCH", "X_COMMIT", "X_REF", "X_DIGEST", "X_SHA256", "X_FINGERPRINT", "X_REPO", "EPOCH")
    assert [pins.kind(name) for name in names] == [
        "commit", "commit", "commit", "digest", "sha256", "fingerprint", "plain", "plain",
    ]  # fmt: skip
