"""What a person sees while an image builds: messages, problems, plain lines, groups, the live tree."""

from __future__ import annotations

import errno
import importlib
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ci.build.progress import Progress
from ci.errors import Outcome, Place, Problem
from ci.providers.folding import Buildkite, Folding, GitHub, folding
from ci.report import units
from ci.report.console import Build, Capabilities, Console, capabilities, render_problems
from ci.report.live import LiveBuild, rich_console
from ci.report.terminal import QuietStream
from ci.world.fakes import FakeClock

SAMPLES = Path(__file__).parent / "samples"
PLAIN, GITHUB, BUILDKITE = Folding(), GitHub(folds=True), Buildkite(folds=True)


def console(
    stream: io.StringIO, fold: Folding = PLAIN, clock: FakeClock | None = None, *, colour: bool = False
) -> Console:
    return Console(
        stream, interactive=False, colour=colour, unicode=True, folding=fold, clock=clock or FakeClock(), ticking=False
    )


def plain(name: str, fold: Folding = PLAIN) -> list[str]:
    out = io.StringIO()
    with console(out, fold).build("ci-base") as build:
        for line in (SAMPLES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            build.feed(line)
    return out.getvalue().splitlines()


def run(build: Build, *vertexes: dict[str, object], log: tuple[str, str] | None = None) -> None:
    record: dict[str, object] = {"vertexes": vertexes}
    if log:
        import base64

        record["logs"] = [{"vertex": log[0], "stream": 1, "data": base64.b64encode(log[1].encode()).decode()}]
    build.feed(json.dumps(record))


def vertex(name: str, begin: int, end: int | None = None, error: str = "") -> dict[str, object]:
    record: dict[str, object] = {"digest": name, "name": name, "started": f"2026-01-01T00:00:{begin:02d}Z"}
    if end is not None:
        record["completed"] = f"2026-01-01T00:00:{end:02d}Z"
    return {**record, "error": error} if error else record


# --- what the stream can show -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "isatty", "expected"),
    [
        ({}, True, (True, True, True)),
        ({}, False, (False, False, True)),
        ({"TERM": "dumb"}, True, (False, False, True)),
        ({"NO_COLOR": "1"}, True, (True, False, True)),
        ({"NO_COLOR": ""}, True, (True, True, True)),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, (True, False, True)),
        ({"FORCE_COLOR": "1"}, False, (False, True, True)),
        ({"FORCE_COLOR": "0"}, False, (False, False, True)),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, False, (False, True, True)),
        ({"CI": "true"}, True, (False, True, True)),
        ({"CI": "false"}, True, (True, True, True)),
        ({"CI": "true", "GITHUB_ACTIONS": "true"}, False, (False, True, True)),
        ({"CI": "true", "BUILDKITE": "true"}, True, (False, True, True)),
        ({"LANG": "C"}, True, (True, True, False)),
        ({"LANG": "en_US.UTF-8"}, True, (True, True, True)),
        ({"LC_ALL": "POSIX", "LANG": "C.UTF-8"}, True, (True, True, False)),
        ({"LC_ALL": "", "LANG": "C.utf8"}, True, (True, True, True)),
    ],
)
def test_capabilities(environ: dict[str, str], isatty: bool, expected: tuple[bool, bool, bool]) -> None:
    assert capabilities(environ, isatty) == Capabilities(*expected)


class _Broken(io.StringIO):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error, self.calls = error, 0

    def write(self, _text: str) -> int:
        self.calls += 1
        raise self.error


@pytest.mark.parametrize(
    "error",
    [BrokenPipeError(errno.EPIPE, "x"), OSError(errno.ENOSPC, "x"), OSError(errno.EIO, "x"), ValueError("closed")],
)
def test_a_reader_that_is_gone_silences_everything(error: BaseException) -> None:
    stream = _Broken(error)
    for interactive in (False, True):
        shown = Console(
            stream, interactive=interactive, colour=True, unicode=True, folding=PLAIN, clock=FakeClock(), ticking=False
        )
        shown.say("x")
        shown.problem([Problem("a", "b")], Outcome.INFRA)
        with shown.build("ci-base") as build:
            run(build, vertex("[a 1/1] RUN x", 1))
            build.tick()
            shown.warn("y")
    assert stream.calls == 2  # once each: after the first error nobody tries again


def test_a_process_without_stderr_is_silent() -> None:
    shown = Console(None, interactive=False, colour=True, unicode=True, folding=PLAIN, clock=FakeClock())
    shown.say("x")
    with shown.build("ci-base") as build:
        run(build, vertex("[a 1/1] RUN x", 1))


