"""Rules about the lock: what nobody resolved, what nobody uses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..build import attest
from ..errors import Problem
from ..pins import kinds
from ..recipe import pins as lock
from ..world import files
from .material import Case

_OURS = {kinds.EPOCH, attest.SCANNER, attest.PIN}
"""Pins that the tool itself reads, whoever declares them."""


def unresolved(case: Case) -> Iterator[Problem]:
    """Every pin that the stack uses is resolved; until then a build refuses what needs it."""
    roots = {root.pin for root in case.stack.roots.values()} if case.stack else set()
    for name in case.lock:
        if name in case.declared | roots and (found := lock.lacking(case.lock, name)):
            yield Problem("unresolved", found.why, found.hint, place=case.pins.place(name))


def unused(case: Case) -> Iterator[Problem]:
    """Every pin is an ARG of a Dockerfile of this recipe, or is named by one of its stacks."""
    stacks = "\n".join(files.read_text(path) for path in sorted({case.path, *_beside(case)}))
    beside = "\n".join(files.read_text(path) for path in sorted(case.recipe.glob("Dockerfile*")) if path.is_file())
    declared = case.declared | set(re.findall(r"(?im)^\s*ARG\s+(\w+)", beside)) | _OURS
    for name in case.lock:
        if name not in declared and not re.search(rf"\b{re.escape(name)}\b", stacks):
            hint = "delete it, or declare ARG of that name where it is meant to be read"
            message = f"no Dockerfile declares ARG {name}, and no stack names it"
            yield Problem("unused-pin", message, hint, place=case.pins.key(name))


def _beside(case: Case) -> Iterator[Path]:
    yield from case.path.parent.glob("*.yaml")
