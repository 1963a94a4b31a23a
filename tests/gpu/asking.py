"""A client of the server under test: blocking HTTP on this machine, every call with a limit."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

MODEL = "under-test"
"""The name the model is served by."""


class Refused(Exception):
    """The server did not take, or did not finish, a request; ``status`` is 0 where there was no answer at all."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Silent(Refused):
    """Nothing came within the limit."""


class Step(NamedTuple):
    """One generated token, its log-probability, and those of the likeliest tokens (none if not asked for)."""

    token: int
    logprob: float | None = None
    likely: Mapping[int, float] = {}


class Answer(NamedTuple):
    """A finished request; ``reason`` is the engine's: ``length`` when it got all the tokens asked for."""

    steps: tuple[Step, ...]
    reason: str

    @property
    def tokens(self) -> tuple[int, ...]:
        """The ids of the generated tokens."""
        return tuple(step.token for step in self.steps)


class Called(NamedTuple):
    """An answer that can be read, and the socket it comes by."""

    answer: http.client.HTTPResponse
    line: socket.socket


def body(prompt: str, tokens: int, *, stream: bool, logprobs: int | None) -> bytes:
    """A greedy completion of exactly ``tokens`` tokens."""
    document: dict[str, Any] = {
        "model": MODEL,
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": stream,
        "return_token_ids": True,
    }
    if logprobs is not None:
        document |= {"logprobs": logprobs, "return_tokens_as_token_ids": True}
    return json.dumps(document).encode()


def steps_of(choice: Mapping[str, Any]) -> tuple[Step, ...]:
    """The tokens of one choice of an answer, or of one streamed piece of it."""
    tokens = choice.get("token_ids") or ()
    logprobs = choice.get("logprobs")
    if not logprobs:
        return tuple(Step(token) for token in tokens)
    rows = zip(tokens, logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True)
    return tuple(Step(token, chosen, by_number(likely or {})) for token, chosen, likely in rows)


def by_number(likely: Mapping[str, float]) -> dict[int, float]:
    """``{"token_id:17": -0.2}`` with the tokens as numbers: the texts of two byte tokens may be the same."""
    return {int(token.removeprefix("token_id:")): value for token, value in likely.items()}


class Client:
    """Asks one server; every limit is in seconds and holds for each piece of an answer."""

    def __init__(self, port: int) -> None:
        self.port = port

    @contextmanager
    def call(self, path: str, limit: float, data: bytes | None = None, rank: int | None = None) -> Iterator[Called]:
        """An open answer with status 200; ``Refused`` for anything else, also for what goes wrong while it is read."""
        headers = {"Content-Type": "application/json"} | ({} if rank is None else {"X-data-parallel-rank": str(rank)})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=limit)
        try:
            connection.connect()
            line = connection.sock
            connection.request("GET" if data is None else "POST", path, data, headers)
            answer = connection.getresponse()
            if answer.status != 200:
                said = answer.read(500).decode(errors="replace")
                raise Refused(f"HTTP {answer.status}: {said}", answer.status)
            yield Called(answer, line)
        except TimeoutError:
            raise Silent("it said nothing for too long") from None
        except (OSError, http.client.HTTPException) as error:
            raise Refused(f"{type(error).__name__}: {error}") from None
        finally:
            connection.close()

    def text(self, path: str, limit: float) -> str:
        """The whole text of a page."""
        with self.call(path, limit) as called:
            return called.answer.read().decode(errors="replace")

    def healthy(self, limit: float) -> bool:
        """Whether the server says that it can serve."""
        try:
            self.text("/health", limit)
        except Refused:
            return False
        return True

    def complete(
        self, prompt: str, tokens: int, limit: float, *, rank: int | None = None, logprobs: int | None = None
    ) -> Answer:
        """Ask for a whole completion, of data-parallel rank ``rank`` if given."""
        with self.call("/v1/completions", limit, body(prompt, tokens, stream=False, logprobs=logprobs), rank) as called:
            choice = json.loads(called.answer.read())["choices"][0]
        return Answer(steps_of(choice), str(choice["finish_reason"]))

    def stream(self, prompt: str, tokens: int, limit: float, patience: float) -> Iterator[Answer]:
        """Pieces of a completion as they come; the last one that has a reason ends it.

        The first may take ``limit`` seconds, each later one ``patience``.
        """
        with self.call("/v1/completions", limit, body(prompt, tokens, stream=True, logprobs=None)) as called:
            for line in called.answer:
                if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                    continue
                piece = json.loads(line[6:])
                if "error" in piece:
                    raise Refused(f"the stream says {piece['error']}")
                for choice in piece["choices"]:
                    yield Answer(steps_of(choice), str(choice["finish_reason"] or ""))
                called.line.settimeout(patience)
