"""Secrets by their shape: keys and tokens of the well-known kinds, and files that exist to hold one.

What is found is never shown: a finding says the kind and how long it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from .. import errors

LARGEST = 256 << 10
"""Bytes of a file that is looked into: who writes a secret down writes a small file."""


class Shape(NamedTuple):
    """A kind of secret: every one of them has one of ``needles`` in it, which is quick to look for."""

    what: str
    needles: tuple[str, ...]
    pattern: re.Pattern[str]


def _shape(what: str, needles: str, pattern: str) -> Shape:
    return Shape(what, tuple(needles.split()), re.compile(pattern, re.ASCII))


_SHAPES = (
    _shape(
        "a private key",
        "KEY-----",
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:\\[nr]|\s|[\w-]+: [^\n]*\n)*[A-Za-z0-9+/=]{32,}",
    ),
    _shape("an AWS access key", "AKIA ASIA", r"(?<![A-Za-z0-9+/])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9+/])"),
    _shape("a GitHub token", "ghp_ gho_ ghu_ ghs_", r"\bgh[opus]_[A-Za-z0-9]{36,}\b"),
    _shape("a GitHub token", "github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{60,}\b"),
    _shape("a GitLab token", "glpat-", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    _shape("a Hugging Face token", "hf_", r"\bhf_[A-Za-z]{34}\b"),
    _shape("a Docker Hub token", "dckr_pat_", r"\bdckr_pat_[A-Za-z0-9_-]{27,}"),
    _shape("a Buildkite token", "bkua_ bkaj_", r"\bbk(?:ua|aj)_[0-9a-f]{40}\b"),
    _shape("a PyPI token", "pypi-AgE", r"\bpypi-AgE[A-Za-z0-9_-]{50,}"),
    _shape("an npm token", "npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
    _shape("a Slack token", "xox", r"\bxox[baprs]-[0-9]{8,}-[A-Za-z0-9-]{10,}"),
    _shape("a Google API key", "AIza", r"\bAIza[A-Za-z0-9_-]{35}\b"),
)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/:@'\"]*:([^\s/@'\"]+)@")
_GIVEN = re.compile(r"(?<![\w$-])([A-Za-z_][\w.-]*)=(\"[^\"]*\"|'[^']*'|[^\s;&|\"']+)")
_WORDS = {"TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "APIKEY"}
_PAIRS = {("API", "KEY"), ("ACCESS", "KEY"), ("PRIVATE", "KEY"), ("SECRET", "KEY")}
_ABOUT = {"FILE", "PATH", "DIR", "URL", "ID", "NAME", "TYPE", "LIMIT"}
_HARMLESS = {"0", "1", "true", "false", "yes", "no", "none", "null"}
_LEAST = 8


class Hit(NamedTuple):
    """A secret: what it is, and where in a text its characters stand."""

    what: str
    begin: int
    end: int

    def __str__(self) -> str:
        return f"{self.what} of {self.end - self.begin} characters"


def in_file(path: str, data: bytes) -> tuple[str, ...]:
    """What a file's small text holds, each kind once."""
    found = [] if not any(needle in data for needle in _NEEDLES) else list(_shaped(data.decode("latin-1")))
    found += _in_keeper(path, data)
    return tuple(dict.fromkeys(map(str, found)))


_NEEDLES = tuple(needle.encode() for shape in _SHAPES for needle in shape.needles)


def in_text(text: str) -> tuple[Hit, ...]:
    """What a line of history, a command or a label holds: tokens, addresses with a password, ``TOKEN=value``."""
    found = [*_shaped(text), *_addressed(text)]
    for match in _GIVEN.finditer(text):
        begin, end = match.span(2)
        if text[begin] in "\"'":
            begin, end = begin + 1, end - 1
        if is_secret(match[1], text[begin:end]):
            found.append(Hit(f"a value for {match[1]}", begin, end))
    return tuple(found)


