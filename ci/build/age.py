"""How old images are, by what is written in them, and which are due for another epoch.

Packages age in an image whose inputs do not change.  The epoch of the pin lock is an input of every tier: moving it
gives each a new identity, and a build that installs its packages anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..errors import InfraError
from ..identity import Change
from .lookup import ENGINE, SCOPE, Found, remote_config

if TYPE_CHECKING:
    from .plan import TierPlan
    from .workspace import Workspace

EPOCH = "EPOCH"
"""The pin, and the build argument, that moves with time alone."""

_NOTHING_BEFORE = datetime(1980, 1, 1, tzinfo=UTC)
"""Builders write such times where they mean none."""


@dataclass(frozen=True)
class Age:
    """How old the image of a tier is, of which ``most`` days are allowed; ``made`` is None where ``why`` says why not.

    ``mended`` is what gives it newer packages.
    """

    tier: str
    most: int
    made: datetime | None
    days: int = 0
    why: str = ""
    mended: str = ""

    @property
    def due(self) -> bool:
        """Whether it is older than it may be; False where nobody can tell."""
        return self.made is not None and self.days > self.most

    def __str__(self) -> str:
        if self.made is None:
            return f"{self.tier}: nobody can tell how old it is ({self.why}), at most {self.most} days are allowed"
        known = f"{self.tier}: made {self.made:%Y-%m-%d}, {self.days} days old, at most {self.most}"
        if self.due:
            return f"{known}: due; {self.mended}"
        return f"{known}: due after {self.made + timedelta(days=self.most):%Y-%m-%d}"

    def to_json(self) -> dict[str, Any]:
        """As documents have it."""
        made = f"{self.made:%Y-%m-%dT%H:%M:%SZ}" if self.made else None
        return {
            "tier": self.tier, "made": made, "days": self.days if self.made else None, "max_days": self.most,
            "due": self.due if self.made else None, "unknown": self.why or None,
        }  # fmt: skip


def ages(work: Workspace, tiers: Sequence[TierPlan]) -> tuple[Age, ...]:
    """The age of every image that was found, of tiers that must not be old; what is still to be built has none."""
    return tuple(
        _aged(work, tier, tiers, *_written(work, tier, tier.found))
        for tier in tiers
        if tier.inputs.tier.max_age_days and tier.decision != "build"
    )


def known_here(work: Workspace, tier: TierPlan, tiers: Sequence[TierPlan]) -> Age | None:
    """The same of one tier without a network: from the engine, else from the record of its build on this host."""
    if not tier.inputs.tier.max_age_days:
        return None
    text, why = "", "it was not built on this host, and no engine here has it"
    if tier.identity:
        text = _recorded(work, tier)
    else:
        why = "it has no identity yet"
    return _aged(work, tier, tiers, text, why)


def moved(changes: Iterable[Change]) -> str:
    """What is to be said of an epoch that moved; empty where it did not."""
    found = next((each for each in changes if each.kind == "epoch"), None)
    return f"{EPOCH} moved from {found.old or 'none'} to {found.new or 'none'}" if found else ""


def _recorded(work: Workspace, tier: TierPlan) -> str:
    try:
        image = work.engine.image(tier.tag)
    except InfraError:
        image = None
    return image.created if image else work.records.made(tier.identity)


def _written(work: Workspace, tier: TierPlan, found: Found | None) -> tuple[str, str]:
    """When the image that was found says that it was made; and why that is not known, where it is not."""
    if found is None:
        return "", "; ".join(tier.reasons) if tier.identity else "it has no identity yet"
    try:
        image = work.engine.image(tier.tag)
        if image and image.id == found.digest:
            return image.created, ""
        shelf = (work.target, work.writes) if found.where == SCOPE else (work.registry, work.place)
        registry, place = shelf
        if found.where == ENGINE or registry is None or place is None:
            return "", "the engine has it no more"
        return str(remote_config(registry, place, tier.tag, found.digest).get("created", "")), ""
    except InfraError as error:
        return "", str(error)


def _aged(work: Workspace, tier: TierPlan, tiers: Sequence[TierPlan], text: str, why: str) -> Age:
    name, most = tier.name, tier.inputs.tier.max_age_days
    made = _moment(text)
    if made is None:
        return Age(name, most, None, why=why or f"it says {text!r}")
    now = work.clock.now()
    if made > now:
        return Age(name, most, None, why=f"it says {text}, which is later than the clock of this host")
    mended = _mended(tier, {each.name: each for each in tiers}, work.stack.option)
    return Age(name, most, made, (now - made).days, mended=mended)


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return found if found >= _NOTHING_BEFORE else None


def _mended(tier: TierPlan, tiers: Mapping[str, TierPlan], option: str) -> str:
    """The command; where no stage would notice it, what has to be written first."""
    if _notices(tier, tiers):
        return f"inv pins --update {EPOCH}{option} gives it a new identity"
    return f"no stage of it or its parents has ARG {EPOCH}: declare it above what installs packages, then move it"


def _notices(tier: TierPlan, tiers: Mapping[str, TierPlan]) -> bool:
    """Whether a new epoch makes BuildKit run a step again: a tag alone would be new, its layers those of before."""
    if any(name == EPOCH for name, _ in tier.inputs.args):
        return True
    return any(parent.name in tiers and _notices(tiers[parent.name], tiers) for parent in tier.inputs.parents)
