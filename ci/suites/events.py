"""The events a watching plugin wrote while the tests ran: one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple

from .source import NAME, TESTS, Source, State, WrongContent, encodable, one_line

OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")
RERUN = "rerun"
"""The outcome of a try that failed and is made again in the same process."""


class Result(NamedTuple):
    """One test that ended, after ``seconds``; ``outcome`` is pytest's word."""

    id: str
    outcome: str
    seconds: float
    reason: str = ""


class Measured(NamedTuple):
    """A number that a test wants reported."""

    id: str
    name: str
    value: float
    unit: str


class Events(NamedTuple):
    """What the events say.

    ``collected`` is None and ``finish`` is None until that was said; ``running`` are the tests that
    started and did not end; ``reruns`` are tries that failed before their test was tried again; ``parts`` are
    the subtests.  A file that could not be, or did not want to be, collected has ended without having started.
    """

    source: Source
    collected: tuple[str, ...] | None = None
    started: tuple[str, ...] = ()
    ended: tuple[Result, ...] = ()
    running: tuple[str, ...] = ()
    reruns: tuple[Result, ...] = ()
    parts: tuple[Result, ...] = ()
    measured: tuple[Measured, ...] = ()
    finish: int | None = None


def parse(data: bytes) -> Events:
    """The lines the watching plugin wrote; what stands before the first wrong line is kept."""
    if not data:
        return Events(Source(State.BROKEN, "0 bytes"))
    reader = _Reader()
    source = Source()
    number = 0
    try:
        for number, line in enumerate(BytesIO(data), 1):  # noqa: B007 - the number is told with what is wrong
            if not line.endswith(b"\n"):
                raise WrongContent("is cut short")
            reader.take(_object(line))
    except WrongContent as error:
        source = Source(State.BROKEN, f"line {number} {error}")
    return reader.events(source)


class _Reader:
    """Takes one event after the other."""

    def __init__(self) -> None:
        self._begun = False
        self._finish: int | None = None
        self._collected: tuple[str, ...] | None = None
        self._started: list[str] = []
        self._ended: list[Result] = []
        self._reruns: list[Result] = []
        self._parts: list[Result] = []
        self._open: dict[str, None] = {}
        self._measured: list[Measured] = []
        self._kinds: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "begin": self._begin,
            "collected": self._collect,
            "start": self._start,
            "end": self._end,
            "subtest": self._part,
            "measured": self._measure,
            "finish": self._stop,
        }

    def events(self, source: Source) -> Events:
        """Everything taken so far."""
        return Events(
            source,
            collected=self._collected,
            started=tuple(self._started),
            ended=tuple(self._ended),
            running=tuple(self._open),
            reruns=tuple(self._reruns),
            parts=tuple(self._parts),
            measured=tuple(self._measured),
            finish=self._finish,
        )

    def take(self, event: Mapping[str, Any]) -> None:
        """One line; raises ``WrongContent`` for what cannot stand here."""
        kind = event.get("event")
        if not isinstance(kind, str) or kind not in self._kinds:
            raise WrongContent("is no event")
        if self._begun == (kind == "begin"):
            raise WrongContent("begins a second time" if self._begun else "comes before the beginning")
        if self._finish is not None:
            raise WrongContent("comes after the finish")
        self._kinds[kind](event)

    def _begin(self, _event: Mapping[str, Any]) -> None:
        self._begun = True

    def _collect(self, event: Mapping[str, Any]) -> None:
        ids = event.get("ids")
        if self._collected is not None or not isinstance(ids, list) or len(ids) > TESTS:
            raise WrongContent("names no tests")
        self._collected = tuple(_id(each) for each in ids)

    def _start(self, event: Mapping[str, Any]) -> None:
        test = _id(event.get("id"))
        if len(self._started) == TESTS:
            raise WrongContent("is one test too many")
        self._started.append(test)
        self._open[test] = None

    def _end(self, event: Mapping[str, Any]) -> None:
        result = _result(event, (*OUTCOMES, RERUN))
        if len(self._ended) + len(self._reruns) == TESTS:
            raise WrongContent("is one test too many")
        if result.outcome == RERUN:
            self._reruns.append(result)
            return
        self._ended.append(result)
        self._open.pop(result.id, None)

    def _part(self, event: Mapping[str, Any]) -> None:
        if len(self._parts) == TESTS:
            raise WrongContent("is one test too many")
        self._parts.append(_result({"seconds": 0, **event}, OUTCOMES))

    def _measure(self, event: Mapping[str, Any]) -> None:
        name, unit = event.get("name"), event.get("unit")
        if not isinstance(name, str) or not isinstance(unit, str) or len(self._measured) == TESTS:
            raise WrongContent("measures nothing")
        self._measured.append(
            Measured(_id(event.get("id")), one_line(name), _number(event.get("value")), one_line(unit))
        )

    def _stop(self, event: Mapping[str, Any]) -> None:
        code = event.get("code")
        if not isinstance(code, int) or isinstance(code, bool) or not -1000 < code < 1000:
            raise WrongContent("has no exit code")
        self._finish = code


def _object(line: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(line.decode())
    except UnicodeDecodeError:
        raise WrongContent("is not UTF-8") from None
    except (ValueError, RecursionError):
        raise WrongContent("is no JSON") from None
    if not isinstance(found, dict):
        raise WrongContent("is no event")
    return found


def _result(event: Mapping[str, Any], outcomes: Sequence[str]) -> Result:
    outcome, reason = event.get("outcome"), event.get("reason", "")
    if not isinstance(outcome, str) or outcome not in outcomes or not isinstance(reason, str):
        raise WrongContent("has no outcome")
    return Result(_id(event.get("id")), outcome, _seconds(event.get("seconds")), one_line(reason))


def _id(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= NAME:
        raise WrongContent("names no test")
    return encodable(value)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e15 < value < 1e15:
        raise WrongContent("has no number")
    return float(value)


def _seconds(value: object) -> float:
    seconds = _number(value)
    if not 0 <= seconds < 1e7:
        raise WrongContent(f"took {seconds:g} seconds")
    return seconds
