"""Workflows for GitHub Actions, read back through a model of its expressions and of a shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ci.errors import ConfigError, Outcome
from ci.providers import handing
from ci.providers.emit import committed, github
from ci.providers.jobs import Absent, Job, Pipeline, Pool
from ci.settings import HANDED, capture
from tests.unit.interpolation import evaluated, words

HARD = "$\\'\"`{}()[]!#:-&*|>%@?,~;= \n\t\rABé日😀"
PIECES = st.one_of(st.sampled_from((*HARD, "${{", "}}", "${{ secrets.X }}", "'}}")), st.characters(codec="utf-8"))
TEXTS = st.lists(PIECES, max_size=12).map("".join)
ARGUMENTS = TEXTS.filter(lambda text: "\0" not in text)
POOL = Pool("cpu", {}, ("ubuntu-24.04",))
JOB = Job("test-a", "a", ("tool", "test"), POOL, 30)
IMAGE = JOB._replace(key="image-ci-base", makes=("ci-base",), priority=1)
TEST = JOB._replace(key="test-b", takes=("ci-base",), after=("image-ci-base",))
CHECKOUT = "actions/checkout@" + "0" * 40


def pipeline(*jobs: Job) -> Pipeline:
    return Pipeline("p", jobs, CHECKOUT)


def emitted(*jobs: Job, remarks: tuple[str, ...] = ()) -> dict[str, Any]:
    """The jobs of the workflow, as a reader of YAML has them."""
    found: dict[str, Any] = yaml.safe_load(github.emit(pipeline(*jobs), remarks))
    assert found["permissions"] == {"contents": "read"}
    jobs_found: dict[str, Any] = found["jobs"]
    return jobs_found


@given(st.lists(ARGUMENTS, min_size=1, max_size=4))
@example(["echo", "${{ secrets.TOKEN }}", "$${{", "${${{{", "}}", "'${{'", "$A"])
def test_a_command_reaches_its_program_as_it_is(command: list[str]) -> None:
    assume(command[0])
    steps = emitted(JOB._replace(command=tuple(command)))["test-a"]["steps"]
    assert words(evaluated(steps[1]["run"])) == words(evaluated(steps[2]["run"])) == tuple(command)


@given(TEXTS, TEXTS, TEXTS)
@example("${{ secrets.A }}", "$${{ github.token }}", "${${{ x }}")
def test_labels_environment_and_runners_are_no_expressions(label: str, value: str, runner: str) -> None:
    job = JOB._replace(label=label, env={"A": value}, pool=POOL._replace(github=(runner,)))
    found = emitted(job)["test-a"]
    assert evaluated(found["name"]) == label
    assert evaluated(found["env"]["A"]) == value
    assert evaluated(found["runs-on"][0]) == runner


def test_outcomes_that_fail_nothing_are_named_and_all_others_fail_a_missing_one_too() -> None:
    _, run, again, end = emitted(JOB)["test-a"]["steps"]
    assert (run["continue-on-error"], again["continue-on-error"]) == (True, True)
    assert again["if"] == "${{ contains(fromJSON('[\"infra\"]'), steps.run.outputs.outcome) }}"
    last = "steps.again.outputs.outcome || steps.run.outputs.outcome"
    assert end["if"] == f'${{{{ !contains(fromJSON(\'["ok", "skipped", "superseded"]\'), {last}) }}}}'
    assert end["run"] == "exit 1"
    assert "continue-on-error" not in end


def test_a_soft_job_forgives_a_failure_of_the_product_alone() -> None:
    end = emitted(JOB._replace(soft="known"))["test-a"]["steps"][-1]
    assert '["ok", "skipped", "superseded", "failed"]' in end["if"]


def test_images_go_from_job_to_job_by_the_names_that_the_hand_off_reads() -> None:
    jobs = emitted(IMAGE, TEST)
    either = "steps.again.outputs.image-ci-base || steps.run.outputs.image-ci-base"
    assert jobs["image-ci-base"]["outputs"] == {"image-ci-base": f"${{{{ {either} }}}}"}
    assert jobs["test-b"]["env"] == {f"{HANDED}CI_BASE": "${{ needs.image-ci-base.outputs.image-ci-base }}"}
    assert jobs["test-b"]["needs"] == ["image-ci-base"]
    assert all(job["steps"][1]["run"] == "tool test --handoff github" for job in jobs.values())


def test_what_an_image_job_hands_on_is_what_its_tests_take(tmp_path: Path) -> None:
    """The names on both sides are those of ``handing``: outputs of one job, variables of the next."""
    origin = handing.Origin("local", "0" * 40)
    image = handing.Image("registry.example/a@sha256:" + "1" * 64, "2" * 64, "t", {}, {})
    output = tmp_path / "output"
    maker = capture({}, {"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(output)})
    handing.Handing(maker, "github", origin, tmp_path).give({"ci-base": image})
    name, _, row = output.read_text().rstrip("\n").partition("=")
    jobs = emitted(IMAGE, TEST)
    assert name in jobs["image-ci-base"]["outputs"]
    (variable,) = jobs["test-b"]["env"]
    taker = handing.Handing(capture({}, {variable: row}), "github", origin, tmp_path)
    assert taker.take(("ci-base",)) == {"ci-base": image}


def test_no_later_step_has_the_credentials_of_the_checkout() -> None:
    (step, *_) = emitted(JOB)["test-a"]["steps"]
    assert step == {"uses": CHECKOUT, "with": {"persist-credentials": False}}


def test_nothing_to_run_is_a_job_that_never_starts() -> None:
    (job,) = emitted(remarks=("only documents changed",)).values()
    assert (job["name"], job["if"]) == ("nothing to run: only documents changed", False)


@pytest.mark.parametrize("why", ["cpu: has no GPU", "away: ${{ secrets.A }} $A\nsoon"])
def test_a_test_that_nobody_can_run_is_shown_and_fails_where_it_had_to_run(why: str) -> None:
    def shown(pool: Pool | None) -> dict[str, Any]:
        lacking = Absent("test-b", "b is not run", why, pool)
        found = yaml.safe_load(github.emit(pipeline(JOB)._replace(absent=(lacking,)), ()))["jobs"]
        assert list(found) == ["test-a", "test-b"]
        job: dict[str, Any] = found["test-b"]
        return job

    assert (evaluated(shown(None)["name"]), shown(None)["if"]) == (f"b is not run: {why}", False)
    fails = shown(POOL)
    (step,) = fails["steps"]
    assert (fails["runs-on"], "if" in fails) == (["ubuntu-24.04"], False)
    assert (evaluated(step["name"]), step["run"]) == (why, f"exit {Outcome.EMPTY.exit_code}")
    with pytest.raises(ConfigError, match="pool bare has no labels"):
        shown(Pool("bare", {}, ()))


def test_pools_without_labels_and_a_missing_checkout_are_all_named() -> None:
    bare = JOB._replace(pool=Pool("one", {"queue": "x"}, ()))
    with pytest.raises(ConfigError) as error:
        github.emit(Pipeline("p", (bare, bare)), ())
    assert [problem.reference for problem in error.value.problems] == ["no-labels", "no-checkout"]
    with pytest.raises(ConfigError):
        committed.emit(Pipeline("p", (bare,)), bare, ("pr",), ())


# --- to commit ----------------------------------------------------------------------------------

SELECT = Job("select", "select", ("tool", "pipeline", "--format", "json"), POOL, 0)


def to_commit(*jobs: Job) -> str:
    return committed.emit(pipeline(*jobs), SELECT, ("pr", "nightly"), ())


def test_a_committed_workflow_asks_first_and_answers_last() -> None:
    jobs = yaml.safe_load(to_commit(IMAGE, TEST))["jobs"]
    assert list(jobs) == ["select", "image-ci-base", "test-b", "result"]
    outputs = {name: f"${{{{ steps.run.outputs.{name} }}}}" for name in ("jobs", "not-run")}
    assert jobs["select"]["outputs"] == outputs
    assert jobs["test-b"]["needs"] == ["select", "image-ci-base"]
    asked = "contains(fromJSON(needs.select.outputs.jobs), 'test-b')"
    assert jobs["test-b"]["if"] == f"${{{{ !cancelled() && !failure() && {asked} }}}}"
    assert jobs["result"]["needs"] == ["select", "image-ci-base", "test-b"]
    assert jobs["result"]["if"] == "${{ always() }}"
    bad = (
        "needs.select.result != 'success' || "
        "contains(needs.*.result, 'failure') || contains(needs.*.result, 'cancelled')"
    )
    verdict, absent = jobs["result"]["steps"]
    assert verdict == {"name": "result", "if": f"${{{{ {bad} }}}}", "run": "exit 1"}
    assert absent == {
        "name": "not run: ${{ needs.select.outputs.not-run }}",
        "if": "${{ always() && needs.select.outputs.not-run != '' }}",
        "run": "exit 6",
    }


def test_the_profile_follows_from_what_started_it() -> None:
    step = yaml.safe_load(to_commit(IMAGE, TEST))["jobs"]["select"]["steps"][-1]
    assert step["run"] == (
        "tool pipeline --format json --profile ${{ github.event_name == 'schedule' && 'nightly' || "
        "github.event_name == 'push' && 'main' || github.event_name == 'pull_request' && 'pr' || "
        "contains(fromJSON('[\"pr\", \"nightly\"]'), inputs.profile) && inputs.profile || 'pr' }}"
    )
    assert "continue-on-error" not in step


def test_the_whole_history_is_there_for_the_merge_base() -> None:
    step = yaml.safe_load(to_commit(IMAGE, TEST))["jobs"]["select"]["steps"][0]
    assert step["with"] == {"persist-credentials": False, "fetch-depth": 0}


def test_a_workflow_that_lacks_a_job_or_has_another_of_its_name_has_drifted() -> None:
    now = to_commit(IMAGE, TEST)
    assert committed.drifted(now, now) == ()
    assert committed.drifted(now, to_commit(IMAGE)) == ("test-b", "result")
    other = to_commit(IMAGE, TEST._replace(command=("tool", "test", "--shard", "1/4")))
    assert committed.drifted(now, other) == ("test-b",)


def test_a_workflow_that_was_laid_out_anew_has_drifted_and_is_not_taken_for_anothers() -> None:
    now = to_commit(IMAGE, TEST)
    everything = ("select", "image-ci-base", "test-b", "result")
    assert committed.drifted(now, now.replace("\n  ", "\n    ")) == everything
    assert committed.drifted(now, now.replace("\n", "\r\n")) == everything
    assert committed.drifted(now, f"{now} x\n") == (), "a line too short for a key is none of ours"


def test_what_a_person_added_is_no_drift_and_neither_is_a_workflow_that_asks_nobody() -> None:
    now = to_commit(IMAGE, TEST)
    by_hand = (
        now.replace('cron: "0 4 * * *"', 'cron: "0 5 * * *"')
        + "\n  # mine\n  deploy:\n    runs-on: [x]\nenv:\n  A: b\n"
    )
    assert committed.drifted(now, by_hand) == ()
    assert committed.drifted(now, github.emit(pipeline(IMAGE), ())) == ()
