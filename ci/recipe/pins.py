"""The lock, ``pins.json``: every value is the thing itself, or says what it would be resolved from.

A pin that nobody could resolve reads ``unresolved:REF``.  It stands for no value: a plan that needs it
has no identity, a build refuses it, and both name the command that resolves it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .. import documents
from ..errors import LOGIN, Problem

FILE = "pins.json"
MARK = "unresolved:"

_KINDS: Mapping[str, tuple[str, str, str]] = {
    "_BRANCH": ("commit", "[0-9a-f]{40}", "a full commit, 40 digits"),
    "_COMMIT": ("commit", "[0-9a-f]{40}", "a full commit, 40 digits"),
    "_REF": ("commit", "[0-9a-f]{40}", "a full commit, 40 digits"),
    "_DIGEST": ("digest", "sha256:[0-9a-f]{64}", "sha256: and 64 digits"),
    "_SHA256": ("sha256", "[0-9a-f]{64}", "64 digits"),
    "_FINGERPRINT": ("fingerprint", "[0-9A-F]{40}", "a full OpenPGP fingerprint, 40 digits in upper case"),
}
"""What the end of a pin's name says about its value: kind, pattern, and that in words; other pins are plain text."""


class Lacking(NamedTuple):
    """What keeps a tier from having an identity: ``name`` of a pin or a source, why, and the next command."""

    name: str
    why: str
    hint: str


def lacking(pins: Mapping[str, str], name: str, value: str = "", option: str = "") -> Lacking | None:
    """What is lacking where the pin ``name`` (or ``value``, given for it) is unresolved; None where nothing is.

    ``option`` is what a command needs to mean the lock that ``pins`` are of.
    """
    kept = pins.get(name, "")
    value = value or kept
    if not value.startswith(MARK):
        return None
    hint = f"inv pins --update {name}{' --to VALUE' if kind(name) == 'plain' else ''}{option}"
    if value != kept:
        hint = f"give {name} as a full commit, or run it again where its repository answers"
    return Lacking(name, f"{name} is not resolved: {value.removeprefix(MARK)}", hint)


def kind(name: str) -> str:
    """What the value of the pin ``name`` is: commit, digest, sha256, fingerprint or plain."""
    return next((kind for end, (kind, _, _) in _KINDS.items() if name.endswith(end)), "plain")


def expected(name: str, value: str) -> str:
    """What the pin ``name`` should hold, in words, where ``value`` is nothing of its kind; empty where it is."""
    _, pattern, words = next(
        (rule for end, rule in _KINDS.items() if name.endswith(end)), ("", ".+", "one line of text")
    )
    return "" if re.fullmatch(pattern, value) else words


def problems(document: documents.Document) -> Iterator[Problem]:
    """Values that are neither the thing itself nor marked as unresolved: a tag can move, a short commit is no pin.

    And those with a login: it would be in the build arguments, the labels and the files of every image.
    """
    for name, value in document.value.items():
        if isinstance(value, str) and LOGIN.search(value):
            hint = "write it without credentials; git and the engine have their own places for a login"
            yield Problem("login-in-lock", f"{name} holds a login", hint, place=document.place(name))
            continue
        if not isinstance(value, str) or value.startswith(MARK):
            continue
        if words := expected(name, value):
            hint = f"wanted is {words}, or {MARK}{value} where nobody could resolve it yet"
            yield Problem("loose-pin", f"{name} is {value!r}", hint, place=document.place(name))
