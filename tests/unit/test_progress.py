"""BuildKit's stream, read from recorded samples (tests/unit/samples, buildx 0.29.1) and from hostile lines."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.build.progress import Event, Progress, StageTime, StepDone, StepFailed, StepLog, StepStarted
from ci.build.vertex import Vertex, covered, moment
from ci.printable import printable

SAMPLES = Path(__file__).parent / "samples"
NAMES = sorted(path.stem for path in SAMPLES.glob("*.jsonl"))


def read(name: str, lines: int | None = None) -> tuple[Progress, list[Event]]:
    progress = Progress()
    text = (SAMPLES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return progress, [event for line in text[:lines] for event in progress.feed(line)]


def stages(progress: Progress) -> dict[str, StageTime]:
    return {stage.name: stage for stage in progress.stages}


def states(progress: Progress) -> dict[str, str]:
    return {stage.name: stage.state for stage in (*progress.stages, *progress.exports)}


def vertex(name: str, begin: int | None = None, end: int | None = None, **more: object) -> dict[str, object]:
    """A vertex record whose times are seconds of one minute."""
    record: dict[str, object] = {"digest": name, "name": name, **more}
    if begin is not None:
        record["started"] = f"2026-01-01T00:00:{begin:02d}Z"
    if end is not None:
        record["completed"] = f"2026-01-01T00:00:{end:02d}Z"
    return record


def log(name: str, data: bytes, stream: int = 1) -> dict[str, object]:
    return {"vertex": name, "stream": stream, "data": base64.b64encode(data).decode()}


def feed(progress: Progress, *vertexes: dict[str, object], **more: object) -> tuple[Event, ...]:
    return progress.feed(json.dumps({"vertexes": list(vertexes), **more}))


def test_a_build_gives_stages_parents_first_with_wall_times() -> None:
    progress, events = read("two-stages")
    assert [stage.name for stage in progress.stages] == ["base", "probe", "ci_base", "out"]
    assert states(progress) == {
        "base": "cached", "probe": "cached", "ci_base": "done", "out": "done", "exporting to image": "done"
    }  # fmt: skip
    ci_base = stages(progress)["ci_base"]
    assert (ci_base.steps, ci_base.done_steps, ci_base.cached_steps) == (2, 2, 0)
    assert ci_base.seconds == pytest.approx(1.2986, abs=1e-3)
    assert not progress.all_cached
    assert progress.failure is None
    assert (progress.cache_export, progress.warnings, progress.notes) == (None, (), ())
    assert StepLog("out", "2/2 RUN cat /probe && sleep 0.2", ("probe built",)) in events


def test_each_step_starts_logs_and_ends_in_that_order() -> None:
    _, events = read("two-stages")
    own = [event for event in events if event.stage == "ci_base" and event.step.startswith("1/2")]
    assert [type(event) for event in own] == [StepStarted, StepLog, StepLog, StepLog, StepDone]


def test_a_second_run_is_all_cached_and_starts_nothing() -> None:
    progress, events = read("cached")
    assert progress.all_cached
    assert {stage.state for stage in progress.stages} == {"cached"}
    assert not [event for event in events if isinstance(event, StepStarted) and event.stage]


@pytest.mark.parametrize("name", ["contexts-cached", "bake", "cache-export-failed", "warnings"])
def test_a_from_a_named_context_or_an_export_does_not_spoil_all_cached(name: str) -> None:
    assert read(name)[0].all_cached


def test_a_cached_parent_that_nobody_waited_for_is_cached_and_no_failure() -> None:
    """Where parent and child are both in the cache, BuildKit may end the parent's load before it is done."""
    progress, events = read("cached-parent-let-go")
    text = (SAMPLES / "cached-parent-let-go.jsonl").read_text()
    assert '"cached":true,"error":"failed to load ref: context canceled"' in text
    assert progress.all_cached
    assert states(progress) == {"first": "cached", "last": "cached", "exporting to image": "done"}
    assert not [event for event in events if isinstance(event, StepFailed)]
    assert not progress.cancelled


def test_linked_copies_are_one_step() -> None:
    progress, _ = read("contexts-cached")
    found = stages(progress)["stage-1"]
    assert (found.steps, found.cached_steps) == (4, 4)


