"""Pipelines for Buildkite, read back through a model of what the upload and a shell make of each text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ci.errors import ConfigError
from ci.providers.emit import buildkite
from ci.providers.jobs import Job, Pipeline, Pool
from tests.unit.interpolation import UnreadableError, uploaded, words

HARD = "$\\'\"`{}()[]!#:-&*|>%@?,~;= \n\t\rABé日😀"
TEXTS = st.text(st.one_of(st.sampled_from(HARD), st.characters(codec="utf-8")), max_size=20)
ARGUMENTS = TEXTS.filter(lambda text: "\0" not in text)
POOL = Pool("cpu", {"queue": "default"}, ())
JOB = Job("test-a", "a", ("tool", "test"), POOL, 30)


class _Everything(dict[str, str]):
    """An environment in which every name has a value that no text of ours has."""

    def get(self, name: object, default: object = None) -> Any:
        del default
        return f"<the value of {name}>"


def emitted(*jobs: Job, remarks: tuple[str, ...] = ()) -> list[Mapping[str, Any]]:
    """The steps of the pipeline, as a reader of YAML has them."""
    found: list[Mapping[str, Any]] = yaml.safe_load(buildkite.emit(Pipeline("p", jobs), remarks))["steps"]
    return found


@given(st.lists(ARGUMENTS, min_size=1, max_size=4))
@example(["A=b", "c"])
@example(["echo", "\\$", "$$", "\\\\$A", "${A:-b}", "$(date)", "'\\$'", '"$A"', "\\\\\\$", "a\\"])
def test_a_command_reaches_its_program_as_it_is(command: list[str]) -> None:
    assume(command[0])
    (step,) = emitted(replace(JOB, command=tuple(command)))
    assert words(uploaded(step["command"], _Everything())) == tuple(command)


@given(TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=2), st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=2))
@example("$A ${B:-c} $$ $(d)", {"$E": "${F}"}, {"$G": "$H"})
@example("100%", {}, {"queue": "\\$"})
def test_labels_environment_and_tags_come_out_of_the_upload_as_they_are(
    label: str, env: dict[str, str], tags: dict[str, str]
) -> None:
    texts = [label, *env, *env.values(), *tags, *tags.values()]
    job = replace(JOB, label=label, env=env, pool=replace(POOL, buildkite=tags))
    if any("\\$" in text for text in texts):
        with pytest.raises(ConfigError, match="backslash before a dollar"):
            emitted(job)
        return
    (step,) = emitted(job)
    assert uploaded(step["label"], _Everything()) == label
    assert read(step.get("env", {})) == env
    assert read(step["agents"]) == tags


def read(values: Mapping[str, str]) -> dict[str, str]:
    return {uploaded(name, _Everything()): uploaded(value, _Everything()) for name, value in values.items()}


def test_a_variable_of_another_job_cannot_be_expanded_at_upload() -> None:
    """What ended a release as ``ECR_IMAGE_TAG: unbound variable``: a name that the upload took for its own."""
    seed = "docker tag $ECR_IMAGE_TAG"
    assert uploaded(seed, {}) == "docker tag "  # what was run
    (step,) = emitted(replace(JOB, command=("docker", "tag", "$ECR_IMAGE_TAG"), env={"A": "${ECR_IMAGE_TAG:?}"}))
    assert words(uploaded(step["command"], {})) == ("docker", "tag", "$ECR_IMAGE_TAG")
    assert uploaded(step["env"]["A"], {}) == "${ECR_IMAGE_TAG:?}"
    assert uploaded(step["command"], {}) == uploaded(step["command"], _Everything())


def test_the_model_refuses_what_a_shell_would_read() -> None:
    for line in ("echo $A", 'echo "$A"', "a; b", "a | b", "a > b", "a *", "A=b c", "~", "`a`"):
        with pytest.raises(UnreadableError):
            words(line)
    assert words("""echo 'a b'"'"'c' d""") == ("echo", "a b'c", "d")


def test_only_the_world_is_tried_again_and_only_the_superseded_is_soft() -> None:
    (step,) = emitted(JOB)
    assert step["retry"]["automatic"] == [
        {"exit_status": 4, "limit": 1},
        {"exit_status": -1, "limit": 1},
        {"signal_reason": "agent_stop", "limit": 1},
    ]
    assert step["soft_fail"] == [{"exit_status": 5}]


def test_a_soft_job_forgives_a_failure_of_the_product_alone() -> None:
    (step,) = emitted(replace(JOB, soft="known (until 2026-12-01)"))
    assert step["soft_fail"] == [{"exit_status": 5}, {"exit_status": 1}]


def test_jobs_that_make_or_take_images_hand_them_on() -> None:
    made, taken, neither = emitted(
        replace(JOB, key="image-a", makes=("a",), priority=1),
        replace(JOB, key="test-b", takes=("a",), after=("image-a",)),
        JOB,
    )
    assert made["command"].endswith(" --handoff buildkite")
    assert taken["command"].endswith(" --handoff buildkite")
    assert "handoff" not in neither["command"]
    assert (taken["depends_on"], made["priority"], "priority" in taken) == (["image-a"], 1, False)
    assert taken["timeout_in_minutes"] == 30


def test_nothing_to_run_is_a_step_that_says_so() -> None:
    (step,) = emitted(remarks=("only documents changed",))
    assert (step["label"], step["skip"]) == ("nothing to run", "only documents changed")
    (long,) = emitted(remarks=("x" * 200 + "$A",))
    assert len(long["skip"]) <= 70


def test_a_reason_is_no_variable_either() -> None:
    (step,) = emitted(remarks=("no file changed since $A",))
    assert uploaded(step["skip"], _Everything()) == "no file changed since $A"


def test_remarks_stand_in_front_one_line_each() -> None:
    text = buildkite.emit(Pipeline("p", (JOB,)), ("step b\nis not run: $A", "c"))
    assert text.splitlines()[:3] == ["# step b is not run: $A", "# c", "steps:"]


def test_pools_without_tags_are_all_named() -> None:
    pools = [Pool(name, {}, ("x",)) for name in ("one", "two")]
    with pytest.raises(ConfigError) as error:
        emitted(*(replace(JOB, pool=pool) for pool in (*pools, *pools)))
    assert [problem.message for problem in error.value.problems] == [
        "pool one has no tags of Buildkite's agents",
        "pool two has no tags of Buildkite's agents",
    ]
