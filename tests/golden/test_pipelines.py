"""Pipelines word for word, by both CIs' published schemas, and by a shell; and the examples to copy."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from ci import command_line
from ci.errors import ConfigError, EmptyError, Outcome
from ci.pipeline import make
from ci.pipeline.make import Given
from ci.pipeline.request import Request
from ci.pipeline.select import Wish
from ci.pipeline.wiring import on_pool
from ci.providers.emit import buildkite, github, text
from ci.providers.jobs import Absent, Pipeline
from ci.report import pipelines
from ci.settings import capture
from ci.suites import request as suite_request
from ci.world.diffs import Diff
from tests.golden.conftest import Golden
from tests.golden.examples import all_examples
from tests.plain_git import AUTHOR
from tests.unit.interpolation import uploaded, words

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
TOOL = "./ci/bootstrap python -m ci "
TODAY = date(2026, 11, 22)
CHANGES = {
    "local": ("docs/index.md", "tests/gpu/test_smoke.py"),
    "vllm": ("docs/index.md", "vllm/v1/worker/gpu_worker.py"),
}
PUBLISHED = {"buildkite": "buildkite.json", "github": "github-workflows.json"}


def given(stack: str, tmp_path: Path) -> Given:
    """What is written down of a stack; the source tree is empty but for what it is known by."""
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "envs.py").write_text("")
    found = make.given(capture({"--stack": stack}, {}), Request(), TODAY)
    return found._replace(repository=tmp_path, top=tmp_path)


def made(stack: str, tmp_path: Path, *changed: str, profile: str = "pr") -> make.Made:
    return make.decide(given(stack, tmp_path), Wish(profile), Diff(changed, "0123456789abcdef" * 2 + "01234567"))


@pytest.mark.parametrize(("stack", "form"), [("local", "buildkite"), ("local", "github"), ("vllm", "buildkite")])
def test_a_pipeline_of_a_change(stack: str, form: str, tmp_path: Path, golden: Golden) -> None:
    golden(f"{stack}.{form}.yaml", make.emitted(made(stack, tmp_path, *CHANGES[stack]), form))


def test_pools_that_are_no_runners_of_github_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        make.emitted(made("vllm", tmp_path, *CHANGES["vllm"]), "github")
    assert {problem.reference for problem in error.value.problems} == {"no-labels"}


def test_a_change_whose_every_step_has_nowhere_to_run_is_no_success(tmp_path: Path) -> None:
    found = made("local", tmp_path, "kernels/vector_add.hip")
    assert pipelines.answer(found, explain=False).outcome is Outcome.EMPTY
    assert pipelines.as_json(found).outcome is Outcome.EMPTY
    for form in ("buildkite", "github"):
        with pytest.raises(EmptyError):
            make.emitted(found, form)


def test_a_change_of_documents_alone_is_a_pipeline_of_nothing(tmp_path: Path) -> None:
    found = made("local", tmp_path, "docs/index.md")
    assert pipelines.answer(found, explain=False).outcome is Outcome.OK
    assert "skip: only documents changed\n" in make.emitted(found, "buildkite")


@pytest.mark.parametrize("stack", CHANGES)
def test_what_a_person_reads(stack: str, tmp_path: Path, golden: Golden) -> None:
    found = made(stack, tmp_path, *CHANGES[stack])
    golden(f"{stack}.table.txt", pipelines.answer(found, explain=False).text + "\n")
    golden(f"{stack}.json", json.dumps(pipelines.document(found), indent=2) + "\n")
    everywhere = make.decide(found.given, Wish(), found.diff, everywhere=True)
    golden(f"{stack}.explain.txt", pipelines.answer(everywhere, explain=True).text + "\n")


# --- the CIs' own schemas -----------------------------------------------------------------------


def problems(document: str, form: str) -> list[str]:
    """What the schema that the CI publishes says against a pipeline, as a reader of YAML 1.2 has it."""
    vendored = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / PUBLISHED[form]
    schema = json.loads(vendored.read_text())
    value = YAML(typ="safe", pure=True).load(document)
    return [f"{list(error.path)}: {error.message[:300]}" for error in Draft7Validator(schema).iter_errors(value)]


@pytest.mark.parametrize("profile", ["pr", "nightly", "full"])
@pytest.mark.parametrize("stack", CHANGES)
def test_buildkites_schema_takes_every_pipeline(stack: str, profile: str, tmp_path: Path) -> None:
    assert (
        problems(make.emitted(made(stack, tmp_path, *CHANGES[stack], profile=profile), "buildkite"), "buildkite") == []
    )


@pytest.mark.parametrize("form", PUBLISHED)
@pytest.mark.parametrize("changed", [(), ("docs/index.md",), ("ci/door.py",)])
def test_both_schemas_take_a_pipeline_of_nothing_and_of_everything(
    form: str, changed: tuple[str, ...], tmp_path: Path
) -> None:
    assert problems(make.emitted(made("local", tmp_path, *changed), form), form) == []


def test_githubs_schema_takes_the_workflow_to_commit(tmp_path: Path) -> None:
    assert problems(make.workflow(given("local", tmp_path))[0], "github") == []


@pytest.mark.parametrize("form", PUBLISHED)
def test_both_schemas_take_tests_that_nobody_can_run(form: str, tmp_path: Path) -> None:
    found = given("local", tmp_path)
    pools = (None, on_pool(found.terms.builder))
    absent = tuple(Absent(f"test-{number}", "a is not run", "cpu: no $GPU", pool) for number, pool in enumerate(pools))
    pipeline = Pipeline("p", (), found.terms.pools.checkout, absent)
    emit = buildkite.emit if form == "buildkite" else github.emit
    assert problems(emit(pipeline, ()), form) == []


def test_the_schemas_are_not_taking_everything() -> None:
    assert problems("steps:\n  - {command: x, retry: {automatic: [{exit_status: x}]}}\n", "buildkite") != []
    assert problems("on: {push: {}}\njobs: {a: {runs-on: x, steps: [{run: 1}]}}\n", "github") != []


@pytest.mark.parametrize("name", all_examples())
def test_examples_are_as_they_would_be_made_and_both_schemas_take_them(
    name: str, request: pytest.FixtureRequest
) -> None:
    path, wanted = EXAMPLES / name, all_examples()[name]
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == wanted, "write them anew: pytest tests/golden --update-golden"
    assert problems(wanted, name.partition("/")[0]) == []


@pytest.mark.parametrize("name", [name for name in all_examples() if name.startswith("github/")])
def test_a_job_of_githubs_examples_ends_as_its_typed_outcome_says(name: str) -> None:
    """An exit code alone makes superseded (5) red."""
    for key, job in YAML(typ="safe").load(all_examples()[name])["jobs"].items():
        runs = [step for step in job["steps"] if TOOL in step.get("run", "")]
        if key in ("select", "result"):
            continue
        assert [step["id"] for step in runs] == ["run", "again"]
        assert all(step["continue-on-error"] for step in runs)
        assert job["steps"][-1]["name"] == "outcome"
        assert '"superseded"' in job["steps"][-1]["if"]


def test_every_file_of_examples_is_made() -> None:
    there = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*") if path.is_file()}
    assert there == set(all_examples())


@pytest.mark.parametrize("name", all_examples())
def test_every_command_of_an_example_is_one_of_ours(name: str) -> None:
    lines = [part for part in _texts(YAML(typ="safe").load(all_examples()[name])) if TOOL in part]
    assert lines
    for line in lines:
        said = re.sub(r'"[^"]*"|\$\{\{.*?\}\}', "pr", line.partition(TOOL)[2].partition(" | ")[0])
        _understood(tuple(said.split()))


@pytest.mark.parametrize("stack", CHANGES)
@pytest.mark.parametrize("place", ["", "s3://bucket/prefix"])
def test_every_job_is_a_command_that_is_understood(stack: str, place: str, tmp_path: Path) -> None:
    found = given(stack, tmp_path)
    terms = found.terms._replace(pools=found.terms.pools._replace(bundle=place))
    for job in make.decide(found._replace(terms=terms), Wish("full"), Diff()).wired.pipeline.jobs:
        values = _understood(job.command[len(terms.pools.tool) :])
        if job.key.startswith("test-"):
            suite_request.read(values["suite"], values, values["runtime"] or "docker")


def _understood(said: tuple[str, ...]) -> Mapping[str, Any]:
    return command_line.parse(command_line.find(said[0]), said[1:])


# --- nothing is expanded ------------------------------------------------------------------------


class _Nothing(dict[str, str]):
    """An environment that nobody may look into."""

    def get(self, name: object, default: object = None) -> Any:
        raise AssertionError(f"the upload looks {name} up ({default})")


@pytest.mark.parametrize("stack", CHANGES)
def test_an_upload_looks_no_variable_up_and_every_command_is_a_list_of_words(stack: str, tmp_path: Path) -> None:
    found = made(stack, tmp_path, *CHANGES[stack], profile="full")
    steps = YAML(typ="safe").load(make.emitted(found, "buildkite"))["steps"]
    for part in _texts(steps):
        uploaded(part, _Nothing())
    absent = {each.key for each in found.wired.pipeline.absent}
    steps = [step for step in steps if step["key"] not in absent]
    handed = [("--handoff", "buildkite") if job.makes or job.takes else () for job in found.wired.pipeline.jobs]
    wanted = [(*job.command, *more) for job, more in zip(found.wired.pipeline.jobs, handed, strict=True)]
    assert [words(uploaded(step["command"], _Nothing())) for step in steps] == wanted


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts([*value, *value.values()])
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


@pytest.mark.parametrize(
    "argument",
    ["", " ", "$A", "${A:-b}", "$(date)", "`date`", "a'b", 'a"b', "a\\$b", "\\", "a\nb", "*", "~", "A=b",
     "-k 'not \"a b\"'", "!x", "#x", "&", ";", "|", ">", "é日😀", "\t", "{a,b}", "[a]", "%A%", "$$", "\\\\$"],
)  # fmt: skip
def test_a_real_shell_reads_what_the_model_reads(argument: str) -> None:
    for line in (text.line(("printf", "%s", argument)), uploaded(buildkite.command(("printf", "%s", argument)), {})):
        done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True)
        assert done.stdout.decode() == argument


# --- the whole process --------------------------------------------------------------------------

HEAVY = {"docker", "git", "requests", "rich", "urllib3", "obstore"}


def repository(folder: Path) -> Path:
    """A repository with a change of one test file since ``main``."""
    git = ("git", *AUTHOR, "-C", str(folder))
    (folder / "tests" / "gpu").mkdir(parents=True)
    for said in (
        ("init", "-q", "-b", "main"),
        ("commit", "-q", "--allow-empty", "-m", "one"),
        ("switch", "-q", "-c", "x"),
    ):
        subprocess.run([*git, *said], check=True)
    (folder / "tests" / "gpu" / "test_smoke.py").write_text("")
    return folder


def whole(folder: Path, *options: str, **more: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """``python -m ci pipeline``, and the packages it imported."""
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "ROCM_CI_STATE": str(folder.parent / "state"),
        **more,
    }
    words = [sys.executable, "-X", "importtime", "-m", "ci", "pipeline", *options]
    done = subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)
    imports = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return done, {line.rpartition("|")[2].strip().partition(".")[0] for line in imports}


@pytest.mark.parametrize("form", ["buildkite", "github", "json", ""])
def test_a_pipeline_is_made_from_files_and_git_alone_and_nothing_is_written(form: str, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    folder = repository(tmp_path / "src")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    first, imported = whole(folder, *(("--format", form) if form else ()))
    second, _ = whole(folder, *(("--format", form) if form else ()))
    assert first.returncode == 0, first.stderr[-2000:]
    assert first.stdout == second.stdout
    assert "tests/gpu/test_smoke.py" in first.stdout or form in ("buildkite", "github")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert imported & HEAVY == set()


@pytest.mark.parametrize("mark", ["BUILDKITE", "GITHUB_ACTIONS"])
def test_a_ci_that_reads_its_log_for_commands_gets_the_pipeline_as_it_is(mark: str, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    folder = repository(tmp_path / "src")
    plain, marked = (whole(folder, "--format", "buildkite", **more)[0] for more in ({}, {mark: "true"}))
    assert plain.stdout == marked.stdout != ""
