"""The plan: for every tier what it is made from, whether it is there already, and why it would be built.

A plan is plain data.  ``--plan`` prints it as JSON, and that very structure is what
``perform`` carries out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..errors import ConfigError, Problem
from ..identity import Change, Manifest, diff
from ..names import ContentTag
from ..recipe.pins import MARK, Lacking
from ..recipe.stack import Stack, Tier
from ..recipe.tree import Tree
from ..recipe.values import Resolved
from ..world.ahead import ahead
from . import inputs as tier_inputs
from .inputs import Inputs, Parent
from .lookup import Answer, Found, Unclear
from .roots import Made, reference

Lookup = Callable[[str, str], Answer]
"""``lookup(tag, identity)``: is an image of this identity there already?"""


@dataclass(frozen=True)
class TierPlan:
    """One tier: ``decision`` is reuse, build or unknown; ``changes`` are against the last build here."""

    inputs: Inputs
    identity: str
    tag: str
    decision: str
    reasons: tuple[str, ...]
    found: Found | None = None
    changes: tuple[Change, ...] = ()

    @property
    def name(self) -> str:
        """The tier's name."""
        return self.inputs.tier.name

    def to_json(self) -> dict[str, Any]:
        """The tier as ``--plan --json`` prints it; identity is null while a root is not here yet."""
        manifest = self.inputs.manifest
        return {
            "tier": self.name,
            "identity": self.identity or None,
            "tag": self.tag or None,
            "decision": self.decision,
            "reasons": list(self.reasons),
            "digest": self.found.digest if self.found else None,
            "found_in": self.found.where if self.found else None,
            "dockerfile": self.inputs.tier.dockerfile,
            "target": self.inputs.tier.target,
            "parents": {
                parent.argument: {
                    "name": parent.name,
                    "reference": parent.reference,
                    "identity": parent.identity or None,
                }
                for parent in self.inputs.parents
            },
            "args": dict(self.inputs.args),
            "files": {name: len(entries) for name, entries in self.inputs.selected.items()},
            "inputs": len(manifest.inputs) if manifest else None,
        }


@dataclass(frozen=True)
class Plan:
    """What a run would do, parents first. ``roots`` are those that have to be fetched or made."""

    stack: Stack
    goals: tuple[str, ...]
    missing_roots: tuple[str, ...]
    tiers: tuple[TierPlan, ...]
    notices: tuple[str, ...]

    @property
    def lacking(self) -> tuple[Lacking, ...]:
        """What must be resolved or given before all of it can be built."""
        return tuple(dict.fromkeys(item for tier in self.tiers for item in tier.inputs.lacking))

    def to_json(self) -> dict[str, Any]:
        """The plan as one JSON document."""
        return {
            "schema": 1,
            "stack": self.stack.name,
            "goals": list(self.goals),
            "roots_to_get": list(self.missing_roots),
            "lacking": [item._asdict() for item in self.lacking],
            "tiers": [tier.to_json() for tier in self.tiers],
            "notices": list(self.notices),
        }


def check_args(stack: Stack, args: Resolved, goals: tuple[str, ...], given: Collection[str] = ()) -> None:
    """Refuse an argument somebody gave that no reached stage of the goals declares; ``given`` are source folders."""
    problems = list(args.problems)
    contexts = tier_inputs.contexts_of(stack, args, given)
    tiers = stack.chain(*goals)
    try:
        known = frozenset[str]().union(*(tier_inputs.declared(stack, tier, args, contexts) for tier in tiers))
    except ConfigError:
        if problems:  # a wrong value leads a FROM nowhere: that is no mistake of the Dockerfile
            raise ConfigError.of(problems) from None
        raise
    known |= {source.remote for source in stack.fetched.values()}
    known |= {spec.within for spec in stack.args if spec.name in known}
    for arg in args.values:
        if arg.name not in known and not arg.source.startswith(("stack", "pins")):
            hint = f"{', '.join(goals)} would be the same without it; do not set it"
            message = f"{arg.source}: no stage that {' or '.join(goals)} reaches declares ARG {arg.name}"
            problems.append(Problem("unused-arg", message, hint))
    if problems:
        raise ConfigError.of(problems)


def make(
    stack: Stack,
    goals: tuple[str, ...],
    args: Resolved,
    trees: Mapping[str, Tree],
    *,
    roots: Mapping[str, Made],
    lookup: Lookup,
    last: Callable[[str], Manifest | None],
    everything: bool = False,
) -> Plan:
    """Plan the tiers that ``goals`` need.

    Goals are looked up first; the parents of a goal that is there are left out, unless
    ``everything`` asks for the whole chain (``inv plan``).
    """
    examined = _examine(stack, goals, args, trees, roots)
    wanted = list(examined) if everything else []
    if everything:
        lookup = _all_at_once(stack, examined, lookup)
    plans: dict[str, TierPlan] = {}
    queue = [name for tier in goals for name in (*stack.tier(tier).beside, tier)]
    while queue:
        name = queue.pop()
        if name in plans:
            continue
        plans[name] = _decide(stack, examined[name], lookup, last)
        if plans[name].decision != "reuse":
            queue += [parent.name for parent in examined[name].parents if not parent.is_root]
    for name in wanted:
        if name not in plans:
            plans[name] = _decide(stack, examined[name], lookup, last)
    ordered = tuple(plans[name] for name in examined if name in plans)
    needed = {parent.name for tier in ordered if tier.decision != "reuse" for parent in tier.inputs.parents}
    missing = tuple(name for name, root in stack.roots.items() if name in needed - roots.keys() and not root.digest)
    return Plan(stack, goals, missing, ordered, args.notices)


