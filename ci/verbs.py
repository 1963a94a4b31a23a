"""The one table of verbs; ``tasks.py`` and ``__main__`` are made from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .answer import Answer
from .call import Call, Option, Verb
from .errors import CiError, ConfigError, Outcome
from .options import (
    AGAINST,
    APPLY,
    ARTIFACTS,
    AUDITS,
    BASE_IMAGE,
    BUILDS,
    CHANNEL,
    COMMON,
    INDEXES,
    INPUTS,
    KERNELS,
    LOOKS,
    PLACES,
    PLAN,
    REGISTRY,
    REMOVED,
    STORE,
    TESTS,
    TO_CHANNEL,
    TO_RELEASE,
    WHEELS,
)

if TYPE_CHECKING:
    from pathlib import Path

    from .artifact.mode import Mode
    from .build.perform import Performance
    from .build.workspace import Workspace
    from .publish.places import Places
    from .publish.release import Ground
    from .world.ledger import Ledger


def _workspace(call: Call, *goals: str) -> Workspace:
    from .build.workspace import open_workspace

    return open_workspace(call.settings, call.pairs("source"), goals, lambda text: call.console.say(text))  # noqa: PLW0108 - the console is made on first use


def _build(call: Call, goal: str) -> Answer:
    return _build_in(call, _workspace(call, goal), goal)


def _build_in(call: Call, work: Workspace, goal: str) -> Answer:
    if call.on("push") and work.place is None:
        raise ConfigError("no-registry", "--push needs a registry", hint="give --registry or set ROCM_CI_REGISTRY")
    _say_notices(call, work)
    work.expect((goal,))
    if call.on("plan"):
        from .report import plans

        return plans.answer(work.plan((goal,)))
    return _perform(call, work, goal)


def _perform(call: Call, work: Workspace, goal: str) -> Answer:
    from .report import runs

    with _performing(call, work) as performance:
        performance.run((goal,))
    return runs.answer(call.verb.name, performance)


@contextmanager
def _performing(call: Call, work: Workspace, *, push: bool = False) -> Iterator[Performance]:
    """A performance in a run of its own; where it ends badly, what it did is shown first."""
    from .build.perform import Performance
    from .report import runs

    ledger = _begin(call, work.state)
    on_unknown = work.settings.get("ROCM_CI_ON_UNKNOWN").value
    performance = Performance(work, ledger, call.console, push or call.on("push"), on_unknown)
    try:
        yield performance
    except CiError as error:
        call.console.say(runs.failure(call.verb.name, performance, error))
        raise


def _with_artifact(call: Call, goal: str, mode: Mode) -> Answer:
    """Ship a bundle, or make the image from one."""
    from .artifact import ship, use
    from .artifact.outlook import outlook
    from .report import artifacts

    work = _workspace(call, goal)
    _say_notices(call, work)
    if call.on("plan"):
        return artifacts.planned(outlook(work, goal, mode), out=mode.out, place=mode.place)
    with _performing(call, work) as performance:
        if mode.out:
            return artifacts.shipped(call.verb.name, performance, ship.ship(performance, goal, mode.out))
        image = use.image(performance, goal, mode.place, fallback=mode.fallback)
    return artifacts.made(call.verb.name, performance, image)


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
    from .artifact import mode

    only, fallback = call.on("artifact-only"), call.on("allow-fallback")
    options = mode.Options(only, call.text("out"), call.text("artifact"), fallback, call.on("push"))
    wanted = mode.read(call.settings, options)
    return _with_artifact(call, "test", wanted) if wanted.out or wanted.place else _build(call, "test")


def build_component(call: Call) -> Answer:
    """Build one component of a stack alone, on any image with a HIP toolchain, from its pinned commit or a folder."""
    from functools import partial

    from .build.component import alone
    from .build.workspace import open_workspace

    name = call.text("component")
    adapt = partial(alone, name=name, image=call.text("base-image"))
    work = open_workspace(call.settings, call.pairs("source"), (name,), call.console.say, adapt)
    return _build_in(call, work, name)


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


def audit(call: Call) -> Answer:
    """Take a wheel, a binary or a folder apart: device code per target, kernels, and every rule of the contract."""
    from .audit.request import requested
    from .report import audits

    examination = requested(call.settings, call.text("target"), call.text("budget-mb"), call.text("import"))
    for notice in examination.notices:
        call.console.notice(notice)
    allow = call.pairs("allow")
    return audits.answer(examination.perform(allow, lambda state: _opened(call, state), call.console.warn))


def index(call: Call) -> Answer:
    """Make a package index of a folder or bucket of wheels, for pip and uv; all is checked before any is shown."""
    from . import documents, settings
    from .report import indexes
    from .wheels.place import opened, perform

    documents.refuse(settings.problems(call.settings))
    store = opened(call.text("place"))
    added = tuple(call.values.get("add") or ())
    if not call.on("plan"):
        _begin(call, _state(call))
    result = perform(store, added, call.console.say, replace=call.on("replace"), plan=call.on("plan"))
    for notice in result.notices:
        call.console.notice(notice)
    return indexes.answer(result, call.text("url") or store.url, plan=call.on("plan"))


def hip_compile(call: Call) -> Answer:
    """Compile every HIP source of a project for every arch, in parallel; what has not changed is reused."""
    from .kernels import job
    from .report import compiles

    request = job.read(call.settings, call.text("project"), call.text("arch"), call.text("out"))
    for notice in request.notices:
        call.console.notice(notice)
    if call.on("plan"):
        return compiles.planned(job.outlook(request, call.console.say))
    return compiles.answer(job.perform(request, _begin(call, request.state), call.console))


def wheel(call: Call) -> Answer:
    """Make a project's wheel from its sources and code objects, audit it, and bundle it for other jobs."""
    from .report import packed
    from .wheels import job

    texts = {name: call.text(name) for name in ("project", "arch", "objects", "rocm", "torch", "out")}
    options = job.Options(**texts, module=call.text("import"), trial=call.on("trial"))
    request = job.read(call.settings, options)
    for notice in request.compile.notices if request.compile else ():
        call.console.notice(notice)
    if call.on("plan"):
        return packed.planned(request)
    return packed.answer(job.perform(request, _begin(call, request.state), call.console))


