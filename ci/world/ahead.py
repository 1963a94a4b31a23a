"""Ask now, need the answer later: the world answers while we do something else."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from .clock import SystemClock

T = TypeVar("T")

_NAME = "ahead"
_MOMENTS = 2.0
"""Seconds that the end of the interpreter waits, for all questions together."""
_LOOK = 0.5


def ahead(question: Callable[[], T]) -> Callable[[], T]:
    """Put ``question`` in a thread; what this returns waits for the answer, or raises what the question raised.

    Only for questions that end by themselves within moments: one whose answer is not wanted holds up the end of the
    interpreter, for as long.
    """
    answers: list[T] = []
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            answers.append(question())
        except BaseException as error:  # noqa: BLE001 - raised again where the answer is wanted
            failures.append(error)

    thread = threading.Thread(target=ask, name=_NAME, daemon=True)
    thread.start()

    def answer() -> T:
        try:
            while thread.is_alive():  # a signal in the very moment a wait begins does not end it
                thread.join(_LOOK)
        except BaseException:  # somebody who is told to end while they wait ends now
            atexit.unregister(_see_off)
            raise
        if failures:
            raise failures[0]
        return answers[0]

    return answer


@atexit.register
def _see_off() -> None:
    """Let the questions end that nobody waits for: an import in a thread crashes an interpreter that takes itself down.

    One that takes longer waits for the world, which harms nothing.
    """
    clock = SystemClock()
    until = clock.monotonic() + _MOMENTS
    with suppress(KeyboardInterrupt):
        for thread in threading.enumerate():
            if thread.name == _NAME:
                thread.join(max(0.0, until - clock.monotonic()))
