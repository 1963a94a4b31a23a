"""Secrets by their shape, wherever an image keeps text; and never in what is told about them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ci.audit import secrets
from tests.unit.image_makers import Files
from tests.unit.test_audit_closure import audited

BODY = "MIIEowIBAAKCAQEA7bq0cXk3Zf1v" * 3
KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{BODY}\n-----END RSA PRIVATE KEY-----\n"
GITHUB = "ghp_" + "a1B2c3D4e5F6" * 3
AWS = "AKIA" + "Q7J3M2Z9K4X8B6W1"
TOKENS = {
    "a private key": KEY,
    "an AWS access key": AWS,
    "a GitHub token": GITHUB,
    "a GitLab token": "glpat-" + "x7_K2mQ9-Zr4Tb8Vc1Ns",
    "a Hugging Face token": "hf_" + "QwErTyUiOpAsDfGhJkLzXcVbNmQwErTyUi",
    "a Docker Hub token": "dckr_pat_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N",
    "a Buildkite token": "bkua_" + "0123456789abcdef" * 2 + "01234567",
    "a PyPI token": "pypi-AgE" + "IcHlwaS5vcmcCJDk" * 4,
    "an npm token": "npm_" + "a1B2c3D4e5F6" * 3,
    "a Slack token": "xoxb-1234567890-" + "a1B2c3D4e5F6",
    "a Google API key": "AIza" + "SyD3k9Xq7Lm2Nb5Vc8Zr1Tf4Gh6Jw0Ps_aQ",
}
KEEPERS = {
    "root/.netrc": "machine example.org login me password hunter2again\n",
    "root/.git-credentials": "https://me:hunter2again@github.com\n",
    "etc/pip.conf": "[global]\nindex-url = https://me:hunter2again@pypi.example/simple\n",
    "etc/apt/auth.conf.d/rocm.conf": "machine repo.example login me password hunter2again\n",
    "etc/apt/sources.list.d/rocm.list": "deb https://me:hunter2again@repo.example/apt jammy main\n",
    "root/.npmrc": "//registry.example/:_authToken=hunter2again\n",
    "root/.pypirc": "[pypi]\nusername = me\npassword = hunter2again\n",
    "root/.aws/credentials": "[default]\naws_secret_access_key = hunter2again\n",
    "root/.cargo/credentials.toml": '[registry]\ntoken = "hunter2again"\n',
    "root/.cache/huggingface/token": "hunter2again",
    "root/.docker/config.json": json.dumps({"auths": {"registry.example": {"auth": "bWU6aHVudGVyMmFnYWlu"}}}),
}
HARMLESS = {
    "pkg/ssh.py": '_START = b"-----BEGIN OPENSSH PRIVATE KEY-----"\n_END = b"-----END OPENSSH PRIVATE KEY-----"',
    "doc/aws.md": "export AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
    "doc/gh.md": "ghp_" + "x" * 36,
    "doc/pip.md": "pip install -i https://user:password@host/simple",
    "root/.netrc": "machine example.org login me password $TOKEN\n",
    "etc/pip.conf": "[global]\nindex-url = https://pypi.example/simple\n",
    "root/.docker/config.json": json.dumps({"auths": {"registry.example": {}}, "credsStore": "pass"}),
    "etc/ssl/certs/ca.pem": f"-----BEGIN CERTIFICATE-----\n{BODY}\n-----END CERTIFICATE-----\n",
    "root/.pypirc": "no text\x00\npassword = hunter2again\n",
}


def held(*made: Files, **run: Any) -> list[tuple[str, str]]:
    return [(each.subject, each.message) for rule, each in audited(*made, **run).broken if rule == "secrets"]


@pytest.mark.parametrize("what", TOKENS)
def test_a_token_in_a_file_is_named_and_not_shown(what: str) -> None:
    token = TOKENS[what]
    ((subject, message),) = held({"app/.env": f"SOMETHING='{token}'\n".encode()})
    assert (subject, what in message) == ("/app/.env", True)
    assert token.strip() not in message


@pytest.mark.parametrize("path", KEEPERS)
def test_a_file_that_exists_to_hold_one(path: str) -> None:
    ((subject, message),) = held({path: KEEPERS[path].encode()})
    assert subject == f"/{path}"
    assert "hunter2" not in message


@pytest.mark.parametrize("path", HARMLESS)
def test_what_only_looks_like_one(path: str) -> None:
    assert held({path: HARMLESS[path].encode()}) == []


def test_a_deleted_file_is_still_there() -> None:
    found = audited({"tmp/id_rsa": KEY.encode()}, {"tmp/.wh.id_rsa": b""}, commands=["COPY id_rsa", "RUN rm id_rsa"])
    ((_, finding),) = found.broken
    assert finding.message.startswith("layer 1 of 2 has a private key")
    assert "a later layer hides it" in finding.message
    assert finding.context == "COPY id_rsa"


def test_a_large_file_is_not_looked_into() -> None:
    assert held({"data": KEY.encode() + b"x" * secrets.LARGEST}) == []


@pytest.mark.parametrize(
    ("run", "subject"),
    [
        ({"Env": ["PATH=/bin", f"GH={GITHUB}"]}, "ENV GH"),
        ({"Env": ["NPM_TOKEN=correct horse battery"]}, "ENV NPM_TOKEN"),
        ({"Env": ["PIP_INDEX_URL=https://me:hunter2again@pypi.example/simple"]}, "ENV PIP_INDEX_URL"),
        ({"Labels": {"org.example.api-key": "hunter2again"}}, "label org.example.api-key"),
        ({"Cmd": ["sh", "-c", "DB_PASSWORD=hunter2again serve"]}, "Cmd"),
        ({"Entrypoint": ["serve", GITHUB]}, "Entrypoint"),
    ],
)
def test_the_config_is_read(run: dict[str, Any], subject: str) -> None:
    ((found, message),) = held({"a": b""}, **run)
    assert found == subject
    assert "hunter2" not in message
    assert GITHUB not in message


def test_history_is_read_and_masked_wherever_it_is_shown() -> None:
    command = f"RUN |1 PIP_TOKEN=hunter2again /bin/sh -c curl -H {GITHUB} https://me:hunter2again@host"
    found = audited({"root/.netrc": KEEPERS["root/.netrc"].encode()}, commands=[command])
    subjects = {finding.subject for _, finding in found.broken}
    assert subjects == {"history 1", "/root/.netrc"}
    told = json.dumps(found.to_json())
    assert "hunter2" not in told
    assert GITHUB not in told
    assert "PIP_TOKEN=***" in told


def test_what_is_masked_twice_takes_nothing_else_away() -> None:
    """A value that has a shape and a name is found twice; so is a token within an address with a password."""
    hub = TOKENS["a Hugging Face token"]
    assert secrets.masked(f"HF_TOKEN={hub} pytest --x tests/a {hub}") == "HF_TOKEN=*** pytest --x tests/a ***"
    assert secrets.masked(f"PIP_TOKEN=https://u:{hub}@host/x and more") == "PIP_TOKEN=*** and more"


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("HF_TOKEN", "abcdefgh", True),
        ("dbPassword", "abcdefgh", True),
        ("AWS_SECRET_ACCESS_KEY", "abcdefgh", True),
        ("org.example.api-key", "abcdefgh", True),
        ("HF_TOKEN", "", False),
        ("HF_TOKEN", "$HF_TOKEN", False),
        ("USE_TOKEN", "1", False),
        ("USE_TOKEN", "true", False),
        ("MAX_TOKENS", "abcdefgh", False),
        ("TOKENIZERS_PARALLELISM", "abcdefgh", False),
        ("PASSWORD_FILE", "/run/secrets/p", False),
        ("GPG_KEY", "A035C8C19219BA821ECEA86B64E628F8D684696D", False),
        ("KEYBOARD", "abcdefgh", False),
    ],
)
def test_which_variables_hold_one(name: str, value: str, *, secret: bool) -> None:
    assert secrets.is_secret(name, value) is secret


def test_a_mount_of_a_secret_is_none() -> None:
    command = "RUN --mount=type=secret,id=aws_secret_access_key,env=AWS_SECRET_ACCESS_KEY TOKEN=$(cat /run/x) build"
    assert secrets.in_text(command) == ()
