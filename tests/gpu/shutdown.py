"""What the end of a server is worth: pure judgements over what was seen."""

from __future__ import annotations

import signal
from typing import NamedTuple

GOOD_CODES = (0, -signal.SIGTERM)


class Stopped(NamedTuple):
    """The end of a server: ``seconds`` from just before the signal to its exit, ``code`` None if it never came.

    ``at`` is the clock's reading then, ``gone`` the seconds until its last process, port and memory were gone.
    """

    code: int | None
    seconds: float
    at: float = 0.0
    gone: float = 0.0
    leftovers: str = ""
    rungs: tuple[str, ...] = ()
    shown: tuple[int, ...] = ()


class Limits(NamedTuple):
    """Three separate numbers, in seconds: ``objective`` may be None (report only), ``hang`` is where waiting ends."""

    objective: float | None
    slack: float
    hang: float

    def after(self, seconds: float) -> Limits:
        """The same, with an objective that begins ``seconds`` later: a client was waited for."""
        return self if self.objective is None else self._replace(objective=self.objective + seconds)


class Drained(NamedTuple):
    """What a drain did: tokens of the running request, why it ended, and the status each later request got."""

    asked: int
    at_signal: int
    tokens: int
    reason: str
    refusals: tuple[int, ...]
    trouble: str = ""


def judge_stop(stopped: Stopped, limits: Limits) -> tuple[str, ...]:
    """Everything wrong with an end; empty if nothing is."""
    if stopped.code is None:
        return (hang_text(stopped, limits.hang),)
    wrong = []
    if stopped.code not in GOOD_CODES:
        wrong.append(f"the server ended with {stopped.code}; 0 or {-signal.SIGTERM} is right")
    if limits.objective is not None and stopped.seconds > limits.objective + limits.slack:
        wrong.append(
            f"the server took {stopped.seconds:.2f} s to end; the objective is {limits.objective:g} s"
            f" and {limits.slack:g} s of slack"
        )
    if stopped.leftovers:
        wrong.append(f"the server left behind: {stopped.leftovers}")
    return tuple(wrong)


def hang_text(stopped: Stopped, limit: float) -> str:
    """What is said of a server that had to be ended."""
    shown = f"pids {', '.join(map(str, stopped.shown))}" if stopped.shown else "no process: none listens to SIGUSR1"
    rungs = ", ".join(stopped.rungs) or "nothing, it ended meanwhile"
    kill = "; SIGKILL may leave VRAM held" if "SIGKILL" in stopped.rungs else ""
    return f"the server hung: no exit within {limit:g} s of SIGTERM; stacks of {shown}; ended by {rungs}{kill}"


def judge_drain(drained: Drained) -> tuple[str, ...]:
    """Everything wrong with a drain; empty if nothing is."""
    wrong = []
    if drained.at_signal >= drained.asked:
        wrong.append("the request was over before the signal: ask for more tokens")
    if drained.tokens != drained.asked or drained.reason != "length":
        how = drained.trouble or f"reason {drained.reason!r}"
        wrong.append(f"the running request did not complete: {drained.tokens} of {drained.asked} tokens, {how}")
    if not any(status != 200 for status in drained.refusals):
        wrong.append(f"no new request was refused while the running one was drained ({len(drained.refusals)} sent)")
    return tuple(wrong)


def judge_abort(asked: int, at_signal: int, tokens: int) -> tuple[str, ...]:
    """Everything wrong with the request that an abort should cut off; empty if nothing is."""
    if at_signal >= asked:
        return ("the request was over before the signal: ask for more tokens",)
    if tokens >= asked:
        return (f"the request got all its {asked} tokens: nothing was aborted",)
    return ()
