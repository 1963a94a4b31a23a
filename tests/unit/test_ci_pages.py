"""What a CI is told when a run ends: the outcome for its workflow, and a page for people."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci import door
from ci.__main__ import main
from ci.answer import Answer
from ci.call import Call, Option, Verb
from ci.errors import ConfigError, FailedError, InfraError, InternalError, Interrupted, Outcome
from ci.providers import outputs, pages
from ci.report.page import page
from ci.settings import Settings
from ci.world import ci_files
from ci.world.fakes import FakeRun
from ci.world.ledger import Ledger
from ci.world.process import Command, Finished

GITHUB = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of GitHub Actions; its files are in the folder this gives."""
    monkeypatch.delenv("BUILDKITE", raising=False)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for name in GITHUB:
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


def perform(run: Callable[[Call], Answer]) -> tuple[int, str]:
    """Exit code and stderr of one performance."""
    out, err = io.StringIO(), io.StringIO()
    verb = Verb("act", run, (Option("json", "j", "flag"), Option("debug", "d", "flag")))
    return door.perform(verb, {}, out, err), err.getvalue()


def in_a_run(folder: Path, result: Answer | BaseException, done: str = "") -> Callable[[Call], Answer]:
    """A verb that begins a run, does something, and then ends so."""

    def act(call: Call) -> Answer:
        number = len([*folder.glob("state/runs/*")])
        call.ledger = Ledger.begin(folder / "state", f"20260101T000000Z-{number:08x}", "act")
        call.page = done
        if isinstance(result, BaseException):
            raise result
        return result

    return act


def settings(**environ: str) -> Settings:
    return Settings(environ, {})