def test_a_stream_that_is_full_for_a_moment_is_tried_again() -> None:
    stream = _Broken(BlockingIOError(errno.EAGAIN, "x"))
    quiet = QuietStream(stream, unicode=True)
    quiet.write("a")
    quiet.write("b")
    assert stream.calls == 2


def test_characters_a_stream_cannot_encode_become_question_marks() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1")
    QuietStream(stream, unicode=True).write("ü✓")
    assert raw.getvalue() == b"\xfc?"
    text = io.StringIO()
    QuietStream(text, unicode=False).write("ü✓")
    assert text.getvalue() == "??"


def test_nothing_to_do_does_not_import_rich() -> None:
    mine = [name for name in sys.modules if name.partition(".")[0] == "rich" or name.startswith("ci.report")]
    kept = {name: sys.modules.pop(name) for name in mine}
    try:
        for name in ("ci.report.console", "ci.report.summary"):
            importlib.import_module(name)
        assert not [name for name in sys.modules if name.partition(".")[0] == "rich"]
    finally:
        for name in [name for name in sys.modules if name.startswith("ci.report")]:
            del sys.modules[name]
        sys.modules.update(kept)
        sys.modules["ci"].report = kept["ci.report"]  # type: ignore[attr-defined]


# --- messages and problems ----------------------------------------------------------------------


def test_messages_are_labelled_and_uncoloured_unless_asked() -> None:
    out = io.StringIO()
    shown = console(out)
    shown.say("hello")
    shown.notice("list normalised\nto gfx942;gfx950")
    shown.warn("cache not exported")
    assert out.getvalue() == ("hello\nnotice: list normalised\n  to gfx942;gfx950\nwarning: cache not exported\n")
    coloured = io.StringIO()
    console(coloured, colour=True).warn("x")
    assert coloured.getvalue() == "\x1b[33mwarning:\x1b[0m x\n"


PROBLEM = Problem(
    "unknown-arch",
    "'gfx94a' is not a known arch",
    hint="did you mean gfx942 or gfx90a?\ninv check shows all",
    context="PYTORCH_ROCM_ARCH=gfx94a",
    place=Place("docker/stacks/local.yaml", 9, 5),
)


def test_one_problem() -> None:
    assert render_problems([PROBLEM], Outcome.CONFIG).splitlines() == [
        "error: 'gfx94a' is not a known arch [unknown-arch]",
        "  at docker/stacks/local.yaml:9:5",
        "    PYTORCH_ROCM_ARCH=gfx94a",
        "  hint: did you mean gfx942 or gfx90a?",
        "        inv check shows all",
        "outcome: config",
    ]


def test_several_problems_are_numbered_and_counted() -> None:
    text = render_problems([PROBLEM, Problem("b", "second\nline")], Outcome.CONFIG)
    assert "error 1 of 2: 'gfx94a'" in text
    assert "error 2 of 2: second\n  line [b]" in text
    assert text.endswith("2 problems; outcome: config")


def test_a_problem_cannot_drive_the_terminal() -> None:
    text = render_problems([Problem("a", "x\x1b[2J", context="\x1b]0;t\x07y\rz")], Outcome.FAILED)
    assert "\x1b" not in text
    assert "\r" not in text


def test_a_problem_is_an_annotation_on_github() -> None:
    out = io.StringIO()
    console(out, GITHUB).problem([PROBLEM], Outcome.CONFIG)
    last = out.getvalue().splitlines()[-1]
    assert last == (
        "::error file=docker/stacks/local.yaml,line=9,col=5,title=unknown-arch::'gfx94a' is not a known arch"
        "%0Ahint: did you mean gfx942 or gfx90a?%0Ainv check shows all"
    )


# --- folding ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "kind"),
    [
        ({}, Folding), ({"CI": "true"}, Folding), ({"GITHUB_ACTIONS": "false"}, Folding),
        ({"GITHUB_ACTIONS": "true"}, GitHub), ({"BUILDKITE": "true"}, Buildkite),
    ],
)  # fmt: skip
def test_the_environment_decides_the_markers(environ: dict[str, str], kind: type[Folding]) -> None:
    found = folding(environ)
    assert type(found) is kind
    assert found.folds == (kind is not Folding)


def test_titles_are_one_line_and_escaped() -> None:
    assert GITHUB.start("100%\r\n::x") == "::group::100%25 ::x"
    assert BUILDKITE.start("a\n+++ b") == "--- a +++ b"
    assert PLAIN.start("a\nb") == "a b"


