"""Questions asked ahead of their turn."""

from __future__ import annotations

import threading

import pytest

from ci.errors import InfraError
from ci.world.ahead import ahead


def test_the_answer_is_there_when_it_is_wanted() -> None:
    asked = threading.Event()

    def question() -> str:
        asked.set()
        return "answer"

    answer = ahead(question)
    assert asked.wait(5)
    assert (answer(), answer()) == ("answer", "answer")


def test_an_error_is_raised_where_the_answer_is_wanted() -> None:
    def question() -> str:
        raise InfraError("no-engine", "silent")

    answer = ahead(question)
    for _ in range(2):
        with pytest.raises(InfraError, match="silent"):
            answer()
