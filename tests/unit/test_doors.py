"""What both doors do with a verb: outcome, streams, ``result.json``; and the command line they are made from."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import pytest

from ci import command_line, invoke_door
from ci.__main__ import main
from ci.answer import Answer
from ci.call import Call, Option, Verb
from ci.door import perform, write
from ci.errors import EXIT_CODES, CiError, ConfigError, DeadlineError, FailedError, InfraError, Interrupted, Outcome
from ci.verbs import VERBS
from ci.world.ledger import Ledger

OPTIONS = (Option("json", "j", "flag"), Option("debug", "d", "flag"), Option("size", "s"), Option("many", "m", "list"))


def verb(run: Callable[[Call], Answer]) -> Verb:
    return Verb("act", run, OPTIONS)


def ended(run: Callable[[Call], Answer], **values: Any) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one performance."""
    out, err = io.StringIO(), io.StringIO()
    code = perform(verb(run), values, out, err)
    return code, out.getvalue(), err.getvalue()


def raising(error: BaseException) -> Callable[[Call], Answer]:
    def act(_call: Call) -> Answer:
        raise error

    return act


def answering(outcome: Outcome = Outcome.OK, text: str = "done", **document: Any) -> Callable[[Call], Answer]:
    return lambda _call: Answer(outcome, text, {"schema": 1, "outcome": outcome, **document})


def interrupt(*_arguments: object) -> int:
    raise KeyboardInterrupt


# --- outcomes


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_has_its_exit_code(outcome: Outcome) -> None:
    assert ended(answering(outcome))[0] == EXIT_CODES[outcome]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("a", "b"), 2),
        (FailedError("a", "b"), 1),
        (InfraError("a", "b"), 4),
        (DeadlineError("a", "b"), 124),
        (Interrupted(signal.SIGINT), 130),
        (Interrupted(signal.SIGTERM), 143),
        (KeyError("nobody expected this"), 70),
        (RecursionError("deep"), 70),
    ],
)
def test_every_error_ends_typed_and_without_traceback(error: Exception, code: int) -> None:
    outcome = error.outcome if isinstance(error, CiError) else Outcome.INTERNAL
    assert ended(raising(error))[:2] == (code, "")
    stderr = ended(raising(error))[2]
    assert "Traceback" not in stderr
    assert f"outcome: {outcome.value}" in stderr


@pytest.mark.parametrize("error", [InfraError("a", "b"), KeyError("c")])
def test_debug_shows_the_traceback_and_still_ends_typed(error: Exception) -> None:
    code, _, stderr = ended(raising(error), debug=True)
    assert code in {4, 70}
    assert "Traceback" in stderr
    assert type(error).__name__ in stderr


def test_ctrl_c_outside_the_verb_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci.door.write", interrupt)
    assert perform(verb(answering()), {}, None, None) == 130


def test_ctrl_c_during_the_imports_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci.command_line.run", interrupt)
    assert main([]) == 130


class Comes:
    """An attribute during whose naming a signal arrives; until 3.12 Python wraps what that raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __set_name__(self, _owner: type, _name: str) -> None:
        raise self.error


def test_ctrl_c_while_an_import_makes_a_class_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(error: BaseException) -> Any:
        return type("Made", (), {"field": Comes(error)})

    monkeypatch.setattr("ci.command_line.run", lambda *_: make(KeyboardInterrupt()))
    assert main([]) == 130
    code, _, stderr = ended(lambda _call: make(Interrupted(signal.SIGTERM)))
    assert code == 143
    assert "bug" not in stderr
    monkeypatch.setattr("ci.command_line.run", lambda *_: make(ValueError()))
    with pytest.raises((RuntimeError, ValueError)):
        main([])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_verb_runs(number: signal.Signals, code: int) -> None:
    def act(_call: Call) -> Answer:
        signal.raise_signal(number)
        return Answer(Outcome.OK, "never", {})

    before = signal.getsignal(number)
    assert ended(act)[0] == code
    assert signal.getsignal(number) is before


# --- stdout


def test_text_or_one_document() -> None:
    assert ended(answering(text="hello"))[1] == "hello\n"
    assert json.loads(ended(answering(size=3), json=True)[1]) == {"schema": 1, "outcome": "ok", "size": 3}


@pytest.mark.parametrize(
    ("error", "outcome", "reference"),
    [
        (InfraError("no-engine", "no engine", hint="start it"), "infra", "no-engine"),
        (KeyError("c"), "internal", "bug"),
        (Interrupted(2), "interrupted", "interrupted"),
    ],
)
def test_an_error_is_one_document_too(error: Exception, outcome: str, reference: str) -> None:
    _, out, _ = ended(raising(error), json=True)
    document = json.loads(out)
    assert (document["schema"], document["verb"], document["outcome"]) == (1, "act", outcome)
    assert [problem["reference"] for problem in document["problems"]] == [reference]
    assert all(problem["message"] for problem in document["problems"])


def test_a_document_that_cannot_be_encoded_is_a_bug_and_still_a_document() -> None:
    code, out, _ = ended(answering(thing=object()), json=True)
    assert (code, json.loads(out)["outcome"]) == (70, "internal")


def test_what_a_stream_cannot_encode_is_escaped() -> None:
    raw = io.BytesIO()
    ascii_only = io.TextIOWrapper(raw, encoding="ascii")
    assert write("naïve \udcff", ascii_only, None) == 0
    assert raw.getvalue() == b"na\\xefve \\udcff\n"
    assert "\\u" in ended(answering(name="naïve"), json=True)[1]


class Broken(io.StringIO):
    """A stream whose other end has an opinion."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, _text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.FAILED])
