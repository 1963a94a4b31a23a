"""A pipeline from what is written down: paths as jobs see them, environment, and a workflow that has drifted."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from ci.errors import ConfigError
from ci.pipeline import changes, make
from ci.pipeline.make import Given
from ci.pipeline.request import Request
from ci.pipeline.select import Wish
from ci.providers.facts import Facts
from ci.recipe import stack as stacks
from ci.settings import Settings, capture
from ci.verbs import planning
from ci.world.diffs import Diff
from ci.world.process import Command, Finished

TODAY = date(2026, 11, 22)
PLAIN = Request()
CHANGED = Diff(("tests/gpu/test_smoke.py",), "0" * 40)
SUITE = """\
schema: 1
runtime: cpu
steps:
  one: {summary: s, limits: {minutes: 10}, commands: [{run: ["true"]}], sources: [a/]}
  two: {summary: s, limits: {minutes: 10}, commands: [{run: ["true"]}], shards: 2}
suites: {all: {summary: s, steps: [one, two]}}
"""


def given(settings: Settings, asked: Request = PLAIN, top: Path | None = None) -> Given:
    """What is written down, in a repository at ``top``."""

    def git(command: Command, *_rest: object) -> Finished:
        return Finished(command, 0 if top else 128, f"{top}\n", "")

    return make.given(settings, asked, TODAY, git)


def local(**environ: str) -> Settings:
    return capture({"--stack": "local"}, environ)


def test_files_are_named_as_a_job_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "suite.yaml").write_text(SUITE)
    monkeypatch.chdir(tmp_path / "sub")
    inside = given(local(), Request(catalogue="suite.yaml"), tmp_path)
    assert (inside.terms.file, inside.terms.named, inside.top) == ("sub/suite.yaml", "local", tmp_path)
    outside = given(local(), Request(catalogue=str(tmp_path / "sub" / "suite.yaml")), tmp_path / "sub" / "other")
    assert outside.terms.file == str(tmp_path / "sub" / "suite.yaml")


def test_a_label_that_somebody_types_means_something() -> None:
    settings = capture({"--stack": "vllm"}, {})
    asked = Request(labels=("ready-run-all-test",))
    with pytest.raises(ConfigError) as caught:
        given(settings, asked)
    (problem,) = caught.value.problems
    assert (problem.reference, problem.hint) == ("unknown-label", "did you mean ready-run-all-tests?")


def test_a_stack_of_ones_own_is_named_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    home = stacks.load("local").recipe
    for name in ("stacks", "suites", "pipelines"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.yaml").write_text(
            (home / name / "local.yaml").read_text().replace("local.yaml", "mine.yaml")
        )
    for name in ("Dockerfile.local", "pins.json"):
        (tmp_path / name).write_text((home / name).read_text())
    found = given(capture({"--stack": "../stacks/mine.yaml"}, {}), top=tmp_path)
    assert found.terms.named == "stacks/mine.yaml"


def test_arguments_of_the_environment_go_to_every_job() -> None:
    found = make.decide(given(local(NIC_BACKEND="bnxt")), Wish(), CHANGED)
    assert {tuple((job.env or {}).items()) for job in found.wired.pipeline.jobs} == {(("NIC_BACKEND", "bnxt"),)}
    plain = make.decide(given(local()), Wish(), CHANGED)
    assert {tuple((job.env or {}).items()) for job in plain.wired.pipeline.jobs} == {()}


def test_a_secret_does_not_go_into_a_pipeline() -> None:
    settings = capture({"--stack": "vllm"}, {"ROCSHMEM_OPTIONS": "https://user:word@host"})
    with pytest.raises(ConfigError) as error:
        given(settings)
    assert (error.value.problems[0].reference, "word" in str(error.value)) == ("secret-in-pipeline", False)


def test_a_variable_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ConfigError, match="ROCM_CI_STAK"):
        given(local(ROCM_CI_STAK="local"))


def test_no_git_here_runs_everything_at_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = given(local())
    assert (found.repository, found.top) == (None, tmp_path)
    made = make.make(found, Request())
    assert all(each.runs for each in made.selection.choices)
    assert "git" in made.selection.everything


def test_the_same_twice_is_the_same_bytes() -> None:
    first, second = (make.decide(given(local()), Wish(), CHANGED) for _ in range(2))
    for form in ("buildkite", "github"):
        assert make.emitted(first, form) == make.emitted(second, form)


# --- a workflow that was committed --------------------------------------------------------------

WORKFLOW = ".github/workflows/rocm.yml"


def committed(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / WORKFLOW
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return capture(
        {"--stack": "local"},
        {
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKFLOW_REF": f"team/project/{WORKFLOW}@refs/heads/main",
            "GITHUB_OUTPUT": str(tmp_path / "output"),
        },
    )


def with_steps(found: Given, steps: str, tmp_path: Path) -> Given:
    """The same with these steps."""
    file = tmp_path / "suite.yaml"
    file.write_text(steps)
    other = given(local(), Request(catalogue=str(file)))
    return found._replace(terms=found.terms._replace(catalogue=other.terms.catalogue))


def test_the_workflow_as_it_would_be_written_now_is_taken(tmp_path: Path) -> None:
    found = given(local())._replace(top=tmp_path)
    settings = committed(tmp_path, make.workflow(found)[0])
    make.refuse_drift(settings, found)


@pytest.mark.parametrize(
    ("before", "after", "drifted"),
    [
        (SUITE.replace("  one:", "  other:").replace("[one", "[other"), SUITE, "test-one"),  # a step without a job
        (SUITE.replace("shards: 2", "shards: 4"), SUITE, "test-two--1"),  # halves of quarters
        (SUITE.replace("minutes: 10}, commands", "minutes: 90}, commands"), SUITE, "test-one"),
    ],
)
def test_a_workflow_that_would_leave_tests_out_is_refused(
    tmp_path: Path, before: str, after: str, drifted: str
) -> None:
    found = given(local())._replace(top=tmp_path)
    settings = committed(tmp_path, make.workflow(with_steps(found, before, tmp_path))[0])
    now = with_steps(found, after, tmp_path)
    with pytest.raises(ConfigError) as error:
        make.refuse_drift(settings, now)
    (problem,) = error.value.problems
    assert (problem.reference, drifted in problem.message) == ("workflow-drift", True)
    assert problem.hint.endswith(f"inv pipeline --stack local --format github --committed > {WORKFLOW}")


def test_a_workflow_that_asks_nobody_is_its_owners(tmp_path: Path) -> None:
    found = given(local())._replace(top=tmp_path)
    make.refuse_drift(committed(tmp_path, "jobs:\n  mine:\n    runs-on: x\n"), found)
    make.refuse_drift(local(), found)


# --- the verb -----------------------------------------------------------------------------------


def test_the_jobs_that_run_are_told_to_the_workflow_that_asked(tmp_path: Path) -> None:
    found = given(local())._replace(top=tmp_path)
    settings = committed(tmp_path, make.workflow(found)[0])
    made = make.decide(found, Wish(only=("smoke",)), Diff())
    planning.tell(settings, made)
    keys = ["image-base", "image-ci-base", "image-test", "test-smoke"]
    assert (tmp_path / "output").read_text() == f"jobs={json.dumps(keys)}\nnot-run=\n"


ROCM = SUITE.replace("runtime: cpu", "runtime: rocm").replace("sources: [a/]", "needs: {gpus: 1}, sources: [a/]")


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        (Wish("pr"), ""),
        (Wish("main"), ""),
        (Wish("nightly"), "test-one"),
        (Wish("full"), "test-one"),
        (Wish(only=("one", "two")), "test-one"),
    ],
)
def test_a_test_that_had_to_run_and_cannot_is_told_to_the_job_that_decides(
    tmp_path: Path, wish: Wish, told: str
) -> None:
    found = with_steps(given(local())._replace(top=tmp_path), ROCM, tmp_path)
    settings = committed(tmp_path, make.workflow(found)[0])
    made = make.decide(found, wish, Diff(("a/b",)))
    planning.tell(settings, made)
    jobs, not_run = (tmp_path / "output").read_text().splitlines()
    assert "test-one" not in jobs, "a job that was written when a pool could take it does not run"
    assert "test-two--1" in jobs
    assert not_run == f"not-run={told}"
    for form, end in (("buildkite", "exit 6"), ("github", "run: exit 6")):
        text = make.emitted(made, form)
        assert (end in text, "one is not run" in text) == (bool(told), True)


def test_a_submodule_on_the_way_to_a_rule_runs_every_step(tmp_path: Path) -> None:
    found = given(local())
    rules = found.terms.pools._replace(run_all=("third/*/x.cc",))
    found = found._replace(terms=found.terms._replace(pools=rules), repository=tmp_path)
    for links, runs in (((), False), (("third/lib",), True)):
        made = make.decide(found, Wish(), Diff(("third/lib",), "0" * 40, "", links))
        assert ("which may lie below it" in made.selection.everything) == runs


def test_nothing_is_told_where_nothing_can_run(tmp_path: Path) -> None:
    found = given(local())._replace(top=tmp_path)
    settings = committed(tmp_path, make.workflow(found)[0])
    made = make.decide(found, Wish(only=("probe",)), Diff())
    planning.tell(settings, made)
    assert made.empty
    assert not (tmp_path / "output").exists()


def test_a_workflow_that_has_drifted_is_told_of_no_job(tmp_path: Path) -> None:
    found = given(local())._replace(top=tmp_path)
    settings = committed(tmp_path, make.workflow(found)[0].replace("timeout-minutes: 60", "timeout-minutes: 61"))
    with pytest.raises(ConfigError, match="does not have these jobs as they are now"):
        planning.tell(settings, make.decide(found, Wish(only=("smoke",)), Diff()))
    assert not (tmp_path / "output").exists()


def test_the_job_that_asks_says_what_was_said_when_the_workflow_was_written(tmp_path: Path) -> None:
    """A pool that is away in one and not in the other would be drift at every run."""
    settings = capture({"--stack": "vllm"}, {})
    found = given(settings, Request(away=("MI355X", "mi250-1")))._replace(top=tmp_path)
    pools = tuple(each._replace(github=("x",)) for each in found.terms.pools.pools)
    builder = found.terms.builder._replace(github=("x",))
    found = found._replace(terms=found.terms._replace(pools=found.terms.pools._replace(pools=pools), builder=builder))
    text, _ = make.workflow(found)
    assert "pipeline --format json --stack vllm --away MI355X --away mi250-1 --profile" in text


BUILDKITE = {"BUILDKITE": "true", "BUILDKITE_REPO": "https://git.example/team/project", "BUILDKITE_BRANCH": "main"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Request(profile="main"), True),
        (Request(profile="main", base="v1"), False),
        (Request(profile="main", only=("smoke",)), False),
        (Request(profile="pr"), False),
        (Request(profile="nightly"), False),
    ],
)
def test_a_push_that_nobody_tells_of_is_said_to_be_counted_from_one_commit(
    tmp_path: Path, asked: Request, said: bool
) -> None:
    """Buildkite does not tell what a branch was before a push."""
    found = given(local(**BUILDKITE, BUILDKITE_PULL_REQUEST="false"), asked, tmp_path)
    made = make.decide(found, found.wish, CHANGED)
    notice = "profile main: buildkite does not say what the branch was before the push"
    assert any(each.startswith(notice) and "--base" in each for each in made.notices) == said
    for form in ("buildkite", "github"):
        assert (f"# {notice}" in make.emitted(made, form)) == said


def test_a_push_that_its_ci_tells_of_needs_no_such_word() -> None:
    nodes, wish = given(local()).terms.pools, Wish("main")
    told = Facts("github", "git.example/team/project", before="1" * 40)
    assert changes.told(wish, nodes, facts=told) == ()
    (notice,) = changes.told(wish, nodes)
    assert notice.startswith("profile main: nobody says what the branch was before the push")


def test_the_labels_of_the_pull_request_ask_as_typed_ones_do() -> None:
    environ = {
        "BUILDKITE": "true", "BUILDKITE_REPO": "https://git.example/team/project", "BUILDKITE_PULL_REQUEST": "3",
        "BUILDKITE_PULL_REQUEST_LABELS": "odd,ready-run-all-tests",
    }  # fmt: skip
    settings = capture({"--stack": "vllm"}, environ)
    made = make.make(given(settings), PLAIN)
    assert made.selection.profile == "nightly"
