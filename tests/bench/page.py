"""The results as a page."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime

from . import index, kernels, pipelines
from .goals import GOALS, Goal, Measured, met
from .measure import Series, output

HEAD = """\
# Benchmarks

Written by `nox -s bench`; `nox -s bench -- --check` exits with 1 past a goal. Ratios, not seconds, are what
carries over to another machine: both sides run in turn on the same machine in the same minutes, as whole
processes, after a warm-up; a ratio is the median of the ratios of all rounds.

| What | Ours | Other | Ratio | Goal | Met |
|---|---|---|---|---|---|
"""


def page(found: Mapping[str, Measured], facts: Mapping[str, str]) -> str:
    """Markdown: the table, then what it was measured on."""
    rows = [_row(goal, found[goal.key]) for goal in GOALS if goal.key in found]
    return HEAD + "\n".join([*rows, "", *(f"- {name}: {value}" for name, value in facts.items()), ""])


def facts(stack: str) -> dict[str, str]:
    """What the numbers depend on."""
    server = output(["docker", "version", "--format", "{{.Server.Version}}"])
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "Docker Engine": server,
        "buildx": output(["docker", "buildx", "version"]).split()[1],
        "load when it ended": f"{os.getloadavg()[0]:.1f} of {len(os.sched_getaffinity(0))} cores, this included",
        "stack of nothing-to-do and plan": stack,
        "cells": "median (smallest to largest); bake exports the image to the engine on both sides",
        "hipcc": kernels.RIVAL,
        "dumb-pypi": index.RIVAL,
        "PyYAML and Jinja": pipelines.RIVAL,
        "shards": "no clock: sums of the durations in `tests/bench/shards.json`; cells are over 2 to 16 shards",
    }


def _row(goal: Goal, found: Measured) -> str:
    other = f"{_shown(found.other)}, {goal.other}" if found.other else ""
    ratio = f"{found.ratio:.2f}" if found.ratio is not None else ""
    verdict = {True: "yes", False: "**no**", None: ""}[met(goal, found)]
    return f"| {goal.what} | {_shown(found.ours)} | {other} | {ratio} | {_bound(goal)} | {verdict} |"


def _bound(goal: Goal) -> str:
    if goal.bound is None:
        return ""
    return f"≤ {goal.bound:.3g}" if goal.kind == "ratio" else f"< {_seconds(goal.bound)}"


def _shown(series: Series) -> str:
    return f"{_seconds(series.median)} ({_seconds(min(series.seconds))} to {_seconds(max(series.seconds))})"


def _seconds(value: float) -> str:
    if 0 < value < 0.01:
        return f"{value * 1000:.2g} ms"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"