def test_a_failing_run_names_stage_step_code_and_the_last_forty_lines() -> None:
    progress, events = read("failing-run")
    failure = progress.failure
    assert failure is not None
    assert (failure.stage, failure.exit_code, failure.kind) == ("ci_base", 3, "")
    assert failure.step.startswith("[ci_base 1/1] RUN i=1; while")
    assert failure.message == "the command ended with exit code 3"
    assert len(failure.tail) == 40
    assert failure.tail[-1] == "ld: undefined symbol hipLaunchKernel"
    assert states(progress) == {"base": "cached", "ci_base": "failed", "other": "cancelled", "out": "waiting"}
    assert [(e.stage, e.cancelled) for e in events if isinstance(e, StepFailed)] == [
        ("ci_base", False), ("other", True)
    ]  # fmt: skip
    assert not progress.all_cached
    assert not progress.cancelled


def test_a_killed_command_hints_at_memory() -> None:
    failure = read("out-of-memory")[0].failure
    assert failure is not None
    assert (failure.exit_code, failure.kind) == (137, "oom")


def test_no_space_in_the_log_hints_at_the_disk() -> None:
    failure = read("disk-full")[0].failure
    assert failure is not None
    assert (failure.exit_code, failure.kind) == (1, "disk")


def test_a_failed_cache_export_is_read_although_the_build_is_fine() -> None:
    progress, _ = read("cache-export-failed")
    assert progress.failure is None
    assert progress.cache_export is not None
    assert "connection refused" in progress.cache_export
    assert states(progress)["exporting cache to registry"] == "failed"


def test_a_cache_export_that_may_not_fail_is_the_failure() -> None:
    failure = read("cache-export-fatal")[0].failure
    assert failure is not None
    assert (failure.stage, failure.step) == ("", "exporting cache to registry")


def test_a_cache_export_that_works_is_ok() -> None:
    assert read("cache-export-ok")[0].cache_export == "ok"


def test_a_cache_export_that_did_not_finish_is_not_ok() -> None:
    progress = Progress()
    feed(progress, vertex("exporting cache to registry", 1))
    assert progress.cache_export == "the export did not finish"


def test_a_failed_cache_import_is_a_warning() -> None:
    progress, _ = read("cache-import-failed")
    assert progress.failure is None
    (warning,) = progress.warnings
    assert warning.startswith("importing cache manifest from 127.0.0.1:1/x: ")


def test_lint_warnings_are_read() -> None:
    warnings = read("warnings")[0].warnings
    assert "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)" in warnings
    assert len(set(warnings)) == len(warnings) == 3


@pytest.mark.parametrize(
    ("name", "stage", "step", "message"),
    [
        ("parse-error", "", "", "dockerfile parse error on line 2: unknown instruction: COPYY"),
        ("missing-file", "stage-0", "[1/1] COPY nothere /b", "failed to calculate checksum of ref"),
        ("pull-failed", "", "[internal] load metadata for 127.0.0.1:1/none:1", "failed to do request"),
        ("push-failed", "", "exporting to image", "failed to push 127.0.0.1:1/x:1"),
    ],
)
def test_other_failures_are_named_and_show_what_there_is(name: str, stage: str, step: str, message: str) -> None:
    failure = read(name)[0].failure
    assert failure is not None
    assert (failure.stage, failure.step, failure.exit_code) == (stage, step, None)
    assert failure.message.startswith(message)
    assert failure.tail


def test_an_interrupted_build_is_cancelled_and_not_failed() -> None:
    progress, _ = read("interrupted")
    assert progress.failure is None
    assert progress.cancelled
    assert states(progress) == {"base": "cached", "slow": "cancelled", "out": "waiting"}


def test_a_dead_daemon_is_a_failure_without_a_step() -> None:
    progress = Progress()
    feed(progress, vertex("[a 1/1] RUN x", 1))
    progress.feed("ERROR: failed to build: failed to receive status: rpc error: code = Unavailable desc = EOF")
    assert progress.failure is not None
    assert progress.failure.step == ""
    assert progress.failure.message.startswith("failed to receive status: rpc error")
    assert states(progress) == {"a": "cancelled"}


