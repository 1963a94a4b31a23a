"""Make a tier's image from its parents and a bundle: the same target, the bundle in place of its artifact stage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..build.definition import FILES, LABEL
from ..build.lookup import Found, in_engine
from ..build.perform import Performance, TierResult
from ..build.plan import TierPlan
from ..errors import CiError, ConfigError, ContractError, InfraError
from ..names import ArtifactTag
from ..wheels import bundle
from ..wheels.bundle import Manifest
from ..world import files
from ..world.locks import exclusive
from . import ground as grounds
from . import place
from .ground import Ground
from .place import Fetch

ARTIFACT = LABEL + "artifact"
"""The label with the key of the artifact tag, so that a tag which somebody moved is no reuse."""


@dataclass(frozen=True, slots=True)
class Image:
    """The image of a tier, ``result.reference`` by digest, and the manifest of the bundle it was made from.

    After a fallback there is no manifest, and ``why`` says why the bundle was not used.
    """

    result: TierResult
    manifest: Manifest | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Bundle:
    """A bundle that was checked to its last byte and belongs here."""

    ground: Ground
    path: Path
    manifest: Manifest


def image(performance: Performance, tier: str, where: str, *, fallback: bool = False) -> Image:
    """The image of ``tier`` made from the bundle in ``where`` (see ``place.source``), or made from it before.

    The results of ``performance`` get the parents' rows and the tier's.  Raises ``ConfigError`` for a place or a
    stack that cannot be meant and for parents that are not there, ``ContractError`` for a bundle that is broken or
    of something else, ``InfraError`` for one that cannot be had.  With ``fallback`` the last three lead to the
    ordinary way, build or reuse, said as a warning first and last.
    """
    fetch = place.source(where)
    stage = grounds.stage(performance.workspace, tier)
    planned = grounds.prepared(performance, tier)
    held = performance.ledger.folder / tier / Path(FILES).parent
    thing = performance.ledger.will_make("folder", str(held))
    try:
        try:
            found = _obtained(performance, planned, fetch, held)
        except (ConfigError, ContractError, InfraError) as error:
            if not fallback:
                raise
            return _ordinary(performance, tier, error)
        return _made(performance, found, stage, held)
    finally:
        performance.ledger.clear(thing, lambda: files.remove(held), performance.screen.warn)


def _obtained(performance: Performance, tier: TierPlan, fetch: Fetch, held: Path) -> _Bundle:
    ground = grounds.survey(performance.workspace, tier)
    fetched = held / "fetched"
    with files.disk_errors(f"cannot make {fetched}"):
        fetched.mkdir(parents=True)
    path = fetch(str(ground.name), fetched)
    manifest = bundle.verify(path)
    ground.compare(manifest, str(path))
    return _Bundle(ground, path, manifest)


def _made(performance: Performance, found: _Bundle, stage: str, held: Path) -> Image:
    """Equal content is made once per host: others wait for it, and then find it."""
    work = performance.workspace
    grounds.note_parents(performance, found.ground)
    tag = found.ground.tag(found.manifest)
    reason = f"made from {found.ground.name} on {found.ground.base[:19]}"
    tier = replace(
        found.ground.tier, tag=f"{work.stack.repository}:{tag}", decision="build", reasons=(reason,), found=None
    )
    with exclusive(work.state, str(tag), performance.screen.say):
        row = _there(performance, tier, tag)
        if row:
            performance.results.append(row)
        else:
            _unpacked(found, held)
            performance.build_from(tier, {stage: FILES}, {ARTIFACT: tag.key})
    return Image(performance.results[-1], found.manifest)


def _there(performance: Performance, tier: TierPlan, tag: ArtifactTag) -> TierResult | None:
    """The row of an image that was made from this bundle before."""
    engine = performance.workspace.engine
    answer = in_engine(engine, tier.tag, tier.identity)
    seen = engine.image(tier.tag)
    if seen is None or not isinstance(answer, Found):
        return None
    if seen.labels.get(ARTIFACT) != tag.key:
        hint = f"docker image rm {tier.tag}, then run the same command again"
        raise ContractError("moved-tag", f"{tier.tag} was not made from this bundle: somebody moved the tag", hint=hint)
    reasons = ("made from this very bundle before",)
    return TierResult(tier.name, "reuse", reasons, answer.reference, answer.digest, tier.identity)


def _unpacked(found: _Bundle, held: Path) -> None:
    if bundle.unpack(found.path, held / Path(FILES).name) != found.manifest:
        hint = "run the same command again when nobody writes there"
        raise ContractError("bundle-changed", f"{found.path} changed while it was read", hint=hint)


def _ordinary(performance: Performance, tier: str, error: CiError) -> Image:
    """Build or reuse the tier as ever; that the bundle was not used is said, whatever comes of it."""
    why = "; ".join(problem.message for problem in error.problems)
    performance.screen.warn(f"the bundle is not used, as --allow-fallback allows: {why}")
    try:
        performance.run((tier,))
    except CiError as second:
        first = error.problems[0]._replace(reference="fell-back", message=f"this was the fallback, because {why}")
        second.problems = (*second.problems, first)
        raise
    finally:
        performance.screen.warn(f"{tier} does not come from the bundle: {why}")
    return Image(next(row for row in performance.results if row.tier == tier), None, why)
