"""The verbs that build images, and say why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..answer import Answer
from ..call import Call
from ..errors import ConfigError
from . import handing
from .common import SOURCE, performing, say_notices, workspace

if TYPE_CHECKING:
    from ..artifact.mode import Mode
    from ..build.plan import Plan
    from ..build.workspace import Workspace


def _build(call: Call, goal: str) -> Answer:
    return _build_in(call, workspace(call, goal), goal)


def _build_in(call: Call, work: Workspace, goal: str) -> Answer:
    if call.on("push") and work.place is None:
        raise ConfigError("no-registry", "--push needs a registry", hint="give --registry or set ROCM_CI_REGISTRY")
    handing.asked(call)
    say_notices(call, work)
    work.expect((goal,))
    if call.on("plan"):
        return _planned(work, work.plan((goal,)))
    return _perform(call, work, goal)


def _planned(work: Workspace, made: Plan) -> Answer:
    from ..build.age import ages
    from ..build.scope import told
    from ..report import plans

    return plans.answer(made, told(work, made), ages(work, made.tiers))


def _perform(call: Call, work: Workspace, goal: str) -> Answer:
    from ..report import runs

    with performing(call, work) as performance:
        performance.run((goal,))
        handing.hand_on(call, performance, *work.stack.tier(goal).beside, goal)
    return runs.answer(call.verb.name, performance)


def _with_artifact(call: Call, goal: str, mode: Mode) -> Answer:
    """Ship a bundle, or make the image from one."""
    from ..artifact import ship, use
    from ..artifact.outlook import outlook
    from ..report import artifacts

    if mode.out:
        handing.refuse(call, "with --artifact-only, which makes no image")
    handing.asked(call)
    work = workspace(call, goal)
    say_notices(call, work)
    if call.on("plan"):
        return artifacts.planned(outlook(work, goal, mode), out=mode.out, place=mode.place)
    with performing(call, work) as performance:
        if mode.out:
            return artifacts.shipped(call.verb.name, performance, ship.ship(performance, goal, mode.out))
        image = use.image(performance, goal, mode.place, fallback=mode.fallback)
        handing.hand_on(call, performance, goal)
    return artifacts.made(call.verb.name, performance, image)


def build_base(call: Call) -> Answer:
    """Build the base image, unless an image of its identity is there already."""
    return _build(call, "base")


def build_ci_base(call: Call) -> Answer:
    """Build the CI base image and what stands beside it, unless its identity is there already."""
    return _build(call, "ci-base")


def build_test(call: Call) -> Answer:
    """Build the test image, which has the software under test, unless its identity is there already."""
    from ..artifact import mode

    only, fallback = call.on("artifact-only"), call.on("allow-fallback")
    options = mode.Options(only, call.text("out"), call.text("artifact"), fallback, call.on("push"))
    wanted = mode.read(call.settings, options)
    return _with_artifact(call, "test", wanted) if wanted.out or wanted.place else _build(call, "test")


def build_release(call: Call) -> Answer:
    """Build the image that is released, unless its identity is there already."""
    return _build(call, "release")


def build_component(call: Call) -> Answer:
    """Build one component of a stack alone, on any image with a HIP toolchain, from its pinned commit or a folder."""
    from functools import partial

    from ..build.component import alone
    from ..build.workspace import open_workspace

    name = call.text("component")
    adapt = partial(alone, name=name, image=call.text("base-image"))
    work = open_workspace(call.settings, call.pairs("source", SOURCE), (name,), call.console.say, adapt)
    return _build_in(call, work, name)


def plan(call: Call) -> Answer:
    """Show for every tier its identity, whether it is there, and why it would be built; writes nothing."""
    work = workspace(call)
    say_notices(call, work)
    return _planned(work, work.plan(tuple(work.stack.tiers), everything=True))


def explain(call: Call) -> Answer:
    """Say why a tier would, or would not, be rebuilt: the inputs that differ, old and new. Works offline."""
    from ..build.explain import explain as explained
    from ..report import plans

    tier = call.text("tier")
    work = workspace(call)
    work.stack.tier(tier)
    return plans.explanation(explained(work, tier, call.text("against")))
