"""Which pool a step goes to, and why the others cannot take it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from itertools import chain
from typing import NamedTuple

from ..documents import suggest
from ..errors import ConfigError
from ..recipe.stack import Stack
from ..recipe.values import Resolved
from ..suites.catalogue import Catalogue, Step
from .pools import NodePool, Pools


class Placed(NamedTuple):
    """A step as it is on the nodes it goes to; ``pool`` None: no pool can take it.

    ``arch`` is the entry of its matrix, else the pool's; empty on a node without GPUs, and where nothing is known.
    ``refused`` are (pool, why) in the file's order. A pool that is neither could take it too: it comes later, or has
    more GPUs than needed.
    """

    step: Step
    arch: str
    pool: NodePool | None
    refused: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return self.pool.name if self.pool else told(self.refused)


def told(refused: Sequence[tuple[str, str]]) -> str:
    """Pools with the same reason together: ``mi250-1, mi250-2: has no RDMA devices; cpu: has no GPU``."""
    pools: dict[str, list[str]] = {}
    for pool, why in refused:
        pools.setdefault(why, []).append(pool)
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in pools.items())


def place(
    catalogue: Catalogue,
    name: str,
    pools: Pools,
    today: date,
    away: Collection[str] = (),
    *,
    built: Mapping[str, Collection[str]] | None = None,
) -> tuple[Placed, ...]:
    """Where step ``name`` runs: once per arch of its matrix, else once.

    It goes to the first pool that has what it needs; of that pool's family, to the one with the fewest GPUs.
    ``away`` are pools or families that take no jobs either; one that is neither raises ``ConfigError``.
    ``built`` are the archs that this build is for (see ``built_for``); where nothing is said, those of archs.yaml.
    """
    absent = _away(pools, away)
    matrix = catalogue.data[name].get("matrix", ()) if catalogue.runtime == "rocm" else ()
    case = _Case(catalogue, name, today, absent, built or {}, {})
    return tuple(_placed(case, pools, arch) for arch in matrix or ("",))


def built_for(stack: Stack, args: Resolved) -> Mapping[str, tuple[str, ...]]:
    """The archs that a build has code for, under ``""``, and each of its components, under its feature."""
    lists = {spec.feature: args.get(spec.name) for spec in stack.args if spec.type == "arch-list"}
    return {feature: tuple(archs.split(";")) for feature, archs in lists.items()}


def builder(pools: Pools, away: Collection[str] = ()) -> NodePool:
    """The first pool that builds images; raises ``ConfigError`` where all of them are away."""
    absent = _away(pools, away)
    able = [each for each in pools.pools if each.builds]
    for pool in able:
        if pool.name not in absent:
            return pool
    why = told([(pool.name, absent[pool.name]) for pool in able])
    hint = f"let another pool build: `builds: true` in {pools.file}"
    raise ConfigError("no-builder", f"no pool that builds images is there: {why}", hint=hint)


class _Case(NamedTuple):
    """One step to place; ``steps`` remembers it as it is on each arch that says something of its own."""

    catalogue: Catalogue
    name: str
    today: date
    absent: Mapping[str, str]
    built: Mapping[str, Collection[str]]
    steps: dict[str, Step]

    def step(self, arch: str) -> Step:
        """The step on a node of ``arch``."""
        key = arch if not arch or arch in self.catalogue.data[self.name].get("archs", {}) else "any"
        if key not in self.steps:
            self.steps[key] = self.catalogue.step(self.name, arch)
        return self.steps[key]


def _placed(case: _Case, pools: Pools, wanted: str) -> Placed:
    found = [(pool, _why_not(case, pool, wanted)) for pool in pools.pools]
    refused = tuple((pool.name, why) for pool, why in found if why)
    able = [pool for pool, why in found if not why]
    if not able:
        return Placed(case.step(wanted), wanted, None, refused)
    pool = min((each for each in able if each.family == able[0].family), key=lambda each: each.gpus)
    return Placed(case.step(pool.arch), pool.arch, pool, refused)


def _away(pools: Pools, names: Collection[str]) -> Mapping[str, str]:
    """The pools that take no jobs, each with why; raises ``ConfigError`` for a name that no pool or family has."""
    known = dict.fromkeys(name for each in pools.pools for name in (each.name, each.family) if name)
    for name in names:
        if name not in known:
            hint = suggest(name, list(known))
            raise ConfigError("unknown-pool", f"--away: {pools.file} has no pool or family {name!r}", hint=hint)
    by_hand = {each.name: "away (--away)" for each in pools.pools if {each.name, each.family} & {*names}}
    return {each.name: str(each.away) for each in pools.pools if each.away} | by_hand


def _why_not(case: _Case, pool: NodePool, wanted: str) -> str:
    """Why a pool cannot take the step; empty where it can."""
    if wanted and pool.arch != wanted:
        return f"has {pool.arch}, this run is on {wanted}" if pool.arch else "has no GPU"
    if why := _kind(case, pool):
        return why
    step = case.step(pool.arch)
    lacks = chain(_build(case, pool, step), _node(pool, step), _skip(case, pool, step))
    return next(lacks, case.absent.get(pool.name, ""))


def _kind(case: _Case, pool: NodePool) -> str:
    """GPUs or none: a step that needs none would keep others from them, and one that does proves nothing without."""
    if case.catalogue.runtime == "cpu":
        if pool.gpus:
            return "has GPUs, and the image has no GPU runtime"
        return "" if case.catalogue.runs_on_cpu(case.name) else "has no GPU, and the image has no GPU runtime"
    data = case.catalogue.data[case.name]
    if pool.gpus:
        return "" if case.step(pool.arch).needs.gpus else "has GPUs, and it needs none"
    return "has no GPU" if data.get("needs", {}).get("gpus", 0) else ""


def _build(case: _Case, pool: NodePool, step: Step) -> Iterator[str]:
    """What the images lack for the GPUs of a pool."""
    for component in step.needs.components if pool.gpus else ():
        if component not in pool.supports:
            yield f"{component} is not built for {pool.arch} (archs.yaml)"
        elif pool.arch not in case.built.get(component, (pool.arch,)):
            yield f"this build has {component} for {', '.join(case.built[component])}"
    if pool.gpus and pool.arch not in case.built.get("", (pool.arch,)):
        yield f"this build is for {', '.join(case.built[''])}, not for {pool.arch}"


def _node(pool: NodePool, step: Step) -> Iterator[str]:
    """What the nodes of a pool lack."""
    needs = step.needs
    if pool.gpus and needs.archs and pool.arch not in needs.archs:
        yield f"has {pool.arch}, it needs {' or '.join(needs.archs)}"
    for has, needed, what in (
        (pool.gpus, needs.gpus, "GPUs"),
        (pool.nodes, needs.nodes, "nodes"),
        (pool.memory_gb, needs.memory_gb, "GB of memory"),
    ):
        if needed > has:
            yield f"has {has} of the {needed} {what} it needs"
    if needs.rdma and not pool.rdma:
        yield "has no RDMA devices"
    if needs.nic and needs.nic not in pool.nics:
        yield f"has no {needs.nic} NIC"


def _skip(case: _Case, pool: NodePool, step: Step) -> Iterator[str]:
    """Why the step is left out on this kind of node alone; one that is left out everywhere is nobody's to place."""
    if step.skip and "skip" not in case.catalogue.data[case.name] and step.skip.holds(case.today):
        yield f"left out on {pool.arch or 'CPU'}: {step.skip}"