def test(call: Call) -> Answer:
    """Run a suite inside the stack's images, on this node's GPUs or on the CPU, with a verdict one can trust."""
    from .report import suites
    from .suites import job, request
    from .world.clock import SystemClock

    begun = SystemClock().monotonic()
    asked = request.read(call.text("suite"), call.values, call.settings.get("ROCM_CI_RUNTIME").value)
    work = _workspace(call)
    _say_notices(call, work)
    found = job.read(asked, work)
    for notice in found.plan.notices:
        call.console.notice(notice)
    if call.on("plan"):
        return suites.planned(found.plan, found.outlook())
    with _performing(call, work) as performance:
        run = found.perform(performance, begun)
    try:
        return suites.answer(run.perform())
    except (CiError, Exception) as error:
        ended = suites.answer(run.result(error.outcome if isinstance(error, CiError) else Outcome.INTERNAL))
        call.so_far = ended.document
        if run.results:
            call.console.say(ended.text)
        raise


def release_nightly(call: Call) -> Answer:
    """Release this commit: build or reuse, prove, publish images and wheels together, move the pointers last."""
    from .publish import release
    from .report import releases

    ground = _ground(call)
    if call.on("plan"):
        return releases.planned(call.verb.name, release.outlook(ground))
    with _performing(call, ground.work, push=True) as performance:
        return releases.answer(call.verb.name, release.perform(ground, performance))


def promote(call: Call) -> Answer:
    """Give a release that was built at its version's tag, and proven, to a channel; the same bytes, never rebuilt."""
    from .publish import promote as promoting
    from .publish.places import open_places
    from .report import releases

    source = _ground(call)
    to = call.text("to") or "release"
    target = open_places(source.work, source.channels, to, source.places.journal, call.console.say)
    asked = promoting.Transfer(source.places, target, call.text("nightly"), source.folder)
    if call.on("plan"):
        return releases.planned(call.verb.name, promoting.outlook(asked))
    with _performing(call, source.work, push=True) as performance:
        return releases.answer(call.verb.name, promoting.promote(asked, performance))


def rollback(call: Call) -> Answer:
    """Move a channel's pointers, images and wheels together, back to an earlier release."""
    from .publish import rollback as going_back
    from .publish.prove import read_back
    from .report import releases

    if not call.text("to"):
        raise ConfigError("no-release", "--to is missing", hint="inv release-status shows the last releases")
    places = _ground(call).places
    if call.on("plan"):
        return releases.switched(call.verb.name, places, going_back.outlook(places, call.text("to")), plan=True)
    read_back(places, places.released(going_back.resolve(places, call.text("to"))))
    run = _begin(call, _state(call)).folder.name
    return releases.switched(call.verb.name, places, going_back.rollback(places, call.text("to"), run), plan=False)


