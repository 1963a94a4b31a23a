"""The plan: a table of answers and decisions, and what is not even looked up."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ci.build import plan as planning
from ci.build.inputs import RECIPE
from ci.build.lookup import Absent, Answer, Found, Unclear
from ci.build.plan import Plan, TierPlan
from ci.build.roots import Made
from ci.errors import ConfigError
from ci.identity import Manifest
from ci.names import ContentTag, Reference
from ci.recipe import stack as stacks
from ci.recipe.tree import Tree
from ci.recipe.values import resolve_args
from ci.settings import capture
from tests import recipes

FOUND = Found("r/x:y@sha256:" + "d" * 64, "sha256:" + "d" * 64, "engine")
ABSENT = Absent()
UNCLEAR = Unclear("registry localhost:5000: status 500")
ROOT = Made("rocm-ci/root:busy", "sha256:" + "a" * 64, "test")


@dataclass
class World:
    """The tiny recipe; ``answers`` by tier (absent where none is given), ``asked`` in order."""

    folder: Path
    answers: dict[str, Answer] = field(default_factory=dict)
    roots: dict[str, Made] = field(default_factory=lambda: {"busy": ROOT})
    last: dict[str, Manifest] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def look(self, tag: str, identity: str) -> Answer:
        content = ContentTag.parse(Reference.parse(tag).tag)
        assert content is not None
        assert content.identity == identity
        self.asked.append(content.tier)
        return self.answers.get(content.tier, ABSENT)

    def plan(self, *goals: str, everything: bool = False) -> Plan:
        stack = stacks.load(str(self.folder / "recipe/tiny.yaml"))
        args = resolve_args(stack, capture({}, self.environ), stacks.archs())
        planning.check_args(stack, args, goals)
        trees = {
            RECIPE: Tree(RECIPE, self.folder / "recipe", {}, lambda _root: None),
            "src": Tree("src", self.folder / "src", {}, lambda _root: None),
        }
        self.asked.clear()
        return planning.make(
            stack, goals, args, trees,
            roots=self.roots, lookup=self.look, last=self.last.get, everything=everything,
        )  # fmt: skip

    def build(self) -> None:
        """Pretend that everything was built as it is now."""
        for tier in self.plan("test", everything=True).tiers:
            assert tier.inputs.manifest is not None
            self.last[tier.name] = tier.inputs.manifest

    def refused(self, *goals: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.plan(*goals)
        return [problem.reference for problem in caught.value.problems]


@pytest.fixture
def world(tmp_path: Path) -> World:
    recipes.write(tmp_path)
    return World(tmp_path)


def decisions(plan: Plan) -> dict[str, str]:
    return {tier.name: tier.decision for tier in plan.tiers}


@pytest.mark.parametrize(
    ("answers", "asked", "decided"),
    [
        ({"test": FOUND}, ["test"], {"test": "reuse"}),
        (
            {"ci-base": FOUND},
            ["test", "ci-base"],
            {"ci-base": "reuse", "test": "build"},
        ),
        (
            {"base": FOUND},
            ["test", "ci-base", "base"],
            {"base": "reuse", "ci-base": "build", "test": "build"},
        ),
        (
            {},
            ["test", "ci-base", "base"],
            {"base": "build", "ci-base": "build", "test": "build"},
        ),
        (
            {"test": UNCLEAR, "ci-base": FOUND},
            ["test", "ci-base"],
            {"ci-base": "reuse", "test": "unknown"},
        ),
        (
            {"test": UNCLEAR, "ci-base": UNCLEAR, "base": UNCLEAR},
            ["test", "ci-base", "base"],
            {"base": "unknown", "ci-base": "unknown", "test": "unknown"},
        ),
        (
            {"ci-base": UNCLEAR},
            ["test", "ci-base", "base"],
            {"base": "build", "ci-base": "unknown", "test": "build"},
        ),
        ({"test": FOUND, "ci-base": UNCLEAR, "base": UNCLEAR}, ["test"], {"test": "reuse"}),
    ],
)
def test_goals_first_and_parents_only_where_they_are_needed(
    world: World, answers: dict[str, Answer], asked: list[str], decided: dict[str, str]
) -> None:
    world.answers = answers
    plan = world.plan("test")
    assert decisions(plan) == decided
    assert list(decisions(plan)) == list(decided), "parents come first"
    assert world.asked == asked


@pytest.mark.parametrize(
    ("answer", "decision", "found"), [(FOUND, "reuse", FOUND), (ABSENT, "build", None), (UNCLEAR, "unknown", None)]
)
@pytest.mark.parametrize("built_before", [False, True])
def test_one_answer_one_decision(
    world: World, answer: Answer, decision: str, found: Found | None, built_before: bool
) -> None:
    if built_before:
        world.build()
    world.answers = {"base": answer}
    (tier,) = world.plan("base").tiers
    assert (tier.decision, tier.found) == (decision, found)
    assert tier.reasons


def test_could_not_tell_says_why(world: World) -> None:
    world.answers = {"base": UNCLEAR}
    assert world.plan("base").tiers[0].reasons == (UNCLEAR.reason,)


def test_everything_looks_at_every_tier(world: World) -> None:
    world.answers = {"test": FOUND, "base": FOUND}
    plan = world.plan("test", everything=True)
    assert decisions(plan) == {"base": "reuse", "ci-base": "build", "test": "reuse"}
    assert sorted(world.asked) == ["base", "ci-base", "test"]


def test_several_goals_are_looked_up_once_each(world: World) -> None:
    plan = world.plan("base", "ci-base", "test")
    assert sorted(world.asked) == ["base", "ci-base", "test"]
    assert list(decisions(plan)) == ["base", "ci-base", "test"]


def test_what_stands_beside_a_goal_is_planned_with_it(world: World) -> None:
    world.edit("recipe/tiny.yaml", "parents: {BASE_IMAGE: base}", "parents: {BASE_IMAGE: base}\n    beside: [tool]")
    path = world.folder / "recipe/tiny.yaml"
    extra = "  tool:\n    dockerfile: Dockerfile.tiny\n    target: base\n    parents: {ROOT: busy}\n"
    path.write_text(path.read_text() + extra)
    world.answers = {"ci-base": FOUND}
    assert decisions(world.plan("ci-base")) == {"tool": "build", "ci-base": "reuse"}


# --- roots ----------------------------------------------------------------------------------


def test_a_missing_root_leaves_no_identity_to_look_up(world: World) -> None:
    world.roots = {}
    plan = world.plan("test")
    assert world.asked == []
    assert plan.missing_roots == ("busy",)
    assert set(decisions(plan).values()) == {"unknown"}
    rows = plan.to_json()["tiers"]
    assert [(row["identity"], row["tag"], row["inputs"]) for row in rows] == [(None, None, None)] * 3
    assert plan.to_json()["roots_to_get"] == ["busy"]
    assert "busy is not here yet" in plan.tiers[0].reasons[0]


def test_a_root_that_nobody_needs_is_not_missing(world: World) -> None:
    world.edit("recipe/tiny.yaml", "roots:\n", "roots:\n  other: {image: other:1}\n")
    assert world.plan("base").missing_roots == ()


# --- parent and child -----------------------------------------------------------------------


def test_a_rebuilt_parent_of_equal_identity_does_not_rebuild_the_child(world: World) -> None:
    """The parent is gone and gets another digest; the child is made from the same inputs."""
    before = {tier.name: tier.tag for tier in world.plan("test", everything=True).tiers}
    world.answers = {"ci-base": FOUND, "test": FOUND}
    plan = world.plan("base", "ci-base")
    assert decisions(plan) == {"base": "build", "ci-base": "reuse"}
    other = Found("r/x:z@sha256:" + "e" * 64, "sha256:" + "e" * 64, "registry")
    world.answers = {"base": other, "ci-base": FOUND}
    again = {tier.name: tier.tag for tier in world.plan("test", everything=True).tiers}
    assert again == before


def test_a_changed_parent_rebuilds_every_child(world: World) -> None:
    before = {tier.name: tier.identity for tier in world.plan("test").tiers}
    world.edit("recipe/scripts/b.sh", "echo b", "echo c")
    after = {tier.name: tier.identity for tier in world.plan("test").tiers}
    assert all(before[name] != after[name] for name in ("base", "ci-base", "test"))


# --- reasons --------------------------------------------------------------------------------


def only(plan: Plan, name: str) -> TierPlan:
    return next(tier for tier in plan.tiers if tier.name == name)


def test_reasons_of_a_first_build(world: World) -> None:
    assert only(world.plan("base"), "base").reasons == ("nobody built it here before",)


def test_reasons_are_what_changed(world: World) -> None:
    world.build()
    world.edit("recipe/scripts/b.sh", "echo b", "echo c")
    (world.folder / "recipe/scripts/new.sh").write_text("")
    world.edit("recipe/Dockerfile.tiny", "ARG LEVEL=1\n", "")
    world.edit("recipe/Dockerfile.tiny", " && echo level ${LEVEL}", "")
    tier = only(world.plan("base"), "base")
    assert "file recipe:scripts/b.sh changed" in tier.reasons
    assert "file recipe:scripts/new.sh is new" in tier.reasons
    assert "arg LEVEL is gone" in tier.reasons
    assert {change.name for change in tier.changes} >= {"LEVEL", "recipe:scripts/b.sh", "recipe:scripts/new.sh"}


def test_many_reasons_are_cut(world: World) -> None:
    world.build()
    for number in range(9):
        (world.folder / f"recipe/scripts/{number}.sh").write_text("")
    reasons = only(world.plan("base"), "base").reasons
    assert (len(reasons), reasons[-1]) == (6, "and 4 more (inv explain)")


def test_an_image_that_is_gone(world: World) -> None:
    world.build()
    assert "the image is gone" in only(world.plan("base"), "base").reasons[0]


# --- refused --------------------------------------------------------------------------------


def test_an_argument_that_no_reached_stage_declares_is_refused(world: World) -> None:
    world.environ = {"NIC_BACKEND": "bnxt"}
    assert world.refused("base") == ["unused-arg"]
    assert decisions(world.plan("ci-base"))["ci-base"] == "build"


def test_the_stacks_own_default_is_never_unused(world: World) -> None:
    assert decisions(world.plan("base")) == {"base": "build"}


def test_an_argument_may_choose_the_stage_that_declares_another(world: World) -> None:
    """``FROM nic-${NIC_BACKEND}``: under ainic AINIC_VERSION is declared, under none it is not."""
    world.edit("recipe/Dockerfile.tiny", "ARG ROOT=busybox\n", "ARG ROOT=busybox\nARG NIC_BACKEND\n")
    world.edit(
        "recipe/Dockerfile.tiny",
        "FROM ${ROOT} AS base\n",
        "FROM ${ROOT} AS nic-none\nFROM ${ROOT} AS nic-ainic\nARG AINIC_VERSION\nRUN echo ${AINIC_VERSION}\n"
        "FROM nic-${NIC_BACKEND} AS base\n",
    )
    world.edit(
        "recipe/tiny.yaml", "  COLOUR:", "  AINIC_VERSION: {type: ainic-version, default: 1.117.5-a-77}\n  COLOUR:"
    )
    world.environ = {"NIC_BACKEND": "ainic", "AINIC_VERSION": "1.118"}
    assert dict(world.plan("base").tiers[0].inputs.args)["AINIC_VERSION"] == "1.118"
    world.environ = {"NIC_BACKEND": "ainic"}
    assert dict(world.plan("base").tiers[0].inputs.args)["AINIC_VERSION"] == "1.117.5-a-77"
    world.environ = {}
    assert "AINIC_VERSION" not in dict(world.plan("base").tiers[0].inputs.args)


def test_a_pin_is_no_back_door_for_an_argument_without_a_meaning(world: World) -> None:
    """The pinned AINIC_VERSION is no input under a backend that never reads it."""
    world.edit("recipe/Dockerfile.tiny", "ARG NIC_BACKEND\n", "ARG NIC_BACKEND\nARG AINIC_VERSION\n")
    world.edit("recipe/tiny.yaml", "  COLOUR:", "  AINIC_VERSION: {type: ainic-version}\n  COLOUR:")
    (world.folder / "recipe/pins.json").write_text('{"AINIC_VERSION": "1.117.5-a-77"}')
    one = only(world.plan("ci-base"), "ci-base").identity
    (world.folder / "recipe/pins.json").write_text('{"AINIC_VERSION": "1.118.0"}')
    assert only(world.plan("ci-base"), "ci-base").identity == one
    world.environ = {"NIC_BACKEND": "ainic"}
    assert dict(only(world.plan("ci-base"), "ci-base").inputs.args)["AINIC_VERSION"] == "1.118.0"


def test_one_stage_tells_what_all_its_contexts_lack(world: World) -> None:
    world.edit("recipe/Dockerfile.tiny", "COPY --from=src lib", "COPY --from=src libs")
    world.edit("recipe/Dockerfile.tiny", "COPY first.txt", "COPY frist.txt")
    with pytest.raises(ConfigError) as caught:
        world.plan("ci-base")
    said = [problem.message for problem in caught.value.problems]
    assert len(said) == 2
    assert "frist.txt names nothing in the build context" in said[0]
    assert "libs names nothing in the context src" in said[1]


def test_problems_of_all_tiers_come_at_once(world: World) -> None:
    world.edit("recipe/Dockerfile.tiny", "COPY scripts/", "COPY nowhere/ /x\nCOPY scripts/")
    world.edit("recipe/Dockerfile.tiny", "COPY test.txt", "COPY tset.txt")
    with pytest.raises(ConfigError) as caught:
        world.plan("test")
    found = [(problem.reference, str(problem.place)) for problem in caught.value.problems]
    assert found == [("missing-source", "Dockerfile.tiny:9"), ("missing-source", "Dockerfile.tiny:27")]
    assert world.asked == []


def test_an_image_that_can_move_is_refused(world: World) -> None:
    world.edit("recipe/Dockerfile.tiny", "COPY test.txt", "COPY --from=alpine:3 /etc/os-release /\nCOPY test.txt")
    assert world.refused("test") == ["unpinned-image"]


# --- JSON -----------------------------------------------------------------------------------


def test_the_json_of_a_plan(world: World) -> None:
    world.answers = {"base": FOUND}
    document = world.plan("ci-base").to_json()
    assert json.loads(json.dumps(document)) == document
    assert (document["schema"], document["stack"], document["goals"]) == (1, "tiny", ["ci-base"])
    base, ci_base = document["tiers"]
    assert (base["decision"], base["digest"], base["found_in"]) == ("reuse", FOUND.digest, "engine")
    assert ci_base["parents"]["BASE_IMAGE"]["identity"] == base["identity"]
    assert ci_base["files"] == {"recipe": 2, "src": 2}
    assert ci_base["args"] == {"COLOUR": "blue", "NIC_BACKEND": "none", "BASE_IMAGE": base["tag"]}


def test_no_secret_of_the_host_is_in_a_plan(world: World) -> None:
    world.environ = {
        "https_proxy": "http://me:hunter2@proxy",
        "PIP_INDEX_URL": "https://me:hunter2@index.example",
        "MAX_JOBS": "31337",
        "ROCM_CI_REGISTRY": "me:hunter2@registry.example",
    }
    plan = world.plan("test", everything=True)
    text = json.dumps(plan.to_json())
    manifests = "".join(str(tier.inputs.manifest) for tier in plan.tiers)
    assert "hunter2" not in text + manifests
    assert "31337" not in text + manifests