def test_memory_limits_are_told_without_an_exit_code() -> None:
    progress = Progress()
    error = 'process "/bin/sh -c x" did not complete successfully: cannot allocate memory'
    feed(progress, vertex("[a 1/1] RUN x", 1, 2, error=error))
    assert progress.failure is not None
    assert (progress.failure.kind, progress.failure.exit_code) == ("oom", None)


def test_a_killed_compiler_is_told_by_its_own_words() -> None:
    progress = Progress()
    error = 'process "/bin/sh -c ninja" did not complete successfully: exit code: 1'
    line = b"c++: fatal error: Killed signal terminated program cc1plus\n"
    feed(progress, vertex("[a 1/1] RUN x", 1, 2, error=error), logs=[log("[a 1/1] RUN x", line)])
    assert progress.failure is not None
    assert (progress.failure.kind, progress.failure.exit_code) == ("oom", 1)


def test_an_internal_error_alone_is_no_failure() -> None:
    progress = Progress()
    feed(progress, vertex("[internal] load metadata for x", 1, 2, error="registry is down"))
    assert progress.failure is None


def test_wall_time_is_the_union_of_intervals_and_open_ones_last_until_now() -> None:
    progress = Progress()
    feed(progress, vertex("[a 1/3] RUN x", 1, 5), vertex("[a 2/3] RUN y", 3, 7), vertex("[a 3/3] RUN z", 20))
    feed(progress, vertex("[b 1/1] RUN w", 30))
    assert stages(progress)["a"].seconds == pytest.approx(16)
    assert stages(progress)["a"].state == "running"


def test_a_vertex_that_runs_twice_adds_up() -> None:
    progress = Progress()
    name = "[a 1/1] FROM x"
    first = feed(progress, vertex(name, 1, 2))
    second = feed(progress, vertex(name, 5))
    third = feed(progress, vertex(name, 5, 15), vertex(name, 5, 15))
    assert first == (StepStarted("a", "1/1 FROM x"), StepDone("a", "1/1 FROM x", 1, False))
    assert second == (StepStarted("a", "1/1 FROM x"),)
    assert third == (StepDone("a", "1/1 FROM x", 11, False),)


def test_steps_that_a_cached_child_made_needless_count_as_cached() -> None:
    progress = Progress()
    feed(progress, vertex("[a 1/1] RUN x"), vertex("[b 1/1] COPY x", 1, 1, cached=True))
    assert states(progress)["a"] == "waiting"
    feed(progress, vertex("exporting to image", 1, 2))
    assert states(progress)["a"] == "cached"
    assert progress.all_cached


def test_nothing_seen_is_not_all_cached() -> None:
    assert not Progress().all_cached
    assert not read("parse-error")[0].all_cached


def test_logs_are_cut_into_lines_across_records_and_streams() -> None:
    progress, name = Progress(), "[a 1/1] RUN x"
    feed(progress, vertex(name, 1))
    lines: list[str] = []
    parts = [(b"one\ntw", 1), (b"err", 2), ("o\nd\N{EURO SIGN}".encode()[:-1], 1), ("\N{EURO SIGN}".encode()[-1:], 1)]
    for data, stream in parts:
        lines += [text for e in feed(progress, logs=[log(name, data, stream)]) for text in getattr(e, "lines", ())]
    assert lines == ["one", "two"]
    *logs, done = feed(progress, vertex(name, 1, 2))
    assert logs == [StepLog("a", "1/1 RUN x", ("d\N{EURO SIGN}", "err"))]
    assert isinstance(done, StepDone)


def test_progress_bars_and_escape_sequences_leave_plain_text() -> None:
    progress, name = Progress(), "[a 1/1] RUN x"
    feed(progress, vertex(name, 1))
    data = b"10%\r50%\r100%\r\n\x1b[31mred\x1b[0m \x1b]0;title\x07end\tx\x00\n" + b"\r".join(
        [b"%d%%" % i for i in range(9)]
    )
    (event,) = feed(progress, logs=[log(name, data)])
    assert isinstance(event, StepLog)
    assert event.lines == ("100%", "red end    x")
    (rest, _) = feed(progress, vertex(name, 1, 2))
    assert rest == StepLog("a", "1/1 RUN x", ("8%",))


