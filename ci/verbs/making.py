"""The verbs that make, audit and test what is not an image: kernels, wheels, indexes, suites."""

from __future__ import annotations

from ..answer import Answer
from ..call import Call
from ..errors import CiError, ConfigError, Outcome
from . import handing
from .common import begin, opened, performing, say_notices, state_folder, workspace

ALLOW = "RULE:PATTERN=REASON"
"""What ``--allow`` of an audit takes."""


def audit(call: Call) -> Answer:
    """Take a wheel, a binary, a folder or an image apart, and hold it to every rule of the contract."""
    from ..audit.image_request import is_image
    from ..audit.request import requested
    from ..report import audits

    if is_image(call.text("target")):
        return _audit_image(call)
    if call.text("tier"):
        raise ConfigError("not-an-image", f"--tier is for images, and {call.text('target')} is a path")
    examination = requested(call.settings, call.text("target"), call.text("budget-mb"), call.text("import"))
    for notice in examination.notices:
        call.console.notice(notice)
    allow = call.pairs("allow", ALLOW)
    return audits.answer(examination.perform(allow, lambda state: opened(call, state), call.console.warn))


def _audit_image(call: Call) -> Answer:
    from ..audit.image_request import requested
    from ..report import audits

    words = (call.text(name) for name in ("target", "budget-mb", "import", "tier"))
    asked = requested(call.settings, *words)
    for notice in asked.notices:
        call.console.notice(notice)
    console = call.console
    allow = call.pairs("allow", ALLOW)
    found = asked.perform(allow, lambda: opened(call, state_folder(call)), console.say, console.warn)
    return audits.of_image(found)


def index(call: Call) -> Answer:
    """Make a package index of a folder or bucket of wheels, for pip and uv; all is checked before any is shown."""
    from .. import documents, settings
    from ..report import indexes
    from ..wheels.place import perform
    from ..world.store import opened

    documents.refuse(settings.problems(call.settings))
    store = opened(call.text("place"))
    added = tuple(call.values.get("add") or ())
    if not call.on("plan"):
        begin(call, state_folder(call))
    result = perform(store, added, call.console.say, replace=call.on("replace"), plan=call.on("plan"))
    for notice in result.notices:
        call.console.notice(notice)
    return indexes.answer(result, call.text("url") or store.url, plan=call.on("plan"))


def hip_compile(call: Call) -> Answer:
    """Compile every HIP source of a project for every arch, in parallel; what has not changed is reused."""
    from ..kernels import job
    from ..report import compiles

    request = job.read(call.settings, call.text("project"), call.text("arch"), call.text("out"))
    for notice in request.notices:
        call.console.notice(notice)
    if call.on("plan"):
        return compiles.planned(job.outlook(request, call.console.say))
    return compiles.answer(job.perform(request, begin(call, request.state), call.console))


def wheel(call: Call) -> Answer:
    """Make a project's wheel from its sources and code objects, audit it, and bundle it for other jobs."""
    from ..report import packed
    from ..wheels import job

    texts = {name: call.text(name) for name in ("project", "arch", "objects", "rocm", "torch", "out")}
    options = job.Options(**texts, module=call.text("import"), trial=call.on("trial"))
    request = job.read(call.settings, options)
    for notice in request.compile.notices if request.compile else ():
        call.console.notice(notice)
    if call.on("plan"):
        return packed.planned(request)
    return packed.answer(job.perform(request, begin(call, request.state), call.console))


def test(call: Call) -> Answer:
    """Run a suite inside the stack's images, on this node's GPUs or on the CPU, with a verdict one can trust."""
    from ..report import suites
    from ..suites import job, request
    from ..world.clock import SystemClock

    handing.asked(call)
    begun = SystemClock().monotonic()
    asked = request.read(call.text("suite"), call.values, call.settings.get("ROCM_CI_RUNTIME").value)
    work = workspace(call)
    say_notices(call, work)
    found = job.read(asked, work)
    if asked.handoff:
        found = found.on(handing.taken(call, work, found.plan.tiers))
    for notice in (*found.catalogue.notices, *found.plan.notices):
        call.console.notice(notice)
    if call.on("plan"):
        return suites.planned(found.plan, found.outlook())
    with performing(call, work) as performance:
        run = found.perform(performance, begun)
    try:
        return suites.answer(run.perform())
    except (CiError, Exception) as error:
        ended = suites.answer(run.result(error.outcome if isinstance(error, CiError) else Outcome.INTERNAL))
        call.so_far, call.page = ended.document, ended.page
        if run.results:
            call.console.say(ended.text)
        raise