# --- the outcome ----------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_workflow_is_told_every_outcome(github: Path, outcome: Outcome) -> None:
    perform(lambda _call: Answer(outcome, "", {}))
    assert (github / "GITHUB_OUTPUT").read_text() == f"outcome={outcome.value}\n"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InfraError("a", "b"), "infra"),
        (Interrupted(signal.SIGTERM), "interrupted"),
        (KeyError("a bug"), "internal"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_a_workflow_is_told_of_errors_and_signals(github: Path, error: BaseException, told: str) -> None:
    def act(_call: Call) -> Answer:
        raise error

    perform(act)
    assert (github / "GITHUB_OUTPUT").read_text() == f"outcome={told}\n"


@pytest.mark.parametrize("words", [["nothing"], ["doctor", "--what"], ["explain"]])
def test_a_workflow_is_told_of_a_refused_command_line(github: Path, words: list[str]) -> None:
    assert main(words) == 2
    assert (github / "GITHUB_OUTPUT").read_text() == "outcome=config\n"


def test_a_result_that_is_lost_is_no_success(github: Path) -> None:
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(28, "No space left on device")

    verb = Verb("act", lambda _call: Answer(Outcome.OK, "done", {}), ())
    with open("/dev/null", "w") as nothing:  # noqa: PTH123 - its descriptor is closed over
        full = Full()
        full.fileno = nothing.fileno  # type: ignore[method-assign]
        assert door.perform(verb, {}, full, io.StringIO()) == 4
    assert (github / "GITHUB_OUTPUT").read_text() == "outcome=infra\n"


@pytest.mark.parametrize(("result", "code"), [(Outcome.OK, 0), (Outcome.FAILED, 1)])
def test_an_outcome_that_cannot_be_told_changes_nothing_and_is_said(
    github: Path, monkeypatch: pytest.MonkeyPatch, result: Outcome, code: int
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(github / "no" / "file"))
    ended, stderr = perform(lambda _call: Answer(result, "", {}))
    assert ended == code
    assert "the outcome is not told: cannot write" in stderr


def test_elsewhere_nothing_is_told(tmp_path: Path) -> None:
    path = tmp_path / "output"
    for environ in ({}, {"GITHUB_ACTIONS": "true"}, {"GITHUB_OUTPUT": str(path)}):
        outputs.give(settings(**environ), "outcome", "ok")
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "value"), [("a", "1\noutcome=ok"), ("a", "1\r"), ("a\nb", "1"), ("a=b", "1"), ("", "")]
)
def test_a_value_cannot_be_two_outputs(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "output"
    with pytest.raises(InternalError):
        outputs.give(settings(GITHUB_ACTIONS="true", GITHUB_OUTPUT=str(path)), name, value)
    assert not path.exists()


def test_a_line_that_somebody_left_open_does_not_swallow_ours(tmp_path: Path) -> None:
    path = tmp_path / "output"
    path.write_text("theirs=1")
    ci_files.append(path, "ours=2\n")
    ci_files.append(path, "more=3\n")
    assert path.read_text() == "theirs=1\nours=2\nmore=3\n"


# --- the page -------------------------------------------------------------------------------


def test_the_page_of_a_run_is_its_own_or_its_text(github: Path) -> None:
    perform(in_a_run(github, Answer(Outcome.OK, "the text", {}, "### a page")))
    perform(in_a_run(github, Answer(Outcome.OK, "``` <b>text</b>", {})))
    perform(lambda _call: Answer(Outcome.OK, "no run", {}, "nor a page"))
    said = (github / "GITHUB_STEP_SUMMARY").read_text()
    assert said == "\n### a page\n\n### `act`: ok\n\n````text\n``` <b>text</b>\n````\n"


def test_a_run_that_fails_tells_what_it_did_and_what_went_wrong(github: Path) -> None:
    error = FailedError("broken", "it *broke*", hint="mend | it", context="line 1\n```\n\x1b[31mline 3")
    assert perform(in_a_run(github, error, "### what was done"))[0] == 1
    said = (github / "GITHUB_STEP_SUMMARY").read_text()
    assert said.startswith(
        "\n### what was done\n\n**Error:** it \\*broke\\* `broken`<br>mend \\| it\n\n````text\nline 1\n"
    )
    assert "\x1b" not in said
    perform(in_a_run(github, ConfigError("a", "early")))
    assert "### `act`: config\n\n**Error:** early `a`" in (github / "GITHUB_STEP_SUMMARY").read_text()


@pytest.mark.parametrize("error", [InfraError("a", "b"), ValueError("a bug")])
def test_a_page_that_cannot_be_told_changes_nothing_and_is_said(
    github: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def broken(*_arguments: Any) -> None:
        raise error

    monkeypatch.setattr(pages, "tell", broken)
    code, stderr = perform(in_a_run(github, Answer(Outcome.OK, "", {})))
    assert code == 0
    assert "the page of this build is not told" in stderr
    assert (github / "GITHUB_OUTPUT").read_text() == "outcome=ok\n"


def test_what_went_wrong_is_on_the_page_with_its_place() -> None:
    problem = {"reference": "bad-key", "message": "no key <x>", "place": "a.yaml:3:1"}
    made = page("check", Answer(Outcome.CONFIG, "", {"problems": [problem]}), "")
    assert made == "### `check`: config\n\n**Error:** no key \\<x\\> `bad-key` at `a.yaml:3:1`\n"


@pytest.mark.parametrize(
    ("outcome", "style"), [(Outcome.OK, "success"), (Outcome.FAILED, "error"), (Outcome.SUPERSEDED, "warning")]
)
def test_buildkite_reads_the_page_from_stdin(outcome: Outcome, style: str) -> None:
    heard: list[Command] = []

    def run(command: Command, *_more: Any) -> Finished:
        heard.append(command)
        return Finished(command, 0, "", "")

    pages.tell(settings(BUILDKITE="true", BUILDKITE_STEP_KEY="smoke-1"), "test", outcome, "### page \ud83d", run)
    expected = ("buildkite-agent", "annotate", "--context", "rocm-ci test smoke-1", "--style", style)
    assert [(command.argv, command.feed) for command in heard] == [(expected, b"### page ?")]


def test_an_agent_that_refuses_the_page_is_said() -> None:
    argv = ("buildkite-agent", "annotate", "--context", "rocm-ci test job", "--style", "success")
    run = FakeRun({argv: (1, "", "denied")})
    with pytest.raises(InfraError, match="annotate --context ended with 1"):
        pages.tell(settings(BUILDKITE="true", BUILDKITE_JOB_ID="job"), "test", Outcome.OK, "page", run)


def test_a_long_key_is_cut_and_stays_its_own() -> None:
    names = {pages.context(settings(BUILDKITE_STEP_KEY="k" * 120 + end), "test") for end in "ab"}
    assert len(names) == 2
    assert {len(name) for name in names} == {100}


def test_a_page_that_is_too_long_is_cut_at_a_line_and_says_so() -> None:
    long = "### head\n\n" + "\n".join(f"row {number} \u00e9" for number in range(200_000))
    made = pages.cut(long, pages.LIMIT)
    assert pages.LIMIT - 100 < len(made.encode()) <= pages.LIMIT
    kept, _, note = made.partition("\n\n*The rest was left out")
    assert long.startswith(kept + "\n")
    assert note


@pytest.mark.parametrize("fence", ["```", "`````"])
def test_a_page_that_is_cut_inside_a_block_ends_the_block(fence: str) -> None:
    made = pages.cut(f"### head\n{fence}text\n" + "line ```\n" * 1000 + fence, 400)
    assert len(made) <= 400
    assert f"line ```\n{fence}\n\n*The rest" in made


@pytest.mark.parametrize("room", [-5, 0, 50, 95, 96, 120])
def test_a_page_that_is_full_takes_no_more(room: int) -> None:
    assert len(pages.cut("x" * 5000, room).encode()) <= max(0, room)


def test_a_summary_that_has_something_already_takes_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    path.write_text("x" * (pages.LIMIT - 2000))
    environ = settings(GITHUB_ACTIONS="1", GITHUB_STEP_SUMMARY=str(path))
    for _ in range(3):
        pages.tell(environ, "test", Outcome.OK, "line\n" * 1000)
    assert pages.LIMIT - 200 < path.stat().st_size <= pages.LIMIT
    assert "The rest was left out" in path.read_text()


def test_where_there_is_no_ci_there_is_no_page(tmp_path: Path) -> None:
    assert not pages.wanted(settings(GITHUB_STEP_SUMMARY=str(tmp_path / "x")))
    assert pages.wanted(settings(BUILDKITE="true"))
