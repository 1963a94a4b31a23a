"""The one table of goals: what is measured, against what, and how much it may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from .measure import Series


@dataclass(frozen=True, slots=True)
class Goal:
    """``ratio`` goals bound ours / other; ``seconds`` goals bound ours. ``bound`` None: shown, never judged."""

    key: str
    scene: str
    what: str
    other: str
    kind: str
    bound: float | None


@dataclass(frozen=True, slots=True)
class Measured:
    """The rounds of one goal; ``other`` is None where there is nothing to stand beside."""

    ours: Series
    other: Series | None = None

    @property
    def ratio(self) -> float | None:
        """The median of the ratios of every round, whose sides ran one after the other."""
        if self.other is None:
            return None
        return median(mine / its for mine, its in zip(self.ours.seconds, self.other.seconds, strict=True))


BAKE = "fully cached `docker buildx bake`"
SINGLE = "a single-stage build of the same"
GOALS: tuple[Goal, ...] = (
    Goal("nothing-module", "nothing", "`python -m ci build-ci-base`, nothing to do", BAKE, "ratio", 0.5),
    Goal("nothing-invoke", "nothing", "`inv build-ci-base`, nothing to do", BAKE, "ratio", 0.75),
    Goal("identity-warm", "identity", "identity of 7,000 clean files, above imports", "", "seconds", 0.030),
    Goal("identity-cold", "identity", "the same without our hash cache", "", "seconds", None),
    Goal("plan-module", "latency", "`python -m ci plan`, registry 50 ms away", "", "seconds", 0.5),
    Goal("plan-invoke", "latency", "`inv plan`, registry 50 ms away", "", "seconds", 0.5),
    Goal("cold", "cold", "`python -m ci build-base`, nothing cached", "`docker buildx bake`", "ratio", 1.03),
    Goal("python-only", "python-only", "`python -m ci build-test`, one line of Python changed", SINGLE, "ratio", 0.1),
    Goal("kernels-cold", "kernels", "cold `hip-compile`, 6 files, 3 archs", "`hipcc` per file", "ratio", 1 / 1.8),
    Goal("kernels-parallel", "kernels", "the same", "`hipcc -parallel-jobs` per file", "ratio", None),
    Goal("kernels-warm", "kernels", "an unchanged file in a warm `hip-compile`", "", "seconds", 0.002),
    Goal("index-again", "index", "index of 10,000 wheels, one of them new", "`dumb-pypi`", "ratio", 1 / 3),
    Goal("index-first", "index", "the same, no page written yet", "`dumb-pypi`", "ratio", None),
    Goal("index-cold", "index", "the same, every wheel read and hashed", "", "seconds", None),
    Goal("index-add", "index", "`index --add` of one wheel to 10,000", "to 100", "ratio", 1.25),
    Goal("shards-floor", "shards", "longest of 2 to 16 shards, at its worst", "max(longest, total/n)", "ratio", 1.02),
    Goal("shards-split", "shards", "longest of 2 to 16 shards", "`pytest-split`, tests dealt singly", "ratio", None),
    Goal("shards-set-up", "shards", "the same, modules set up where they run", "`pytest-split`", "ratio", 1.0),
    Goal("shards-modulo", "shards", "the same, without set-up", "index modulo n", "ratio", 1.0),
    Goal("pipeline", "pipelines", "`python -m ci pipeline`, 250 steps, 500 changed files", "", "seconds", 0.35),
    Goal("pipeline-rival", "pipelines", "the same", "plain PyYAML and Jinja, same pipeline", "ratio", 1 / 5),
    Goal("runner-step", "runner", "a step in a sandbox, above `docker run --rm --init`", "", "seconds", 1.0),
)


def met(goal: Goal, found: Measured) -> bool | None:
    """Whether the goal is met by the medians; None where it has no bound."""
    if goal.bound is None:
        return None
    value = found.ratio if goal.kind == "ratio" else found.ours.median
    return value is not None and value <= goal.bound


def past(found: Mapping[str, Measured]) -> tuple[str, ...]:
    """The keys of all goals that are missed; one that has a bound and was not measured is missed."""
    judged = (goal for goal in GOALS if goal.bound is not None)
    return tuple(goal.key for goal in judged if goal.key not in found or not met(goal, found[goal.key]))
