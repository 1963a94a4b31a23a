"""Rules about the lock: what nobody resolved, what nobody uses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..build import attest
from ..errors import ConfigError, Problem
from ..pins import kinds
from ..recipe import pins as lock
from .material import Case, text

_OURS = {kinds.EPOCH, attest.SCANNER, attest.PIN}
"""Pins that the tool itself reads, whoever declares them."""


def unresolved(case: Case) -> Iterator[Problem]:
    """Every pin that the stack uses is resolved; until then a build refuses what needs it."""
    roots = {root.pin for root in case.stack.roots.values()} if case.stack else set()
    pins = _pins(case)
    for name in case.lock:
        if name in case.declared | roots and (found := lock.lacking(case.lock, name)):
            hint = kinds.command(pins[name], case.stack) if case.stack and name in pins else found.hint
            yield Problem("unresolved", found.why, hint, place=case.pins.place(name))


def unused(case: Case) -> Iterator[Problem]:
    """Every pin is an ARG of a Dockerfile, or is named by a stack, or says where one that is used comes from."""
    stacks = "\n".join(text(path, []) for path in sorted({case.path, *_beside(case)}))
    beside = "\n".join(text(path, []) for path in sorted(case.recipe.glob("Dockerfile*")) if path.is_file())
    declared = case.declared | set(re.findall(r"(?im)^\s*ARG\s+(\w+)", beside)) | _OURS
    used = {name for name in case.lock if name in declared or re.search(rf"\b{re.escape(name)}\b", stacks)}
    used |= {pin.of for pin in _pins(case).values() if pin.name in used}
    for name in case.lock:
        if name not in used:
            hint = "delete it, or declare ARG of that name where it is meant to be read"
            message = f"no Dockerfile declares ARG {name}, and no stack names it"
            yield Problem("unused-pin", message, hint, place=case.pins.key(name))


def _pins(case: Case) -> Mapping[str, kinds.Pin]:
    """The pins with what they follow; none where that cannot be read, which is a finding of another rule."""
    try:
        return {pin.name: pin for pin in kinds.pins_of(case.stack)} if case.stack else {}
    except ConfigError:
        return {}


def _beside(case: Case) -> Iterator[Path]:
    yield from case.path.parent.glob("*.yaml")