def test_an_endless_line_is_cut() -> None:
    node = Vertex("d", "[a 1/1] RUN x")
    assert node.split("1", b"x" * 20_000) == ("x" * 16_384,)
    assert node.rest() == ()


@pytest.mark.parametrize(
    ("name", "stage", "step", "kind"),
    [
        ("[ci_base 2/5] RUN a  && \tb", "ci_base", "2/5 RUN a && b", "step"),
        ("[linux/amd64 ci_base 2/5] RUN x", "ci_base", "2/5 RUN x", "step"),
        ("[linux/arm/v7->amd64 ci_base 2/5] RUN x", "ci_base", "2/5 RUN x", "step"),
        ("[linux/amd64 2/5] RUN x", "stage-0", "2/5 RUN x", "step"),
        ("[1/2] FROM debian", "stage-0", "1/2 FROM debian", "source"),
        ("[internal] load build context", "", "load build context", "internal"),
        ("[app internal] load build context", "", "app: load build context", "internal"),
        ("[context src] load from client", "", "context src: load from client", "internal"),
        ("[auth] sharing credentials for x", "", "sharing credentials for x", "internal"),
        ("[app] exporting to image", "", "app: exporting to image", "export"),
        ("exporting cache to registry", "", "exporting cache to registry", "cache-export"),
        ("importing cache manifest from x", "", "importing cache manifest from x", "cache-import"),
        ("https://example.org/x.tar", "", "https://example.org/x.tar", "internal"),
    ],
)
def test_names_are_taken_apart(name: str, stage: str, step: str, kind: str) -> None:
    found = Vertex("d", name)
    assert (found.stage, found.step, found.kind) == (stage, step, kind)


def test_plain_text_is_kept_as_notes() -> None:
    progress = Progress()
    for line in ("", "   ", '{"some":"json of others"}', "{broken", "[1]", "\x1b[31mERROR: x\x1b[0m"):
        assert progress.feed(line) == ()
    assert progress.notes == ('{"some":"json of others"}', "{broken", "[1]", "ERROR: x")
    assert progress.failure is not None
    assert progress.failure.message == "x"


@pytest.mark.parametrize("name", NAMES)
def test_every_cut_of_every_sample_can_be_asked_everything(name: str) -> None:
    text = (SAMPLES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    progress = Progress()
    for line in text:
        for event in progress.feed(line):
            assert event.step
        for stage in (*progress.stages, *progress.exports):
            assert stage.seconds >= 0
            assert 0 <= stage.cached_steps <= stage.done_steps <= stage.steps
        assert progress.failure is None or not progress.all_cached


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["vertexes", "statuses", "logs", "warnings", "digest", "name", "started", "completed",
                         "inputs", "error", "cached", "vertex", "data", "stream", "id", "timestamp", "short"]),
        inner, max_size=6,
    ),
    max_leaves=25,
)  # fmt: skip


@given(st.lists(st.text() | st.builds(json.dumps, JSON), max_size=8))
def test_no_line_raises(lines: list[str]) -> None:
    progress = Progress()
    for line in lines:
        progress.feed(line)
    _ = (progress.stages, progress.exports, progress.failure, progress.all_cached, progress.cache_export)
    _ = (progress.warnings, progress.notes, progress.cancelled)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=8))
def test_the_union_counts_every_second_once(spans: list[tuple[int, int]]) -> None:
    seconds = {second for start, length in spans for second in range(start, start + length)}
    assert covered([(float(a), float(a + n)) for a, n in spans]) == pytest.approx(len(seconds))


def test_moments_of_every_precision_are_read() -> None:
    whole = moment("2026-01-01T00:00:01Z")
    nano = moment("2026-01-01T00:00:01.123456789Z")
    assert whole is not None
    assert nano == pytest.approx(whole + 0.123456, abs=1e-5)
    assert moment("2026-01-01T01:00:01+01:00") == whole
    assert [moment(text) for text in ("", "yesterday", None, 7)] == [None] * 4


@given(st.text())
def test_printable_text_has_no_control_characters(text: str) -> None:
    assert not [char for char in printable(text) if ord(char) < 32 or 127 <= ord(char) < 160]
