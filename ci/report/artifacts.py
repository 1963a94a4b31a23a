"""The end of a build verb in artifact-only mode: what was shipped, or what an image was made from."""

from __future__ import annotations

from typing import Any

from ..answer import Answer
from ..artifact.ground import Ground
from ..artifact.ship import Shipped
from ..artifact.use import Image
from ..build.perform import Performance
from ..build.plan import Plan
from ..errors import Outcome
from ..wheels.bundle import Manifest
from . import plans, runs
from .markdown import fenced, plain
from .units import size


def shipped(verb: str, performance: Performance, made: Shipped) -> Answer:
    """A bundle in its place, with the command that uses it."""
    answer = runs.answer(verb, performance)
    lines = [
        f"bundle  {made.where}  {size(made.size)}",
        f"        {len(made.manifest.members)} files for {made.manifest.base[:19]}",
        f"        sha256 {made.sha256}",
        f"next: inv {verb} --artifact {made.where}",
    ]
    bundle = {"place": made.where, "sha256": made.sha256, "size": made.size, **_facts(made.manifest)}
    page = f"{answer.page}\n{fenced(lines)}\n"
    return Answer(Outcome.OK, f"{answer.text}\n" + "\n".join(lines), {**answer.document, "bundle": bundle}, page)


def made(verb: str, performance: Performance, image: Image) -> Answer:
    """An image made from a bundle; after a fallback its last line says so."""
    answer = runs.answer(verb, performance)
    fallback = {"why": image.why} if image.why else None
    bundle = _facts(image.manifest) if image.manifest else None
    last = f"warning: this image does not come from the bundle: {image.why}" if image.why else ""
    text = f"{answer.text}\n{last}" if last else answer.text
    page = f"{answer.page}\n{plain(last)}\n" if last else answer.page
    return Answer(Outcome.OK, text, {**answer.document, "bundle": bundle, "fallback": fallback}, page)


def planned(ground: Ground | Plan, *, out: str, place: str) -> Answer:
    """What would be shipped or used; the parents are there, the bundle was not looked for."""
    if isinstance(ground, Plan):
        return plans.answer(ground)
    what = f"make it and put it into {out}" if out else f"take it from {place} and make the image"
    parents = {name: found.reference for name, found in ground.parents.items()}
    lines = [f"bundle {ground.name}: {what}"]
    lines += [f"  reuse   {name}  {reference}" for name, reference in parents.items()]
    document = {
        "schema": 1,
        "outcome": Outcome.OK,
        "plan": True,
        "bundle": {"name": str(ground.name), "out": out or None, "place": place or None, **_facts(ground.facts(""))},
        "parents": parents,
        "tiers": [ground.tier.to_json()],
    }
    return Answer(Outcome.OK, "\n".join(lines), document)


def _facts(manifest: Manifest) -> dict[str, Any]:
    return {
        "commit": manifest.commit or None,
        "base": manifest.base,
        "archs": list(manifest.archs),
        "versions": dict(manifest.versions),
        "files": [member.row() for member in manifest.members],
    }
