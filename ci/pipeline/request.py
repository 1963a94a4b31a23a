"""What somebody asked of ``pipeline``: options read and checked, before anything is looked at."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..documents import suggest
from ..errors import ConfigError
from ..suites.catalogue import PROFILES

BUILDKITE, GITHUB, DOCUMENT = "buildkite", "github", "json"
FORMATS = (BUILDKITE, GITHUB, DOCUMENT)

_AT_RUN_TIME = ("profile", "only", "base", "label", "deepen")
"""Options that a committed workflow has no use for: its first job asks with its own."""


class Request(NamedTuple):
    """The options of one call; ``form`` is empty for a table. ``deepen`` are commits to fetch first, 0 for none."""

    form: str = ""
    profile: str = "pr"
    explain: bool = False
    only: tuple[str, ...] = ()
    base: str = ""
    labels: tuple[str, ...] = ()
    away: tuple[str, ...] = ()
    committed: bool = False
    deepen: int = 0
    catalogue: str = ""


def read(values: Mapping[str, Any]) -> Request:
    """The request that ``values`` (as typed) make; raises ``ConfigError`` for the first that cannot be meant."""
    form = _one_of("format", values, FORMATS)
    profile = _one_of("profile", values, PROFILES)
    explain, committed = bool(values.get("explain")), bool(values.get("committed"))
    if explain and form:
        hint = "the document of --format json has all of it"
        raise ConfigError("unused-option", f"--explain means nothing with --format {form}", hint=hint)
    if committed:
        _check_committed(form, values)
    return Request(
        form,
        profile or "pr",
        explain,
        _words("only", values),
        str(values.get("base") or ""),
        _words("label", values),
        _words("away", values),
        committed,
        _commits(str(values.get("deepen") or "")),
        str(values.get("catalogue") or ""),
    )


def _one_of(name: str, values: Mapping[str, Any], allowed: Sequence[str]) -> str:
    value = str(values.get(name) or "")
    if value and value not in allowed:
        raise ConfigError("wrong-value", f"--{name} cannot be {value!r}", hint=suggest(value, allowed))
    return value


def _words(name: str, values: Mapping[str, Any]) -> tuple[str, ...]:
    """A list, each entry once."""
    return tuple(dict.fromkeys(values.get(name) or ()))


def _check_committed(form: str, values: Mapping[str, Any]) -> None:
    if form != GITHUB:
        hint = "add --format github; other CIs take what is made for a change"
        raise ConfigError("unused-option", "--committed means nothing without --format github", hint=hint)
    for name in _AT_RUN_TIME:
        if values.get(name):
            hint = f"leave --{name} out: its first job finds out which steps run"
            raise ConfigError("unused-option", f"--{name} means nothing with --committed", hint=hint)


def _commits(text: str) -> int:
    if text and not re.fullmatch(r"[1-9]\d{0,6}", text, re.ASCII):
        raise ConfigError("wrong-value", f"--deepen cannot be {text!r}", hint="give a number of commits: --deepen 200")
    return int(text or 0)
