"""The verbs that make a test pipeline of a change, and a catalogue of another project's step file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..answer import Answer
from ..call import Call

if TYPE_CHECKING:
    from ..pipeline.make import Made
    from ..settings import Settings


def pipeline(call: Call) -> Answer:
    """Write the test pipeline of this change: which steps run, where and why, as a table or for a CI; offline."""
    from ..pipeline import make, request
    from ..report import pipelines
    from ..world.clock import SystemClock

    asked = request.read(call.values)
    given = make.given(call.settings, asked, SystemClock().now().date())
    if asked.committed:
        text, notices = make.workflow(given)
        _say(call, notices)
        return pipelines.committed(text, notices)
    made = make.make(given, asked)
    _say(call, made.notices)
    if asked.form == request.DOCUMENT:
        tell(call.settings, made)
        return pipelines.as_json(made)
    if not asked.form:
        return pipelines.answer(made, explain=asked.explain)
    return pipelines.emitted(made, make.emitted(made, asked.form))


def catalogue(call: Call) -> Answer:
    """Write the step file of another project (--catalogue) in our own form; what that cannot say is listed."""
    from ..recipe import stack
    from ..report import catalogues
    from ..suites import catalogue as suites
    from ..suites.dialects import request

    request.read(call.text("action"), call.text("catalogue"))
    found = suites.load(stack.load(call.settings.get("ROCM_CI_STACK").value), call.text("catalogue"))
    request.refuse_ours(found.file, foreign=bool(found.notices))
    _say(call, (*found.notices[:1], *catalogues.told(found.lost)))
    return catalogues.converted(found)


def _say(call: Call, notices: tuple[str, ...]) -> None:
    for notice in notices:
        call.console.notice(notice)


def tell(settings: Settings, made: Made) -> None:
    """Give the jobs that run to the workflow of GitHub Actions that asked, if one did; none where none can run.

    With them the tests that had to run and cannot, which fail its last job.

    Raises ``ConfigError`` for a workflow that does not have them as they are.
    """
    import json

    from ..pipeline import make
    from ..providers import outputs
    from ..providers.emit import committed

    make.refuse_drift(settings, made.given)
    if not made.empty:
        pipeline = made.wired.pipeline
        outputs.give(settings, "jobs", json.dumps([job.key for job in pipeline.jobs]))
        outputs.give(settings, committed.NOT_RUN, ", ".join(each.key for each in pipeline.absent if each.pool))
