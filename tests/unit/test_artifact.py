"""Artifact-only mode: which options, which parents and which bundles are accepted, and how each refusal ends."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ci import VERSION
from ci.artifact import ground as grounds
from ci.artifact import mode, place
from ci.artifact.ground import Ground
from ci.artifact.mode import Mode, Options
from ci.artifact.ship import carried
from ci.build import plan as planning
from ci.build.inputs import RECIPE
from ci.build.lookup import Absent, Answer, Found, Unclear
from ci.build.plan import Plan
from ci.build.roots import Made
from ci.errors import CiError, ConfigError, ContractError, DeadlineError, InfraError, Outcome
from ci.recipe import stack as stacks
from ci.recipe.tree import Tree
from ci.recipe.values import resolve_args
from ci.settings import capture
from ci.wheels.bundle import Manifest, Member
from ci.world.fakes import FakeRun
from tests import recipes

BASE = "sha256:" + "b" * 64
FOUND = Found(f"r/x:ci-base@{BASE}", BASE, "registry")
ROOT = Made("rocm-ci/root:busy", "sha256:" + "a" * 64, "test")


def plan(folder: Path, stack: str = recipes.ARTIFACT_STACK, dockerfile: str = recipes.ARTIFACT_DOCKERFILE) -> Plan:
    loaded = stacks.load(str(recipes.write(folder, dockerfile, stack)))
    trees = {
        RECIPE: Tree(RECIPE, folder / "recipe", {}, lambda _root: None),
        "src": Tree("src", folder / "src", {}, lambda _root: None),
    }
    args = resolve_args(loaded, capture({}, {}), stacks.archs())
    return planning.make(
        loaded, ("test",), args, trees,
        roots={"busy": ROOT}, lookup=lambda _tag, _identity: Absent(), last=lambda _tier: None,
    )  # fmt: skip


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground("tiny", grounds.planned(plan(tmp_path), "test"), {"ci-base": FOUND}, ("gfx90a", "gfx942"))


@pytest.mark.parametrize(
    ("environ", "options", "expected"),
    [
        ({}, Options(), Mode()),
        ({}, Options(push=True), Mode()),
        ({}, Options(only=True), Mode(out="dist")),
        ({"ROCM_CI_ARTIFACT_ONLY": "1"}, Options(), Mode(out="dist")),
        ({"ROCM_CI_ARTIFACT_ONLY": "0"}, Options(), Mode()),
        ({"ROCM_CI_ARTIFACT_ONLY": "1"}, Options(out="s3://b"), Mode(out="s3://b")),
        ({}, Options(artifact="x.tar"), Mode(place="x.tar")),
        ({"ROCM_CI_ARTIFACT_ONLY": "1"}, Options(artifact="x.tar", fallback=True), Mode(place="x.tar", fallback=True)),
        ({}, Options(only=True, artifact="x.tar"), "two-modes"),
        ({}, Options(only=True, push=True), "push-of-artifact"),
        ({"ROCM_CI_ARTIFACT_ONLY": "1"}, Options(push=True), "push-of-artifact"),
        ({}, Options(artifact="x.tar", push=True), "push-of-artifact"),
        ({}, Options(out="dist"), "out-without-artifact"),
        ({}, Options(artifact="x.tar", out="dist"), "out-without-artifact"),
        ({}, Options(fallback=True), "fallback-without-artifact"),
        ({}, Options(only=True, fallback=True), "fallback-without-artifact"),
    ],
)
def test_what_the_options_ask_for(environ: dict[str, str], options: Options, expected: Mode | str) -> None:
    settings = capture({}, environ)
    if isinstance(expected, Mode):
        assert mode.read(settings, options) == expected
        return
    with pytest.raises(ConfigError) as caught:
        mode.read(settings, options)
    assert caught.value.problems[0].reference == expected


UNCLEAR = Unclear("registry localhost:5000: status 500")


@pytest.mark.parametrize(
    ("answers", "outcome", "named"),
    [
        ({"ci-base": FOUND}, Outcome.OK, ""),
        ({"ci-base": FOUND, "tools": FOUND}, Outcome.OK, ""),
        ({"ci-base": Absent()}, Outcome.CONFIG, "inv build-ci-base"),
        ({"ci-base": FOUND, "tools": Absent()}, Outcome.CONFIG, "inv build-tools"),
        ({"ci-base": UNCLEAR}, Outcome.INFRA, "inv doctor"),
        ({"ci-base": Absent(), "tools": UNCLEAR}, Outcome.INFRA, "inv doctor"),
    ],
)
def test_the_state_of_the_parents_decides(answers: dict[str, Answer], outcome: Outcome, named: str) -> None:
    if outcome is Outcome.OK:
        assert grounds.reused("test", answers) == answers
        return
    with pytest.raises(CiError) as caught:
        grounds.reused("test", answers)
    assert caught.value.outcome is outcome
    assert named in caught.value.problems[0].hint


def test_a_bundle_of_this_ground_is_accepted(ground: Ground) -> None:
    facts = ground.facts("c" * 40)
    ground.compare(facts, "x.tar")
    assert facts.base == BASE
    assert facts.versions["rocm-ci"] == VERSION
    assert str(ground.name) == f"test-v1-{ground.tier.identity}.tar"


def _versions(**changes: str) -> Callable[[Manifest], Manifest]:
    return lambda manifest: replace(manifest, versions={**manifest.versions, **changes})


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda manifest: replace(manifest, base="sha256:" + "0" * 64), ["parent image"]),
        (lambda manifest: replace(manifest, base=""), ["parent image"]),
        (lambda manifest: replace(manifest, archs=("gfx90a",)), ["archs"]),
        (lambda manifest: replace(manifest, archs=()), ["archs"]),
        (_versions(identity="0" * 64), ["identity"]),
        (_versions(tier="release"), ["tier"]),
        (_versions(stack="other"), ["stack"]),
        (lambda manifest: replace(manifest, versions={}), ["stack", "tier", "identity"]),
    ],
)
def test_any_mismatch_is_named_with_both_sides(
    ground: Ground, change: Callable[[Manifest], Manifest], what: list[str]
) -> None:
    with pytest.raises(ContractError) as caught:
        ground.compare(change(ground.facts("")), "x.tar")
    messages = [problem.message for problem in caught.value.problems]
    assert [message.partition(" is of ")[2].startswith(name) for message, name in zip(messages, what, strict=True)]
    assert all("wanted is" in message for message in messages)


def test_another_commit_or_tool_is_no_mismatch(ground: Ground) -> None:
    """Equal identities are equal inputs; a store may hold what an older commit made."""
    ground.compare(_versions(**{"rocm-ci": "9.9"})(ground.facts("c" * 40)), "x.tar")


def test_the_tag_follows_the_parents_image_and_every_file(ground: Ground) -> None:
    facts = replace(ground.facts(""), members=(Member("a", 1, "0" * 64),))
    other = replace(facts, members=(Member("a", 1, "1" * 64),))
    moved = replace(ground, parents={"ci-base": replace(FOUND, digest="sha256:" + "0" * 64)})
    tags = {str(ground.tag(facts)), str(ground.tag(other)), str(moved.tag(facts))}
    assert len(tags) == 3
    assert str(ground.tag(facts)) == str(ground.tag(facts))


def _stage(folder: Path) -> Path:
    root = folder / "files"
    (root / "wheels").mkdir(parents=True)
    for path in (root, root / "wheels"):
        path.chmod(0o755)
    for name, bits in (("wheels/a.whl", 0o644), ("tool", 0o755)):
        (root / name).write_text(name)
        (root / name).chmod(bits)
    return root


def test_what_a_bundle_carries(tmp_path: Path) -> None:
    root = _stage(tmp_path)
    (root / "__pycache__").mkdir(mode=0o755)
    (root / "__pycache__/x.pyc").write_text("")
    (root / "__pycache__/x.pyc").chmod(0o644)
    assert sorted(carried(root)) == ["__pycache__/x.pyc", "tool", "wheels/a.whl"]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda root: (root / "link").symlink_to("tool"), "link: a link"),
        (lambda root: (root / "folder").symlink_to("wheels"), "folder: a link"),
        (lambda root: (root / "empty").mkdir(), "empty: an empty folder"),
        (lambda root: (root / "tool").chmod(0o700), "tool: mode 0700"),
        (lambda root: (root / "tool").chmod(0o4755), "tool: mode 4755"),
        (lambda root: (root / "wheels").chmod(0o700), "wheels: a folder of mode 0700"),
        (lambda root: (root / "tool").rename(root / ".dockerignore"), ".dockerignore: a name"),
        (lambda root: (root / "tool").rename(root / "manifest.json"), "manifest.json: a name"),
    ],
)
def test_what_would_not_be_the_same_on_the_other_side(
    tmp_path: Path, spoil: Callable[[Path], object], why: str
) -> None:
    root = _stage(tmp_path)
    spoil(root)
    with pytest.raises(ContractError, match="cannot carry") as caught:
        carried(root)
    assert why in caught.value.problems[0].message


def test_a_stage_without_a_file_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ContractError) as caught:
        carried(tmp_path)
    assert caught.value.problems[0].reference == "empty-artifact"


def test_a_file_or_a_folder_that_holds_it(tmp_path: Path) -> None:
    bundle = tmp_path / "test-v1-x.tar"
    bundle.write_text("")
    assert place.source(str(bundle))("other.tar", tmp_path) == bundle
    assert place.source(str(tmp_path))(bundle.name, tmp_path) == bundle
    for where, name in ((tmp_path, "other.tar"), (tmp_path / "nowhere", "x.tar"), (tmp_path / "n.tar", "n.tar")):
        with pytest.raises(InfraError) as caught:
            place.source(str(where))(name, tmp_path)
        assert caught.value.problems[0].reference == "no-bundle"


@pytest.mark.parametrize("text", ["gs://bucket", "https://host/x.tar", "buildkite:step"])
def test_places_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(ConfigError):
        place.source(text)
    with pytest.raises(ConfigError):
        place.target(text)


def test_a_bundle_does_not_go_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is no folder"):
        place.target(str(tmp_path / "file"))


def test_what_the_buildkite_agent_says(tmp_path: Path) -> None:
    argv = ("buildkite-agent", "artifact", "download", "*x.tar", str(tmp_path))
    silent = DeadlineError("inactivity", "silent for 600 s")
    run = FakeRun({argv: [(1, "", "fatal: nothing there"), (0, "", ""), silent, (0, "", "")]})
    fetch = place.source("buildkite:", run)
    for reference in ("buildkite-artifact", "no-bundle", "buildkite-artifact"):
        with pytest.raises(InfraError) as caught:
            fetch("x.tar", tmp_path)
        assert caught.value.problems[0].reference == reference
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/x.tar").write_text("")
    assert fetch("x.tar", tmp_path) == tmp_path / "dist/x.tar"


def test_what_the_artifact_is_made_from_is_in_the_identity(tmp_path: Path) -> None:
    def identities(folder: str, dockerfile: str) -> dict[str, str]:
        return {tier.name: tier.identity for tier in plan(tmp_path / folder, dockerfile=dockerfile).tiers}

    one = identities("one", recipes.ARTIFACT_DOCKERFILE)
    other = identities("other", recipes.ARTIFACT_DOCKERFILE.replace("echo tool", "echo other tool"))
    assert one["ci-base"] == other["ci-base"]
    assert one["test"] != other["test"]


@pytest.mark.parametrize(
    ("old", "new", "reference"),
    [
        ("artifact: test_artifact", "artifact: test_artefact", "unused-artifact"),
        ("artifact: test_artifact", "artifact: unreached", "unused-artifact"),
        ("artifact: test_artifact", "artifact: test", "unused-artifact"),
        ("artifact: test_artifact", "artifact: test_fetch", "artifact-not-scratch"),
        ("target: base\n", "target: base\n    artifact: test_artifact\n", "artifact-without-parent"),
        ("artifact: test_artifact", "artifact: Test_Artifact", "wrong-value"),
    ],
)
def test_an_artifact_stage_that_cannot_be_meant(tmp_path: Path, old: str, new: str, reference: str) -> None:
    assert old in recipes.ARTIFACT_STACK
    with pytest.raises(ConfigError) as caught:
        plan(tmp_path, recipes.ARTIFACT_STACK.replace(old, new))
    assert [problem.reference for problem in caught.value.problems] == [reference]


def test_a_stack_without_one_says_so(tmp_path: Path) -> None:
    stack = stacks.load(str(recipes.write(tmp_path)))
    assert stack.tiers["test"].artifact == ""


def test_the_shipped_stack_has_one() -> None:
    assert stacks.load("local").tiers["test"].artifact == "test_artifact"


def test_the_version_in_a_bundle_is_the_projects() -> None:
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert pyproject["project"]["version"] == VERSION
