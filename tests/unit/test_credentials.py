"""Credentials out of a Docker ``config.json``; running helpers is tested in tests/engine."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from ci.world.credentials import Credentials, docker_credentials

AUTH = base64.b64encode(b"ada:correct horse").decode()


def look_up(tmp_path: Path, content: object, host: str) -> tuple[Credentials | None, list[str]]:
    """What the file says for ``host`` and what was said about it."""
    file = tmp_path / "config.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    said: list[str] = []
    return docker_credentials(said.append, config=file)(host), said


@pytest.mark.parametrize("key", ["reg.example:5000", "https://reg.example:5000", "https://reg.example:5000/v1/"])
def test_a_login_is_found_under_every_spelling(tmp_path: Path, key: str) -> None:
    found, said = look_up(tmp_path, {"auths": {key: {"auth": AUTH}}}, "reg.example:5000")
    assert found == Credentials("ada", "correct horse")
    assert said == []
    assert "horse" not in repr(found)


def test_the_hub_has_a_name_of_its_own(tmp_path: Path) -> None:
    found, _ = look_up(tmp_path, {"auths": {"https://index.docker.io/v1/": {"auth": AUTH}}}, "docker.io")
    assert found == Credentials("ada", "correct horse")


def test_an_identity_token(tmp_path: Path) -> None:
    entry = {"auth": AUTH, "identitytoken": "refresh"}
    found, _ = look_up(tmp_path, {"auths": {"reg.example": entry}}, "reg.example")
    assert found == Credentials("", identity_token="refresh")


@pytest.mark.parametrize(
    "content", [{}, {"auths": {}}, {"auths": {"reg.example": {}}}, {"auths": {"other": {"auth": AUTH}}}]
)
def test_no_login_is_no_problem(tmp_path: Path, content: object) -> None:
    assert look_up(tmp_path, content, "reg.example") == (None, [])


def test_no_file_is_no_problem(tmp_path: Path) -> None:
    said: list[str] = []
    assert docker_credentials(said.append, config=tmp_path / "none.json")("reg.example") is None
    assert said == []


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        {"auths": {"reg.example": "horse"}},
        {"auths": {"reg.example": {"auth": "horse"}}},
        {"auths": ["horse"]},
    ],
)
def test_a_broken_file_is_said_once_without_its_content(tmp_path: Path, content: object) -> None:
    found, said = look_up(tmp_path, content, "reg.example")
    assert found is None
    assert len(said) == 1
    assert "config.json" in said[0]
    assert "horse" not in said[0]


def test_a_missing_helper_is_said_once(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"credsStore": "nowhere-to-be-found"}), "utf-8")
    said: list[str] = []
    credentials = docker_credentials(said.append, config=file)
    assert credentials("reg.example") is credentials("reg.example") is None
    (line,) = said
    assert line.startswith("no credentials for reg.example: the credential helper docker-credential-nowhere")
    assert "is not installed" in line
