"""What retention takes and what it took, for people and as a document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ..answer import Answer
from ..errors import Outcome
from ..publish.retain import Retained, Taken
from ..publish.retention import Fate, Kind
from .units import counted

_SHOWN = 50
"""Things shown that go, and that went; the JSON document has them all."""


def answer(verb: str, retained: Retained) -> Answer:
    """A retention, done or only planned."""
    document = {
        "schema": 1,
        "verb": verb,
        "outcome": Outcome.OK,
        "plan": not retained.applied,
        "channel": retained.channel,
        "goes": [_row(fate) for fate in retained.fates if fate.goes],
        "stays": [_row(fate) for fate in retained.fates if not fate.goes],
        "spared": [_row(fate) for fate in retained.spared],
    }
    return Answer(Outcome.OK, "\n".join(_text(retained)), document)


def removed(verb: str, channel: str, taken: Sequence[Taken]) -> Answer:
    """What retention took from a channel, newest first."""
    lines = [f"retention took {counted(len(taken), 'thing')} from channel {channel}"]
    lines += [f"  {row.at}  {row.what}  {row.why}" for row in reversed(taken[-_SHOWN:])]
    lines += _more(len(taken))
    rows = [row._asdict() for row in taken]
    return Answer(Outcome.OK, "\n".join(lines), {"schema": 1, "verb": verb, "outcome": Outcome.OK, "removed": rows})


def _text(retained: Retained) -> Iterator[str]:
    going = [fate for fate in retained.fates if fate.goes]
    said = "removed" if retained.applied else "would remove"
    kinds = ", ".join(counted(count, kind) for kind, count in Counter(fate.kind for fate in going).items())
    yield f"channel {retained.channel}: {said} {kinds or 'nothing'}"
    named = [fate for fate in going if fate.kind is not Kind.MANIFEST]
    yield from (f"  - {fate.kind:9} {fate.name}  {fate.why}" for fate in named[:_SHOWN])
    yield from _more(len(named))
    stays = Counter(
        (fate.kind, fate.why) for fate in retained.fates if not fate.goes and fate.kind is not Kind.MANIFEST
    )
    yield from (f"  = {counted(count, kind)}: {why}" for (kind, why), count in sorted(stays.items()))
    yield from (f"  = {fate.name} stays after all: {fate.why}" for fate in retained.spared)
    if going and not retained.applied:
        yield f"next: inv retain --channel {retained.channel} --apply"


def _more(count: int) -> list[str]:
    return [f"  and {count - _SHOWN} more (--json has them all)"] if count > _SHOWN else []


def _row(fate: Fate) -> dict[str, Any]:
    return {"kind": fate.kind, "name": fate.name, "digest": fate.digest or None, "why": fate.why}
