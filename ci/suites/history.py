"""What is remembered of tests from run to run: how long each takes, and which ones failed on which image.

One file per stack and step, of one user, because nobody else may write what a plan trusts.
Losing it costs balance and the name of some flaky tests, nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError, Outcome
from ..world import files, locks
from .events import Result
from .records import Records
from .tally import BAD

VERSION = 1
"""The version before is read (there was none before 1), a newer one is refused and never written over."""

TESTS, IMAGES, FAILED, NAME = 50_000, 20, 2_000, 1_000
"""At most: tests with a duration, images, failed tests of one image, characters of an id. The oldest go first."""

_WEIGHT = 0.3
"""How much the newest duration counts: one slow run does not turn the plan over."""

_TOLD_NOTHING = frozenset({Outcome.INFRA, Outcome.INTERRUPTED, Outcome.INTERNAL, Outcome.CONFIG})


@dataclass(frozen=True, slots=True)
class Memory:
    """What one file holds: seconds of each test, and the tests that ever failed on an image, the latest last."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class History:
    """The memory of one stack. ``say`` hears when another run has to be waited for."""

    def __init__(self, state: Path, stack: str, say: Callable[[str], None]) -> None:
        self._state, self._stack, self._say = state, stack, say
        self.folder = state / f"user-{os.geteuid()}" / "history" / stack

    def seconds(self, step: str) -> Mapping[str, float]:
        """The usual seconds of each test of a step."""
        return self._read(step).seconds

    def failed_before(self, step: str, image: str) -> frozenset[str]:
        """The tests of a step that failed at least once on the image with this digest."""
        return frozenset(self._read(step).failed.get(image, ()))

    @staticmethod
    def remembers(outcome: Outcome) -> bool:
        """Whether a step that ended so says anything about its tests: where the world broke, their failures do not."""
        return outcome not in _TOLD_NOTHING

    def record(self, step: str, image: str, found: Iterable[Records]) -> None:
        """Add what the commands of a step told; runs at the same time lose nothing of each other."""
        with locks.exclusive(self._state, f"history-{os.geteuid()}-{self._stack}-{step}", self._say):
            memory = learned(self._read(step), image, found)
            files.write_json(self._path(step), {"version": VERSION, **asdict(memory)})

    def _read(self, step: str) -> Memory:
        return parse(files.read_json(self._path(step)), self._path(step))

    def _path(self, step: str) -> Path:
        return self.folder / f"{step}.json"


def learned(memory: Memory, image: str, found: Iterable[Records]) -> Memory:
    """``memory`` with what these commands told."""
    seconds, bad = dict(memory.seconds), dict.fromkeys(memory.failed.get(image, ()))
    for records in found:
        for result in (*records.events.ended, *records.events.reruns):
            if len(result.id) > NAME:
                continue
            if _typical(result):
                known = seconds.pop(result.id, result.seconds)  # popped: what was seen last stands last
                seconds[result.id] = round(known + _WEIGHT * (result.seconds - known), 3)
            elif result.outcome in BAD:
                bad.pop(result.id, None)
                bad[result.id] = None
    failed = {digest: tests for digest, tests in memory.failed.items() if digest != image}
    if bad and image:
        failed[image] = tuple(bad)[-FAILED:]
    return Memory(dict(list(seconds.items())[-TESTS:]), dict(list(failed.items())[-IMAGES:]))


def _typical(result: Result) -> bool:
    """Whether it took the time it usually takes: a test that fails may end early, or only at its time limit."""
    return result.outcome in {"passed", "xfailed", "xpassed"}


def parse(value: Any, path: Path) -> Memory:
    """The memory in the JSON of ``path``; an empty one where that is not what we write."""
    if not isinstance(value, dict) or not isinstance(value.get("version"), int):
        return Memory()
    if value["version"] > VERSION:
        hint = "upgrade rocm-ci, or remove the file"
        raise ConfigError("newer-history", f"{path} was written by a newer version", hint=hint)
    seconds, failed = value.get("seconds"), value.get("failed")
    if not isinstance(seconds, dict) or not isinstance(failed, dict):
        return Memory()
    whole = all(_is_duration(each) for each in seconds.values())
    listed = all(isinstance(tests, list) and all(isinstance(test, str) for test in tests) for tests in failed.values())
    if not whole or not listed:
        return Memory()
    return Memory(
        {test: float(each) for test, each in seconds.items()}, {key: tuple(each) for key, each in failed.items()}
    )


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e7
