"""The verbs that look at pins, settings, files and this host, and clean up."""

from __future__ import annotations

from ..answer import Answer
from ..call import Call
from .common import SOURCE, begin, say_notices, workspace


def pins(call: Call) -> Answer:
    """List the pins of the lock: kind, value, age, drift; or resolve one anew and say what that would rebuild."""
    from ..pins import request, update
    from ..report import pins as shown
    from ..world.clock import SystemClock

    asked = request.read(call.text("update"), call.text("to"), drift=call.on("drift"), plan=call.on("plan"))
    if not asked.name:
        return shown.listed(request.listed(call.settings, asked, SystemClock(), call.console.say))
    work = workspace(call)
    say_notices(call, work)
    found = request.outlook(work, asked, call.console.say)
    if asked.plan or not found.changes:
        return shown.updated(found, None)
    begin(call, work.state)
    return shown.updated(found, update.write(work, found, call.console.say))


def config(call: Call) -> Answer:
    """Show every setting with its value and where it came from; secrets are masked."""
    from ..report import configs

    return configs.answer(workspace(call))


def check(call: Call) -> Answer:
    """Tell everything that is wrong with a stack and its files, each with file and line; offline, writes nothing."""
    from ..check import look
    from ..check.material import Given

    given = Given(call.pairs("source", SOURCE), call.text("catalogue"))
    return look.answer(call.settings, call.text("overlay"), given)


def doctor(call: Call) -> Answer:
    """Check engine, builder, registry, disk, network settings, clock, git and GPUs; each finding with its remedy."""
    from ..doctor import visit

    return visit.answer(call.settings)


def reap(call: Call) -> Answer:
    """Remove what crashed runs left behind on this host; never touches anything else."""
    from .. import reap as reaper
    from ..world.clock import SystemClock

    return reaper.answer(call.settings, SystemClock(), dry=call.on("plan"))
