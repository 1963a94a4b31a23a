"""The one table of verbs; ``tasks.py`` and ``__main__`` are made from it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from .answer import Answer
from .call import Call, Option, Verb
from .errors import CiError, ConfigError

if TYPE_CHECKING:
    from .build.workspace import Workspace

STACK = Option("stack", "stack to build: a shipped name or a path to a stack file", sets=True)
JSON = Option("json", "print one JSON document instead of text", "flag")
DEBUG = Option("debug", "show tracebacks", "flag")
PLAN = Option("plan", "print what would be done and write nothing", "flag")
PUSH = Option("push", "publish each finished tier in the registry", "flag")
REGISTRY = Option("registry", "registry and namespace to look up and publish in, host[:port][/namespace]", sets=True)
ON_UNKNOWN = Option("on-unknown", "what a lookup without an answer means: stop (exit 4) or build", sets=True)
AGAINST = Option("against", "compare with a commit, or an identity or content tag built here; default the last build")

INPUTS = (
    Option("arch", 'gfx targets, for example "gfx942;gfx950"', sets=True),
    Option("nic-backend", "NIC userspace: none, ainic, bnxt or all", sets=True),
    Option("ainic-version", "AINIC package version, under ainic and all only", sets=True),
    Option("source", "NAME=PATH of a source tree; may be repeated", "list"),
)
COMMON = (STACK, JSON, DEBUG)
LOOKS = (REGISTRY, *INPUTS, *COMMON)
BUILDS = (PUSH, ON_UNKNOWN, PLAN, *LOOKS)


def _workspace(call: Call, *goals: str) -> Workspace:
    from .build.workspace import open_workspace

    return open_workspace(call.settings, call.pairs("source"), goals, lambda text: call.console.say(text))  # noqa: PLW0108 - the console is made on first use


def _build(call: Call, goal: str) -> Answer:
    work = _workspace(call, goal)
    if call.on("push") and work.place is None:
        raise ConfigError("no-registry", "--push needs a registry", hint="give --registry or set ROCM_CI_REGISTRY")
    _say_notices(call, work)
    work.expect((goal,))
    if call.on("plan"):
        from .report import plans

        return plans.answer(work.plan((goal,)))
    return _perform(call, work, goal)


def _perform(call: Call, work: Workspace, goal: str) -> Answer:
    from .build.perform import Performance
    from .names import run_id
    from .report import runs
    from .world import files
    from .world.ledger import Ledger

    call.ledger = Ledger.begin(
        files.state(str(work.state)), run_id(work.clock.now(), os.urandom(4).hex()), call.verb.name
    )
    on_unknown = work.settings.get("ROCM_CI_ON_UNKNOWN").value
    performance = Performance(work, call.ledger, call.console, call.on("push"), on_unknown)
    try:
        performance.run((goal,))
    except CiError as error:
        call.console.say(runs.failure(call.verb.name, performance, error))
        raise
    return runs.answer(call.verb.name, performance)


def _say_notices(call: Call, work: Workspace) -> None:
    for notice in work.args.notices:
        call.console.notice(notice)


def build_base(call: Call) -> Answer:
    """Build the base image, unless an image of its identity is there already."""
    return _build(call, "base")


def build_ci_base(call: Call) -> Answer:
    """Build the CI base image and what stands beside it, unless its identity is there already."""
    return _build(call, "ci-base")


def build_test(call: Call) -> Answer:
    """Build the test image, which has the software under test, unless its identity is there already."""
    return _build(call, "test")


def plan(call: Call) -> Answer:
    """Show for every tier its identity, whether it is there, and why it would be built; writes nothing."""
    from .report import plans

    work = _workspace(call)
    _say_notices(call, work)
    return plans.answer(work.plan(tuple(work.stack.tiers), everything=True))


def explain(call: Call) -> Answer:
    """Say why a tier would, or would not, be rebuilt: the inputs that differ, old and new. Works offline."""
    from .build.explain import explain as explained
    from .report import plans

    tier = call.text("tier")
    work = _workspace(call)
    work.stack.tier(tier)
    return plans.explanation(explained(work, tier, call.text("against")))


def config(call: Call) -> Answer:
    """Show every setting with its value and where it came from; secrets are masked."""
    from .report import configs

    return configs.answer(_workspace(call))


def doctor(call: Call) -> Answer:
    """Check engine, builder, registry, disk, network settings, clock, git and GPUs; each finding with its remedy."""
    from .doctor import visit

    return visit.answer(call.settings)


def reap(call: Call) -> Answer:
    """Remove what crashed runs left behind on this host; never touches anything else."""
    from . import reap as reaper

    return reaper.answer(call.settings, dry=call.on("plan"))


def _verb(run: Callable[[Call], Answer], *options: Option, argument: str = "", argument_help: str = "") -> Verb:
    return Verb(run.__name__.replace("_", "-"), run, options, argument, argument_help)


VERBS: tuple[Verb, ...] = (
    _verb(build_base, *BUILDS),
    _verb(build_ci_base, *BUILDS),
    _verb(build_test, *BUILDS),
    _verb(plan, *LOOKS),
    _verb(explain, AGAINST, *INPUTS, *COMMON, argument="tier", argument_help="tier to explain, for example ci-base"),
    _verb(config, *LOOKS),
    _verb(doctor, REGISTRY, *COMMON),
    _verb(reap, PLAN, *COMMON),
)
