"""Why a tier would, or would not, be rebuilt: its inputs now against those of another build. Offline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import ConfigError
from ..identity import Change, Manifest, diff
from ..names import ContentTag, Reference
from ..world import git
from . import offline, travel
from . import plan as planning
from .age import Age, known_here, moved
from .definition import LABEL
from .lookup import Absent
from .plan import TierPlan
from .roots import Made
from .workspace import Workspace


@dataclass(frozen=True)
class Explanation:
    """``same`` is None where there is nothing to compare with; ``before`` is the other identity.

    ``age`` is that of the image as it is now, None where no age is too old, or it would be built anyway.
    """

    tier: str
    identity: str
    against: str
    before: str
    same: bool | None
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    age: Age | None = None


def explain(work: Workspace, tier: str, against: str) -> Explanation:
    """Compare the tier as it is now with the last build here, with an earlier identity, or with a commit."""
    made, notes = offline.roots(work)
    tiers = _tiers(work, made, tier)
    now = tiers[tier].inputs.manifest
    age = known_here(work, tiers[tier], tuple(tiers.values()))
    if now is None:
        return Explanation(tier, "", "it has no identity yet; inv plan says what it lacks", "", None, (), notes, age)
    name, before = _other(work, tier, against, made)
    if before is None:
        return Explanation(tier, now.identity, name, "", None, (), notes, age)
    changes = diff(before, now)
    if said := moved(changes):
        notes = (*notes, said)
    return Explanation(tier, now.identity, name, before.identity, not changes, changes, notes, None if changes else age)


def _tiers(work: Workspace, made: Mapping[str, Made], tier: str) -> dict[str, TierPlan]:
    """The tier and what it descends from, nothing of them looked up."""
    plan = planning.make(
        work.stack,
        (tier,),
        work.args,
        work.trees,
        roots=made,
        lookup=lambda _tag, _identity: Absent(),
        last=lambda _tier: None,
    )
    return {each.name: each for each in plan.tiers}


def _other(work: Workspace, tier: str, against: str, made: Mapping[str, Made]) -> tuple[str, Manifest | None]:
    if not against:
        return "the last build on this host", work.records.last(work.stack.name, tier)
    tag = ContentTag.parse(against.rpartition(":")[2])
    digits = tag.identity if tag else against
    if found := work.records.manifest(digits):
        return against, found
    if found := _from_label(work, against):
        return against, found
    top = git.toplevel(work.stack.recipe)
    if top is None:
        hint = "give a commit, an identity or a content tag; see .../manifests in the state folder"
        raise ConfigError("unknown-build", f"nothing is known of {against!r}, and the recipe is not in git", hint=hint)
    with offline.at_commit(work, against) as then:
        return f"commit {against}", _tiers(then, made, tier)[tier].inputs.manifest


def _from_label(work: Workspace, name: str) -> Manifest | None:
    """The manifest that an image in the engine carries."""
    if ":" not in name:
        return None
    image = work.engine.image(str(Reference.parse(name)))
    return travel.from_label(image.labels.get(LABEL + "manifest", "")) if image else None
