"""What happens in a build, step by step; ``progress`` makes these, ``report`` shows them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step runs now; ``stage`` is "" for BuildKit's own work such as an export."""

    stage: str
    step: str


@dataclass(frozen=True, slots=True)
class StepLog:
    """Whole lines a step printed, without control characters."""

    stage: str
    step: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step ended well; a FROM may come again with more seconds once its layers are really fetched."""

    stage: str
    step: str
    seconds: float
    cached: bool


@dataclass(frozen=True, slots=True)
class StepFailed:
    """A step ended badly, or was ``cancelled`` because another one failed or somebody stopped the build."""

    stage: str
    step: str
    seconds: float
    error: str
    cancelled: bool


Event = StepStarted | StepLog | StepDone | StepFailed
