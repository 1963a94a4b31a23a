"""The form that the value of each pin has, by its kind and its name: what is written into the lock is of that form."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date

from ..errors import LOGIN, ConfigError
from ..names import Reference
from ..recipe import args
from ..recipe import pins as lock
from ..recipe.stack import Stack, archs
from ..recipe.values import by_type
from .kinds import EPOCH, pins_of

_WEEK = re.compile(r"([0-9]{4})-W([0-9]{2})")
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_URL = re.compile(r"https?://[^\s/?#@]+([/?#]\S*)?", re.ASCII)
_VERSION = re.compile(r"v?\d[0-9A-Za-z.+~:!^_-]*", re.ASCII)
_LINE = re.compile(r"[^\s\x7f](?:[^\x00-\x1f\x7f]*[^\s\x7f])?")


def wanted(stack: Stack, name: str, value: str) -> str:
    """What the pin ``name`` should hold, in words, where ``value`` is nothing of that form; empty where it is."""
    if lock.kind(name) != "plain":
        return lock.expected(name, value)
    fits, words = _plain(stack, name)
    if not fits(value) or value.startswith(lock.MARK):
        return words
    return "a value without credentials" if LOGIN.search(value) else _of_argument(stack, name, value)


def _of_argument(stack: Stack, name: str, value: str) -> str:
    """What the build argument of that name should hold, where a pin is one: no call could read another value."""
    spec = next((spec for spec in stack.args if spec.name == name), None)
    if spec is None:
        return ""
    problems = by_type(spec, value, stack, archs(), next(iter(spec.nic), "")).problems
    return problems[0].hint.removeprefix("expected ") if problems else ""


def _plain(stack: Stack, name: str) -> tuple[Callable[[str], object], str]:
    """What says whether a value fits a pin that is plain text, and the form in words."""
    if name == EPOCH:
        return _is_epoch, "an ISO week such as 2026-W47, or a month such as 2026-11"
    if any(pin.kind == "commit" and pin.of == name for pin in pins_of(stack)):
        words = "a URL such as https://host/owner/name.git, without credentials"
        return lambda value: not args.git_url(name, value).problems, words
    if name.endswith(("_URL", "_REPO")):
        return _URL.fullmatch, "a URL such as https://host/path, without credentials"
    if name.endswith("_VERSION"):
        return _VERSION.fullmatch, "a version such as 1.117.5-a-77: a digit (or v and a digit) first, no blanks"
    if f"{name}_DIGEST" in stack.pins:
        return _is_image, f"an image such as host/name:tag, whose digest is in {name}_DIGEST"
    return _LINE.fullmatch, "one line of text without blanks around it"


def _is_image(value: str) -> bool:
    try:
        return not Reference.parse(value).digest
    except ConfigError:
        return False


def _is_epoch(value: str) -> bool:
    match = _WEEK.fullmatch(value)
    try:
        if match is None:
            return _MONTH.fullmatch(value) is not None
        return bool(date.fromisocalendar(int(match[1]), int(match[2]), 1))
    except ValueError:
        return False
