"""A release as a person reads it, in Markdown, and as a document: what stands, what changed, how to install it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..answer import Answer
from ..errors import Outcome
from ..publish.changes import Changes, Size
from ..publish.decide import whole
from ..publish.journal import PROMOTE
from ..publish.places import Places
from ..publish.release import Outlook, Result
from ..publish.switch import Switched
from ..wheels.install import Line
from . import units
from .markdown import code, plain, table

_SHOWN = 50
"""Commits and pins shown; the JSON document has them all."""


def answer(verb: str, result: Result) -> Answer:
    """The end of ``release-nightly`` or ``promote``."""
    return Answer(Outcome.OK, "\n\n".join(_blocks(result)), {**_document(verb, result), "plan": False})


def planned(verb: str, outlook: Outlook) -> Answer:
    """What a release would do; nothing was written."""
    how = "staged already, so only the pointers would move" if outlook.there else f"to be made: {whole(outlook.parts)}"
    lines = [f"{verb}: {outlook.channel} at {outlook.commit[:12]}, {how}"]
    lines += [f"  {row.path:8}{row.kind} {row.name}  {row.why}" for row in outlook.parts]
    lines += [f"  test    {suite}: at least {units.counted(count, 'test')}" for suite, count in outlook.suites.items()]
    lines += [f"  {_moved(each.pointer, each.old, each.new, 'what is made')}" for each in outlook.moves]
    lines += [f"  warning: {each}" for each in outlook.aged]
    document = {
        "schema": 1,
        "verb": verb,
        "outcome": Outcome.OK,
        "plan": True,
        "channel": outlook.channel,
        "commit": outlook.commit,
        "staged": outlook.there,
        "path": whole(outlook.parts),
        "parts": [each.to_json() for each in outlook.parts],
        "suites": dict(outlook.suites),
        "moves": [each._asdict() for each in outlook.moves],
        "warnings": list(outlook.aged),
    }
    return Answer(Outcome.OK, "\n".join(lines), document)


def switched(verb: str, places: Places, made: Switched, *, plan: bool) -> Answer:
    """The end of ``rollback``: where every pointer was and is (``plan``: would be)."""
    stands = "would stand" if plan else "stands"
    lines = [f"channel {places.channel.name} {stands} at {made.standing.commit[:12]}"]
    lines += [f"  {_moved(each.pointer, each.old, each.new)}" for each in made.moves]
    document = {
        "schema": 1,
        "verb": verb,
        "outcome": Outcome.OK,
        "plan": plan,
        "channel": places.channel.name,
        "already": made.already,
        "commit": made.standing.commit,
        "moves": [each._asdict() for each in made.moves],
    }
    return Answer(Outcome.OK, "\n".join(lines), document)


def _moved(pointer: str, old: str | None, new: str | None, unknown: str = "nothing") -> str:
    stays = old == new and old is not None
    return f"{pointer}: {_short(old)}" + (" (stays)" if stays else f" -> {_short(new) if new else unknown}")


def _short(value: str | None) -> str:
    return value.removeprefix("sha256:")[:12] if value else "nothing"


def _blocks(result: Result) -> Iterator[str]:
    release, standing = result.release, result.switched.standing
    yield f"# {plain(release.channel)} {plain(release.version) or release.commit[:12]}"
    before = f"; before it stood at {code(standing.before[:12])}" if standing.before else ""
    number = f"switch {standing.sequence} of this channel{before}"
    yield f"{_how(result.switched)}: commit {code(release.commit)} of {release.date}, {number}."
    rows = [(code(each.pointer), code(_short(each.old)), code(_short(each.new))) for each in result.switched.moves]
    if rows:
        yield table(("pointer", "before", "now"), rows)
    if result.aged:
        yield "\n".join(f"- **warning:** {plain(each)}" for each in result.aged)
    yield from _changed(result.changes)
    yield from _install(result)


def _how(made: Switched) -> str:
    done = "Promoted" if made.standing.kind == PROMOTE else "Released"
    if not made.already:
        return done
    repaired = any(each.old != each.new for each in made.moves)
    return f"{done} before; {'pointers that differed were repaired' if repaired else 'nothing was to be done'}"


def _changed(changes: Changes) -> Iterator[str]:
    yield (
        f"## What changed since {code(changes.since[:12])}" if changes.since else "## The first release of this channel"
    )
    if changes.commits is None:
        yield "The commits between cannot be listed: this clone does not have both."
    elif changes.commits:
        lines = [f"- {code(each.commit[:12])} {plain(each.subject)}" for each in changes.commits[:_SHOWN]]
        yield "\n".join([*lines, *_more(len(changes.commits))])
    if changes.pins:
        rows = [(plain(each.name), *map(_value, (each.old, each.new))) for each in changes.pins[:_SHOWN]]
        yield "\n".join([table(("pin or argument", "before", "now"), rows), *_more(len(changes.pins))])
    if changes.sizes:
        yield table(("size", "before", "now", "change"), [_size(each) for each in changes.sizes])
    if changes.tests:
        rows = [(plain(each.name), *map(_value, (each.old, each.new))) for each in changes.tests]
        yield table(("suite", "before", "now"), rows)


def _more(count: int) -> list[str]:
    return [f"and {count - _SHOWN} more (--json has them all)"] if count > _SHOWN else []


def _value(value: str | None) -> str:
    return plain(value) if value is not None else "none"


def _size(row: Size) -> tuple[str, str, str, str]:
    def shown(value: int | None) -> str:
        return units.size(value) if value is not None else "none"

    change = ""
    if row.old is not None and row.new is not None:
        difference = row.new - row.old
        change = "none" if not difference else f"{'+' if difference > 0 else '-'}{units.size(abs(difference))}"
    return plain(row.name), shown(row.old), shown(row.new), change


def _install(result: Result) -> Iterator[str]:
    lines = [text for way in result.ways for text in (way.pip, way.uv)]
    lines += [f"docker pull {name}@{digest}" for name, digest in result.images.items()]
    if lines:
        yield "## Install\n\n```text\n" + "\n".join(lines) + "\n```"
    if result.release.wheels and not result.ways:
        yield "No install line: the channel does not say where clients reach its bucket (`url:` in the channel file)."


def _document(verb: str, result: Result) -> dict[str, Any]:
    release, standing = result.release, result.switched.standing
    return {
        "schema": 1,
        "verb": verb,
        "outcome": Outcome.OK,
        "channel": release.channel,
        "commit": release.commit,
        "version": release.version,
        "date": release.date,
        "sequence": standing.sequence,
        "before": standing.before or None,
        "already": result.switched.already,
        "manifest": standing.manifest,
        "images": dict(result.images),
        "wheels": {row.filename: row.sha256 for row in release.wheels},
        "suites": [row._asdict() for row in release.suites],
        "moves": [each._asdict() for each in result.switched.moves],
        "changes": result.changes.to_json(),
        "install": [_way(way) for way in result.ways],
        "warnings": list(result.aged),
    }


def _way(way: Line) -> Mapping[str, str]:
    return {"requirement": way.requirement, "index": way.url, "pip": way.pip, "uv": way.uv}
