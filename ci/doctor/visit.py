"""One visit: all checks at once, what they found put together, and how it reads.

Every check runs detached, so the whole answer is there within the deadline of one of them,
whatever hangs.  Nothing is written anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..answer import Answer
from ..errors import CiError, ConfigError, Outcome, worst
from ..printable import printable
from ..report.units import counted
from ..settings import Settings
from ..world import nics as cards
from ..world import probes, sysfs
from ..world.clock import SystemClock
from ..world.engine import Engine, endpoint
from ..world.http import send
from . import builders, nics, pages, surroundings, trust, upstreams
from .findings import STATES, Case, Check, Finding

DEADLINE = 4.0
"""Seconds a check may take; all run at once, so it is what the whole visit takes where something hangs.

A stack that is built from elsewhere gets ``upstreams.ALL`` more.
"""

_WIDE = 120
"""Characters up to which a remedy stands beside its finding."""

_WAKE = "start it (./ci/bootstrap true, or systemctl restart docker), or correct DOCKER_HOST or the docker context"
_PLUGIN = "docker buildx version should answer at once: reinstall docker-cli and docker-buildx"
_CONFIG = "repair docker's configuration folder: docker context ls, docker buildx ls"
_REGISTRY = "check the address and the credential helper, or leave --registry out"
_MOUNT = "a dead mount hangs whoever looks at it: mount, dmesg"
_GIT = "git status should answer at once: a dead mount, or a tree too large for it"
_DRIVER = "the GPU driver hangs: dmesg; the node needs a reset"
CHECKS: tuple[Check, ...] = (
    Check("settings", surroundings.look_at_settings, "run it again"),
    Check("engine", builders.look_at_engine, _WAKE, where=builders.where),
    Check("image-store", builders.look_at_image_store, _WAKE, needs_engine=True),
    Check("buildx", builders.look_at_buildx, _PLUGIN),
    Check("builder", builders.look_at_builder, _CONFIG),
    Check("disk", builders.look_at_disk, _MOUNT, needs_engine=True),
    Check("cache", builders.look_at_cache, _MOUNT, fatal=False, needs_engine=True),
    Check("roots", builders.look_at_roots, _WAKE, fatal=False, needs_engine=True),
    Check("state", surroundings.look_at_state_folder, _MOUNT),
    Check("runs", surroundings.look_at_runs, _MOUNT, fatal=False),
    Check("registry", builders.look_at_registry, _REGISTRY),
    Check("trust", trust.look_at_trust, _REGISTRY),
    Check("network", surroundings.look_at_network, _MOUNT, fatal=False),
    Check("clock", surroundings.look_at_clock, "run it again"),
    Check("git", surroundings.look_at_git, _GIT, fatal=False),
    Check("gpus", surroundings.look_at_gpus, _DRIVER, fatal=False),
    Check("amd-smi", surroundings.look_at_amd_smi, _DRIVER, fatal=False),
    Check("leases", surroundings.look_at_leases, _MOUNT, fatal=False),
    Check("nics", nics.look_at_nics, _DRIVER, fatal=False),
    Check("pins", upstreams.look_at_pins, "run it again"),
)


def answer(settings: Settings) -> Answer:
    """Examine this host; the outcome is that of the worst finding."""
    stack, about_stack = surroundings.look_at_stack(settings)
    case = Case(
        settings,
        stack,
        Path.cwd(),
        lambda: Engine(endpoint(settings)),
        probes.ask,
        partial(probes.ask, seconds=pages.PATIENCE),
        send,
        SystemClock(),
        sysfs.devices,
        partial(cards.look, nics.MODULES),
    )
    return render((*about_stack, *examine(case, CHECKS, patience(case))))


def patience(case: Case) -> float:
    """Seconds for the slowest check: what is elsewhere takes longer to answer than this host."""
    try:
        return DEADLINE + upstreams.ALL if upstreams.needed(case).asked else DEADLINE
    except ConfigError:  # the check tells it as well
        return DEADLINE


def _late(check: Check, case: Case, seconds: float) -> TimeoutError:
    return TimeoutError(f"{check.where(case)} did not answer within {seconds:g} s".strip())


def examine(case: Case, checks: Sequence[Check], seconds: float = DEADLINE) -> tuple[Finding, ...]:
    """The findings of all ``checks``; one that says nothing within ``seconds`` is a finding as well."""
    questions: Mapping[str, Callable[[], tuple[Finding, ...]]] = {
        check.name: partial(_looked, check, case) for check in checks
    }
    told = probes.gather(questions, seconds)
    no_engine = not isinstance(told.get("engine", ()), tuple)
    found: list[Finding] = []
    for check in checks:
        said = told[check.name]
        if isinstance(said, tuple):
            found += said
        elif no_engine and check.needs_engine:  # one dead engine is one failure
            found.append(Finding(check.name, "warn", "not checked, because of the engine", "see engine"))
        else:
            found.append(_troubled(check, said or _late(check, case, seconds)))
    return tuple(_merged(found))


def _looked(check: Check, case: Case) -> tuple[Finding, ...]:
    return tuple(check.look(case))


def _troubled(check: Check, error: BaseException) -> Finding:
    """The finding of a check that ended in an error."""
    message, remedy, outcome = str(error), check.remedy, Outcome.INFRA
    if isinstance(error, CiError):
        problem = error.problems[0]
        message = f"{problem.message}: {problem.context}" if problem.context else problem.message
        remedy = problem.hint if problem.hint and "inv doctor" not in problem.hint else check.remedy
        outcome = Outcome.INFRA if error.outcome is Outcome.TIMEOUT else error.outcome
    elif not isinstance(error, OSError):
        message, outcome = f"the check itself failed: {type(error).__name__}: {error}", Outcome.INTERNAL
        remedy = "this is a bug of ours: report this line"
    if not check.fatal and outcome is Outcome.INFRA:
        return Finding(check.name, "warn", message, remedy)
    return Finding(check.name, "fail", message, remedy, outcome)


def _merged(found: Iterable[Finding]) -> Iterator[Finding]:
    """One finding per check and subject, its lesser states left out."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for each in found:
        groups.setdefault((each.check, each.subject), []).append(each)
    for (name, subject), group in groups.items():
        state = min((each.state for each in group), key=STATES.index)
        same = [each for each in group if each.state == state]
        message = "; ".join(dict.fromkeys(each.message for each in same))
        remedy = "; ".join(dict.fromkeys(each.remedy for each in same if each.remedy))
        yield Finding(name, state, message, remedy, worst(each.outcome for each in same), subject)


