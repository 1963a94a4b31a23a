"""Which of BuildKit's caches a build reads, by the stack's policy, and where a run may write them.

A cache decides how long a build takes and nothing else (docs/decisions/0015-caches.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..names import ContentTag, cache_tag
from ..providers.here import facts_of
from ..recipe.caching import BRANCH, COMPONENT, CONTENT, FOLDER, MOST, REGISTRY, S3, UPSTREAM, policy
from . import builder, inputs
from .cache_look import Connect, look
from .cache_refs import Ref, Shelf
from .inputs import Inputs
from .plan import TierPlan
from .scope import Trust

if TYPE_CHECKING:
    from .workspace import Workspace

SETTING = "ROCM_CI_CACHE_FOLDER"


class Chosen(NamedTuple):
    """The caches a build reads, and what there is to say of those it does not."""

    refs: tuple[Ref, ...]
    notes: tuple[str, ...]


def shelves(work: Workspace, *, push: bool) -> Iterator[Shelf]:
    """Where caches are, in the policy's order: the one home of who reads and who writes which.

    Everybody reads what trusted runs wrote.  Registry and bucket are written by runs that push, the folder by all
    of them; an untrusted run writes the repository of its own scope and nothing else, and reads that first.
    """
    trusted = work.scope.trust is Trust.TRUSTED
    rules = policy(work.stack.caches)
    for backend in rules.backends:
        if backend == REGISTRY:
            yield from _registries(work, push=push)
        elif backend == S3 and not _lacks_s3(work):
            yield Shelf(S3, rules.bucket.rstrip("/"), push and trusted and not work.scope.withheld)
        elif backend == FOLDER and (folder := work.settings.get(SETTING).value):
            yield Shelf(FOLDER, str(Path(folder).absolute()), trusted)


def _registries(work: Workspace, *, push: bool) -> Iterator[Shelf]:
    path = f"{work.stack.repository}/cache"
    if work.writes and work.writes != work.place:
        yield Shelf(REGISTRY, str(work.writes.repository(path)), push)
    if work.place:
        yield Shelf(REGISTRY, str(work.place.repository(path)), push and work.writes == work.place)


def _lacks_s3(work: Workspace) -> bool:
    return builder.driver(work.settings, work.engine.at) == builder.OWN


def branch(work: Workspace) -> str:
    """The branch this run is of, as its CI says; empty where none does."""
    facts = facts_of(work.settings)
    return facts.branch if facts else ""


def content_name(of: Inputs) -> str:
    """What the cache of exactly these inputs is called; empty while they have no identity."""
    return str(ContentTag(of.tier.name, of.manifest.identity)) if of.manifest else ""


def branch_name(work: Workspace, of: Inputs, name: str) -> str:
    """What the cache of a branch is called, one for each set of arch lists; empty for no branch."""
    lists = {spec.name for spec in work.stack.args if spec.type == "arch-list"}
    return cache_tag(of.tier.name, [f"{arg}={value}" for arg, value in of.args if arg in lists], name) if name else ""


def components(work: Workspace, tier: TierPlan) -> Mapping[str, Inputs]:
    """The inputs of those components with caches of their own that this tier is made from, the dearest first."""
    wanted = policy(work.stack.caches).components
    known = [work.stack.components[name] for name in wanted if name in work.stack.components]
    parts = {each.name: inputs.part(work.stack, tier.inputs, each, work.args, work.trees) for each in known}
    return {name: part for name, part in parts.items() if part}


def names(work: Workspace, tier: TierPlan) -> tuple[str, ...]:
    """What the policy's sources are called for this tier, in order; those it does not have are left out."""
    rules = policy(work.stack.caches)
    known = {
        CONTENT: content_name(tier.inputs),
        BRANCH: branch_name(work, tier.inputs, branch(work)),
        UPSTREAM: branch_name(work, tier.inputs, rules.upstream),
        **{COMPONENT + name: content_name(part) for name, part in components(work, tier).items()},
    }
    return tuple(dict.fromkeys(name for source in rules.sources if (name := known.get(source, ""))))


def choose(work: Workspace, tier: TierPlan, connect: Connect | None = None) -> Chosen:
    """Ask every place at once what it has, and take the first ``MOST`` of what is surely there."""
    places = list(shelves(work, push=False))
    if tier.decision == "unknown":  # a registry has just not answered
        places = [place for place in places if place.backend != REGISTRY]
    wanted = [[Ref(place, name) for place in places] for name in names(work, tier)] if places else []
    answers = look([ref for refs in wanted for ref in refs], work.clock, connect)
    there = (next((ref for ref in refs if answers[ref] is True), None) for refs in wanted)
    used = tuple(ref for ref in there if ref)[:MOST]
    return Chosen(used, (*_left_out(work), *unclear(list(answers), answers)))


def unclear(refs: Sequence[Ref], answers: Mapping[Ref, bool | str]) -> tuple[str, ...]:
    """What could not be told of ``refs``, once for each place."""
    reasons = {ref.shelf.root: answers[ref] for ref in refs if isinstance(answers[ref], str)}
    return tuple(f"cache {root} is left out: {reason}" for root, reason in reasons.items())


def _left_out(work: Workspace) -> tuple[str, ...]:
    if S3 in policy(work.stack.caches).backends and _lacks_s3(work):
        return ("no S3 cache: the engine's own builder has none; ROCM_CI_BUILDER names another",)
    return ()
