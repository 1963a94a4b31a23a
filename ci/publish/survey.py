"""Look at everything a release is made of, without writing: what each part is, and the way to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ..build.plan import Plan, TierPlan
from ..build.workspace import Workspace
from ..errors import InfraError
from ..kernels import toolchain
from ..names import ContentTag
from ..wheels.job import Request
from ..world.process import run
from . import wheelset
from .channel import Channels, WheelSource
from .decide import NO, Asked, Facts, Part, Seen, decide
from .places import Places
from .preflight import Ready


def placed(work: Workspace, places: Places) -> Workspace:
    """The workspace with the channel's registry, where the call has none."""
    if work.place is not None or places.place is None:
        return work
    return replace(work, place=places.place, registry=places.registry, writes=places.place, target=places.registry)


@dataclass(frozen=True)
class Ground:
    """What a release is made of; ``work`` is where its images are built, and looked up first."""

    work: Workspace
    places: Places
    channels: Channels
    ready: Ready

    @classmethod
    def of(cls, work: Workspace, places: Places, channels: Channels, ready: Ready) -> Ground:
        """Without a registry of the call images are looked up, and published, in the channel's."""
        return cls(placed(work, places), places, channels, ready)

    @property
    def own(self) -> bool:
        """Whether images are built into the very repository they are released in."""
        work, places = self.work, self.places
        return work.place == places.place and work.stack.repository == places.channel.repository

    @property
    def goals(self) -> tuple[str, ...]:
        """Every tier whose identity counts."""
        tiers = [*self.channels.images.values(), *(each.tier for each in self.channels.wheels if each.tier)]
        return tuple(dict.fromkeys([*tiers, *filter(None, map(self.compiles_in, self.channels.wheels))]))

    def compiles_in(self, source: WheelSource) -> str:
        """The tier a project is compiled in; empty where there is none, or the compiler is this host's."""
        request = self.ready.wheels.get(source.project)
        if request is None or request.compile is None or _local(request):
            return ""
        return toolchain.tier_of(self.work.stack)

    def compiler(self, source: WheelSource, tiers: Mapping[str, TierPlan]) -> str:
        """The identity of what compiles a project; empty where nothing does."""
        request = self.ready.wheels[source.project]
        tier = self.compiles_in(source)
        return tiers[tier].identity if tier else _local(request)


def _local(request: Request) -> str:
    """The identity of this host's compiler; empty where there is none or nothing to compile."""
    wanted = request.compile
    found = wanted and toolchain.local(request.settings, wanted.archs, wanted.folder, run, keep=False)
    return found.identity if found else ""


def outlook(work: Workspace, places: Places, channels: Channels, ready: Ready) -> tuple[Part, ...]:
    """Every part with the way to it, for ``--plan``; a root image that is not here leaves them unknown."""
    ground = Ground.of(work, places, channels, ready)
    return survey(ground, ground.work.plan(ground.goals))


def survey(ground: Ground, plan: Plan) -> tuple[Part, ...]:
    """The images of the release by name, then its wheels by source, each with the way to it."""
    return tuple(decide(each) for each in _facts(ground, {tier.name: tier for tier in plan.tiers}))


def _facts(ground: Ground, tiers: Mapping[str, TierPlan]) -> Iterator[Facts]:
    for name, tier in ground.channels.images.items():
        yield _image(ground, name, tiers[tier])
    for source in ground.channels.wheels:
        yield _wheels(ground, source, tiers)


def _image(ground: Ground, name: str, tier: TierPlan) -> Facts:
    built = _built(tier)
    if ground.own:
        here = built if tier.decision == "unknown" or (tier.found and tier.found.where == "registry") else NO
        return Facts("image", name, tier.identity, here, built)
    if not tier.identity:
        return Facts("image", name, "", built)
    return Facts("image", name, tier.identity, _headed(ground.places, str(ContentTag(tier.name, tier.identity))), built)


def _built(tier: TierPlan) -> Asked:
    """What the plan found out about the image of a tier."""
    if tier.found:
        return Asked(Seen.YES, f"in the {tier.found.where}", tier.found.digest)
    return Asked(Seen.UNKNOWN, "; ".join(tier.reasons)) if tier.decision == "unknown" else NO


def _headed(places: Places, tag: str) -> Asked:
    from ..world import registry as oci

    found = places.registry.head(places.repository, tag) if places.registry else oci.Absent()
    if isinstance(found, oci.Unknown):
        return Asked(Seen.UNKNOWN, found.reason)
    return Asked(Seen.YES, "in the channel's registry", found.digest) if isinstance(found, oci.Found) else NO


def _wheels(ground: Ground, source: WheelSource, tiers: Mapping[str, TierPlan]) -> Facts:
    if source.tier:
        tier = tiers[source.tier]
        return _kept(ground, Facts("wheels", source.tier, tier.identity, _built(tier), holder=_built(tier)))
    request = ground.ready.wheels[source.project]
    compiler = ground.compiler(source, tiers)
    name = request.source.name
    if request.compile and not compiler:
        return Facts("wheels", name, "", _built(tiers[ground.compiles_in(source)]))
    return _kept(ground, Facts("wheels", name, wheelset.project_key(request, compiler), NO))


def _kept(ground: Ground, facts: Facts) -> Facts:
    """``facts`` with what the store says; without an identity there is nothing to ask it."""
    if not facts.identity:
        return facts
    return facts._replace(here=_released(ground, facts.identity), elsewhere=_cached(ground, facts.identity))


def _released(ground: Ground, key: str) -> Asked:
    try:
        release = ground.places.release(ground.ready.commit)
    except InfraError as error:
        return Asked(Seen.UNKNOWN, str(error))
    there = release is not None and any(row.part == key for row in release.wheels)
    return Asked(Seen.YES, "in the release of this commit") if there else NO


def _cached(ground: Ground, key: str) -> Asked:
    try:
        found = wheelset.whole(ground.places.cache, key)
    except InfraError as error:
        return Asked(Seen.UNKNOWN, str(error))
    return Asked(Seen.YES, "in the cache") if found else NO