def test_a_reader_that_went_away_changes_nothing(outcome: Outcome) -> None:
    err = io.StringIO()
    assert perform(verb(answering(outcome)), {}, Broken(errno.EPIPE), err) == EXIT_CODES[outcome]
    assert err.getvalue() == ""


def test_a_lost_result_is_infra_unless_the_verb_failed_itself() -> None:
    err = io.StringIO()
    assert perform(verb(answering()), {}, Broken(errno.ENOSPC), err) == 4
    assert "could not be written: No space left" in err.getvalue()
    assert perform(verb(answering(Outcome.FAILED)), {}, Broken(errno.ENOSPC), err) == 1


@pytest.mark.parametrize("stderr", [None, Broken(errno.EPIPE), Broken(errno.ENOSPC)])
def test_nobody_reads_stderr(stderr: TextIO | None) -> None:
    out = io.StringIO()
    assert perform(verb(raising(InfraError("a", "b"))), {"json": True, "debug": True}, out, stderr) == 4
    assert json.loads(out.getvalue())["outcome"] == "infra"
    assert perform(verb(raising(InfraError("a", "b"))), {}, None, stderr) == 4


# --- result.json


def result_of(tmp_path: Path, run: Callable[[Call], Answer], stdout: TextIO | None = None) -> dict[str, Any]:
    """What is left in the run folder of a verb that opens a ledger, then goes on as ``run``."""

    def act(call: Call) -> Answer:
        call.ledger = Ledger.begin(tmp_path, "one", "act")
        return run(call)

    code = perform(verb(act), {}, stdout, None)
    result: dict[str, Any] = json.loads((tmp_path / "runs/one/result.json").read_text())
    assert result["exit_code"] == code
    assert not (tmp_path / "runs/one/owner.json").exists(), "the run was not closed"
    return result


@pytest.mark.parametrize(
    ("run", "outcome", "code"),
    [
        (answering(), "ok", 0),
        (answering(Outcome.EMPTY), "empty", 6),
        (raising(FailedError("a", "b")), "failed", 1),
        (raising(ConfigError("a", "b")), "config", 2),
        (raising(Interrupted(15)), "interrupted", 143),
        (raising(ZeroDivisionError()), "internal", 70),
    ],
)
def test_the_run_folder_tells_every_end(tmp_path: Path, run: Callable[[Call], Answer], outcome: str, code: int) -> None:
    result = result_of(tmp_path, run)
    assert (result["outcome"], result["exit_code"]) == (outcome, code)


LOGIN = "cannot be 'https://me:hunter2@host/x.git'"


