"""What the verbs have in common: the workspace of a call, and its run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..call import Call
from ..errors import CiError

if TYPE_CHECKING:
    from pathlib import Path

    from ..build.perform import Performance
    from ..build.workspace import Workspace
    from ..world.ledger import Ledger

SOURCE = "NAME=PATH"
"""What ``--source`` takes."""


def workspace(call: Call, *goals: str) -> Workspace:
    """The workspace of this call, every option checked."""
    from ..build.workspace import open_workspace

    return open_workspace(call.settings, call.pairs("source", SOURCE), goals, lambda text: call.console.say(text))  # noqa: PLW0108 - the console is made on first use


def say_notices(call: Call, work: Workspace) -> None:
    """Say what became of the arguments that somebody gave."""
    for notice in work.args.notices:
        call.console.notice(notice)


@contextmanager
def performing(call: Call, work: Workspace, *, push: bool = False) -> Iterator[Performance]:
    """A performance in a run of its own; where it ends badly, what it did is shown first."""
    from ..build.perform import Performance
    from ..build.scope import settled, watch
    from ..report import runs

    ledger = begin(call, work.state)
    on_unknown = work.settings.get("ROCM_CI_ON_UNKNOWN").value
    with ledger.spans.during("rights", "trust and scope"):
        if call.on("push"):
            work = settled(work, call.console.warn)
            push = work.writes is not None
        watch(work, call.console.warn, push=push)
    performance = Performance(work, ledger, call.console, push, on_unknown)
    try:
        yield performance
    except CiError as error:
        call.console.say(runs.failure(call.verb.name, performance, error))
        call.page = runs.page(call.verb.name, performance, error)
        raise


def state_folder(call: Call) -> Path:
    """The folder of ledgers, leases, caches and runs."""
    from pathlib import Path

    return Path(call.settings.get("ROCM_CI_STATE").value)


def opened(call: Call, state: Path) -> Ledger:
    """The ledger of this call, its run begun where it was not."""
    return call.ledger or begin(call, state)


def begin(call: Call, state: Path) -> Ledger:
    """Begin the run of this call."""
    from ..names import run_id
    from ..world import files
    from ..world.clock import SystemClock
    from ..world.ledger import Ledger
    from ..world.process import holding_signals

    run = run_id(SystemClock().now(), os.urandom(4).hex())
    with holding_signals():  # a run folder that is there is one we know of
        call.ledger = Ledger.begin(files.state(str(state)), run, call.verb.name)
    return call.ledger
