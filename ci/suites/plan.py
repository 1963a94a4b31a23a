"""What a suite means on this node: which steps run, as what, and why the others do not. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import NamedTuple

from ..documents import suggest
from ..errors import ConfigError, Problem
from .catalogue import Catalogue, Command, Exemption, Step

RESERVE = 60.0
"""Seconds of a run's deadline kept for evidence, clean-up and the report."""


_NO_CLUSTER = "that takes Slurm, and --runtime native, because a rank runs in what its node gives it"


_NONE: Mapping[str, str] = {}


class Here(NamedTuple):
    """What this node has: the arch of each GPU we may use, memory in GB, RDMA devices; and whether Slurm takes jobs.

    ``absent`` are the components that the image was built without, each with why; ``nics`` the backends whose
    network cards are there.
    """

    archs: tuple[str, ...] = ()
    memory_gb: int = 0
    rdma: bool = False
    cluster: bool = False
    absent: Mapping[str, str] = _NONE
    nics: tuple[str, ...] = ()


class Wish(NamedTuple):
    """What the caller asked for: steps by name (none: all), GPUs or nothing, seconds for everything (0: no limit)."""

    only: tuple[str, ...] = ()
    require_gpu: bool = False
    deadline: float = 0.0


class Planned(NamedTuple):
    """One step of the run; a ``skip`` that is not empty says why it does not run here.

    ``unmet``: because this node, or the image, lacks what it needs.  ``soft`` says why its failure fails nothing, and
    until when; empty where it does.
    """

    step: Step
    skip: str = ""
    unmet: bool = False
    excluded: tuple[Exemption, ...] = ()
    soft: str = ""

    @property
    def name(self) -> str:
        """The step's name."""
        return self.step.name


class SuitePlan(NamedTuple):
    """A whole run, as it is printed by ``--plan`` and carried out."""

    suite: str
    steps: tuple[Planned, ...]
    quarantine: tuple[Exemption, ...]
    notices: tuple[str, ...]

    @property
    def tiers(self) -> tuple[str, ...]:
        """The images it needs, each once."""
        return tuple(dict.fromkeys(each.step.tier for each in self.steps if not each.skip))


def make(catalogue: Catalogue, name: str, here: Here, wish: Wish, today: date) -> SuitePlan:
    """Plan suite ``name``; raises ``ConfigError`` with everything that cannot be meant."""
    suite = catalogue.suite(name)
    problems = [
        Problem("unknown-step", f"suite {name} has no step {only!r}", suggest(only, suite.steps))
        for only in wish.only
        if only not in suite.steps
    ]
    steps = tuple(
        _planned(catalogue, step, here, wish, today) for step in suite.steps if not wish.only or step in wish.only
    )
    problems += [problem for each in steps for problem in limit_problems(each.step)]
    problems += _deadline_problems(steps, wish)
    if problems:
        raise ConfigError.of(problems)
    quarantine = tuple(each for each in catalogue.quarantine if each.holds(today))
    return SuitePlan(name, steps, quarantine, tuple(_notices(catalogue, steps, today)))


def _planned(catalogue: Catalogue, name: str, here: Here, wish: Wish, today: date) -> Planned:
    usable = here.archs if catalogue.runtime == "rocm" else ()
    wanted = catalogue.step(name, usable[0]) if usable else catalogue.step(name)
    wants_gpu = bool(catalogue.data[name].get("needs", {}).get("gpus", 0))
    excluded = tuple(each for each in wanted.skips if each.holds(today))
    if wanted.skip and wanted.skip.holds(today):
        return Planned(wanted, str(wanted.skip), excluded=excluded)
    soft = str(wanted.soft) if wanted.soft and wanted.soft.holds(today) else ""
    lacks = _why_not(catalogue, wanted, usable, here, wish, wants_gpu=wants_gpu)
    return Planned(wanted, lacks, bool(lacks), excluded, soft)


