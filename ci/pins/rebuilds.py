"""What another value of a pin would rebuild: every tier and component, before and after. Offline.

Most of a lock may be unresolved, and images may be missing here, so that little has an identity.  Each of them
gets a stand-in, the same one before and after: what then differs, differs because of the pin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from .. import documents
from ..build import plan as planning
from ..build.component import alone
from ..build.lookup import Absent
from ..build.offline import replace_args
from ..build.roots import Made
from ..build.workspace import Workspace
from ..identity import Change, Manifest, diff
from ..recipe import pins as lock
from ..recipe.stack import Stack

_STAND_IN: Mapping[str, str] = {
    "commit": "0" * 40,
    "digest": "sha256:" + "0" * 64,
    "sha256": "0" * 64,
    "fingerprint": "0" * 40,
    "plain": "https://unresolved.invalid/",
}
_IMAGE = "stand-in/base:0@" + _STAND_IN["digest"]
_ROOT = Made("stand-in/root:0", "stand-in", "stand-in")


class Rebuild(NamedTuple):
    """A tier or component (``kind``) that would be built anew, and the inputs that say so: ``arg UCX_BRANCH``.

    ``before`` and ``after`` are its real identities; empty where it has none, as a component that stands on no image.
    """

    kind: str
    name: str
    because: tuple[str, ...]
    before: str = ""
    after: str = ""


def with_pin(stack: Stack, name: str, value: str) -> Stack:
    """The stack as it would be if the pin had this value."""
    return _with_pins(stack, {**stack.pins, name: value})


def rebuilds(work: Workspace, after: Stack) -> tuple[Rebuild, ...]:
    """What has other inputs in ``after`` than in the stack of ``work``; raises ``ConfigError`` as a plan does."""
    now, then = replace_args(work, work.stack), replace_args(work, after)
    documents.refuse(then.args.problems)
    real, real_then = _identities(now), _identities(then)
    old, new = _manifests(_complete(now)), _manifests(_complete(then))
    found = []
    for kind, name in old:
        if because := _because(diff(old[kind, name], new[kind, name])):
            known = (real.get(name, ""), real_then.get(name, "")) if kind == "tier" else ("", "")
            found.append(Rebuild(kind, name, because, *known))
    return tuple(found)


def _because(changes: tuple[Change, ...]) -> tuple[str, ...]:
    """The inputs in a word each; what is fetched is named by the argument that says its commit or hash."""
    named = [change for change in changes if change.kind != "remote"] or changes
    return tuple(f"{change.kind} {change.name}".rstrip() for change in named)


def _identities(work: Workspace) -> dict[str, str]:
    """The identity of each tier that has one, the roots taken as the last build here saw them."""
    plan = _plan(work, work.stack, tuple(work.stack.tiers), work.records.roots(work.stack.name))
    return {tier.name: tier.identity for tier in plan.tiers}


def _manifests(work: Workspace) -> dict[tuple[str, str], Manifest]:
    stack = work.stack
    roots = {name: _ROOT for name, root in stack.roots.items() if not root.digest}
    tiers = _plan(work, stack, tuple(stack.tiers), roots).tiers
    single = {name: alone(stack, work.engine, name=name, image=_IMAGE) for name in stack.components}
    components = (tier for name, each in single.items() for tier in _plan(work, each, (name,), {}).tiers)
    found = [*(("tier", tier) for tier in tiers), *(("component", tier) for tier in components)]
    return {(kind, tier.name): tier.inputs.manifest for kind, tier in found if tier.inputs.manifest}


def _plan(work: Workspace, stack: Stack, goals: tuple[str, ...], roots: Mapping[str, Made]) -> planning.Plan:
    return planning.make(
        stack,
        goals,
        work.args,
        work.trees,
        roots=roots,
        lookup=lambda _tag, _identity: Absent(),
        last=lambda _tier: None,
        everything=True,
    )


def _complete(work: Workspace) -> Workspace:
    """The same with stand-ins for all that is not resolved; a source that is not here is seen as fetched."""
    pins = {name: _complete_value(name, value) for name, value in work.stack.pins.items()}
    then = replace_args(work, _with_pins(work.stack, pins))
    fetched = {each.remote for name, each in then.stack.fetched.items() if name not in work.trees}
    values = tuple(
        arg._replace(value="1" if arg.name in fetched else _complete_value(arg.name, arg.value))
        for arg in then.args.values
    )
    return replace(then, args=then.args._replace(values=values))


def _complete_value(name: str, value: str) -> str:
    return _STAND_IN[lock.kind(name)] if value.startswith(lock.MARK) else value


def _with_pins(stack: Stack, pins: Mapping[str, str]) -> Stack:
    roots = {name: root._replace(digest=pins.get(root.pin, "")) for name, root in stack.roots.items()}
    return replace(stack, pins=pins, roots=roots)