@pytest.mark.parametrize(
    ("fold", "line"),
    [
        (GITHUB, "::add-path::/tmp"), (GITHUB, "  ::error::x"), (GITHUB, "x ##[group]y"),
        (BUILDKITE, "--- a"), (BUILDKITE, "+++ a"), (BUILDKITE, "~~~ a"), (BUILDKITE, "^^^ +++"),
    ],
)  # fmt: skip
def test_a_log_line_is_never_a_command(fold: Folding, line: str) -> None:
    safe = fold.safe(line)
    assert not re.match(r"\s*::|(---|\+\+\+|~~~|\^\^\^)( |$)", safe)
    assert "##[" not in safe
    assert fold.safe("-----") == "-----"
    assert PLAIN.safe(line) == line


def test_annotation_values_are_escaped() -> None:
    line = GITHUB.annotation("error", "a:b,c", "50%\nnext", Place("x,y.py", 3))
    assert line == "::error file=x%2Cy.py,line=3,title=a%3Ab%2Cc::50%25%0Anext"
    assert BUILDKITE.annotation("error", "a", "b") == ""


# --- builds as plain lines ----------------------------------------------------------------------


def test_plain_lines_name_tier_stage_step_and_time() -> None:
    lines = plain("two-stages")
    assert "[ci-base] base 1/2 COPY busybox /bin/busybox  cached" in lines
    assert "[ci-base] ci_base 1/2 | hello line 1" in lines
    assert [line for line in lines if re.fullmatch(r"\[ci-base\] ci_base 2/2 RUN echo world .*  \d\.\d s", line)]
    assert lines[-1] == "[ci-base] done in 0.0 s"
    assert not [line for line in lines if "::" in line or "load build definition" in line]


def test_a_failure_is_plain_to_see() -> None:
    lines = plain("failing-run")
    (failed,) = [line for line in lines if "FAILED" in line]
    assert re.fullmatch(r"\[ci-base\] ci_base 1/1 RUN .*\.\.\.  FAILED after 0\.\d s", failed)
    assert [line for line in lines if "cancelled after" in line]
    assert lines[-1].startswith("[ci-base] failed after")


def groups_are_closed(lines: list[str]) -> bool:
    depth = 0
    for line in lines:
        depth += line.startswith("::group::") - (line == "::endgroup::")
        if depth not in (0, 1):
            return False
    return depth == 0


@pytest.mark.parametrize("name", sorted(path.stem for path in SAMPLES.glob("*.jsonl")))
def test_github_groups_are_closed_and_never_nested(name: str) -> None:
    assert groups_are_closed(plain(name, GITHUB))


def test_github_logs_are_inside_their_group_and_a_failure_is_repeated_outside() -> None:
    lines = plain("failing-run", GITHUB)
    begin = next(index for index, line in enumerate(lines) if line.startswith("::group::[ci-base] ci_base 1/1"))
    end = lines.index("::endgroup::", begin)
    assert lines[begin + 1] == "compiling unit 1"
    assert lines[end + 20] == "ld: undefined symbol hipLaunchKernel"
    assert "FAILED" in lines[end + 21]


def test_buildkite_expands_the_group_that_failed() -> None:
    lines = plain("failing-run", BUILDKITE)
    where = lines.index("^^^ +++")
    assert lines[where - 1] == "ld: undefined symbol hipLaunchKernel"
    assert lines[-1].startswith("+++ [ci-base] failed after")


def side_by_side(fold: Folding, ending: Callable[[Build], None]) -> list[str]:
    out = io.StringIO()
    with console(out, fold).build("t") as build:
        run(build, vertex("[a 1/1] RUN x", 1), vertex("[b 1/1] RUN y", 1))
        run(build, log=("[a 1/1] RUN x", "a1\n"))
        run(build, log=("[b 1/1] RUN y", "b1\n"))
        run(build, log=("[a 1/1] RUN x", "a2\n"))
        ending(build)
    return out.getvalue().splitlines()


def test_steps_side_by_side_are_one_piece_each() -> None:
    def ending(build: Build) -> None:
        run(build, vertex("[b 1/1] RUN y", 1, 2))
        run(build, vertex("[a 1/1] RUN x", 1, 3))

    assert side_by_side(GITHUB, ending)[:-1] == [
        "::group::[t] a 1/1 RUN x", "a1", "a2", "::endgroup::", "[t] a 1/1 RUN x  2.0 s",
        "::group::[t] b 1/1 RUN y", "b1", "::endgroup::", "[t] b 1/1 RUN y  1.0 s",
    ]  # fmt: skip


