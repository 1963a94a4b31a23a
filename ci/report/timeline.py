"""A run as one HTML page that opens from disk: lanes and bars over time, and everything as a table.

The page asks nobody for anything: a policy in it forbids that, and lets only its own script and style run.
Names come from recipes, tests and programs, so none of them is believed to be harmless.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import islice, takewhile
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ..errors import Outcome
from ..printable import printable
from ..world import files
from ..world.spans import Span
from . import lanes, units
from .lanes import Lane

FILE = "timeline.html"

TEMPLATE = Path(__file__).with_name(FILE)

_BAD = 10
"""Lanes that ended badly which are told above the chart; the chart and the table have all of them."""

_PIECE = 100
"""Rows of the table that are shown at once."""

_GAPS = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30,
    60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400,
)  # fmt: skip
_TICKS = 7
_WAITS = frozenset({"wait", "lease"})
_LOOKS = {
    "ok": "ok", "cached": "cached, reused or adopted", "waited": "waited for others", "skipped": "skipped",
    "failed": "failed: the product or its contract", "not done": "could not be done: infra, timeout and the like",
    "interrupted": "interrupted",
}  # fmt: skip
_FAILED = frozenset({Outcome.FAILED, Outcome.CONTRACT})
_FINE = frozenset({Outcome.OK, Outcome.SKIPPED})


class Drawn(NamedTuple):
    """What is drawn: a run that took ``seconds``, and its spans.

    ``folder`` is where the page goes: paths of logs are told from there.  ``replays`` maps a step's name and shard to
    the command that runs it here.  ``lost`` says why spans are missing in the file beside the page.
    """

    verb: str
    folder: Path
    outcome: Outcome
    seconds: float
    spans: Sequence[Span]
    why: tuple[str, ...] = ()
    replays: Mapping[tuple[str, str], str] = MappingProxyType({})
    lost: str = ""


def page(drawn: Drawn) -> str:
    """The page, to be written in UTF-8."""
    run = Span("run", drawn.verb, 0.0, max(drawn.seconds, 0.001), drawn.outcome, drawn.why)
    rows = lanes.lanes(run, drawn.spans)
    template = files.read_text(TEMPLATE)
    parts = {
        "policy": _policy(template),
        "title": _safe(f"{drawn.verb}: {drawn.outcome}"),
        "heading": _safe(f"{drawn.verb}: {drawn.outcome} in {units.seconds(drawn.seconds)}"),
        "totals": _safe(lanes.totals(drawn.spans) or "No step and no tier was begun."),
        "run": _safe(f"run {drawn.folder.name}" + (f"; the span file has gaps: {drawn.lost}" if drawn.lost else "")),
        "bad": _bad(rows, drawn),
        "legend": "".join(_legend(rows)),
        "rows": "\n".join(_tables(list(_rows(rows)))),
        "data": json.dumps(_data(run, rows, drawn), separators=(",", ":")).replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _policy(template: str) -> str:
    """Nothing is fetched, sent or framed; of scripts and styles only the page's own run, told by their hashes."""

    def of(tag: str) -> str:
        text = template.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        return f"{tag}-src 'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return f"default-src 'none'; {of('script')}; {of('style')}; base-uri 'none'; form-action 'none'"


def _safe(text: str) -> str:
    """``text`` for a place between tags or in an attribute."""
    return escape(printable(text).encode("utf-8", "backslashreplace").decode())


def _look(span: Span) -> str:
    """How its bar looks, and so a word of the legend."""
    if span.outcome in _FAILED:
        return "failed"
    if span.outcome not in _FINE:
        return "interrupted" if span.outcome is Outcome.INTERRUPTED else "not done"
    if span.outcome is Outcome.SKIPPED:
        return "skipped"
    return "waited" if span.kind in _WAITS else "cached" if span.cached else "ok"


def _state(span: Span) -> str:
    return f"{span.outcome}, cached" if span.cached else str(span.outcome)


def _mark(span: Span) -> str:
    """What stands beside a lane's name: nothing depends on seeing colours."""
    look, took = _look(span), units.seconds(span.end - span.start)
    if look == "skipped":
        return look
    if span.kind == "GPU":
        return span.why[0]
    return took if look == "ok" else f"{look if look == 'cached' else span.outcome} {took}"