def is_secret(name: str, value: str) -> bool:
    """Whether a variable of this name holds a secret, and not a switch, a number or a reference to one."""
    words = re.split(r"[_.-]", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper())
    if words[-1] in _ABOUT or not (_WORDS & set(words) or _PAIRS & set(pairwise(words))):
        return False
    return not (value.lower() in _HARMLESS or value.isdigit() or _is_reference(value))


def _is_reference(value: str) -> bool:
    return not value.strip() or value[0] in "$<{%*" or set(value) <= {"x", "X", "*", "."}


def masked(text: str) -> str:
    """The text as it may be shown: without its secrets, and without logins."""
    shown, at = "", 0
    for hit in sorted(in_text(text), key=lambda hit: hit.begin):  # one may lie in another
        if hit.begin >= at:
            shown += text[at : hit.begin] + "***"
        at = max(at, hit.end)
    return errors.masked(shown + text[at:])


def hidden(problem: errors.Problem) -> errors.Problem:
    """The problem as it may be shown where it quotes a file that may hold secrets of any kind."""
    message, hint, context = map(masked, (problem.message, problem.hint, problem.context))
    return problem._replace(message=message, hint=hint, context=context)


def _shaped(text: str) -> Iterator[Hit]:
    for shape in _SHAPES:
        if any(needle in text for needle in shape.needles):
            for match in shape.pattern.finditer(text):
                if "EXAMPLE" not in match[0] and len(set(match[0])) > _LEAST:
                    yield Hit(shape.what, *match.span())


def _addressed(text: str) -> Iterator[Hit]:
    for match in _ADDRESS.finditer(text):
        if not _is_reference(match[1]):
            yield Hit("a password in an address", *match.span(1))


_KEEPERS: tuple[tuple[re.Pattern[str], re.Pattern[str] | None], ...] = tuple(
    (re.compile(path), re.compile(secret) if secret else None)
    for path, secret in (
        (r"(.*/)?[._]netrc", r"\bpassword\s+(\S+)"),
        (r"etc/apt/auth\.conf(\.d/.*)?", r"\bpassword\s+(\S+)"),
        (r"(.*/)?\.git-credentials", None),
        (r"(.*/)?(pip\.conf|pip\.ini|uv\.toml|\.gitconfig|\.condarc|\.npmrc|\.pypirc)", None),
        (r"etc/apt/sources\.list(\.d/.*)?", None),
        (r"(.*/)?\.npmrc", r"_(?:authToken|password|auth)\s*=\s*(\S+)"),
        (r"(.*/)?\.pypirc", r"(?m)^\s*password\s*[:=]\s*(\S+)"),
        (r"(.*/)?\.aws/credentials", r"aws_secret_access_key\s*=\s*(\S+)"),
        (r"(.*/)?\.cargo/credentials(\.toml)?", r"token\s*=\s*\"([^\"]+)\""),
        (r"(.*/)?\.cache/huggingface/token", r"(\S+)"),
    )
)
_LOGINS = re.compile(r"(.*/)?(\.docker/config\.json|\.dockercfg|containers/auth\.json)")


def _in_keeper(path: str, data: bytes) -> Iterator[Hit]:
    """What a file holds that exists to hold it."""
    if _LOGINS.fullmatch(path):
        yield from _logins(data)
    for keeper, secret in _KEEPERS:
        if not keeper.fullmatch(path):
            continue
        text = data.decode("latin-1")
        if secret is None:
            yield from _addressed(text)
            continue
        for match in secret.finditer(text):
            if not _is_reference(match[1]):
                yield Hit("a password", *match.span(1))


def _logins(data: bytes) -> Iterator[Hit]:
    try:
        document = json.loads(data)
    except ValueError:
        return
    rows = document.get("auths", document) if isinstance(document, dict) else {}
    for login in rows.values() if isinstance(rows, dict) else ():
        words = [login.get(key) for key in ("auth", "identitytoken", "password")] if isinstance(login, dict) else []
        for word in filter(None, words):
            yield Hit("the login of a registry", 0, len(str(word)))