def test_the_next_running_step_comes_to_the_front() -> None:
    def ending(build: Build) -> None:
        run(build, vertex("[a 1/1] RUN x", 1, 3))
        run(build, log=("[b 1/1] RUN y", "b2\n"))

    lines = side_by_side(GITHUB, ending)
    assert lines[4:-1] == [
        "[t] a 1/1 RUN x  2.0 s", "::group::[t] b 1/1 RUN y", "b1", "b2", "::endgroup::"
    ]  # fmt: skip


def test_a_failure_behind_the_front_is_shown_unfolded() -> None:
    def ending(build: Build) -> None:
        run(build, vertex("[b 1/1] RUN y", 1, 2, error="exit code: 1"))

    assert side_by_side(BUILDKITE, ending)[3:6] == [
        "+++ [t] b 1/1 RUN y", "b1", "[t] b 1/1 RUN y  FAILED after 1.0 s"
    ]  # fmt: skip
    lines = side_by_side(GITHUB, ending)
    assert groups_are_closed(lines)
    assert lines[3:7] == ["::endgroup::", "[t] b 1/1 RUN y", "b1", "[t] b 1/1 RUN y  FAILED after 1.0 s"]


def test_an_exception_closes_the_group_and_says_stopped() -> None:
    out = io.StringIO()

    def stopped() -> None:
        with console(out, GITHUB).build("t") as build:
            run(build, vertex("[a 1/1] RUN x", 1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert out.getvalue().splitlines() == ["::group::[t] a 1/1 RUN x", "::endgroup::", "[t] stopped after 0.0 s"]


def test_a_long_held_log_loses_its_beginning_and_says_so() -> None:
    out = io.StringIO()
    with console(out, GITHUB).build("t") as build:
        run(build, vertex("[a 1/1] RUN x", 1), vertex("[b 1/1] RUN y", 1))
        run(build, log=("[b 1/1] RUN y", "".join(f"b{i}\n" for i in range(2005))))
        run(build, vertex("[a 1/1] RUN x", 1, 2))
    lines = out.getvalue().splitlines()
    assert lines[4:6] == ["... 5 lines left out ...", "b5"]


def test_mounts_of_a_run_do_not_hide_its_command() -> None:
    step = "2/3 RUN --mount=type=secret,id=x --network=none make --mount=y"
    assert units.command(step) == "2/3 RUN make --mount=y"


def test_a_heartbeat_after_a_minute_of_silence() -> None:
    out, clock = io.StringIO(), FakeClock()
    with console(out, clock=clock).build("t") as build:
        run(build, vertex("[a 1/1] RUN x", 1))
        clock.advance(59)
        build.tick()
        assert "still" not in out.getvalue()
        clock.advance(1)
        build.tick()
        build.tick()
        clock.advance(61)
        build.tick()
    beats = [line for line in out.getvalue().splitlines() if "still" in line]
    assert beats == [
        "[t] still running after 1 min 0 s: a 1/1 RUN x (1 min 0 s)",
        "[t] still running after 2 min 1 s: a 1/1 RUN x (2 min 1 s)",
    ]


def test_a_message_during_a_build_is_written_at_once() -> None:
    out = io.StringIO()
    shown = console(out)
    with shown.build("t"):
        shown.warn("x")
        assert out.getvalue() == "warning: x\n"


# --- builds as a live tree ----------------------------------------------------------------------


def live(name: str, until: str = "", size: tuple[int, int] = (80, 24)) -> tuple[LiveBuild, Progress, FakeClock]:
    """A tree fed with a sample up to the first line that holds ``until``."""
    clock, progress = FakeClock(), Progress()
    build = LiveBuild("ci-base", QuietStream(io.StringIO(), True), clock, colour=False, unicode=True, size=size)
    for line in (SAMPLES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        if until and until in line:
            break
        build.show(progress.feed(line), progress)
    return build, progress, clock


def drawn(renderable: object, width: int = 80) -> list[str]:
    out = io.StringIO()
    rich_console(QuietStream(out, True), colour=False, size=(width, 24)).print(renderable)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_the_live_tree_shows_stages_and_the_last_lines_of_running_steps() -> None:
    build, progress, clock = live("failing-run", '"error"')
    clock.advance(72)
    lines = drawn(build.tree(progress, 23))
    assert lines[0] == "ci-base  1 min 12 s"
    assert [line for line in lines if re.search(r"= base +cached  2/2", line)]
    assert [line for line in lines if re.search(r"1/1 RUN i=1; while .*\.\.\.  1 min 12 s", line)]
    assert [line.strip("│ ") for line in lines if line.startswith("│  ") and "RUN" not in line] == [
        "compiling unit 44", "compiling unit 45", "ld: undefined symbol hipLaunchKernel"
    ]  # fmt: skip
    assert [line for line in lines if re.search(r"· out +waiting  0/2", line)]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_tree_never_wraps(width: int) -> None:
    build, progress, _ = live("failing-run", '"error"', (width, 24))
    lines = drawn(build.tree(progress, 23), width)
    assert max(map(len, lines)) <= min(width, 100)
    assert {line[0] for line in lines[1:]} <= set("├│└ ")


def test_many_stages_fold_into_a_small_window() -> None:
    build, progress, _ = live("two-stages", "{", (80, 10))
    vertexes: list[dict[str, object]] = [vertex(f"[s{i} 1/1] RUN x", 1, 2) for i in range(30)]
    vertexes += [{"digest": f"w{i}", "name": f"[w{i} 1/1] RUN x"} for i in range(30)]
    vertexes += [vertex("[now 1/1] RUN x", 3)]
    build.show(progress.feed(json.dumps({"vertexes": vertexes})), progress)
    text = "\n".join(drawn(build.tree(progress, 9)))
    assert len(text.splitlines()) <= 9
    assert "30 stages" in text
    assert "now" in text


def test_the_still_tree_tells_how_each_stage_ended() -> None:
    build, progress, _ = live("failing-run")
    lines = drawn(build.final(progress, False))
    assert lines[0] == "ci-base  failed after 0.0 s"
    assert [line.split()[-1] for line in lines[1:]] == ["2/2", "failed", "cancelled", "0/2"]
    assert "not run" in lines[-1]


def test_many_cached_stages_are_one_line_in_the_still_tree() -> None:
    build, progress, _ = live("cached")
    lines = drawn(build.final(progress, False))
    assert lines[:2] == ["ci-base  done in 0.0 s", "├── = 4 stages                  cached  7/7"]


def test_the_terminal_is_left_as_it_was() -> None:
    out = io.StringIO()
    shown = Console(out, interactive=True, colour=True, unicode=True, folding=PLAIN, clock=FakeClock(), ticking=False)
    with shown.build("ci-base") as build:
        for line in (SAMPLES / "two-stages.jsonl").read_text(encoding="utf-8").splitlines():
            build.feed(line)
            build.tick()
        shown.say("in between")
    text = out.getvalue()
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    assert "in between" in text
    assert "done in" in text[text.rindex("\x1b[?25h") :]


def test_a_narrower_window_clears_what_it_wrapped() -> None:
    out, clock, progress = io.StringIO(), FakeClock(), Progress()
    build = LiveBuild("t", QuietStream(out, True), clock, colour=False, unicode=True, size=(80, 24))
    build.show(progress.feed(json.dumps({"vertexes": [vertex("[a 1/1] RUN " + "x" * 90, 1)]})), progress)
    build.tick(progress)
    before = out.getvalue().count("\x1b[1A")
    build._console.size = (30, 24)
    build.tick(progress)
    tree_lines = 3
    assert out.getvalue().count("\x1b[1A") - before == (tree_lines - 1) + 2  # the step's line took three rows


def test_a_ticking_console_draws_by_itself_and_stops() -> None:
    import threading

    out = io.StringIO()
    shown = Console(out, interactive=True, colour=False, unicode=False, folding=PLAIN, clock=FakeClock())
    with shown.build("t"):
        assert [thread for thread in threading.enumerate() if thread.name == "console-ticker"]
    assert not [thread for thread in threading.enumerate() if thread.name == "console-ticker"]


# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(-1, "0.0 s"), (0.04, "0.0 s"), (12.34, "12.3 s"), (59.96, "1 min 0 s"), (72.4, "1 min 12 s"),
     (3599.6, "1 h 00 min"), (7380, "2 h 03 min")],
)  # fmt: skip
def test_seconds(value: float, text: str) -> None:
    assert units.seconds(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "unknown"), (0, "0 B"), (999, "999 B"), (1000, "1 kB"), (3210, "3.21 kB"), (412_000_000, "412 MB"),
     (999_600_000, "1.00 GB"), (1_550_000_000, "1.55 GB"), (5_600_000_000_000, "5600.00 GB")],
)  # fmt: skip
def test_sizes(count: int | None, text: str) -> None:
    assert units.size(count) == text


def test_clipping_keeps_to_one_line() -> None:
    assert units.clip("a\n b\tc", 80) == "a b c"
    assert units.clip("abcdefgh", 6) == "abc..."
