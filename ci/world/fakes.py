"""Stand-ins for the outside world, for tests here and in projects that use this package.

They are functions with a memory, not imitations: what a test did not announce is an
error, so a forgotten request turns a test red instead of passing it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from .clock import Clock
from .http import Request, Response

Answer = Response | Exception | Callable[[Request], Response]
Script = Mapping[tuple[str, str], Answer | Sequence[Answer]]


class FakeClock(Clock):
    """Time that passes only when told to; ``sleeps`` lists every wait asked for."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.start = start
        self.passed = 0.0
        self.sleeps: list[float] = []

    def now(self) -> datetime:
        """The start plus what has passed."""
        return self.start + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        """What has passed."""
        return self.passed

    def sleep(self, seconds: float) -> None:
        """Remember the wait and let it pass at once."""
        self.sleeps.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass without anybody having waited."""
        self.passed += max(seconds, 0.0)


class Unexpected(AssertionError):
    """A fake was asked for something the test did not announce."""


class FakeSend:
    """The `send` seam as a table or a function.

    A table maps ``(method, url)`` to one answer, given every time, or to a sequence of
    answers, given one after the other.  An answer is a response, an error to raise or
    a function of the request.  ``requests`` lists what was asked.
    """

    def __init__(self, script: Script | Callable[[Request], Response]) -> None:
        self._script = script
        self._given: dict[tuple[str, str], int] = {}
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Response:
        """Answer from the script; raises ``Unexpected`` where it is silent."""
        self.requests.append(request)
        if callable(self._script):
            return self._script(request)
        answer = self._next(self._script, (request.method, request.url))
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    def _next(self, script: Script, key: tuple[str, str]) -> Answer:
        if key not in script:
            raise Unexpected(f"{key[0]} {key[1]} is not in the script")
        answers = script[key]
        if not isinstance(answers, Sequence):
            return answers
        given = self._given.get(key, 0)
        if given >= len(answers):
            raise Unexpected(f"{key[0]} {key[1]}: asked {given + 1} times, {len(answers)} announced")
        self._given[key] = given + 1
        return answers[given]
