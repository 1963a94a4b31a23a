"""What each pin of the lock is, and what it follows: ``upstreams.yaml`` beside ``pins.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .. import documents
from ..errors import Problem
from ..recipe import pins as lock
from ..recipe.stack import HOME, Stack, shown
from ..world import files

FILE = "upstreams.yaml"
EPOCH = "EPOCH"
"""The pin that moves with the calendar: whatever is built takes the packages of its week."""

WEEK = "the week"
"""What the epoch follows."""

_OF = {"commit": "_REPO", "sha256": "_URL", "fingerprint": "_SIGNER_URL"}
"""The pin that says where a pin of a kind is found: the same name with this end."""


class Pin(NamedTuple):
    """A pin: ``kind`` is commit, digest, sha256, fingerprint or plain.

    ``follows`` is a branch or tag (while the pin is not resolved, also a short commit), an image reference or a URL;
    empty where it follows nothing.  ``where`` is the repository of a commit, the image reference of a digest, the URL
    of a sha256 or fingerprint; empty for the others, and while that is not resolved itself.  ``of`` names the pin
    that ``where`` is the value of, empty where the lock has none.  ``chosen`` says how a person finds the value of a
    pin that follows nothing.
    """

    name: str
    value: str
    kind: str
    follows: str
    where: str
    of: str = ""
    chosen: str = ""

    @property
    def resolved(self) -> bool:
        """Whether the value is the thing itself."""
        return not self.value.startswith(lock.MARK)


def command(pin: Pin, stack: Stack) -> str:
    """The next command for a pin of the stack's lock that is not resolved."""
    name = pin.of if pin.of and not pin.where else pin.name
    value = "" if name == pin.name and pin.follows else " --to VALUE"
    return f"inv pins --update {name}{value}{stack.option}"


def pins_of(stack: Stack) -> tuple[Pin, ...]:
    """Every pin of the stack's lock, in its order; raises ``ConfigError`` for an ``upstreams.yaml`` with mistakes."""
    table = _upstreams(stack)
    images = {root.pin: root.image for root in stack.roots.values() if root.pin}
    return tuple(_pin(stack, name, table.get(name, {}), images.get(name, "")) for name in stack.pins)


def _pin(stack: Stack, name: str, entry: Mapping[str, str], image: str) -> Pin:
    value, kind = stack.pins[name], lock.kind(name)
    wanted = value.removeprefix(lock.MARK) if value.startswith(lock.MARK) else ""
    follows, chosen = entry.get("follows", ""), entry.get("chosen", "")
    if name == EPOCH:
        return Pin(name, value, kind, WEEK, "")
    if kind == "digest":
        follows = follows or image or wanted
        return Pin(name, value, kind, follows, follows, chosen=chosen)
    if kind == "plain":
        return Pin(name, value, kind, "", "", chosen=chosen or wanted)
    of = entry.get("of", name.rpartition("_")[0] + _OF[kind])
    of = of if of in stack.pins else ""
    where = stack.pins.get(of, "")
    where = "" if where.startswith(lock.MARK) else where
    if kind == "commit":
        return Pin(name, value, kind, follows or wanted, where, of, chosen)
    return Pin(name, value, kind, where, where, of, chosen)


def _upstreams(stack: Stack) -> Mapping[str, Mapping[str, str]]:
    path = stack.recipe / FILE
    if not path.exists():
        return {}
    document = documents.read(files.read_text(path), shown(path))
    schema = json.loads(files.read_text(HOME / "upstreams.schema.json"))
    documents.refuse((*document.problems, *documents.check(document, schema)))
    documents.refuse(tuple(_problems(document, stack)))
    table: Mapping[str, Mapping[str, str]] = document.value["pins"]
    return table


def _problems(document: documents.Document, stack: Stack) -> Iterator[Problem]:
    """What the schema cannot see: names that are no pins, and words that a pin of that kind has no use for."""
    table: Mapping[str, Mapping[str, Any]] = document.value["pins"]
    if table and not stack.pins:
        hint = f"add {lock.FILE}, or delete {FILE}"
        yield Problem("no-lock", f"{FILE} is about the pins of a {lock.FILE} that is not there", hint)
        return
    for name, entry in table.items():
        place = document.key("pins", name)
        for pin in (name, *([entry["of"]] if "of" in entry else ())):
            if pin not in stack.pins:
                hint = documents.suggest(pin, list(stack.pins))
                yield Problem("unknown-pin", f"pins.json has no {pin}", hint, place=place)
        kind, follows = lock.kind(name), entry.get("follows", "")
        if follows and "chosen" in entry:
            yield Problem("two-upstreams", f"{name} is chosen by hand and follows {follows}", "keep one", place=place)
        if follows and (kind not in ("commit", "digest") or name == EPOCH):
            hint = "a hash or fingerprint follows the URL in another pin (of:); for plain text say how it is chosen:"
            yield Problem("wrong-upstream", f"{name} is {kind} and follows no reference", hint, place=place)
        if "of" in entry and kind not in _OF:
            yield Problem("wrong-upstream", f"{name} is {kind} and not of another pin", "remove of:", place=place)
        if kind == "commit" and re.fullmatch("[0-9a-f]{7,40}", follows):
            hint = "a commit never moves: say how it was chosen: instead"
            yield Problem("wrong-upstream", f"{name} follows a commit", hint, place=place)
