"""From steps that are selected and placed to jobs: which images are made first, and what each job runs. Pure."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from ..providers.jobs import Absent, Job, Pipeline, Pool
from ..recipe.stack import Stack, Tier
from ..suites.catalogue import Catalogue, Step
from ..suites.plan import RESERVE
from ..world import sandbox
from .placing import Placed
from .pools import NodePool, Pools

VERBS = ("base", "ci-base", "test", "release")
"""Tiers that a verb builds, ``build-TIER``; another is built by whoever needs it."""

IMAGE_MINUTES = 360
"""A base image that nobody built takes up to three hours, twice that on a busy node."""

FETCH_MINUTES = 30
"""For the image of a step, of tens of GB, to come to a node that never had it."""

OUTER_MINUTES = 15
"""What a CI gives a job beyond its own deadline: for checkout, tool and clean-up."""


class Chosen(NamedTuple):
    """A step that is to run, where, and why."""

    placed: Placed
    why: str


class Terms(NamedTuple):
    """What all jobs have in common.

    ``named`` and ``file`` are stack and catalogue as a job names them (``file`` is empty for the stack's own), ``env``
    its environment; images are built on ``builder``.
    """

    stack: Stack
    catalogue: Catalogue
    pools: Pools
    builder: NodePool
    named: str
    file: str
    env: Mapping[str, str]
    today: date


class Wired(NamedTuple):
    """Jobs, each after those it needs; the steps that no pool can take; what a person should hear."""

    pipeline: Pipeline
    unplaced: tuple[Chosen, ...]
    notices: tuple[str, ...]


def wire(terms: Terms, chosen: Sequence[Chosen], *, strict: bool = False) -> Wired:
    """The jobs of ``chosen`` and of the images they run in; ``strict``: one that no pool can take is a failure."""
    placed = [(each, pool) for each in chosen if (pool := each.placed.pool)]
    tiers = _tiers(terms.stack, [each.placed.step for each, _ in placed])
    images = {tier.name: _image(terms, tier, tiers) for tier in tiers.values()}
    tests = [job for each, pool in placed for job in _tests(terms, each, pool, images)]
    unplaced = tuple(each for each in chosen if not each.placed.pool)
    absent = tuple(_absent(terms, each.placed, strict=strict) for each in unplaced)
    pipeline = Pipeline(f"rocm-ci {terms.stack.name}", (*images.values(), *tests), terms.pools.checkout, absent)
    return Wired(pipeline, unplaced, tuple(dict.fromkeys(_notices(chosen, terms.today))))


def outer_minutes(step: Step) -> int:
    """When a CI ends a job of this step: later than its deadline."""
    return inner_minutes(step) + OUTER_MINUTES


def inner_minutes(step: Step) -> int:
    """The deadline of a run of this step alone: image, tests, teardown and report."""
    teardown = sandbox.Limits(step.limits.seconds, None, step.limits.grace).teardown_seconds
    return math.ceil((step.limits.seconds + teardown + RESERVE) / 60) + FETCH_MINUTES


def on_pool(pool: NodePool) -> Pool:
    """A pool as an emitter knows it."""
    return Pool(pool.name, pool.buildkite, pool.github)


def _tiers(stack: Stack, steps: Sequence[Step]) -> Mapping[str, Tier]:
    """The tiers with a job of their own, parents first; ranks on several nodes run in what their nodes give them."""
    wanted = dict.fromkeys(step.tier for step in steps if step.needs.nodes == 1)
    return {tier.name: tier for tier in stack.chain(*wanted) if tier.name in VERBS}


def _image(terms: Terms, tier: Tier, tiers: Container[str]) -> Job:
    bundled = bool(terms.pools.bundle and tier.artifact)
    how = ("--artifact-only", "--out", terms.pools.bundle) if bundled else ("--push",)
    return Job(
        key=_image_key(tier.name),
        label=f"{'bundle' if bundled else 'image'} {tier.name}",
        command=(*terms.pools.tool, f"build-{tier.name}", "--stack", terms.named, *how),
        pool=on_pool(terms.builder),
        minutes=IMAGE_MINUTES,
        after=tuple(_image_key(name) for name in _before(terms.stack, tier, tiers)),
        env=terms.env,
        makes=() if bundled else (tier.name,),
        priority=1,
        why="steps that run need it",
    )


def _before(stack: Stack, tier: Tier, tiers: Container[str]) -> Iterator[str]:
    """The tiers whose jobs come directly before that of ``tier``; one without a job gives those before itself."""
    for name in dict.fromkeys((*tier.beside, *(parent for _, parent in tier.parents))):
        if name in tiers:
            yield name
        elif name in stack.tiers:
            yield from _before(stack, stack.tiers[name], tiers)


def _tests(terms: Terms, each: Chosen, pool: NodePool, images: Mapping[str, Job]) -> Iterator[Job]:
    step = each.placed.step
    arch = each.placed.arch if terms.catalogue.data[step.name].get("matrix") else ""
    made = images.get(step.tier) if step.needs.nodes == 1 else None
    bundled = bool(made and not made.makes)
    for number in range(1, step.shards + 1):
        part = f"{number}/{step.shards}" if step.shards > 1 else ""
        words = _words(terms, step, needs_gpu=pool.gpus > 0, bundled=bundled)
        yield Job(
            key=_test_key(step.name, arch, number if part else 0),
            label=f"{' '.join(filter(None, (step.name, f'({arch})' if arch else '', part)))}: {step.summary}",
            command=(*terms.pools.tool, *words, *(("--shard", part) if part else ())),
            pool=on_pool(pool),
            minutes=outer_minutes(step),
            after=_made_first(terms.stack, step, images),
            env=terms.env,
            takes=(step.tier,) if made and not bundled else (),
            soft=str(step.soft) if step.soft and step.soft.holds(terms.today) else "",
            why=each.why,
        )


def _absent(terms: Terms, placed: Placed, *, strict: bool) -> Absent:
    """What stands for a step that no pool takes.

    Its absence fails nothing where a skip with a day says so, or where the stack's images can run it on no node.
    """
    step = placed.step
    arch = placed.arch if terms.catalogue.data[step.name].get("matrix") else ""
    excused = step.skip and step.skip.holds(terms.today)
    able = terms.catalogue.runtime == "rocm" or terms.catalogue.runs_on_cpu(step.name)
    label = f"{step.name} ({arch}) is not run" if arch else f"{step.name} is not run"
    pool = on_pool(terms.builder) if strict and able and not excused else None
    why = str(step.skip) if excused else str(placed)
    return Absent(_test_key(step.name, arch, 0), label, why, pool)


def _words(terms: Terms, step: Step, *, needs_gpu: bool, bundled: bool) -> Iterator[str]:
    """The verb that runs a step, and its options."""
    suite = next(suite.name for suite in terms.catalogue.suites.values() if step.name in suite.steps)
    yield from ("test", suite, "--only", step.name, "--stack", terms.named)
    if terms.file:
        yield from ("--catalogue", terms.file)
    if needs_gpu:
        yield "--require-gpu"
    if step.needs.nodes > 1:
        yield from ("--runtime", "native")
    if bundled:
        yield from ("--artifact", terms.pools.bundle)
    yield from ("--deadline", str(inner_minutes(step)))


def _made_first(stack: Stack, step: Step, images: Mapping[str, Job]) -> tuple[str, ...]:
    """The jobs that those of a step come after."""
    if step.needs.nodes > 1:
        return ()
    before = (step.tier,) if step.tier in images else _before(stack, stack.tier(step.tier), images)
    return tuple(images[tier].key for tier in before)


def _test_key(step: str, arch: str, number: int) -> str:
    """The key of a test's job: names have no two dashes in a row, so no two jobs have one."""
    return "--".join(filter(None, (f"test-{step}", arch, str(number or ""))))


def _image_key(tier: str) -> str:
    return f"image-{tier}"


def _notices(chosen: Sequence[Chosen], today: date) -> Iterator[str]:
    for each in chosen:
        step, soft = each.placed.step, each.placed.step.soft
        if not each.placed.pool:
            yield f"step {step.name} is not run: {each.placed}"
        if soft and not soft.holds(today):
            yield f"step {step.name} fails the build again: its exemption ended on {soft.until} ({soft.reason})"
