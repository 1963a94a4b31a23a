"""An indexing run as a person reads it, and as a document."""

from __future__ import annotations

from collections.abc import Iterator

from ..answer import Answer
from ..errors import Outcome
from ..names import IndexPage
from ..wheels.index import Result
from ..wheels.install import Line, lines
from .units import counted

_SHOWN = 10
"""New files, gone files and install lines shown in text; the JSON document has them all."""


def answer(result: Result, url: str, *, plan: bool) -> Answer:
    """What is listed now (``plan``: would be), and how to install what is new; ``url`` is where the wheels stand."""
    ways = lines(result.new, url)
    document = {
        "schema": 1,
        "outcome": Outcome.OK,
        "plan": plan,
        "url": f"{url.rstrip('/')}/{IndexPage()}",
        "wheels": result.entries if result.entries >= 0 else None,
        "projects": result.projects,
        "variants": list(result.variants),
        "read": result.read,
        "new": [entry.filename for entry in result.new],
        "gone": list(result.gone),
        "install": [{"requirement": way.requirement, "index": way.url, "pip": way.pip, "uv": way.uv} for way in ways],
    }
    return Answer(Outcome.OK, "\n".join(_text(result, ways, plan=plan)), document)


def _text(result: Result, ways: list[Line], *, plan: bool) -> Iterator[str]:
    verb = "would list" if plan else "lists"
    what = counted(result.entries, "wheel") if result.entries >= 0 else counted(len(result.new), "added wheel")
    variants = f", variants {' '.join(result.variants)}" if result.variants else ""
    yield f"the index {verb} {what}; {counted(result.projects, 'project')} in all{variants}"
    yield from _some("+", [entry.path for entry in result.new])
    yield from _some("-", result.gone)
    if ways:
        yield "install:"
        yield from _some(" ", [text for way in ways for text in (way.pip, way.uv)])


def _some(mark: str, texts: list[str] | tuple[str, ...]) -> Iterator[str]:
    yield from (f"  {mark} {text}" for text in texts[:_SHOWN])
    if len(texts) > _SHOWN:
        yield f"  {mark} and {len(texts) - _SHOWN} more (--json has them all)"
