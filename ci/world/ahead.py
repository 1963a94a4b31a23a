"""Ask now, need the answer later: the world answers while we do something else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def ahead(question: Callable[[], T]) -> Callable[[], T]:
    """Put ``question`` in a thread; what this returns waits for the answer, or raises what the question raised.

    Only for questions that end by themselves within moments: nobody waits for one whose answer is not wanted.
    """
    answers: list[T] = []
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            answers.append(question())
        except BaseException as error:  # noqa: BLE001 - raised again where the answer is wanted
            failures.append(error)

    thread = threading.Thread(target=ask, name="ahead", daemon=True)
    thread.start()

    def answer() -> T:
        thread.join()
        if failures:
            raise failures[0]
        return answers[0]

    return answer
