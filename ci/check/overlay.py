"""One more bake file over those of a stack: what it makes of the arguments, against the plan.

The files that people bake by hand resolve to what the plan says; a file from elsewhere that is laid over them must
not change that silently.  A target is the tier or component whose Dockerfile and stage it builds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError, ContractError, InfraError, Place, Problem
from ..recipe.stack import Stack, archs
from ..recipe.values import Resolved, resolve_args
from ..settings import Settings
from ..world import buildx, by_hand
from ..world.engine import endpoint
from ..world.http import Request, Send, Timeouts, Unreachable, address, send
from ..world.process import Run, run
from .loading import examined

_ADDRESS = re.compile(r"(?P<url>https?://[^#]+)#sha256=(?P<sha256>[0-9a-f]{64})")
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
MOST = 1024 * 1024
"""Bytes that an overlay may have."""

_OTHER = (
    "dockerfile", "dockerfile-inline", "target", "context", "contexts", "platforms", "network", "entitlements",
    "extra-hosts",
)  # fmt: skip
"""What decides, beside the arguments, what is built."""


class Overlay(NamedTuple):
    """The file: ``name`` for people, and its bytes."""

    name: str
    text: bytes


def fetched(word: str, ask: Send = send) -> Overlay:
    """The overlay at a path, or at ``URL#sha256=HEX``.

    Raises ``ConfigError`` for a URL without its hash, before anything is asked, ``ContractError`` where the bytes are
    others, and ``InfraError`` where nobody answers.
    """
    if not _REMOTE.match(word):
        return Overlay(word, _local(Path(word)))
    pinned = _ADDRESS.fullmatch(word)
    if pinned is None:
        hint = "write URL#sha256=HEX, http or https: curl -fsSL URL | sha256sum, after you have read it"
        raise ConfigError("unpinned-overlay", f"--overlay {address(word)} can change between two runs", hint=hint)
    url = pinned["url"]
    try:
        answer = ask(Request("GET", url, timeout=Timeouts(10, 15, 30), max_body=MOST))
    except Unreachable as error:
        raise InfraError("unreachable", error.reason, hint="check the address and the network") from None
    if answer.status != 200:
        raise InfraError("unreachable", f"{address(url)} answers with status {answer.status}", hint="check the address")
    found = hashlib.sha256(answer.body).hexdigest()
    if found != pinned["sha256"]:
        context = f"wanted {pinned['sha256']}\nfound  {found}"
        hint = "somebody changed it: read what is there now, then name its hash"
        raise ContractError("wrong-hash", f"{address(url)} is not the pinned file", context=context, hint=hint)
    return Overlay(address(url), answer.body)


def _local(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError("no-file", f"--overlay {path}: {error.strerror}", hint="check the path") from None


@dataclass(frozen=True)
class _Unit:
    """A tier or component, and the arguments that its plan has; an image that moves with each build is none of them."""

    name: str
    args: Mapping[str, str]


def differences(stack: Stack, settings: Settings, overlay: Overlay, start: Run = run) -> Iterator[Problem]:
    """Where the by-hand files under ``overlay`` build something else than the plan says."""
    if not stack.bake:
        hint = "bake: in the stack file names the files for docker buildx bake"
        raise ConfigError("no-bake-files", f"stack {stack.name} has no files to bake by hand", hint=hint)
    args = resolve_args(stack, settings, archs())
    evaluate = partial(
        by_hand.printed,
        [stack.recipe / name for name in stack.bake],
        folder=stack.recipe.parent,
        env=_environment(stack, settings, args),
        start=start,
    )
    units = _units(stack, args, start)
    before, after = evaluate(b""), evaluate(overlay.text)
    place = Place(overlay.name)
    for name, target in after.items():
        unit = units.get(_key(before.get(name, target)))
        if name in before:
            yield from _other(name, before[name], target, place)
        elif unit is None:
            hint = "no tier or component has its Dockerfile and stage; nothing says what it may be made of"
            yield Problem("unknown-target", f"target {name} is none of the stack's", hint, place=place)
        yield from _arguments(name, before.get(name, {}), target, unit, place)


def _environment(stack: Stack, settings: Settings, args: Resolved) -> Mapping[str, str]:
    """What a person's bake would see: how to find buildx, the recipe, and the arguments given for this run."""
    env = buildx.environment(settings, endpoint(settings))
    given = {arg.name: arg.value for arg in args.values if not arg.source.startswith(("stack", "pins"))}
    return {**env, **given, "RECIPE": stack.recipe.name}


def _units(stack: Stack, args: Resolved, start: Run) -> Mapping[tuple[str, str], _Unit]:
    found = {}
    for inputs in examined(stack, args, start):
        moving = {parent.argument for parent in inputs.parents if not _pinned(stack, parent.name)}
        own = {name: value for name, value in inputs.args if name not in moving}
        found[inputs.tier.dockerfile, inputs.tier.target] = _Unit(inputs.tier.name, own)
    return found


def _pinned(stack: Stack, parent: str) -> bool:
    return parent in stack.roots and bool(stack.roots[parent].digest)


def _key(target: Mapping[str, Any]) -> tuple[str, str]:
    return str(target.get("dockerfile", "")).rpartition("/")[2], str(target.get("target", ""))


def _other(name: str, before: Mapping[str, Any], after: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    for key in _OTHER:
        if before.get(key) != after.get(key):
            message = f"target {name}: {key} is {_told(after.get(key))}, without the overlay {_told(before.get(key))}"
            hint = "take it out: what is built would be none of the plan's"
            yield Problem("overlay-differs", message, hint, place=place)


def _arguments(
    name: str, before: Mapping[str, Any], after: Mapping[str, Any], unit: _Unit | None, place: Place
) -> Iterator[Problem]:
    """What the plan of the unit has must be so; the rest, read by stages below it, must be as without the overlay."""
    planned = dict(unit.args) if unit else {}
    usual = {**before.get("args", {}), **planned}
    found = after.get("args", {})
    for argument in sorted({*usual, *found}):
        if found.get(argument) != usual.get(argument):
            where = f"in the plan of {unit.name}" if unit and argument in planned else "without the overlay"
            told = f"{argument} is {_told(found.get(argument))}, {where} {_told(usual.get(argument))}"
            hint = "take it out; what shall differ is a pin, an argument of the stack, or a stack of its own"
            yield Problem("overlay-differs", f"target {name}: {told}", hint, place=place)


def _told(value: Any) -> str:
    return "not set" if value is None else repr(value)
