"""The image of each tier a suite runs in, by digest: reused, or built now, and said so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..artifact import use
from ..build.perform import Performance, Screen
from ..errors import ConfigError
from ..recipe.stack import Stack
from ..world.engine import Engine
from ..world.spans import Spans


class Bundle(NamedTuple):
    """Where the artifact bundle of a tier is, and whether the tier is built where that cannot be used."""

    where: str = ""
    fallback: bool = False


NO_BUNDLE = Bundle()


class Images(NamedTuple):
    """Tier to reference by digest; ``fallback`` says why a bundle was not used after all."""

    references: Mapping[str, str]
    fallback: str = ""


def shipped(stack: Stack, tiers: Sequence[str], bundle: Bundle) -> tuple[str, ...]:
    """The tiers that are made of ``bundle``; raises ``ConfigError`` where one was given and none of them can be."""
    found = tuple(tier for tier in tiers if bundle.where and stack.tier(tier).artifact)
    if bundle.where and not found:
        hint = "leave --artifact out, or name an `artifact` stage for the tier"
        raise ConfigError("no-artifact", f"stack {stack.name}: none of its tiers has an artifact stage", hint=hint)
    return found


def resolve(performance: Performance, tiers: Sequence[str], bundle: Bundle) -> Images:
    """The image of each tier, here in the engine; what does not exist yet is built.

    With a ``bundle`` the tiers that have an artifact stage are made of it.
    """
    work, screen = performance.workspace, performance.screen
    found, why = {}, ""
    for tier in shipped(work.stack, tiers, bundle):
        made = use.image(performance, tier, bundle.where, fallback=bundle.fallback)
        how = "the bundle could not be used" if made.why else "of ci-base and a bundle"
        screen.say(f"image {tier}: {made.result.reference} ({how})")
        found[tier], why = made.result.reference, made.why or why
    return Images(found | _built(performance, [tier for tier in tiers if tier not in found]), why)


def _built(performance: Performance, tiers: Sequence[str]) -> dict[str, str]:
    if not tiers:
        return {}
    work, screen = performance.workspace, performance.screen
    performance.run(tuple(tiers))
    results = {each.tier: each for each in performance.results}
    for tier in tiers:
        made = results[tier]
        how = "built just now" if made.decision == "build" else "there already"
        screen.say(f"image {tier}: {made.reference} ({how})")
        if work.engine.image(made.reference) is None:  # it was found in the registry; a pull compares digests
            with performance.ledger.spans.during("pull", made.reference):
                work.engine.pull(made.reference, work.stack.platform)
    return {tier: results[tier].reference for tier in tiers}


def given(engine: Engine, reference: str, platform: str, screen: Screen, spans: Spans) -> str:
    """The image ``reference`` by digest; pulled where the engine has none.

    An image that lost its name to a later build is still in the engine, under its digest alone.
    """
    digest = reference.rpartition("@")[2] if "@" in reference else ""
    image = engine.image(reference)
    if image is None and digest and engine.image(digest):
        screen.say(f"image {digest} (given as {reference}, which is another image's name now)")
        return digest
    if image is None:
        screen.say(f"image {reference}: pulling it")
        with spans.during("pull", reference):
            image = engine.pull(reference, platform)
    named = reference if digest or reference == image.id else f"{reference}@{image.id}"
    screen.say(f"image {named} (given)")
    return named
