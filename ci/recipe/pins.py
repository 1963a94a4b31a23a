"""The lock, ``pins.json``: every value is the thing itself, or says what it would be resolved from.

A pin that nobody could resolve reads ``unresolved:REF``.  It stands for no value: a plan that needs it
has no identity, a build refuses it, and both name the command that resolves it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .. import documents
from ..errors import Problem

MARK = "unresolved:"

_KINDS: Mapping[str, tuple[str, str]] = {
    "_BRANCH": ("[0-9a-f]{40}", "a full commit, 40 digits"),
    "_COMMIT": ("[0-9a-f]{40}", "a full commit, 40 digits"),
    "_DIGEST": ("sha256:[0-9a-f]{64}", "sha256: and 64 digits"),
    "_SHA256": ("[0-9a-f]{64}", "64 digits"),
    "_FINGERPRINT": ("[0-9A-F]{40}", "a full OpenPGP fingerprint, 40 digits in upper case"),
}
"""What the end of a pin's name says about its value; other pins are plain text."""

_SHORT = re.compile(r"[0-9a-f]{7,39}")


class Lacking(NamedTuple):
    """What keeps a tier from having an identity: ``name`` of a pin or a source, why, and the next command."""

    name: str
    why: str
    hint: str


def lacking(pins: Mapping[str, str], name: str, value: str = "") -> Lacking | None:
    """What is lacking where the pin ``name`` (or ``value``, given for it) is unresolved; None where nothing is."""
    value = value or pins.get(name, "")
    if not value.startswith(MARK):
        return None
    wanted = value.removeprefix(MARK)
    return Lacking(name, f"{name} is not resolved: {wanted}", f"{command(pins, name, wanted)}; then set {name} to it")


def command(pins: Mapping[str, str], name: str, wanted: str) -> str:
    """The command that resolves ``wanted``: a tag, branch or short commit, an image, a URL, a key's URL."""
    stem, underscore, kind = name.rpartition("_")
    quoted = shlex.quote(wanted)
    if underscore + kind in ("_BRANCH", "_COMMIT"):
        repository = shlex.quote(pins.get(f"{stem}_REPO", f"{stem}_REPO"))
        if _SHORT.fullmatch(wanted):
            bare = f"git clone --bare --filter=tree:0 {repository} pin.git"
            return f"{bare} && git --git-dir=pin.git rev-parse --verify {quoted}^{{commit}}"
        return f"git ls-remote {repository} {quoted} {quoted}^{{}}"
    commands = {
        "_DIGEST": f"docker buildx imagetools inspect {quoted}",
        "_SHA256": f"curl -fsSL {quoted} | sha256sum",
        "_FINGERPRINT": f"curl -fsSL {quoted} | gpg --show-keys --with-colons | grep ^fpr",
    }
    return commands.get(underscore + kind, f"find the value for {quoted}")


def problems(document: documents.Document) -> Iterator[Problem]:
    """Values that are neither the thing itself nor marked as unresolved: a tag can move, a short commit is no pin."""
    for name, value in document.value.items():
        kind = next((kind for kind in _KINDS if name.endswith(kind)), "")
        if not kind or not isinstance(value, str) or value.startswith(MARK):
            continue
        pattern, wanted = _KINDS[kind]
        if not re.fullmatch(pattern, value):
            hint = f"wanted is {wanted}, or {MARK}{value} where nobody could resolve it yet"
            yield Problem("loose-pin", f"{name} is {value!r}", hint, place=document.place(name))
