"""The pipeline file of a stack: pools of nodes that steps run on, and what a change of which files means."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from .. import documents
from ..errors import ConfigError, Place, Problem
from ..recipe.args import Arch
from ..recipe.stack import HOME, Stack
from ..recipe.stack import archs as arch_table
from ..world import files

_LEAST = {"gpus": 0, "nodes": 1, "memory_gb": 1}


class Away(NamedTuple):
    """Why a pool takes no jobs now, and the day on which somebody looks again."""

    reason: str
    until: date | None = None

    def __str__(self) -> str:
        return f"away until {self.until}: {self.reason}" if self.until else f"away: {self.reason}"


class NodePool(NamedTuple):
    """Nodes of one kind, each job of which gets ``gpus`` GPUs, on up to ``nodes`` nodes.

    ``family`` is the GPUs' product name, ``arch`` their gfx target, both empty without GPUs; ``supports`` are the
    components that are built for that target.  ``memory_gb`` is what one job gets on a node.  ``buildkite`` are
    tags of its agents, ``github`` labels of its runners; it may lack either.  How many jobs run at once is not said
    here: that is how many agents or runners there are.
    """

    name: str
    family: str
    arch: str
    supports: frozenset[str]
    gpus: int
    nodes: int
    memory_gb: int
    rdma: bool
    nics: tuple[str, ...]
    builds: bool
    buildkite: Mapping[str, str]
    github: tuple[str, ...]
    away: Away | None


class Label(NamedTuple):
    """What a label of a pull request asks for: a profile (empty: the same), every step of it."""

    profile: str = ""
    run_all: bool = False


class Pools(NamedTuple):
    """A whole pipeline file; ``pools`` stand in order of preference.

    ``tool`` are the words that start this tool on a node; ``bundle`` is where images travel through, empty where
    they are pushed; ``checkout`` is GitHub's action, by commit.  ``docs`` and ``run_all`` are globs of the source.
    """

    file: str
    tool: tuple[str, ...]
    bundle: str
    checkout: str
    docs: tuple[str, ...]
    run_all: tuple[str, ...]
    labels: Mapping[str, Label]
    pools: tuple[NodePool, ...]
    document: documents.Document


def load(stack: Stack) -> Pools:
    """The pipeline file of ``stack``; raises ``ConfigError`` with all problems, each with its line."""
    if not stack.pipeline:
        hint = "name its pipeline file: `pipeline: pipelines/NAME.yaml`"
        raise ConfigError("no-pipeline", f"stack {stack.name} has no pipeline", hint=hint, place=Place(stack.file))
    return read(stack.recipe / stack.pipeline, arch_table())


def read(path: Path, archs: Sequence[Arch]) -> Pools:
    """The pipeline file ``path``; families are aliases of ``archs``."""
    document = documents.read(files.read_text(path), path.name)
    schema = json.loads(files.read_text(HOME / "pipelines" / "pipeline.schema.json"))
    documents.refuse((*document.problems, *documents.check(document, schema)))
    families = {alias: arch for arch in archs for alias in arch.aliases}
    documents.refuse(tuple(_problems(document, families)))
    data = document.value
    return Pools(
        file=path.name,
        tool=tuple(data.get("tool", ("python3", "-m", "ci"))),
        bundle=data.get("bundle", ""),
        checkout=data.get("github", {}).get("checkout", ""),
        docs=tuple(data.get("docs", ())),
        run_all=tuple(data.get("run_all", ())),
        labels={name: Label(**each) for name, each in data.get("labels", {}).items()},
        pools=tuple(_pool(name, each, families) for name, each in data["pools"].items()),
        document=document,
    )


def overdue(pools: Pools, today: date) -> tuple[str, ...]:
    """A notice for each pool that is away past the day on which somebody was to look again; it stays away."""
    return tuple(
        f"pool {each.name} is still away; {pools.file} says to look again on {each.away.until} ({each.away.reason})"
        for each in pools.pools
        if each.away and each.away.until and each.away.until < today
    )


def _pool(name: str, data: Mapping[str, Any], families: Mapping[str, Arch]) -> NodePool:
    family = data.get("family", "")
    away = data.get("away")
    return NodePool(
        name=name,
        family=family,
        arch=families[family].name if family else "",
        supports=families[family].supports if family else frozenset(),
        gpus=data.get("gpus", 0),
        nodes=data.get("nodes", 1),
        memory_gb=data["memory_gb"],
        rdma=data.get("rdma", False),
        nics=tuple(data.get("nics", ())),
        builds=data.get("builds", False),
        buildkite=data.get("buildkite", {}),
        github=tuple(data.get("github", ())),
        away=Away(away["reason"], _day(away)) if away else None,
    )


def _day(away: Mapping[str, str]) -> date | None:
    return date.fromisoformat(away["until"]) if "until" in away else None


# --- what the schema cannot see -----------------------------------------------------------------


def _problems(document: documents.Document, families: Mapping[str, Arch]) -> Iterator[Problem]:
    pools = document.value["pools"]
    for name, pool in pools.items():
        yield from _pool_problems(document, name, pool, families)
    if not any(pool.get("builds") for pool in pools.values()):
        hint = "say `builds: true` for the pool whose nodes build images"
        yield Problem("no-builder", "no pool builds images", hint, place=document.key("pools"))
    for name, label in document.value.get("labels", {}).items():
        if not label.get("profile") and not label.get("run_all"):
            hint = "give it a profile or `run_all: true`, or delete it"
            yield Problem("empty-label", f"label {name} asks for nothing", hint, place=document.key("labels", name))


def _pool_problems(
    document: documents.Document, name: str, pool: Mapping[str, Any], families: Mapping[str, Arch]
) -> Iterator[Problem]:
    for key, least in _LEAST.items():
        if pool.get(key, least) < least:
            yield Problem("wrong-value", f"{key} must be {least} or more", place=document.place("pools", name, key))
    family, gpus = pool.get("family", ""), pool.get("gpus", 0)
    if family and family not in families:
        hint = documents.suggest(family.upper(), list(families))
        place = document.place("pools", name, "family")
        yield Problem("unknown-family", f"no GPUs are called {family!r} in archs.yaml", hint, place=place)
    if gpus > 0 and not family:
        hint = "say which: `family: MI300X`"
        yield Problem("no-family", f"pool {name} has GPUs of no family", hint, place=document.key("pools", name))
    if family and gpus == 0:
        hint = "say how many a job gets: `gpus: 1`"
        place = document.place("pools", name, "family")
        yield Problem("no-gpus", f"pool {name} has a family of GPUs and no GPU", hint, place=place)
    try:
        _day(pool.get("away", {}))
    except ValueError:
        place = document.place("pools", name, "away", "until")
        yield Problem("wrong-value", f"{pool['away']['until']} is no day", place=place)
