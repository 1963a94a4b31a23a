"""What both doors share: perform a verb, render how it ended, give the exit code.

Nothing below this raises to the caller; no traceback is shown without ``--debug``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TextIO

from .answer import Answer
from .call import Call, Verb
from .errors import CiError, InternalError, Outcome, Problem
from .world.process import listen


def perform(verb: Verb, values: Mapping[str, Any], stdout: TextIO, stderr: TextIO) -> int:
    """Run ``verb`` and return the process exit code."""
    call = Call(verb, values, stderr)
    try:
        with listen():
            answer = verb.run(call)
        code = answer.outcome.exit_code
    except CiError as error:
        answer, code = _failed(call, error), error.exit_code
    except Exception as error:  # the boundary: a bug of ours must still end typed
        if call.on("debug"):
            raise
        answer, code = _failed(call, _bug(error)), Outcome.INTERNAL.exit_code
    _close(call, answer, code)
    text = json.dumps(answer.document, indent=2, ensure_ascii=False) if call.on("json") else answer.text
    return _emit(text, stdout, stderr) or code


def _bug(error: Exception) -> InternalError:
    hint = "run it again with --debug and report the traceback"
    return InternalError("bug", f"{type(error).__name__}: {error}", hint=hint)


def _failed(call: Call, error: CiError) -> Answer:
    """The answer of a run that ended in an error, rendered to stderr at once."""
    from .report.console import render_problems

    if call.on("debug") and error.__cause__ is None:
        import traceback

        traceback.print_exception(error, file=call.stderr)
    _emit(render_problems(error.problems, error.outcome), call.stderr, call.stderr)
    document = {"outcome": error.outcome, "problems": [_shown(problem) for problem in error.problems]}
    return Answer(error.outcome, "", {"schema": 1, "verb": call.verb.name, **document})


def _shown(problem: Problem) -> dict[str, Any]:
    data = asdict(problem)
    data["place"] = str(problem.place) if problem.place else None
    return {key: value for key, value in data.items() if value}


def _close(call: Call, answer: Answer, code: int) -> None:
    """Leave ``result.json`` in the run folder, whatever happened, and end the run in the ledger."""
    if call.ledger is None:
        return
    from .world import files

    try:
        result = {**answer.document, "outcome": answer.outcome, "exit_code": code}
        files.write_json(call.ledger.folder / "result.json", result)
        call.ledger.end()
    except CiError as error:
        _emit(f"warning: {error}\n", call.stderr, call.stderr)


def _emit(text: str, stream: TextIO, stderr: TextIO) -> int:
    """Write to ``stream``. A reader that went away is no error; a full disk is, said on stderr."""
    if not text:
        return 0
    try:
        stream.write(text if text.endswith("\n") else text + "\n")
        stream.flush()
    except BrokenPipeError:
        _silence(stream)
    except OSError as error:
        _silence(stream)
        if stream is not stderr:
            _emit(f"error: the result could not be written: {error.strerror}", stderr, stderr)
            return Outcome.INFRA.exit_code
    return 0


def _silence(stream: TextIO) -> None:
    """Point the stream at nothing, so that Python's own flush at exit cannot fail as well."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except OSError:
        sys.stdout = None
