"""A file that the judged program wrote itself: whether it can be believed, and what of its text can be kept."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from ..printable import printable

BYTES = 64 * 1000**2
"""The longest file that is read."""

TESTS = 200_000
"""The most tests a file may name."""

NAME, _REASON = 4000, 300


class State(StrEnum):
    """Whether a file can be believed to say everything."""

    OK = "ok"
    MISSING = "missing"
    BROKEN = "broken"


class Source(NamedTuple):
    """The state of one file, and what is wrong with it."""

    state: State = State.OK
    why: str = ""

    @property
    def whole(self) -> bool:
        """Whether it is there and could be read to its end."""
        return self.state is State.OK

    def __str__(self) -> str:
        return f"{self.state}: {self.why}" if self.why else str(self.state)


class WrongContent(Exception):
    """What is wrong with a file's content; never leaves the function that parses it."""


def one_line(text: str) -> str:
    """The first line of a reason, safe to print; short, because there may be thousands."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return " ".join(printable(encodable(first[: 4 * _REASON])).split())[:_REASON]


def encodable(text: str) -> str:
    """JSON can spell halves of characters that no file takes: spell them out."""
    return text.encode(errors="backslashreplace").decode()
