"""What is shown of a text with a login in it, and that all other texts are shown as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.errors import CiError, Outcome, Problem, masked
from ci.publish.status import Finding, Status
from ci.report import checks, statuses
from ci.world.fakes import FakeClock
from ci.world.spans import Spans

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("VLLM_REPO cannot be 'https://me:hunter2@host/x.git'", "VLLM_REPO cannot be 'https://****@host/x.git'"),
        ("'me:hunter2@host/x' is not a registry", "'****@host/x' is not a registry"),
        ("28.5.2 at tcp://me:hunter2@host:2375 (DOCKER_HOST)", "28.5.2 at tcp://****@host:2375 (DOCKER_HOST)"),
        ("ssh://me:hunter2@host/x.git", "ssh://****@host/x.git"),
        ("https://hunter2@host/x.git", "https://****@host/x.git"),
        ("https://:hunter2@host and (ftp://me:hunter2@b)", "https://****@host and (ftp://****@b)"),
        ("git clone https://me:hun/hunter2@host/x", "git clone https://****@host/x"),
        ("https://me:123456/hunter2@host/x", "https://****@host/x"),
        ("https://me:hun@hun/hunter2@host/x", "https://****@host/x"),
        ("proxy=me:hunter2@host:3128", "proxy=****@host:3128"),
        ("unresolved:https://me:hunter2@host/x", "unresolved:https://****@host/x"),
        (f"https://me:hunter2@host/x@{DIGEST}", f"https://****@host/x@{DIGEST}"),
        ('{"url":"http://me:hunter2@host/"}', '{"url":"http://****@host/"}'),
        ("cannot be 'https://host/w?token=hunter2'", "cannot be 'https://host/w?token=****'"),
        ("https://host/w?a=1&X-Sig=hunter2&b=2", "https://host/w?a=1&X-Sig=****&b=2"),
    ],
)
def test_a_login_is_masked_wherever_it_stands(text: str, shown: str) -> None:
    assert masked(text) == shown


ORDINARY = (
    "write to ci@team.example or <first.last@team.example>", "mailto:ci@team.example", "git@github.com:team/x.git",
    "an address is unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST", "git+ssh://git@host:22/x.git", "ssh://u@h:22",
    "git@github.com: Permission denied (publickey)", f"registry.example/team/x@{DIGEST}", f"x:tag@{DIGEST}",
    f"localhost:5000/team/x:tag@{DIGEST}", f"docker-image://docker.io/library/x:1@{DIGEST}", "owner/action@v4",
    f"docker-image://x:1@{DIGEST}", "https://host/x.git", "https://host:8080/x/@scope/y", "https://host/x.git@v1.2",
    "git+https://host/x.git@v1", "https://[::1]:5000/x@v1", "https://host?x=@", "name @ https://host/x.whl",
    "name[:tag][@sha256:<64 hex>]", "expected [host[:port]/]name[:tag][@sha256:<64 hex>], lower case", "pkg:pypi/x@1.2",
    "expected a URL such as https://host/owner/name.git, without credentials", "oci-layout://store@" + DIGEST, "a@b",
    "s3://bucket/prefix@1", "user@host:22", "12:30:01 x@y", "@", "//", "// a @ b", "https://host:80, a@b", "x:y",
    "?key", "test_a.py::t[x@y]",
)  # fmt: skip


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_texts_stay(text: str) -> None:
    assert masked(text) == text
    assert masked(f"'{text}' is odd ({text})\n{text}") == f"'{text}' is odd ({text})\n{text}"


@given(st.lists(st.sampled_from(ORDINARY), max_size=5))
def test_ordinary_texts_stay_beside_each_other(texts: list[str]) -> None:
    assert masked(" ".join(texts)) == " ".join(texts)


@given(
    st.text(min_size=1).filter(lambda text: "@" not in text),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1),
    st.sampled_from(["https://", "tcp://", "git+https://"]),
)
def test_no_password_without_blanks_is_shown(around: str, password: str, scheme: str) -> None:
    """Whatever is in it; one of digits and a slash is a port and a path to whoever reads the URL."""
    said = masked(f"{around} '{scheme}me:s{password}@host/x' {around}")
    assert f"'{scheme}****@" in said
    assert f"me:s{password}" not in said
    assert masked(said) == said


def test_a_problem_is_shown_without_logins_and_keeps_the_rest() -> None:
    text = "https://me:hunter2@host"
    problem = Problem("a-b", text, text, text)
    assert problem.shown == Problem("a-b", "https://****@host", "https://****@host", "https://****@host")
    answer = checks.answer("tiny", ["r"], ["f"], [checks.Row("r", "error", problem)])
    assert "hunter2" not in answer.text + str(answer.document)
    assert answer.outcome is Outcome.CONFIG
    answer = statuses.answer("release-status", [Status("nightly", findings=(Finding(Outcome.INFRA, problem),))])
    assert "hunter2" not in answer.text + str(answer.document)


def test_no_login_is_in_a_span(tmp_path: Path) -> None:
    spans = Spans(tmp_path, FakeClock())
    with pytest.raises(CiError), spans.during("run", "x"):
        raise CiError("a", "https://me:hunter2@host")
    assert [span.why for span in spans.done] == [("https://****@host",)]