def retain(call: Call) -> Answer:
    """Remove what a channel's policy gives up; the plan comes first, and without --apply nothing else does."""
    from .publish import retain as retaining
    from .report import retentions

    if call.on("plan") and call.on("apply"):
        raise ConfigError("plan-or-apply", "--plan and --apply were both given", hint="give one of them")
    ground = _ground(call)
    others = [each for each in _every(call, ground) if each.channel != ground.places.channel]
    scope = retaining.scope_of(ground.places, others, ground.channels.images, ground.work.stack.tiers)
    run = _begin(call, _state(call)).folder.name if call.on("apply") else ""
    return retentions.answer(call.verb.name, retaining.retain(scope, run, apply=call.on("apply")))


def release_status(call: Call) -> Answer:
    """Show what each channel stands at, how old and how proven that is; needs no credentials."""
    from .publish import retain as retaining
    from .publish.status import statuses
    from .report import retentions
    from .report import statuses as shown

    ground = _ground(call, anonymous=True)
    if call.on("removed"):
        name = ground.places.channel.name
        return retentions.removed(call.verb.name, name, retaining.removed(ground.places))
    wanted = (ground.places,) if call.text("channel") else tuple(_every(call, ground, anonymous=True))
    return shown.answer(call.verb.name, statuses(wanted))


def _every(call: Call, ground: Ground, *, anonymous: bool = False) -> Iterator[Places]:
    """The places of every channel of the stack."""
    from .publish.places import open_places

    for name in ground.channels.channels:
        yield open_places(
            ground.work, ground.channels, name, ground.places.journal, call.console.say, anonymous=anonymous
        )


def _ground(call: Call, *, anonymous: bool = False) -> Ground:
    from .publish import channel
    from .publish.places import open_places
    from .publish.release import Ground

    work = _workspace(call)
    _say_notices(call, work)
    channels = channel.load(work.stack)
    name = call.text("channel") or channel.NIGHTLY
    journal = work.state / "journal"
    places = open_places(work, channels, name, journal, call.console.say, anonymous=anonymous)
    return Ground(work, channels, places)


def _state(call: Call) -> Path:
    from pathlib import Path

    return Path(call.settings.get("ROCM_CI_STATE").value)


def _opened(call: Call, state: Path) -> Ledger:
    return call.ledger or _begin(call, state)


def _begin(call: Call, state: Path) -> Ledger:
    from .names import run_id
    from .world import files
    from .world.clock import SystemClock
    from .world.ledger import Ledger
    from .world.process import holding_signals

    run = run_id(SystemClock().now(), os.urandom(4).hex())
    with holding_signals():  # a run folder that is there is one we know of
        call.ledger = Ledger.begin(files.state(str(state)), run, call.verb.name)
    return call.ledger


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
    from .world.clock import SystemClock

    return reaper.answer(call.settings, SystemClock(), dry=call.on("plan"))


def _verb(run: Callable[[Call], Answer], *options: Option, argument: str = "", argument_help: str = "") -> Verb:
    return Verb(run.__name__.replace("_", "-"), run, options, argument, argument_help)


VERBS: tuple[Verb, ...] = (
    _verb(build_base, *BUILDS),
    _verb(build_ci_base, *BUILDS),
    _verb(build_test, *ARTIFACTS, *BUILDS),
    _verb(build_component, BASE_IMAGE, *BUILDS, argument="component", argument_help="component, for example rocshmem"),
    _verb(plan, *LOOKS),
    _verb(explain, AGAINST, *INPUTS, *COMMON, argument="tier", argument_help="tier to explain, for example ci-base"),
    _verb(audit, *AUDITS, argument="target", argument_help="wheel, .so, .hsaco, .o, .a, .bc or folder to audit"),
    _verb(index, *INDEXES, argument="place", argument_help="folder, or s3://BUCKET/PREFIX, that holds the wheels"),
    _verb(hip_compile, *KERNELS),
    _verb(wheel, *WHEELS),
    _verb(test, *TESTS, *LOOKS, argument="suite", argument_help="suite to run, for example rocm-distributed-tests"),
    _verb(release_nightly, CHANNEL, STORE, PLAN, *LOOKS),
    _verb(
        promote,
        TO_CHANNEL,
        *PLACES,
        PLAN,
        argument="nightly",
        argument_help="release to promote: its commit or version",
    ),
    _verb(rollback, TO_RELEASE, *PLACES, PLAN),
    _verb(retain, APPLY, *PLACES, PLAN),
    _verb(release_status, REMOVED, *PLACES),
    _verb(config, *LOOKS),
    _verb(doctor, REGISTRY, *COMMON),
    _verb(reap, PLAN, *COMMON),
)
