"""``--handoff`` of the verbs: what a build hands on, and what a run of tests takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..call import Call
from ..errors import ConfigError, InternalError, Outcome

if TYPE_CHECKING:
    from ..build.perform import Performance
    from ..build.workspace import Workspace
    from ..providers.handing import Handing


def asked(call: Call) -> str:
    """The place of ``--handoff``, empty without one; raises ``ConfigError`` for what is none."""
    text = call.text("handoff")
    if not text:
        return ""
    from ..providers import handing

    return handing.place(text)


def hand_on(call: Call, performance: Performance, *goals: str) -> None:
    """Hand on the tiers this run was asked for, each by the digest that was verified last."""
    where = asked(call)
    if not where:
        return
    from ..build import handed
    from ..names import Reference
    from ..providers.handing import Image

    facts = handed.found(performance.workspace), handed.arguments(performance.workspace)
    images = {
        result.tier: Image(result.reference, result.identity, Reference.parse(result.reference).tag, *facts)
        for result in performance.results
        if result.tier in goals and result.outcome is Outcome.OK
    }
    if missing := [goal for goal in goals if goal not in images or not images[goal].digest]:
        raise InternalError("no-digest", f"{', '.join(missing)} ended well, and there is no digest to hand on")
    _handing(call, performance.workspace, where).give(images)
    call.console.say(f"handed on through {where}: {', '.join(image.reference for image in images.values())}")


def taken(call: Call, work: Workspace, tiers: tuple[str, ...]) -> Mapping[str, str]:
    """Tier to the reference by digest that was handed on; empty without ``--handoff``.

    Raises ``ContractError`` for an image that is not what this job's stack, arguments and commit make; where that
    cannot be told, it is said.
    """
    where = asked(call)
    if not where:
        return {}
    from ..build import handed

    found = _handing(call, work, where).take(tiers)
    for tier, image in found.items():
        if unclear := handed.compare(work, tier, image):
            told = f"image {tier} was handed on, and nobody compared it with what this job would build"
            call.console.warn(f"{told}: {unclear}; inv plan says what that lacks")
    return {tier: image.reference for tier, image in found.items()}


def refuse(call: Call, why: str) -> None:
    """Refuse ``--handoff`` where no image is made for it."""
    if call.text("handoff"):
        raise ConfigError("unused-option", f"--handoff means nothing {why}", hint="leave one of them out")


def _handing(call: Call, work: Workspace, where: str) -> Handing:
    from ..artifact.ship import commit
    from ..providers.handing import Handing, Origin

    return Handing(call.settings, where, Origin(work.stack.name, commit(work)), work.state)