def _why_not(
    catalogue: Catalogue, step: Step, usable: tuple[str, ...], here: Here, wish: Wish, *, wants_gpu: bool
) -> str:
    """Why a step cannot run here; empty where it can."""
    for component in step.needs.components:
        if component in here.absent:
            return f"needs {component}, which this build leaves out: {here.absent[component]}"
    if step.needs.nodes > 1:  # what the nodes have is Slurm's to know
        return "" if here.cluster else f"needs {step.needs.nodes} nodes: {_NO_CLUSTER}"
    if wants_gpu and not usable:
        missing = "this node has no GPU" if catalogue.runtime == "rocm" else "the image has no GPU runtime"
        if not catalogue.runs_on_cpu(step.name):
            return f"needs {_gpus(catalogue.data[step.name]['needs']['gpus'], ())}: {missing}"
        if wish.require_gpu:
            return f"would run on CPU, which --require-gpu forbids: {missing}"
    return _lacks(step, usable, here)


def _lacks(step: Step, usable: tuple[str, ...], here: Here) -> str:
    fitting = [arch for arch in usable if not step.needs.archs or arch in step.needs.archs]
    if step.needs.gpus > len(fitting):
        return f"needs {_gpus(step.needs.gpus, step.needs.archs)}: this node has {_gpus(len(usable), usable)}"
    if step.needs.memory_gb > here.memory_gb:
        return f"needs {step.needs.memory_gb} GB of memory: this node has {here.memory_gb}"
    if step.needs.rdma and not here.rdma:
        return "needs RDMA devices: this node has no /dev/infiniband"
    if step.needs.nic and step.needs.nic not in here.nics:
        return f"needs the {step.needs.nic} NIC: this node has {' and '.join(here.nics) or 'none'}"
    return ""


def _gpus(count: int, archs: tuple[str, ...]) -> str:
    """``8 GPUs (gfx942)``."""
    kinds = f" ({' or '.join(dict.fromkeys(archs))})" if archs else ""
    return f"{count} GPU{'' if count == 1 else 's'}{kinds}"


def limit_problems(step: Step) -> Iterator[Problem]:
    """An inner limit that is not shorter than the outer one never fires, and the outer one names no test."""
    for command in step.commands:
        for seconds in _timeouts(command):
            if seconds >= step.limits.seconds:
                message = f"step {step.name}: a test may take {seconds} s, the whole step {step.limits.seconds:g} s"
                hint = "raise limits.minutes, or lower --timeout"
                yield Problem("limits-crossed", message, hint)
    if step.limits.silent > step.limits.seconds:
        message = f"step {step.name}: it may be silent longer than it may take"
        yield Problem("limits-crossed", message, "lower silent_minutes")
    if step.ready and step.ready.seconds >= step.limits.seconds:
        message = f"step {step.name}: rank 0 may take {step.ready.seconds:g} s to be ready, all of it no longer"
        yield Problem("limits-crossed", message, "raise limits.minutes, or lower ready.seconds")


def _timeouts(command: Command) -> Iterator[int]:
    """The seconds of every ``--timeout`` of a command, those inside of a shell line too."""
    lines = [" ".join(command.words), *(" ".join(words) for words in command.ranks)]
    for line in lines:
        yield from (int(value) for value in re.findall(r"(?<!\S)--timeout[= ](\d+)(?!\S)", line, re.ASCII))


def _deadline_problems(steps: tuple[Planned, ...], wish: Wish) -> Iterator[Problem]:
    from ..world.sandbox import Limits

    for each in steps if wish.deadline else ():
        limits = each.step.limits
        teardown = Limits(limits.seconds, None, limits.grace).teardown_seconds
        needed = limits.seconds + teardown + RESERVE
        if not each.skip and needed > wish.deadline:
            message = (
                f"step {each.name} may take {limits.seconds:g} s, its teardown {teardown:g} s and the report "
                f"{RESERVE:g} s: more than the deadline of {wish.deadline:g} s"
            )
            yield Problem("limits-crossed", message, "raise --deadline, or lower the step's limits")


def _notices(catalogue: Catalogue, steps: tuple[Planned, ...], today: date) -> Iterator[str]:
    for each in steps:
        for exemption in (*each.step.skips, *filter(None, [each.step.skip])):
            if not exemption.holds(today):
                what = exemption.test or f"step {each.name}"
                yield f"{what} runs again: its exemption ended on {exemption.until} ({exemption.reason})"
        soft = each.step.soft
        if soft and not soft.holds(today):
            yield f"step {each.name} is soft no more: that ended on {soft.until} ({soft.reason})"
    for exemption in catalogue.quarantine:
        if not exemption.holds(today):
            yield f"{exemption.test} fails again where it fails: its quarantine ended on {exemption.until}"
