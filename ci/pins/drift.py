"""Whether upstream still says what the lock says: every pin asked at once, with an end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from ..errors import CiError, ConfigError, InfraError
from ..world import probes
from .kinds import Pin
from .upstream import Upstream

DEADLINE = 60.0
"""Seconds for all of them; what has not answered by then could not be told."""

CURRENT, MOVED, GONE, UNRESOLVED = "current", "moved", "gone", "unresolved"
UNKNOWN, NOTHING = "unknown", "follows nothing"
_STATES = {"no-such-ref": GONE, "short-commit": UNRESOLVED}


class Drift(NamedTuple):
    """How a pin stands to its upstream.

    ``state`` is current, moved or unresolved (``found`` is what upstream says now, if it was asked), gone (upstream
    answered, and has no such thing any more), unknown (``why`` it could not be told, which never means current), or
    "follows nothing".
    """

    state: str
    found: str = ""
    why: str = ""


def drifts(pins: Sequence[Pin], upstream: Upstream, seconds: float = DEADLINE) -> Mapping[str, Drift]:
    """The drift of each pin. Raises only what is a bug of ours, or an interruption."""
    asked = {pin.name: partial(upstream.value, pin) for pin in pins if pin.follows}
    told = probes.gather(asked, seconds)
    return {pin.name: _judged(pin, told.get(pin.name), seconds) if pin.follows else _silent(pin) for pin in pins}


def _silent(pin: Pin) -> Drift:
    first = f"{pin.of} comes first" if pin.of else "no pin says where it is"
    return Drift(NOTHING) if pin.resolved else Drift(UNRESOLVED, why=pin.chosen or first)


def _judged(pin: Pin, answer: str | BaseException | None, seconds: float) -> Drift:
    if answer is None:
        return Drift(UNKNOWN, why=f"no answer within {seconds:g} s")
    if isinstance(answer, str):
        if not pin.resolved:
            return Drift(UNRESOLVED, answer)
        return Drift(CURRENT if answer == pin.value else MOVED, answer)
    if isinstance(answer, (ConfigError, InfraError)):
        problem = answer.problems[0]
        return Drift(_STATES.get(problem.reference, UNKNOWN), why=problem.message)
    if isinstance(answer, CiError):
        return Drift(UNKNOWN, why=str(answer))
    raise answer