@pytest.mark.parametrize("error", [ConfigError("a", LOGIN, hint=LOGIN, context=LOGIN), RuntimeError(LOGIN)])
def test_no_login_is_printed_or_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """In text, as a document, as an annotation, with the traceback, in a warning and in the run folder."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")

    def warned(call: Call) -> Answer:
        call.console.warn(LOGIN)
        raise error

    _, out, err = ended(warned, json=True, debug=True)
    assert json.loads(out)["problems"][0]["message"].endswith("cannot be 'https://****@host/x.git'")
    assert err.count("cannot be 'https://****@host/x.git'") >= 5
    kept = json.dumps(result_of(tmp_path, raising(error)))
    assert "****@host" in kept
    assert "hunter2" not in out + err + kept
    assert LOGIN not in "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_the_run_folder_tells_of_a_lost_result(tmp_path: Path) -> None:
    assert result_of(tmp_path, answering(), Broken(errno.ENOSPC))["outcome"] == "infra"


def test_what_was_done_before_an_error_is_told_beside_it(tmp_path: Path) -> None:
    def run(call: Call) -> Answer:
        call.so_far = {"schema": 1, "outcome": "ok", "steps": ["first"]}
        raise Interrupted(2)

    result = result_of(tmp_path, run)
    assert (result["outcome"], result["steps"], len(result["problems"])) == ("interrupted", ["first"], 1)


@pytest.mark.parametrize(("outcome", "code"), [(Outcome.OK, 4), (Outcome.FAILED, 1)])
def test_a_result_that_cannot_be_kept_is_no_success(tmp_path: Path, outcome: Outcome, code: int) -> None:
    def run(call: Call) -> Answer:
        call.ledger = Ledger.begin(tmp_path, "one", "act")
        (tmp_path / "runs/one/result.json").mkdir()
        return answering(outcome)(call)

    found, _, err = ended(run)
    assert found == code
    assert "cannot write" in err
    assert "set ROCM_CI_STATE" in err


def test_a_result_gives_no_commands_to_the_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    text = "a table\n  ::error::of a test\nx ##[group]y"
    assert ended(answering(text=text))[1] == "a table\n|   ::error::of a test\nx # #[group]y\n"
    assert json.loads(ended(answering(text=text, said="::error::x"), json=True)[1])["said"] == "::error::x"


def test_a_signal_between_the_end_of_the_verb_and_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ci.world import files

    real, calls = files.write_json, []

    def once(path: Path, value: Any) -> None:
        calls.append(path)
        if path.name == "result.json" and len(calls) == 2:  # owner.json came first
            signal.raise_signal(signal.SIGTERM)
        real(path, value)

    monkeypatch.setattr(files, "write_json", once)
    result = result_of(tmp_path, answering())
    assert (result["outcome"], result["exit_code"]) == ("interrupted", 143)


# --- the command line


def shown(*argv: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = command_line.run(argv, out, err)
    return code, out.getvalue(), err.getvalue()


def test_bare_is_usage_and_help_is_a_result() -> None:
    code, out, err = shown()
    assert (code, out) == (2, "")
    assert shown("--help") == (0, err, "")
    for each in VERBS:
        assert f"  {each.name} " in err
        assert each.summary in err


@pytest.mark.parametrize("each", VERBS, ids=lambda each: each.name)
@pytest.mark.parametrize("flag", command_line.HELP)
def test_help_of_a_verb(each: Verb, flag: str) -> None:
    code, out, err = shown(each.name, flag)
    assert (code, err) == (0, "")
    for option in each.options:
        assert option.flag in out


@pytest.mark.parametrize(
    ("argv", "reference", "words"),
    [
        (("buildx",), "unknown-verb", ["buildx", "did you mean", "build-base"]),
        (("build_ci_base",), "unknown-verb", ["did you mean build-ci-base"]),
        (("frobnicate",), "unknown-verb", ["allowed: build-base"]),
        (("--stack", "local"), "no-verb", ["options come after the verb"]),
        (("plan", "--regisrty", "x"), "unknown-option", ["did you mean --registry?"]),
        (("plan", "--regisrty=x"), "unknown-option", ["did you mean --registry?"]),
        (("plan", "--reg", "x"), "unknown-option", ["--reg"]),
        (("plan", "--plan"), "unknown-option", ["plan has no option --plan"]),
        (("plan", "--stack"), "usage", ["--stack", "expected one argument"]),
        (("plan", "--json=yes"), "usage", ["--json"]),
        (("plan", "--stack", "local", "--stack=vllm"), "given-twice", ["--stack is given twice"]),
        (("plan", "ci-base"), "unexpected-word", ["plan does not take 'ci-base'"]),
        (("explain",), "usage", ["tier"]),
        (("explain", "base", "test"), "unexpected-word", ["'test'"]),
    ],
)
def test_a_command_line_that_cannot_be_meant(argv: tuple[str, ...], reference: str, words: list[str]) -> None:
    code, out, err = shown(*argv)
    assert (code, out) == (2, "")
    assert f"[{reference}]" in err
    assert "outcome: config" in err
    for word in words:
        assert word in err


@pytest.mark.parametrize("value", ["", "  "])
@pytest.mark.parametrize("each", VERBS, ids=lambda each: each.name)
def test_nothing_that_is_given_may_be_empty(each: Verb, value: str) -> None:
    typed = [option.flag for option in each.options if option.kind != "flag"]
    words = [word for flag in typed for word in (flag, value)] + [value] * bool(each.argument)
    code, out, err = shown(each.name, *words)
    assert (code, out) == (2, "")
    for name in (*typed, *[each.argument] * bool(each.argument)):
        assert f": {name} was given and is empty [empty-value]" in err


@pytest.mark.parametrize(
    ("words", "form"),
    [
        (["plan", "--source", "vllm"], "NAME=PATH"),
        (["audit", "pyproject.toml", "--allow", "archs:x"], "RULE:PATTERN=REASON"),
    ],
)
def test_a_pair_that_is_none_says_what_it_should_be(words: list[str], form: str) -> None:
    code, _, err = shown(*words)
    assert code == 2
    assert f"wants {form}, not '{words[-1]}' [bad-pair]" in err
    assert f"hint: give {words[-2]} {form}" in err


def test_all_unknown_options_at_once_and_as_a_document() -> None:
    code, out, err = shown("plan", "--on", "--two", "word", "--json")
    assert code == 2
    assert "2 problems" in err
    document = json.loads(out)
    assert (document["verb"], document["outcome"]) == ("plan", "config")
    assert [problem["reference"] for problem in document["problems"]] == ["unknown-option"] * 2


def test_values_of_every_kind() -> None:
    values = command_line.parse(verb(answering()), ["--many", "a=1", "--size", "5", "--many=b=2", "--json"])
    assert values == {"json": True, "debug": None, "size": "5", "many": ["a=1", "b=2"]}
    explain = command_line.find("explain")
    assert command_line.parse(explain, ["--against", "main", "--", "base"])["tier"] == "base"


def test_help_is_not_asked_for_behind_two_dashes() -> None:
    assert command_line.asks_for_help(["explain", "--stack", "--help"])
    assert not command_line.asks_for_help(["explain", "--", "--help"])


# --- Invoke


def test_invoke_knows_every_verb_and_option_by_its_dashed_name() -> None:
    contexts = {context.name: context for context in invoke_door.namespace().to_contexts()}
    assert list(contexts) == [each.name for each in VERBS]
    for each in VERBS:
        context = contexts[each.name]
        assert not context.aliases
        for option in each.options:
            argument = context.flags[option.flag]
            assert argument.help == option.help
            assert argument.takes_value == (option.kind != "flag")
        assert {flag for flag in context.flags if not flag.startswith("--")} == set(), "short flags"
        assert [argument.name for argument in context.positional_args] == ([each.argument] if each.argument else [])


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("build_base", "did you mean build-base"),
        ("--echo build_ci_base --json", "did you mean build-ci-base"),
        ("plan --regisrty x", "did you mean --registry"),
        ("plan --nic_backend x", "did you mean --nic-backend"),
        ("plan --json", ""),
        ("explain", ""),
        ("somebody-elses-task", ""),
        ("--help plan", ""),
        ("", ""),
    ],
)
def test_a_hint_where_invoke_has_no_idea(words: str, hint: str) -> None:
    text = invoke_door.suggestion(words.split())
    assert hint in text
    assert bool(hint) == bool(text)


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("plan config --json", True),
        ("plan --json config", True),
        ("-e plan config --json", True),
        ("plan config", False),
        ("plan --json", False),
        ("theirs plan --json", False),
    ],
)
def test_several_documents_are_refused_before_the_first_verb(
    words: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from invoke.context import Context
    from invoke.exceptions import Exit

    monkeypatch.setattr(sys, "argv", ["inv", *words.split()])
    performed: list[Mapping[str, Any]] = []

    def fake(_verb: Verb, values: Mapping[str, Any], *_streams: object) -> int:
        performed.append(values)
        return 0

    monkeypatch.setattr(invoke_door, "perform", fake)
    given = {option.name.replace("-", "_"): None for option in command_line.find("plan").options}
    task = invoke_door.namespace()["plan"]
    if refused:
        with pytest.raises(Exit) as caught:
            task(Context(), **given)
        assert caught.value.code == 2
    else:
        task(Context(), **given)
    assert bool(performed) != refused