def _all_at_once(stack: Stack, examined: Mapping[str, Inputs], lookup: Lookup) -> Lookup:
    """A lookup that knows what it will be asked: all tiers are asked for now, so that a distance counts once."""
    asked: dict[str, Callable[[], Answer]] = {}
    for inputs in examined.values():
        if inputs.manifest:
            identity = inputs.manifest.identity
            tag = tag_of(stack, inputs.tier, identity)
            asked[tag] = ahead(partial(lookup, tag, identity))
    return lambda tag, _identity: asked[tag]()


def _examine(
    stack: Stack, goals: tuple[str, ...], args: Resolved, trees: Mapping[str, Tree], roots: Mapping[str, Made]
) -> dict[str, Inputs]:
    """The inputs of every tier of the chain, all problems of all tiers at once."""
    examined: dict[str, Inputs] = {}
    problems: list[Problem] = []
    for tier in stack.chain(*goals):
        parents = tuple(_parent(stack, argument, name, examined, roots) for argument, name in tier.parents)
        try:
            examined[tier.name] = tier_inputs.examine(stack, tier, args, trees, parents)
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise ConfigError.of(problems)
    return examined


def _parent(
    stack: Stack, argument: str, name: str, examined: Mapping[str, Inputs], roots: Mapping[str, Made]
) -> Parent:
    if name in stack.roots and (digest := stack.roots[name].digest):
        image = stack.roots[name].image
        if digest.startswith(MARK):
            return Parent(argument, name, image, "", is_root=True)
        return Parent(argument, name, f"{image}@{digest}", digest, is_root=True)
    if name in stack.roots:
        made = roots.get(name)
        return Parent(argument, name, reference(stack, stack.roots[name]), made.layers if made else "", is_root=True)
    manifest = examined[name].manifest if name in examined else None  # a parent with problems has no identity
    identity = manifest.identity if manifest else ""
    return Parent(argument, name, tag_of(stack, stack.tiers[name], identity), identity, is_root=False)


def tag_of(stack: Stack, tier: Tier, identity: str) -> str:
    """The content tag as the engine knows it; a stand-in while there is no identity."""
    return f"{stack.repository}:{ContentTag(tier.name, identity) if identity else f'{tier.name}-pending'}"


def _decide(stack: Stack, inputs: Inputs, lookup: Lookup, last: Callable[[str], Manifest | None]) -> TierPlan:
    if inputs.manifest is None:
        return TierPlan(inputs, "", "", "unknown", tuple(_unidentified(inputs)))
    identity = inputs.manifest.identity
    tag = tag_of(stack, inputs.tier, identity)
    plan = TierPlan(inputs, identity, tag, "build", ())
    answer = lookup(tag, identity)
    if isinstance(answer, Found):
        return replace(plan, decision="reuse", reasons=(f"built before: found in the {answer.where}",), found=answer)
    before = last(inputs.tier.name)
    changes = diff(before, inputs.manifest) if before else ()
    if isinstance(answer, Unclear):
        return replace(plan, decision="unknown", reasons=(answer.reason,), changes=changes)
    return replace(plan, reasons=_why(before, changes), changes=changes)


def _unidentified(inputs: Inputs) -> Iterator[str]:
    """Why there is no identity to look up."""
    yield from (f"{item.why}: {item.hint}" for item in inputs.lacking)
    pending = [parent for parent in inputs.parents if not parent.identity]
    if tiers := [parent.name for parent in pending if not parent.is_root]:
        yield f"{', '.join(tiers)} has no identity yet, so there is none to look up"
    roots = [parent.name for parent in pending if parent.is_root]
    if roots and not inputs.lacking:
        yield f"{', '.join(roots)} is not here yet, so there is no identity to look up"


def _why(before: Manifest | None, changes: tuple[Change, ...]) -> tuple[str, ...]:
    if before is None:
        return ("nobody built it here before",)
    if not changes:
        return ("its inputs are those of the last build, but the image is gone",)
    shown = [f"{change.kind} {change.name} {_verb(change)}" for change in changes[:5]]
    more = [f"and {len(changes) - 5} more (inv explain)"] if len(changes) > 5 else []
    return (*shown, *more)


def _verb(change: Change) -> str:
    if change.old is None:
        return "is new"
    return "is gone" if change.new is None else "changed"
