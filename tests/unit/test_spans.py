"""What a run writes down about its own time: spans within spans, those of other runs, and files that are not whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ci.build import traced
from ci.build.progress import Progress
from ci.errors import FailedError, Interrupted, Outcome
from ci.suites.results import StepResult
from ci.suites.traced import Calls, held
from ci.world.fakes import FakeClock
from ci.world.ledger import Ledger
from ci.world.spans import FILE, LONGEST, Span, Spans, read


def begun(folder: Path, clock: FakeClock | None = None) -> tuple[Spans, FakeClock]:
    clock = clock or FakeClock()
    folder.mkdir(exist_ok=True)
    return Spans(folder, clock), clock


def row(span: Span) -> tuple[str, str, float, float, int]:
    return span.kind, span.name, span.start, span.end, span.parent


# --- writing and reading ----------------------------------------------------------------------


def test_spans_lie_within_spans_and_the_file_has_what_was_kept(tmp_path: Path) -> None:
    clock = FakeClock()
    clock.advance(50)
    spans, _ = begun(tmp_path, clock)
    with spans.during("tier", "ci-base") as tier:
        clock.advance(1)
        with spans.during("push", "r:1"):
            clock.advance(2)
        spans.record(Span("stage", "base", 0.25, 0.5, cached=True, gpus=("a", "b"), why=("x",)))
        tier.span = tier.span._replace(cached=True)
    assert list(map(row, spans.done)) == [
        ("push", "r:1", 1, 3, 1), ("stage", "base", 0.25, 0.5, 1), ("tier", "ci-base", 0, 3, 0),
    ]  # fmt: skip
    assert [each.number for each in spans.done] == [2, 3, 1]
    assert spans.done[-1].cached
    assert read(tmp_path) == (50, tuple(spans.done))


@pytest.mark.parametrize(
    ("error", "outcome", "why"),
    [
        (FailedError("run-failed", "make ended with 2"), Outcome.FAILED, "make ended with 2"),
        (Interrupted(2), Outcome.INTERRUPTED, "stopped by signal 2"),
        (KeyError("x"), Outcome.INTERNAL, "KeyError('x')"),
    ],
)
def test_an_error_that_leaves_a_span_is_its_outcome(
    tmp_path: Path, error: BaseException, outcome: Outcome, why: str
) -> None:
    spans, _ = begun(tmp_path)
    with pytest.raises(type(error)), spans.during("tier", "ci-base"), spans.during("push", "r:1"):
        raise error
    assert [(each.outcome, each.why) for each in spans.done] == [(outcome, (why,))] * 2
    with spans.during("tier", "next"):
        assert spans.record(Span("x", "y", 0, 0)) == 4
    assert spans.done[-2].parent == 3, "what ended badly is not gone on with"


def test_a_disk_that_takes_no_more_ends_the_file_and_not_the_run(tmp_path: Path) -> None:
    spans = Spans(tmp_path / "gone", FakeClock())
    with spans.during("tier", "ci-base"):
        pass
    assert [each.name for each in spans.done] == ["ci-base"]
    assert spans.lost == "No such file or directory"


def test_names_are_cut_and_may_be_anything(tmp_path: Path) -> None:
    spans, _ = begun(tmp_path)
    spans.record(Span("command", "\udcff\n" + "x" * 1000, 0, 1, why=("y" * 1000,) * 9))
    _, (found,) = read(tmp_path)
    assert found == spans.done[0]
    assert (len(found.name), len(found.why), len(found.why[0])) == (LONGEST, 6, LONGEST)
    assert len((tmp_path / FILE).read_text().splitlines()) == 2


@pytest.mark.parametrize("line", ["", "{", "7", "[]", '{"kind": "x"}', '{"kind": "x", "outcome": "odd"}'])
def test_a_line_that_is_not_whole_is_left_out(tmp_path: Path, line: str) -> None:
    spans, _ = begun(tmp_path)
    spans.record(Span("a", "a", 0, 1))
    with (tmp_path / FILE).open("a") as stream:
        stream.write(line + "\n")
    spans.record(Span("b", "b", 1, 2))
    assert [each.kind for each in read(tmp_path)[1]] == ["a", "b"]


@pytest.mark.parametrize("head", ["", "{}", "7", '{"version": 2, "began": 0}', '{"version": 1, "began": "soon"}'])
def test_a_file_of_another_kind_has_no_spans(tmp_path: Path, head: str) -> None:
    (tmp_path / FILE).write_text(f"{head}\n{json.dumps(Span('a', 'a', 0, 1).to_json())}\n")
    assert read(tmp_path) == (0, ())


def test_a_ledger_brings_the_spans_of_its_run(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, FakeClock())
    ledger.spans.record(Span("a", "a", 0, 1))
    assert (tmp_path / FILE).is_file()


# --- runs of their own ------------------------------------------------------------------------


def other(folder: Path, clock: FakeClock) -> None:
    """A run that began later and did one step in one try."""
    spans, _ = begun(folder, clock)
    with spans.during("rights", "trust"):
        clock.advance(1)
    with spans.during("step", "kernels"), spans.during("try", "try 1"), spans.during("command", "pytest"):
        clock.advance(2)


def test_the_spans_of_another_run_are_moved_and_keep_their_order(tmp_path: Path) -> None:
    spans, clock = begun(tmp_path / "ours")
    clock.advance(10)
    number = spans.record(Span("suite", "all", 10, 10))
    other(tmp_path / "theirs", clock)
    spans.adopt(tmp_path / "theirs", number)
    assert sorted(map(row, spans.done[1:])) == [
        ("command", "pytest", 11, 13, 4), ("rights", "trust", 10, 11, 1), ("step", "kernels", 11, 13, 1),
        ("try", "try 1", 11, 13, 3),
    ]  # fmt: skip


def test_a_step_that_ran_as_a_call_of_its_own_is_told_once(tmp_path: Path) -> None:
    spans, clock = begun(tmp_path / "ours")
    calls = Calls(spans)
    clock.advance(5)
    calls.begin()
    other(tmp_path / "theirs", clock)
    result = StepResult("kernels", "", Outcome.FAILED, ("1 failed",), "1/2", gpus=("g0",))
    assert calls.over(0, result, json.dumps({"run_folder": str(tmp_path / "theirs")})) is result
    assert sorted(map(row, spans.done)) == [
        ("command", "pytest", 6, 8, 1), ("rights", "trust", 5, 6, 1), ("step", "kernels", 5, 8, 0),
    ]  # fmt: skip
    step = spans.done[0]
    assert (step.outcome, step.why, step.shard, step.gpus) == (Outcome.FAILED, ("1 failed",), "1/2", ("g0",))


@pytest.mark.parametrize("said", ["", "[]", "7", "{}", '{"run_folder": 7}', '{"run_folder": "/nowhere"}'])
def test_a_call_that_names_no_folder_is_told_all_the_same(tmp_path: Path, said: str) -> None:
    spans, clock = begun(tmp_path)
    calls = Calls(spans)
    clock.advance(3)
    calls.over(0, StepResult("kernels", "", Outcome.TIMEOUT), said)
    assert list(map(row, spans.done)) == [("step", "kernels", 3, 3, 0)], "one that never began takes no time"


def test_the_wait_for_gpus_comes_before_the_time_they_are_held(tmp_path: Path) -> None:
    spans, clock = begun(tmp_path)
    clock.advance(4)
    with held(spans, ("g0", "g1"), 1):
        clock.advance(2)
    assert list(map(row, spans.done)) == [("lease", "wait for 2 GPU(s)", 1, 4, 0), ("gpus", "g0, g1", 4, 6, 0)]
    assert spans.done[1].gpus == ("g0", "g1")
    with held(spans, (), 6):
        pass
    assert len(spans.done) == 2, "a step on the CPU holds none"


# --- builds -----------------------------------------------------------------------------------


def fed(*records: tuple[Any, ...]) -> Progress:
    """The progress of vertices: name, begin and end in seconds of the builder's clock, and what else is told."""
    progress = Progress()
    for name, start, end, *more in records:
        times = {"started": start, "completed": end}
        vertex: dict[str, object] = {"digest": f"sha256:{name}", "name": name}
        vertex |= {key: f"2020-01-01T00:00:{at:02}Z" for key, at in times.items() if at is not None}
        for each in more:
            vertex |= each
        progress.feed(json.dumps({"vertexes": [vertex]}))
    return progress


