"""Pipelines for Buildkite, read back through a model of what the upload and a shell make of each text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ci.errors import ConfigError, Outcome
from ci.providers.emit import buildkite
from ci.providers.jobs import Absent, Job, Pipeline, Pool
from tests.unit.interpolation import UnreadableError, uploaded, words

HARD = "$\\'\"`{}()[]!#:-&*|>%@?,~;= \n\t\rABé日😀"
TEXTS = st.text(st.one_of(st.sampled_from(HARD), st.characters(codec="utf-8")), max_size=20)
NAMES = TEXTS.filter(lambda text: "$" not in text)
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
    (step,) = emitted(JOB._replace(command=tuple(command)))
    assert words(uploaded(step["command"], _Everything())) == tuple(command)


@given(TEXTS, st.dictionaries(NAMES, TEXTS, max_size=2), st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=2))
@example("$A ${B:-c} $$ $(d)", {"E": "${F}"}, {"$G": "$H"})
@example("100%", {}, {"queue": "\\$"})
@example("two \\\\$A and four \\\\\\\\$", {}, {"queue": "a"})
@example("three \\\\\\$A", {}, {"queue": "a"})
def test_labels_environment_and_tags_come_out_of_the_upload_as_they_are(
    label: str, env: dict[str, str], tags: dict[str, str]
) -> None:
    texts = [label, *env, *env.values(), *tags, *tags.values()]
    job = JOB._replace(label=label, env=env, pool=POOL._replace(buildkite=tags))
    if any(len(found[1]) % 2 for text in texts for found in re.finditer(r"(\\*)\$", text)):
        with pytest.raises(ConfigError, match="backslash before a dollar"):
            emitted(job)
        return
    (step,) = emitted(job)
    assert uploaded(step["label"], _Everything()) == label
    assert read(step.get("env", {})) == env
    assert read(step["agents"]) == tags


def read(values: Mapping[str, str]) -> dict[str, str]:
    return {uploaded(name, _Everything()): uploaded(value, _Everything()) for name, value in values.items()}


def test_a_variable_whose_name_the_upload_would_expand_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a variable named A\$B"):
        emitted(JOB._replace(env={"A$B": "c"}))


def test_a_variable_of_another_job_cannot_be_expanded_at_upload() -> None:
    """What ended a release as ``ECR_IMAGE_TAG: unbound variable``: a name that the upload took for its own."""
    seed = "docker tag $ECR_IMAGE_TAG"
    assert uploaded(seed, {}) == "docker tag "  # what was run
    (step,) = emitted(JOB._replace(command=("docker", "tag", "$ECR_IMAGE_TAG"), env={"A": "${ECR_IMAGE_TAG:?}"}))
    assert words(uploaded(step["command"], {})) == ("docker", "tag", "$ECR_IMAGE_TAG")
    assert uploaded(step["env"]["A"], {}) == "${ECR_IMAGE_TAG:?}"
    assert uploaded(step["command"], {}) == uploaded(step["command"], _Everything())


ENVIRONMENT = {"A": "value", "B": "b", "E": "", "\xe9x": "accent"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("a $A b", "a value b"), ("${A}", "value"), ("$A$B", "valueb"), ("$A-b", "value-b"), ("$Ab", ""),
     ("$\xe9x", "accent"), ("a$", "a$"), ("$1 $_ $- $ $\xb2", "$1 $_ $- $ $\xb2"), ("$(A) $((1))", "$(A) $((1))"),
     ("$$A", "$A"), ("\\$A", "$A"), ("\\\\$A", "\\\\value"), ("\\\\\\$A", "\\\\$A"), ("$$$A", "$value"),
     ("$$(A)", "$(A)"), ("\\a\\", "\\a\\"), ("${N:-d}", "d"), ("${N-d}", "d"), ("${E:-d}", "d"), ("${E-d}", ""),
     ("${A:-${N?}}", "value"), ("${N:-${A}b}", "valueb"), ("${N:-$$A}", "$A"), ("${N:-\\}}$$", "\\}$"),
     ("${A:1}", "alue"), ("${A: -2:1}", "u"), ("${A:1:-1}", "alu"), ("${A:9}", ""), ("${A:0:9}", "value"),
     ("${A?no}", "value"), ("${A} }", "value }")],
)  # fmt: skip
def test_the_model_reads_what_the_upload_reads(text: str, wanted: str) -> None:
    """What buildkite/interpolate 0.1.5 gives back."""
    assert uploaded(text, ENVIRONMENT) == wanted


@pytest.mark.parametrize(
    "text", ["${N?no}", "${N?}", "${A", "${}", "${1}", "${A!}", "${A:x}", "${A:1:}", "${N:-${A}", "${A:-${}}"]
)
def test_the_model_refuses_what_the_upload_refuses(text: str) -> None:
    with pytest.raises(UnreadableError):
        uploaded(text, ENVIRONMENT)


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
    (step,) = emitted(JOB._replace(soft="known (until 2026-12-01)"))
    assert step["soft_fail"] == [{"exit_status": 5}, {"exit_status": 1}]


def test_jobs_that_make_or_take_images_hand_them_on() -> None:
    made, taken, neither = emitted(
        JOB._replace(key="image-a", makes=("a",), priority=1),
        JOB._replace(key="test-b", takes=("a",), after=("image-a",)),
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


WHY = "cpu: has no GPU; mi300x-8: away: '$A' \\$ is\nnew"


def absent(pool: Pool | None) -> list[Mapping[str, Any]]:
    """The steps of a pipeline with one test and one that nobody can run."""
    lacking = Absent("test-b--gfx942", "b (gfx942) is not run", WHY, pool)
    found: list[Mapping[str, Any]] = yaml.safe_load(buildkite.emit(Pipeline("p", (JOB,), absent=(lacking,)), ()))[
        "steps"
    ]
    return found


def test_a_test_that_nobody_can_run_is_shown_as_skipped() -> None:
    _, step = absent(None)
    assert (step["key"], step["label"], len(step["skip"]) <= 70) == ("test-b--gfx942", "b (gfx942) is not run", True)
    assert uploaded(step["skip"], _Everything()).startswith("cpu: has no GPU; mi300x-8: away: '$A'")


def test_a_test_that_had_to_run_and_cannot_is_a_step_that_says_so_and_ends_as_empty() -> None:
    _, step = absent(POOL)
    said, end = step["command"]
    assert words(uploaded(said, _Everything())) == ("echo", f"b (gfx942) is not run: {' '.join(WHY.split())}")
    assert end == f"exit {Outcome.EMPTY.exit_code}"
    assert (step["agents"], step["key"]) == ({"queue": "default"}, "test-b--gfx942")
    assert {"soft_fail", "skip", "retry"} & set(step) == set()
    with pytest.raises(ConfigError, match="pool bare has no tags"):
        absent(Pool("bare", {}, ()))


def test_a_reason_is_no_variable_either() -> None:
    (step,) = emitted(remarks=("no file changed since $A",))
    assert uploaded(step["skip"], _Everything()) == "no file changed since $A"


def test_remarks_stand_in_front_one_line_each() -> None:
    text = buildkite.emit(Pipeline("p", (JOB,)), ("step b\nis not run: $A", "c"))
    assert text.splitlines()[:3] == ["# step b is not run: $A", "# c", "steps:"]


def test_pools_without_tags_are_all_named() -> None:
    pools = [Pool(name, {}, ("x",)) for name in ("one", "two")]
    with pytest.raises(ConfigError) as error:
        emitted(*(JOB._replace(pool=pool) for pool in (*pools, *pools)))
    assert [problem.message for problem in error.value.problems] == [
        "pool one has no tags of Buildkite's agents",
        "pool two has no tags of Buildkite's agents",
    ]
