"""What has to be done for each part of a release: the cheapest way to it, from what lookups said. Pure.

A part is an image, or the wheels of one source. Each has an identity of its own and is reused alone: an image
that is there never makes wheels count as there, nor the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from ..errors import InfraError, Problem


class Seen(StrEnum):
    """What a lookup said. ``UNKNOWN`` is never taken for ``NO``."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Path(StrEnum):
    """The ways to a part, cheapest first; ``UNKNOWN`` is none."""

    THERE = "there"
    COPY = "copy"
    EXPORT = "export"
    BUILD = "build"
    UNKNOWN = "unknown"


class Asked(NamedTuple):
    """The answer of one lookup; ``why`` names the place where it is, or why nobody could tell."""

    seen: Seen
    why: str = ""
    digest: str = ""


NO = Asked(Seen.NO)


class Facts(NamedTuple):
    """What is known of a part.

    ``kind`` is ``image`` or ``wheels``; ``name`` the image's, or the project or tier wheels come from.  ``here`` is
    the place it is released in, ``elsewhere`` where its content may be copied from; ``holder`` the image of the tier
    that holds the wheels, None for an image and for the wheels of a project.
    """

    kind: str
    name: str
    identity: str
    here: Asked
    elsewhere: Asked = NO
    holder: Asked | None = None


class Part(NamedTuple):
    """A part and the way to it; ``why`` is for a person, ``digest`` that of an image which is there."""

    kind: str
    name: str
    identity: str
    path: Path
    why: str
    digest: str = ""

    def to_json(self) -> dict[str, Any]:
        """As ``--plan --json`` prints it."""
        return {key: value or None for key, value in self._asdict().items()}


_MISSING: Mapping[str, str] = {
    "image": "no registry and no engine has an image of its identity",
    "wheels": "no set and no image has them",
}


def decide(facts: Facts) -> Part:
    """The cheapest way: the places are asked in order of cost, and one that cannot tell ends the search."""
    ways = [(Path.THERE, facts.here), (Path.COPY, facts.elsewhere)]
    if facts.holder is not None:
        ways.append((Path.EXPORT, facts.holder))
    for path, asked in ways:
        if asked.seen is Seen.YES:
            return _part(facts, path, asked.why, asked.digest)
        if asked.seen is Seen.UNKNOWN:
            return _part(facts, Path.UNKNOWN, asked.why)
    return _part(facts, Path.BUILD, _MISSING[facts.kind])


def _part(facts: Facts, path: Path, why: str, digest: str = "") -> Part:
    return Part(facts.kind, facts.name, facts.identity, path, why, digest)


def whole(parts: Iterable[Part]) -> Path:
    """The way to all of them: the dearest of theirs. Nothing to do for no parts."""
    order = list(Path)
    return max((part.path for part in parts), key=order.index, default=Path.THERE)


def refuse_unknown(parts: Iterable[Part]) -> None:
    """Raise ``InfraError`` with every part nobody could tell about: a guess could cost hours, or release another."""
    hint = "nothing was written; run the same command again, or inv doctor"
    problems = [
        Problem("could-not-tell", f"{part.kind} {part.name}: {part.why}", hint)
        for part in parts
        if part.path is Path.UNKNOWN
    ]
    if problems:
        raise InfraError.of(problems)
