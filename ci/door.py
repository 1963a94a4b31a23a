"""What both doors share: perform a verb, render how it ended, give the exit code.

Nothing below this raises to the caller; no traceback is shown without ``--debug``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from .answer import Answer
from .call import Call, Verb, console
from .errors import EXIT_CODES, CiError, InternalError, Interrupted, Outcome, Problem, masked
from .settings import Settings, capture
from .world.process import listen

if TYPE_CHECKING:
    from .report.timeline import Drawn
    from .world.ledger import Ledger

SIGINT_CODE = Outcome.INTERRUPTED.exit_code


@dataclass(frozen=True, slots=True)
class _End:
    """How a call ended: the answer, the text for stdout, and the exit code."""

    answer: Answer
    text: str
    code: int


def perform(verb: Verb, values: Mapping[str, Any], stdout: TextIO | None, stderr: TextIO | None) -> int:
    """Run ``verb`` and return the process exit code; a stream that is None was closed before we began."""
    call = Call(verb, values, stderr)
    try:
        outcome, code = _perform(call, stdout, stderr)
    except KeyboardInterrupt:  # before we listened, or while a slow reader took the result
        outcome, code = Outcome.INTERRUPTED, SIGINT_CODE
    with suppress(KeyboardInterrupt):
        _tell(call.settings, outcome, stderr)
        _settle(stderr)
    return code


def _perform(call: Call, stdout: TextIO | None, stderr: TextIO | None) -> tuple[Outcome, int]:
    with listen():
        try:
            end = _run(call)
            unkept = _close(call, end.answer, end.code)
            _show(call, end.answer)
        except Interrupted as error:  # after the verb's end; from here on signals are ignored
            end = _failed(call, error)
            unkept = _close(call, end.answer, end.code)
    lost = write(end.text, stdout, stderr)
    if lost and not end.code:
        _close(call, Answer(Outcome.INFRA, "", end.answer.document), lost)
    code = end.code or lost or unkept
    return (end.answer.outcome if code == end.code else _named(code)), code


def _named(code: int) -> Outcome:
    """The outcome of a run that ended well, and whose result was then lost."""
    return next((outcome for outcome, each in EXIT_CODES.items() if each == code), Outcome.INTERNAL)


def _tell(settings: Settings, outcome: Outcome, stderr: TextIO | None) -> None:
    """Give the outcome to a workflow that asks for it; one that cannot be told takes no outcome for a failure."""
    from .providers import outputs

    try:
        outputs.give(settings, "outcome", outcome)
    except CiError as error:
        console(settings.environ, stderr).warn(f"the outcome is not told: {error}")


def _show(call: Call, answer: Answer) -> None:
    """Put what a run did on the page of its CI, where there is one; decides nothing."""
    if call.ledger is None:
        return
    from .providers import pages

    if not pages.wanted(call.settings):
        return
    from .report.page import page

    try:
        pages.tell(call.settings, call.verb.name, answer.outcome, page(call.verb.name, answer, call.page))
    except Interrupted:
        raise
    except (CiError, Exception) as error:  # noqa: BLE001 - a page for people must not change how a run ended
        call.console.warn(f"the page of this build is not told: {error}")


def refuse(verb: str, error: CiError, stdout: TextIO | None, stderr: TextIO | None, *, as_json: bool) -> int:
    """Show why a command line is not performed at all; returns the exit code."""
    settings = capture()
    console(settings.environ, stderr).problem(error.problems, error.outcome)
    if as_json:
        write(_encoded(_document(verb, error)), stdout, stderr)
    _tell(settings, error.outcome, stderr)
    _settle(stderr)
    return error.exit_code


def write(text: str, stream: TextIO | None, stderr: TextIO | None) -> int:
    """Write to ``stream``: 0, or the exit code for a result that was lost.

    A reader that went away is no error; a full disk is one, said on stderr.  What the stream
    cannot encode is written as an escape.
    """
    if stream is None or not text:
        return 0
    encoding = stream.encoding or "utf-8"
    shown = text.encode(encoding, "backslashreplace").decode(encoding)
    try:
        stream.write(shown if shown.endswith("\n") else shown + "\n")
        stream.flush()
    except BrokenPipeError:
        _silence(stream)
    except OSError as error:
        _silence(stream)
        console(capture().environ, stderr).say(f"error: the result could not be written: {error.strerror}")
        return Outcome.INFRA.exit_code
    return 0


def _run(call: Call) -> _End:
    try:
        call.refuse_empty()
        answer = call.verb.run(call)
        text = _encoded(answer.document) if call.on("json") else _safe(call, answer.text)
        return _End(answer, text, answer.outcome.exit_code)
    except CiError as error:
        return _failed(call, error)
    except Exception as error:  # noqa: BLE001 - the boundary: a bug of ours must still end typed
        if isinstance(error.__cause__, Interrupted):  # until 3.12 Python wraps what comes while it makes a class
            return _failed(call, error.__cause__)
        return _failed(call, _bug(error), error)


def _safe(call: Call, text: str) -> str:
    """``text`` without lines that the CI we run on would obey: a result quotes what programs said."""
    from .providers.folding import folding

    return "\n".join(map(folding(call.settings.environ).safe, text.split("\n")))


def _bug(error: Exception) -> InternalError:
    hint = "run it again with --debug and report the traceback"
    return InternalError("bug", f"{type(error).__name__}: {error}", hint=hint)


def _failed(call: Call, error: CiError, cause: Exception | None = None) -> _End:
    """The end of a run that ended in an error, shown on stderr at once."""
    if call.on("debug"):
        import traceback

        write(masked("".join(traceback.format_exception(cause or error))), call.stderr, None)
    call.console.problem(error.problems, error.outcome)
    document = {**call.so_far, **_document(call.verb.name, error)}
    text = _encoded(document) if call.on("json") else ""
    return _End(Answer(error.outcome, "", document), text, error.exit_code)


def _document(verb: str, error: CiError) -> dict[str, Any]:
    problems = [_shown(problem) for problem in error.problems]
    return {"schema": 1, "verb": verb, "outcome": error.outcome, "problems": problems}


def _shown(problem: Problem) -> dict[str, Any]:
    data = problem.shown._asdict()
    data["place"] = str(problem.place) if problem.place else None
    return {key: value for key, value in data.items() if value}


def _encoded(document: Mapping[str, Any]) -> str:
    """One JSON document, in ASCII: file names need not be text, and not every reader expects UTF-8."""
    return json.dumps(document, indent=2)


def _close(call: Call, answer: Answer, code: int) -> int:
    """Leave ``result.json`` in the run folder, whatever happened, and end the run in the ledger.

    0, or the exit code for a run whose result could not be kept: whoever comes later finds none, which is no success.
    """
    if call.ledger is None:
        return 0
    from .world import files

    _draw(call, call.ledger, answer)
    try:
        result = {**answer.document, "outcome": answer.outcome, "exit_code": code}
        files.write_json(call.ledger.folder / "result.json", result)
        call.ledger.end()
    except Interrupted:
        raise
    except CiError as error:
        call.console.problem(error.problems, error.outcome)
        return error.exit_code
    return 0


def _draw(call: Call, ledger: Ledger, answer: Answer) -> None:
    """Leave the run's timeline beside its result, where it did anything that takes time; decides nothing."""
    if not ledger.spans.done:
        return
    from .report import timeline
    from .world import files

    path = ledger.folder / timeline.FILE
    try:
        files.write_whole(path, timeline.page(_drawn(call, ledger, answer)).encode(), lasting=False)
    except Interrupted:
        raise
    except (CiError, Exception) as error:  # noqa: BLE001 - a page for people must not change how a run ended
        call.console.warn(f"there is no timeline of this run: {error!r}")
    else:
        call.console.say(f"timeline: {path}")


def _drawn(call: Call, ledger: Ledger, answer: Answer) -> Drawn:
    from .report.timeline import Drawn

    said = " ".join(filter(None, (call.verb.name, call.values.get(call.verb.argument))))
    steps, problems = (answer.document.get(name, ()) for name in ("steps", "problems"))
    spans = ledger.spans
    return Drawn(
        said,
        ledger.folder,
        answer.outcome,
        spans.now(),
        spans.done,
        why=tuple(each["message"] for each in problems),
        replays={(each["name"], each["shard"]): each["replay"] for each in steps if each.get("replay")},
        lost=spans.lost,
    )


def _settle(stderr: TextIO | None) -> None:
    """What is left for stderr goes out now; a failing flush at Python's end would be exit code 120."""
    if stderr is None:
        return
    try:
        stderr.flush()
    except OSError:
        _silence(stderr)


def _silence(stream: TextIO) -> None:
    """Point the stream at nothing, so that Python's own flush at exit cannot fail as well."""
    with suppress(OSError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
