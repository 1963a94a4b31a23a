"""What the page of a CI shows of a run, as Markdown: its summary, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..answer import Answer
from ..printable import printable
from .markdown import code, fenced, plain


def page(verb: str, answer: Answer, done: str) -> str:
    """The page of a run that ended with ``answer``; ``done`` is what it had done before it broke off, empty for none.

    A verb that has no page of its own shows its text as it is.
    """
    parts = [(answer.page or done).rstrip() or f"### {code(verb)}: {answer.outcome}"]
    if not (answer.page or done) and answer.text:
        parts.append(fenced([printable(line) for line in answer.text.rstrip().split("\n")]))
    for problem in answer.document.get("problems", ()):
        parts += _problem(problem)
    return "\n\n".join(parts) + "\n"


def _problem(problem: Mapping[str, Any]) -> Iterator[str]:
    place = f" at {code(str(problem['place']))}" if problem.get("place") else ""
    hint = f"<br>{plain(printable(problem['hint']))}" if problem.get("hint") else ""
    yield f"**Error:** {plain(printable(problem['message']))} {code(problem['reference'])}{place}{hint}"
    if context := problem.get("context", "").rstrip():
        yield fenced([printable(line) for line in context.split("\n")])
