"""The lock: what a pin may be, and the command for one that is not resolved."""

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
    ],
)  # fmt: skip
def test_what_can_move_is_no_pin(name: str, value: str) -> None:
    (problem,) = pins.problems(documents.read(f'{{"{name}": "{value}"}}', "pins.json"))
    assert (problem.reference, problem.place.line if problem.place else 0) == ("loose-pin", 1)
    assert f"unresolved:{value}" in problem.hint


@pytest.mark.parametrize(
    ("name", "wanted", "command"),
    [
        ("X_BRANCH", "v1.1", "git ls-remote https://host/x.git v1.1"),
        (
            "X_BRANCH",
            "0e60e394",
            "git clone --bare --filter=tree:0 https://host/x.git pin.git && git --git-dir=pin.git",
        ),
        ("X_DIGEST", "rocm/dev:7", "docker buildx imagetools inspect rocm/dev:7"),
        ("X_SHA256", "https://host/a file", "curl -fsSL 'https://host/a file' | sha256sum"),
        ("X_FINGERPRINT", "https://host/key", "curl -fsSL https://host/key | gpg --show-keys"),
    ],
)
def test_an_unresolved_pin_names_the_command(name: str, wanted: str, command: str) -> None:
    found = pins.lacking({name: f"unresolved:{wanted}", "X_REPO": "https://host/x.git"}, name)
    assert found is not None
    assert wanted in found.why
    assert found.hint.startswith(command)
    assert found.hint.endswith(f"then set {name} to it")


def test_a_resolved_pin_lacks_nothing() -> None:
    assert pins.lacking({"X_BRANCH": COMMIT}, "X_BRANCH") is None
    assert pins.lacking({}, "X_BRANCH") is None
