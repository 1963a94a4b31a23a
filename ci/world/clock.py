"""The only home of time: what o'clock it is, how long something took, and waiting."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime


class Clock(ABC):
    """A source of time, handed to whoever needs one so that no test has to wait."""

    @abstractmethod
    def now(self) -> datetime:
        """The calendar time, aware and in UTC; it may jump, so never measure with it."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds since some fixed moment; never runs backwards."""

    @abstractmethod
    def sleep(self, seconds: float) -> None:
        """Wait; nothing happens for zero or less."""


class SystemClock(Clock):
    """The machine's own clock."""

    def now(self) -> datetime:
        """The calendar time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for real."""
        if seconds > 0:
            time.sleep(seconds)
