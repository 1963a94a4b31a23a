"""What a bundle stands on: its tier's identity and the very images of the tier's parents."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from .. import VERSION
from ..build.lookup import Absent, Answer, Found, Unclear
from ..build.perform import Performance, TierResult
from ..build.plan import Plan, TierPlan
from ..build.workspace import Workspace
from ..errors import ConfigError, ContractError, InfraError, Problem
from ..names import ArtifactTag, BundleName
from ..wheels.bundle import Manifest

_TOOL = "rocm-ci"
_HINT = "take the bundle that was made for this checkout and its parents' images, or make one: --artifact-only"


@dataclass(frozen=True, slots=True)
class Ground:
    """The facts that the one who makes a bundle and the one who uses it must have in common.

    ``base`` is the digest of the tier's parent, several joined by commas in the order of the stack file.
    """

    stack: str
    tier: TierPlan
    parents: Mapping[str, Found]
    archs: tuple[str, ...]

    @property
    def base(self) -> str:
        """The parents' images, by digest."""
        return ",".join(found.digest for found in self.parents.values())

    @property
    def name(self) -> BundleName:
        """What the bundle is called, wherever it is kept."""
        return BundleName(self.tier.name, self.tier.identity)

    def facts(self, commit: str) -> Manifest:
        """The manifest of a bundle made here; its files are for ``bundle.make`` to add."""
        versions = {"stack": self.stack, "tier": self.tier.name, "identity": self.tier.identity, _TOOL: VERSION}
        return Manifest(commit, self.base, self.archs, versions)

    def compare(self, manifest: Manifest, where: str) -> None:
        """Raise ``ContractError`` with everything in which a bundle is not the one wanted here."""
        pairs = (
            ("parent image", self.base, manifest.base),
            ("stack", self.stack, manifest.versions.get("stack")),
            ("tier", self.tier.name, manifest.versions.get("tier")),
            ("identity", self.tier.identity, manifest.versions.get("identity")),
            ("archs", ";".join(self.archs), ";".join(manifest.archs)),
        )
        problems = [
            Problem("other-bundle", f"{where} is of {what} {found or '(none)'}, wanted is {wanted or '(none)'}", _HINT)
            for what, wanted, found in pairs
            if wanted != found
        ]
        if problems:
            raise ContractError.of(problems)

    def tag(self, manifest: Manifest) -> ArtifactTag:
        """The tag of the image made from that bundle: equal parents and equal files, equal tag."""
        content = self.base.encode() + b"\n" + manifest.encode()
        return ArtifactTag(self.tier.name, hashlib.sha256(content).hexdigest())


def stage(work: Workspace, tier: str) -> str:
    """The stage that the tier's bundle is made from; ``ConfigError`` where the stack names none."""
    found = work.stack.tier(tier).artifact
    if not found:
        hint = f"name a FROM scratch stage as artifact: of tier {tier}, or build the image"
        message = f"stack {work.stack.name} names no artifact stage for tier {tier}"
        raise ConfigError("no-artifact-stage", message, hint=hint, place=work.stack.tier(tier).place)
    return found


def prepared(performance: Performance, tier: str) -> TierPlan:
    """The tier as it would be built now; the roots its identity needs are fetched or made."""
    found = planned(performance.prepare((tier,)), tier)
    if not found.identity:
        hint = "somebody removed it meanwhile; run the same command again"
        raise InfraError("no-root", f"{tier}: {'; '.join(found.reasons)}", hint=hint)
    return found


def planned(plan: Plan, tier: str) -> TierPlan:
    """The tier among those of a plan."""
    return next(each for each in plan.tiers if each.name == tier)


def survey(work: Workspace, tier: TierPlan) -> Ground:
    """Look the parents up; raises where one of them is not there to be reused (see ``reused``)."""
    ours = [parent for parent in tier.inputs.parents if not parent.is_root]
    answers = {parent.name: work.look(parent.reference, parent.identity) for parent in ours}
    found = reused(tier.name, answers)
    for parent in ours:
        work.verify(found[parent.name], parent.reference, parent.identity)
    archs = work.args.get("PYTORCH_ROCM_ARCH")
    return Ground(work.stack.name, tier, found, tuple(archs.split(";")) if archs else ())


def reused(tier: str, answers: Mapping[str, Answer]) -> Mapping[str, Found]:
    """The parents' images; artifact-only mode is for parents that are there already, and for nothing else.

    ``InfraError`` where somebody could not tell, ``ConfigError`` for those that would have to be built.
    """
    unclear = [f"{name}: {answer.reason}" for name, answer in answers.items() if isinstance(answer, Unclear)]
    if unclear:
        raise InfraError("could-not-tell", "; ".join(unclear), hint="run the same command again, or inv doctor")
    absent = [name for name, answer in answers.items() if isinstance(answer, Absent)]
    if absent:
        names = " and ".join(absent)
        message = f"{tier} cannot be made in artifact-only mode: {names} would have to be built first"
        builds = " and ".join(f"inv build-{name}" for name in absent)
        hint = f"run {builds} (with --push where other hosts need it), or ship the image: leave artifact-only mode out"
        raise ConfigError("parent-not-there", message, hint=hint)
    return {name: answer for name, answer in answers.items() if isinstance(answer, Found)}


def note_parents(performance: Performance, ground: Ground) -> None:
    """Put the parents among the results, which is what a bake pins its parents by."""
    identities = {parent.name: parent.identity for parent in ground.tier.inputs.parents}
    for name, found in ground.parents.items():
        reasons = (f"built before: found in the {found.where}",)
        row = TierResult(name, "reuse", reasons, found.reference, found.digest, identities[name])
        row.published = found.where
        performance.results.append(row)