def render(found: Sequence[Finding]) -> Answer:
    """Failures first, a remedy beside its finding or below it, one word at the end."""
    ordered = sorted((each.shown for each in found), key=lambda each: STATES.index(each.state))
    width = max((len(each.check) for each in ordered), default=0)
    lines = [line for each in ordered for line in _lines(each, width)]
    fails, warns = (sum(each.state == state for each in ordered) for state in ("fail", "warn"))
    tail = f", {counted(warns, 'warning')}" if warns else ""
    lines.append((counted(fails, "problem") if fails else "ready") + tail)
    outcome = worst([Outcome.OK, *(each.outcome for each in ordered)])
    document = {"schema": 1, "outcome": outcome, "findings": [_document(each) for each in ordered]}
    return Answer(outcome, "\n".join(lines), document)


def _lines(finding: Finding, width: int) -> Iterator[str]:
    subject = f"{finding.subject}: " if finding.subject else ""
    message = " ".join(printable(subject + finding.message.replace("\n", " ")).split())
    line = f"{finding.state:<4}  {finding.check:<{width}}  {message}"
    remedy = "→ " + " ".join(printable(finding.remedy).split())
    if finding.subject and finding.remedy and len(f"{line} {remedy}") <= _WIDE:
        yield f"{line} {remedy}"  # many of one kind are read as a table
    else:
        yield line
        if finding.remedy:
            yield " " * (width + 8) + remedy


def _document(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "subject": finding.subject,
        "state": finding.state,
        "message": finding.message,
        "remedy": finding.remedy,
        "outcome": finding.outcome,
    }
