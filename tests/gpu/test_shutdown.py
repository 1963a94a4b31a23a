"""A real server leaves on SIGTERM: idle, with a request running, and after a drain; and leaves nothing behind.

Here a test judges a time.  It is taken from one blocking wait on the process, on a clock read just
before the signal.  A server may leave an aborted stream open and wait for its client; vLLM 0.32 often
does.  The client gives up after ``--client-patience`` seconds of silence, which are then added to the
objective, and ``client_seconds`` shows how long after the signal it was told, or gave up.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import processes
import pytest
import serving
import vram
from asking import Refused, Silent
from serving import Serve
from shutdown import Drained, Limits, Stopped, judge_abort, judge_drain, judge_stop

PROMPT = "The quick brown fox"
TOKENS = 3500
"""Long enough to be still running when the signal comes, on a GPU too."""
WELL_BEFORE_THE_END = 0.9 * TOKENS
"""A refusal that comes later may be that of a server which has ended already."""

Measure = Callable[..., None]


def limits_of(config: pytest.Config) -> Limits:
    """The three numbers."""
    return Limits(*(config.getoption(name) for name in ("objective", "slack", "hang_limit")))


class Request(threading.Thread):
    """A streaming request; ``first`` is set with its first token, or when there will be none."""

    def __init__(self, server: serving.Server, limit: float, patience: float) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.limit = limit
        self.patience = patience
        self.first = threading.Event()
        self.tokens = 0
        self.reason = ""
        self.trouble = ""
        self.gave_up = False
        self.ended = 0.0

    def run(self) -> None:
        try:
            for piece in self.server.client.stream(PROMPT, TOKENS, self.limit, self.patience):
                self.tokens += len(piece.tokens)
                self.reason = piece.reason or self.reason
                self.first.set()
        except Refused as error:
            self.trouble = str(error)
            self.gave_up = isinstance(error, Silent)
        self.ended = time.monotonic()
        self.first.set()


def running_request(server: serving.Server, limit: float, patience: float) -> Request:
    """A request that has its first token."""
    request = Request(server, limit, patience)
    request.start()
    request.first.wait(limit)
    assert request.tokens, f"the request got no token: {request.trouble or 'silence'}"
    return request


def signal_and_wait(server: serving.Server, hang: float, meanwhile: Callable[[], None] = lambda: None) -> Stopped:
    """SIGTERM to the server's first process alone, as a container's init does; then see what is left."""
    known = server.family()
    begin = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    meanwhile()
    exited = processes.wait([server.process.pid], begin + hang - time.monotonic())
    at = time.monotonic()
    if not exited:
        shown = processes.ask_for_stacks(each.pid for each in server.family(known))
        time.sleep(1)  # the stacks go to the server's output, and the next signal would cut them short
        rungs = serving.stop(server, known)
        print(server.tail(200))  # noqa: T201 - the stacks belong into the report
        return Stopped(None, at - begin, at, rungs=rungs, shown=shown)
    code = server.process.wait()
    left = str(serving.leftovers(server, known))
    return Stopped(code, at - begin, at, time.monotonic() - begin, left)


def report(stopped: Stopped, name: str, measure: Measure) -> None:
    """Say how long it took, judged or not."""
    measure(name, stopped.seconds, "s")
    if stopped.code is not None:
        measure("all_gone_seconds", stopped.gone, "s")


def held_vram(before: dict[int, float]) -> str:
    """The GPUs whose memory did not come back."""
    serving.settle(lambda: not vram.held(before, vram.used()))
    return "; ".join(vram.held(before, vram.used()))


@pytest.mark.parametrize("running", [False, True], ids=["idle", "request-running"])
def test_abort(running: bool, serve: Serve, pytestconfig: pytest.Config, logs: Path, measure: Measure) -> None:
    before, limits = vram.used(), limits_of(pytestconfig)
    patience: float = pytestconfig.getoption("client_patience")
    wrong: tuple[str, ...] = ()
    with serving.serving(serve.model, (*serve.arguments, "--shutdown-timeout=0"), logs, serve.limit) as server:
        request = running_request(server, limits.hang, patience) if running else None
        at_signal = request.tokens if request else 0
        stopped = signal_and_wait(server, limits.hang)
        report(stopped, "shutdown_seconds", measure)
        if request:
            request.join(limits.hang)
            wrong = judge_abort(TOKENS, at_signal, request.tokens)
            assert not request.is_alive(), "the client still waits for an answer of a server that is gone"
            measure("client_seconds", request.ended - (stopped.at - stopped.seconds), "s")
            limits = limits.after(patience if request.gave_up else 0)
        end = server.tail()
    wrong += (*judge_stop(stopped, limits), *filter(None, [held_vram(before)]))
    assert not wrong, "\n".join((*wrong, f"its output ends:\n{end}"))


def test_drain(serve: Serve, pytestconfig: pytest.Config, logs: Path, measure: Measure) -> None:
    before, limits = vram.used(), limits_of(pytestconfig)
    drain: int = pytestconfig.getoption("drain_timeout")
    hang = drain + limits.hang
    arguments = (*serve.arguments, f"--shutdown-timeout={drain}")
    statuses: list[int] = []
    with serving.serving(serve.model, arguments, logs, serve.limit) as server:
        request = running_request(server, hang, hang)
        at_signal = request.tokens

        def ask_until_refused() -> None:
            while request.is_alive() and all(status == 200 for status in statuses):
                status = status_of_new_request(server, limits.hang)
                if request.tokens < WELL_BEFORE_THE_END:
                    statuses.append(status)

        stopped = signal_and_wait(server, hang, ask_until_refused)
        request.join(limits.hang)
        end = server.tail()
    report(stopped, "drain_seconds", measure)
    if request.ended:
        measure("after_last_token_seconds", stopped.at - request.ended, "s")
    drained = Drained(TOKENS, at_signal, request.tokens, request.reason, tuple(statuses), request.trouble)
    reported = limits._replace(objective=None, hang=hang)
    wrong = (*judge_drain(drained), *judge_stop(stopped, reported), *filter(None, [held_vram(before)]))
    assert not wrong, "\n".join((*wrong, f"its output ends:\n{end}"))


def status_of_new_request(server: serving.Server, limit: float) -> int:
    """200 if it was taken, the status of its refusal, or 0 where nobody answered."""
    try:
        server.client.complete("another", 1, limit)
    except Refused as error:
        return error.status
    return 200