def _bad(rows: Sequence[Lane], drawn: Drawn) -> str:
    """The lanes that ended badly and have none below them that did."""
    found = [
        row
        for place, row in enumerate(rows)
        if row.depth and _is_bad(row.span) and not any(_is_bad(each.span) for each in _below(rows, place))
    ]
    told = found or [row for row in rows[:1] if _is_bad(row.span)]
    if not told:
        return ""
    told.sort(key=lambda row: row.span.outcome is Outcome.INTERRUPTED)  # most were stopped because another one failed
    items = "\n".join(_told(row, drawn) for row in told[:_BAD])
    more = f"<li>and {len(told) - _BAD} more</li>" if len(told) > _BAD else ""
    return f'<section id="bad" aria-label="What ended badly"><ul>\n{items}{more}\n</ul></section>'


def _below(rows: Sequence[Lane], place: int) -> Iterator[Lane]:
    """The lanes of what the one at ``place`` consists of."""
    return takewhile(lambda each: each.depth > rows[place].depth, islice(rows, place + 1, None))


def _is_bad(span: Span) -> bool:
    return span.outcome not in _FINE


def _told(row: Lane, drawn: Drawn) -> str:
    why = f": {_safe(row.span.why[0])}" if row.span.why else ""
    replay = drawn.replays.get((row.span.name, row.span.shard), "")
    command = f'<code class="replay">{_safe(replay)}</code>' if replay else ""
    return f"<li><strong>{_safe(row.span.outcome)}</strong> {_safe(row.name)}{why}{command}</li>"


def _legend(rows: Sequence[Lane]) -> Iterator[str]:
    seen = {_look(bar) for row in rows for bar, _ in row.bars}
    for look, text in _LOOKS.items():
        if look in seen:
            yield f'<li><span class="swatch" data-state="{look}"></span>{text}</li>'


def _tables(rows: Sequence[str]) -> Iterator[str]:
    """The table in pieces, each with its head: a browser lays out a large one anew for every row it gets."""
    names = ("what", "name", "start", "took", "outcome", "why")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    for place in range(0, len(rows), _PIECE):
        body = "\n".join(rows[place : place + _PIECE])
        yield f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _rows(rows: Sequence[Lane]) -> Iterator[str]:
    """A line of the table for every lane, and below it for each of its bars."""
    for row in rows:
        yield _row(row.span)
        yield from (_row(bar) for bar, _ in row.bars if bar is not row.span)


def _row(span: Span) -> str:
    name = f"{span.name} {span.shard}".rstrip()
    start, took = units.seconds(span.start), units.seconds(span.end - span.start)
    times = f'<td class="number">{start}</td><td class="number">{took}</td>'
    why = "<br>".join(map(_safe, span.why))
    return f"<tr><td>{_safe(span.kind)}</td><td>{_safe(name)}</td>{times}<td>{_state(span)}</td><td>{why}</td></tr>"


def _data(run: Span, rows: Sequence[Lane], drawn: Drawn) -> dict[str, Any]:
    """What the script draws: it knows no outcomes, units or paths, only where to put what."""
    places: dict[Span, int] = {}
    for row in rows:
        for each in (row.span, *(bar for bar, _ in row.bars)):
            places.setdefault(each, len(places))
    return {
        "seconds": run.end,
        "ticks": [[at, _tick(at)] for at in _ticks(run.end)],
        "spans": [_shown(span, drawn) for span in places],
        "lanes": [
            {
                "span": places[row.span],
                "depth": row.depth,
                "name": printable(row.name),
                "mark": _mark(row.span),
                "bad": _is_bad(row.span),
                "tracks": row.tracks,
                "bars": [[places[bar], track] for bar, track in row.bars],
            }
            for row in rows
        ],
    }


def _shown(span: Span, drawn: Drawn) -> dict[str, Any]:
    return {
        "what": span.kind,
        "name": printable(span.name),
        "start": span.start,
        "end": span.end,
        "from": units.seconds(span.start),
        "took": units.seconds(span.end - span.start),
        "state": _state(span),
        "look": _look(span),
        "why": [printable(each) for each in span.why],
        "gpus": list(span.gpus),
        "log": os.path.relpath(span.log, drawn.folder) if span.log else "",
        "replay": drawn.replays.get((span.name, span.shard), "") if span.kind == "step" else "",
    }


def _tick(at: float) -> str:
    """``0.5 s``, ``10 s``, ``5 min``, ``1 min 20 s``: a round moment without the zeros."""
    if at < 60:
        return f"{at:g} s"
    return units.seconds(at).removesuffix(" 0 s").removesuffix(" 00 min")


def _ticks(seconds: float) -> list[float]:
    """Moments to name on the axis, at round distances; the last is not at the very edge."""
    gap = next((each for each in _GAPS if seconds / each <= _TICKS), seconds / _TICKS)
    return [round(number * gap, 3) for number in range(int(seconds * 0.97 / gap) + 1)]