def test_a_build_is_its_stages_and_their_instructions_by_our_clock(tmp_path: Path) -> None:
    spans, clock = begun(tmp_path)
    clock.advance(100)  # the builder's clock is years behind
    progress = fed(
        ("[internal] load metadata", 0, 3),
        ("[base 1/2] FROM x", 3, 4),
        ("[base 2/2] RUN make", 4, 10, {"cached": True}),
        ("[other 1/1] RUN true", 4, 20),
        ("exporting to image", 20, 30),
        ("[internal] load .dockerignore", 0, 0),
    )
    with spans.during("tier", "ci-base"):
        traced.record(spans, progress)
    assert list(map(row, spans.done[:-1])) == [
        ("stage", "base", 73, 80, 1),
        ("instruction", "1/2 FROM x", 73, 74, 2), ("instruction", "2/2 RUN make", 74, 80, 2),
        ("stage", "other", 74, 90, 1), ("instruction", "1/1 RUN true", 74, 90, 5),
        ("internal", "load metadata", 70, 73, 1), ("export", "exporting to image", 90, 100, 1),
    ]  # fmt: skip
    assert [each.cached for each in spans.done[:5]] == [True, False, True, False, False]


def test_a_build_that_ended_badly_tells_which_instruction_failed_and_which_were_stopped(tmp_path: Path) -> None:
    spans, clock = begun(tmp_path)
    clock.advance(9)
    wrong = 'process "/bin/sh -c make" did not complete successfully: exit code: 2'
    progress = fed(
        ("[base 1/1] RUN make", 0, 5, {"error": wrong}),
        ("[other 1/1] RUN sleep", 0, 6, {"error": "rpc error: context canceled"}),
        ("[third 1/1] RUN sleep", 0, None),
    )
    traced.record(spans, progress)
    outcomes = {each.name: each.outcome for each in spans.done}
    assert outcomes == {
        "base": Outcome.FAILED, "1/1 RUN make": Outcome.FAILED, "other": Outcome.INTERRUPTED,
        "1/1 RUN sleep": Outcome.INTERRUPTED, "third": Outcome.INTERRUPTED,
    }  # fmt: skip
    assert spans.done[0].why == (f"1/1 RUN make: {wrong}",)


def test_what_buildkit_let_go_of_because_it_was_cached_anyway_is_a_cached_instruction(tmp_path: Path) -> None:
    spans, clock = begun(tmp_path)
    clock.advance(9)
    let_go = {"cached": True, "error": "failed to load ref: context canceled"}
    progress = fed(
        ("[first 1/1] FROM x", 0, 1, let_go),
        ("[last 1/1] COPY a b", 0, 1, {"cached": True}),
        ("exporting to image", 1, 2),
    )
    traced.record(spans, progress)
    assert [(each.name, each.outcome, each.cached) for each in spans.done[:4]] == [
        ("first", Outcome.OK, True), ("1/1 FROM x", Outcome.OK, True),
        ("last", Outcome.OK, True), ("1/1 COPY a b", Outcome.OK, True),
    ]  # fmt: skip


def test_a_build_of_which_nothing_was_told_has_no_spans(tmp_path: Path) -> None:
    spans, _ = begun(tmp_path)
    traced.record(spans, Progress())
    assert spans.done == []
