"""Images handed on by digest: each place by itself, and everything that is no hand-off."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci.errors import CiError, ConfigError, InfraError
from ci.providers.handing import BUILDKITE, GITHUB, Handing, Image, Origin, place
from ci.settings import Settings, capture, problems
from ci.world.fakes import FakeRun
from ci.world.process import Run

COMMIT = "c" * 40
ORIGIN = Origin("local", COMMIT)
DIGESTS = tuple(f"sha256:{digit * 64}" for digit in "ab")


def image(tier: str, digest: str = DIGESTS[0], host: str = "") -> Image:
    """An image of ``tier``, as the engine names it or as a registry does."""
    return Image(
        f"{host}rocm-ci/local:{tier}-v1@{digest}", f"identity of {tier}", f"{tier}-v1", {"root x": "y"}, {"A": "b"}
    )


BASE, TEST = image("ci-base"), image("test")


def handing(where: str, tmp_path: Path, start: Run | None = None, origin: Origin = ORIGIN) -> Handing:
    """A hand-off of a run; a command nobody announced is an error."""
    return Handing(Settings({}, {}), where, origin, tmp_path / "state", start or FakeRun({}))


def on_github(tmp_path: Path, environ: Mapping[str, str]) -> Handing:
    """A hand-off of a run with this environment."""
    return replace(handing(GITHUB, tmp_path), settings=Settings(environ, {}))


def row(tier: str, made: Image, origin: Origin = ORIGIN) -> str:
    return json.dumps({"schema": 2, **origin._asdict(), "tier": tier, **made._asdict()})


def agent(*words: str) -> tuple[str, ...]:
    return ("buildkite-agent", *words)


def told(caught: pytest.ExceptionInfo[CiError]) -> str:
    problem = caught.value.problems[0]
    return f"{problem.reference}: {problem.message} {problem.context}"


@pytest.mark.parametrize("text", [BUILDKITE, GITHUB, "images.json", "/a/b.json"])
def test_places(text: str) -> None:
    assert place(text) == text


@pytest.mark.parametrize("text", ["buildkit", "GitHub", "images", "s3://bucket/x"])
def test_a_mistyped_ci_is_no_file(text: str) -> None:
    with pytest.raises(ConfigError, match="--handoff cannot be") as refused:
        place(text)
    assert refused.value.problems[0].hint.endswith("; the name of a file ends in .json")


# --- a file ---------------------------------------------------------------------------------


def test_jobs_add_their_tiers_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "images.json"
    handing(str(path), tmp_path).give({"ci-base": BASE})
    handing(str(path), tmp_path).give({"test": TEST})
    assert handing(str(path), tmp_path).take(("test", "ci-base")) == {"test": TEST, "ci-base": BASE}
    written = json.loads(path.read_text())
    assert written == {
        "schema": 2, "stack": "local", "commit": COMMIT, "images": {"ci-base": BASE._asdict(), "test": TEST._asdict()},
    }  # fmt: skip


def test_another_image_of_a_tier_is_an_error_that_names_both(tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    handing(str(path), tmp_path).give({"test": TEST})
    with pytest.raises(ConfigError) as caught:
        handing(str(path), tmp_path).give({"test": image("test", DIGESTS[1])})
    assert DIGESTS[0] in told(caught)
    assert DIGESTS[1] in told(caught)
    assert handing(str(path), tmp_path).take(("test",)) == {"test": TEST}


def test_one_digest_of_two_identities_is_no_image_to_keep(tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    handing(str(path), tmp_path).give({"test": TEST})
    with pytest.raises(ConfigError, match="and this job has"):
        handing(str(path), tmp_path).give({"test": TEST._replace(identity="another")})


def test_one_image_under_two_names_is_one_image_and_keeps_the_first(tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    handing(str(path), tmp_path).give({"test": image("test", host="registry.test/")})
    handing(str(path), tmp_path).give({"test": TEST})
    assert handing(str(path), tmp_path).take(("test",)) == {"test": image("test", host="registry.test/")}


def test_what_nobody_handed_on_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    with pytest.raises(ConfigError, match=r"images\.json"):
        handing(str(path), tmp_path).take(("test",))
    handing(str(path), tmp_path).give({"test": TEST})
    with pytest.raises(ConfigError, match="nobody handed on an image of ci-base"):
        handing(str(path), tmp_path).take(("ci-base",))


GOOD: dict[str, Any] = {"schema": 2, **ORIGIN._asdict(), "images": {"test": TEST._asdict()}}
BAD = [
    "",
    "[]",
    "{",
    json.dumps({**GOOD, "schema": 1}),
    json.dumps({**GOOD, "more": 1}),
    json.dumps({key: value for key, value in GOOD.items() if key != "commit"}),
    json.dumps({**GOOD, "images": {"test": "rocm-ci/local:test"}}),
    json.dumps({**GOOD, "images": {"test": {**TEST._asdict(), "reference": "rocm-ci/local:test-v1"}}}),
    json.dumps({**GOOD, "images": {"test": {**TEST._asdict(), "reference": "two words"}}}),
    json.dumps({**GOOD, "images": {"test": {**TEST._asdict(), "reference": ""}}}),
    json.dumps({**GOOD, "stack": "vllm"}),
    json.dumps({**GOOD, "commit": "d" * 40}),
]


@pytest.mark.parametrize("text", BAD)
def test_a_file_that_is_no_hand_off_is_refused_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "images.json"
    path.write_text(text)
    with pytest.raises(ConfigError):
        handing(str(path), tmp_path).take(("test",))
    with pytest.raises(ConfigError):
        handing(str(path), tmp_path).give({"ci-base": BASE})
    assert path.read_text() == text


def test_what_is_no_reference_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    handing(str(path), tmp_path).give({"test": TEST})
    path.write_text(path.read_text().replace(DIGESTS[0], "sha256:12"))
    with pytest.raises(ConfigError, match="which is no image by digest") as caught:
        handing(str(path), tmp_path).take(("test",))
    assert str(path) in told(caught)


def test_a_dirty_tree_has_no_commit_to_compare(tmp_path: Path) -> None:
    path = str(tmp_path / "images.json")
    handing(path, tmp_path).give({"test": TEST})
    assert handing(path, tmp_path, origin=Origin("local", "")).take(("test",)) == {"test": TEST}


# --- Buildkite ------------------------------------------------------------------------------

KEY = "rocm-ci:test"
EXISTS, GET, SET = (agent("meta-data", word, KEY) for word in ("exists", "get", "set"))
YES, NO = (0, "", ""), (100, "", "")


def buildkite(tmp_path: Path, script: Mapping[tuple[str, ...], Any]) -> tuple[Handing, FakeRun]:
    run = FakeRun(script)
    return handing(BUILDKITE, tmp_path, run), run


def test_buildkite_keeps_one_row_for_each_tier(tmp_path: Path) -> None:
    mine = row("test", TEST)
    giver, run = buildkite(tmp_path, {EXISTS: [NO, YES], (*SET, mine): (0, "", ""), GET: (0, mine, "")})
    giver.give({"test": TEST})
    assert [command.argv[2] for command in run.commands] == ["exists", "set", "exists", "get"]
    taker, _ = buildkite(tmp_path, {EXISTS: YES, GET: (0, mine + "\n", "")})
    assert taker.take(("test",)) == {"test": TEST}


def test_buildkite_has_the_same_already(tmp_path: Path) -> None:
    giver, run = buildkite(tmp_path, {EXISTS: YES, GET: (0, row("test", TEST), "")})
    giver.give({"test": TEST})
    assert len(run.commands) == 2, "nothing is set again"


def test_buildkite_has_another_image_of_the_tier(tmp_path: Path) -> None:
    other = row("test", image("test", DIGESTS[1]))
    giver, _ = buildkite(tmp_path, {EXISTS: YES, GET: (0, other, "")})
    with pytest.raises(ConfigError) as caught:
        giver.give({"test": TEST})
    assert all(digest in told(caught) for digest in DIGESTS)
    mine = row("test", TEST)
    giver, _ = buildkite(tmp_path, {EXISTS: [NO, YES], (*SET, mine): (0, "", ""), GET: (0, other, "")})
    with pytest.raises(InfraError) as lost:
        giver.give({"test": TEST})
    assert all(digest in told(lost) for digest in DIGESTS), "another job set it at the same moment"


@pytest.mark.parametrize(
    ("script", "kind", "expected"),
    [
        ({EXISTS: NO}, ConfigError, "not-handed-on: nobody handed on an image of test"),
        ({EXISTS: (1, "", "401 Unauthorized")}, InfraError, "exists ended with 1 401 Unauthorized"),
        ({EXISTS: YES, GET: (1, "", "500")}, InfraError, "get ended with 1 500"),
        ({EXISTS: YES, GET: (0, "rocm-ci/local:test", "")}, ConfigError, "meta-data rocm-ci:test"),
        ({EXISTS: YES, GET: (0, row("base", TEST), "")}, ConfigError, "is of tier base, not of test"),
        ({EXISTS: InfraError("no-program", "buildkite-agent is not installed")}, InfraError, "not installed"),
    ],
)
def test_what_buildkite_cannot_tell_is_never_another_image(
    tmp_path: Path, script: Mapping[tuple[str, ...], Any], kind: type[CiError], expected: str
) -> None:
    taker, _ = buildkite(tmp_path, script)
    with pytest.raises(kind) as caught:
        taker.take(("test",))
    shown = told(caught) + str(caught.value.problems[0].place)
    assert expected in shown


# --- GitHub ---------------------------------------------------------------------------------


def test_github_gives_outputs_and_takes_variables(tmp_path: Path) -> None:
    path = tmp_path / "output"
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(path)}
    on_github(tmp_path, environ).give({"ci-base": BASE, "test": TEST})
    lines = path.read_text().splitlines()
    assert [line.partition("=")[0] for line in lines] == ["image-ci-base", "image-test"]
    taken = {"ROCM_CI_HANDOFF_CI_BASE": lines[0].partition("=")[2], "ROCM_CI_HANDOFF_TEST": lines[1].partition("=")[2]}
    assert on_github(tmp_path, taken).take(("ci-base", "test")) == {"ci-base": BASE, "test": TEST}


def test_github_that_is_not_there_or_gave_nothing(tmp_path: Path) -> None:
    for environ in ({}, {"GITHUB_ACTIONS": "true"}, {"GITHUB_OUTPUT": str(tmp_path / "output")}):
        with pytest.raises(ConfigError, match="GITHUB_OUTPUT is not set"):
            on_github(tmp_path, environ).give({"test": TEST})
    for environ in ({}, {"ROCM_CI_HANDOFF_TEST": ""}):
        with pytest.raises(ConfigError, match="variable ROCM_CI_HANDOFF_TEST has none"):
            on_github(tmp_path, environ).take(("test",))
    nowhere = {"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(tmp_path / "no" / "output")}
    with pytest.raises(InfraError, match="cannot write"):
        on_github(tmp_path, nowhere).give({"test": TEST})


def test_the_family_of_variables_is_ours_and_a_misspelt_one_is_not() -> None:
    found = problems(capture({}, {"ROCM_CI_HANDOFF_CI_BASE": "{}", "ROCM_CI_HANDOF_TEST": "{}"}))
    assert [problem.message for problem in found] == ["environment variable ROCM_CI_HANDOF_TEST is not one of ours"]
