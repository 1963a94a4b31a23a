"""One pin resolved anew, or set by hand: nothing else in the lock moves."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import documents
from ..build.workspace import Workspace
from ..errors import ConfigError, SupersededError
from ..recipe import pins as lock
from ..recipe.stack import Stack
from ..world import files, locks
from .forms import wanted
from .kinds import Pin, pins_of
from .rebuilds import Rebuild, rebuilds, with_pin
from .upstream import Upstream

INSTALLED = Path(__file__).resolve().parents[1] / "recipe_data"
"""The recipe inside of an installed package; in a checkout there is none at this place."""


@dataclass(frozen=True)
class Update:
    """A pin and its new value; ``given`` says that a person gave it.

    ``rebuilt`` is what would be built anew; ``stale`` are pins that were found through this one and must be resolved
    anew as well.  ``forgotten`` is the reference that it followed, which would stand nowhere any more.
    """

    pin: Pin
    value: str
    given: bool
    rebuilt: tuple[Rebuild, ...]
    stale: tuple[str, ...]
    forgotten: str = ""

    @property
    def changes(self) -> bool:
        """Whether the lock would be another."""
        return self.value != self.pin.value


def pin_called(stack: Stack, name: str) -> Pin:
    """The pin ``name``; raises ``ConfigError`` with a suggestion."""
    found = {pin.name: pin for pin in pins_of(stack)}
    if name not in found:
        hint = documents.suggest(name, list(found)) if found else f"{stack.recipe} has no {lock.FILE}"
        raise ConfigError("unknown-pin", f"stack {stack.name} has no pin {name!r}", hint=hint)
    return found[name]


def outlook(work: Workspace, name: str, value: str, upstream: Upstream) -> Update:
    """What ``name`` would be, as upstream says or as given in ``value``, and what that rebuilds; nothing is written.

    Raises ``ConfigError`` for a value that is none of its kind, and what ``Upstream.value`` raises.
    """
    pin = pin_called(work.stack, name)
    new = _formed(work.stack, name, value or upstream.value(pin))
    after = with_pin(work.stack, name, new)
    then = {each.name: each for each in pins_of(after)}
    places = {each.name: each.where for each in pins_of(work.stack)}
    stale = tuple(each.name for each in then.values() if each.resolved and each.where != places[each.name])
    lasts = then[name].follows or then[name].chosen or (pin.kind == "commit" and re.fullmatch("[0-9a-f]+", pin.follows))
    forgotten = "" if lasts else pin.follows
    return Update(pin, new, bool(value), rebuilds(work, after), stale, forgotten)


def write(work: Workspace, update: Update, say: Callable[[str], None], installed: Path = INSTALLED) -> Path:
    """Put the new value into the lock, whole or not at all; gives the file.

    Raises ``SupersededError`` where somebody changed this pin meanwhile, and ``ConfigError`` for the lock of an
    ``installed`` tool, which its next version replaces and no repository has.
    """
    if work.stack.recipe.resolve() == installed.resolve():
        hint = "change it in a checkout of the tool, or in a stack of your own: --stack FILE"
        message = f"{work.stack.recipe / lock.FILE} belongs to the installed tool"
        raise ConfigError("installed-lock", message, hint=hint)
    path = (work.stack.recipe / lock.FILE).resolve()
    name = "pins-" + hashlib.sha256(str(path).encode()).hexdigest()
    with locks.exclusive(files.state(str(work.state)), name, say):
        text = path.read_bytes().decode()
        if documents.read(text, path.name).value.get(update.pin.name) != update.pin.value:
            hint = "run it again"
            raise SupersededError("pin-moved", f"{update.pin.name} was changed while it was resolved", hint=hint)
        mode = path.stat().st_mode & 0o777
        files.write_whole(path, replaced(text, update.pin.name, update.value).encode())
        path.chmod(mode)
    return path


def replaced(text: str, name: str, value: str) -> str:
    """The lock with another value for ``name``, every other byte as it was."""
    line = re.compile(rf'("{re.escape(name)}"\s*:\s*)"(?:[^"\\]|\\.)*"')
    result, count = line.subn(lambda found: found[1] + json.dumps(value), text)
    if count != 1:
        message = f"{name} cannot be replaced: it stands in {lock.FILE} {count} times"
        raise ConfigError("odd-lock", message, hint='write one pin a line: "NAME": "value"')
    return result


def _formed(stack: Stack, name: str, value: str) -> str:
    """The value, which has the form of its pin, whoever said it."""
    if words := wanted(stack, name, value):
        raise ConfigError("loose-pin", f"{name} cannot be {value!r}", hint=f"wanted is {words}")
    return value
