"""Which spans of a run stand where in its timeline: lanes below each other, and in each the bars."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ..errors import Outcome, worst
from ..world.spans import Span
from . import units

KINDS = frozenset({"run", "phase", "suite", "tier", "stage", "step"})
"""What has a lane of its own; everything else is a bar in the lane of what it is a part of."""

_NAMED = frozenset({"phase", "suite", "tier"})
"""What is called by its kind as well: a tier, a suite and a step may share a name."""

_TOUCH = 0.002
"""Seconds by which one bar may reach into the next beside it: times are rounded."""


class Lane(NamedTuple):
    """One line: the span it is about, and the bars in it, each with its track (0 is the uppermost)."""

    span: Span
    depth: int
    name: str
    bars: tuple[tuple[Span, int], ...]

    @property
    def tracks(self) -> int:
        """How many bars lie above each other where most do."""
        return 1 + max((track for _, track in self.bars), default=0)


def lanes(run: Span, spans: Iterable[Span]) -> tuple[Lane, ...]:
    """Every lane from top to bottom: the run, each GPU, what the run did, and what that did."""
    tree = _Tree(run, _within(run, spans))
    own, *others = tree.lanes()
    return (own, *_gpu_lanes(tree), *others)


def totals(spans: Sequence[Span]) -> str:
    """One line: steps by outcome, tiers and stages, and how many of these came from a cache."""
    steps = [each for each in spans if each.kind == "step"]
    parts = []
    if steps:
        outcomes = Counter(each.outcome for each in steps)
        told = ", ".join(f"{outcomes[each]} {each}" for each in Outcome if outcomes[each])
        parts.append(f"{units.counted(len(steps), 'step')}: {told}")
    for kind, how in (("tier", "reused"), ("stage", "cached")):
        found = [each for each in spans if each.kind == kind]
        if found:
            parts.append(f"{units.counted(len(found), kind)}, {sum(each.cached for each in found)} {how}")
    return " · ".join(parts)


def _within(run: Span, spans: Iterable[Span]) -> Iterator[Span]:
    """Another clock, such as a builder's, may tell of a time before the run or after it."""
    for each in spans:
        start = min(max(each.start, run.start), run.end)
        yield each._replace(start=start, end=min(max(each.end, start), run.end))


class _Tree:
    """The spans by number, and the parts of each; what is only there for others is taken out."""

    def __init__(self, run: Span, given: Iterable[Span]) -> None:
        self.run = run
        self.spans = {each.number: each for each in given} | {run.number: run}
        tries = Counter(each.parent for each in self.spans.values() if each.kind == "try")
        dropped = {n for n, each in self.spans.items() if each.kind == "gpus" or _lone(each, tries)}
        self.parts: dict[int, list[Span]] = defaultdict(list)
        for each in self.spans.values():
            if each.number not in dropped and each is not run:
                self.parts[self._outside(each, dropped)].append(each)
        for parts in self.parts.values():
            parts.sort(key=lambda span: (span.start, span.number))

    def lanes(self) -> Iterator[Lane]:
        """The run's lane and all below it."""
        yield from self._lanes(self.run, 0, self.run.name)

    def owner(self, span: Span) -> Span:
        """The span with a lane that ``span`` belongs to."""
        while span.kind not in KINDS:
            span = self.spans.get(span.parent, self.run)
        return span

    def _outside(self, span: Span, dropped: set[int]) -> int:
        while span.parent in dropped:
            span = self.spans[span.parent]
        return span.parent if span.parent in self.spans else self.run.number

    def _lanes(self, span: Span, depth: int, name: str) -> Iterator[Lane]:
        bars = list(self._bars(span))
        yield Lane(span, depth, name, tuple(_tracked(bars or [span])))
        yield from self._below(self._owned(span), depth + 1)

    def _below(self, spans: Sequence[Span], depth: int) -> Iterator[Lane]:
        """One after the other as they began; the shards of one step together, below a lane that sums them up."""
        groups: dict[tuple[str, str], list[Span]] = defaultdict(list)
        for each in spans:
            groups[each.kind, each.name if each.shard else str(each.number)].append(each)
        for group in groups.values():
            if len(group) == 1:
                (each,) = group
                kind = each.kind if each.kind in _NAMED else ""
                yield from self._lanes(each, depth, f"{kind} {each.name} {each.shard}".strip())
                continue
            whole = group[0]._replace(
                end=max(each.end for each in group),
                outcome=worst(each.outcome for each in group),
                why=tuple(f"{each.shard}: {each.why[0]}" for each in group if each.why),
                shard=f"{len(group)} shards",
                log="",
            )
            yield Lane(whole, depth, f"{whole.name}, {whole.shard}", ((whole, 0),))
            for each in sorted(group, key=lambda span: int(span.shard.partition("/")[0])):
                yield from self._lanes(each, depth + 1, f"{each.name} {each.shard}")

    def _bars(self, span: Span) -> Iterator[Span]:
        for each in self.parts.get(span.number, ()):
            if each.kind not in KINDS:
                yield each
                yield from self._bars(each)

    def _owned(self, span: Span) -> list[Span]:
        """The nearest spans below with lanes of their own."""
        found: list[Span] = []
        for each in self.parts.get(span.number, ()):
            found += [each] if each.kind in KINDS else self._owned(each)
        return sorted(found, key=lambda part: (part.start, part.number))


def _lone(span: Span, tries: Mapping[int, int]) -> bool:
    """A step that was begun once says nothing with its one try."""
    return span.kind == "try" and tries[span.parent] == 1


def _tracked(spans: Iterable[Span]) -> Iterator[tuple[Span, int]]:
    """Each with the first track that is free when it begins; what lasts longer lies above."""
    ends: list[float] = []
    for span in sorted(spans, key=lambda each: (each.start, -each.end, each.number)):
        free = next((track for track, end in enumerate(ends) if end <= span.start + _TOUCH), len(ends))
        ends[free : free + 1] = [span.end]
        yield span, free


def _gpu_lanes(tree: _Tree) -> Iterator[Lane]:
    """A lane for each GPU, with the steps that held it."""
    holds = [each for each in tree.spans.values() if each.kind == "gpus"]
    for gpu in sorted({gpu for each in holds for gpu in each.gpus}):
        held = [
            tree.owner(each)._replace(start=each.start, end=each.end, gpus=(gpu,)) for each in holds if gpu in each.gpus
        ]
        busy = sum(each.end - each.start for each in held)
        whole = Span("GPU", gpu, held[0].start, max(each.end for each in held), why=(f"held {units.seconds(busy)}",))
        yield Lane(whole, 1, f"GPU {gpu}", tuple(_tracked(held)))
