"""How old images are, by what is written in them; unknown is said, and no guess makes one due or young."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ci.build import offline
from ci.build import plan as planning
from ci.build.age import ages, known_here, moved
from ci.build.explain import explain
from ci.build.inputs import RECIPE
from ci.build.lookup import Absent, Unclear
from ci.build.roots import Made, reference
from ci.errors import InfraError
from ci.identity import Change
from ci.recipe import stack as stacks
from ci.recipe.tree import Tree
from ci.recipe.values import resolve_args
from ci.report import plans
from ci.settings import capture
from tests import recipes
from tests.aging import OLD, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_an_image_that_is_too_old_is_due_and_says_how_that_ends(world: World) -> None:
    age = world.age(world.here(OLD))
    assert age.due
    assert world.work.stack.option.startswith(" --stack "), "a stack of one's own has a lock of its own"
    assert str(age) == (
        "base: made 2026-10-01, 51 days old, at most 30: due; "
        f"inv pins --update EPOCH{world.work.stack.option} gives it a new identity"
    )
    assert age.to_json() == {
        "tier": "base", "made": "2026-10-01T04:05:06Z", "days": 51, "max_days": 30, "due": True, "unknown": None,
    }  # fmt: skip


def test_one_that_is_not_says_until_when(world: World) -> None:
    age = world.age(world.here(OLD, "ci-base"), "ci-base")
    assert not age.due
    assert str(age) == "ci-base: made 2026-10-01, 51 days old, at most 60: due after 2026-11-30"


@pytest.mark.parametrize(("day", "due"), [(22, False), (21, True)])
def test_it_is_due_once_it_is_older_than_it_may_be(world: World, day: int, due: bool) -> None:
    assert world.age(world.here(f"2026-10-{day}T12:00:00Z")).due is due


def test_an_image_in_the_registry_alone_is_read_there(world: World) -> None:
    assert world.age(world.there(OLD)).days == 51
    assert not world.engine.images


def test_another_image_of_the_engine_is_not_taken_for_it(world: World) -> None:
    world.here("2026-11-20T00:00:00Z")
    assert world.age(world.there(OLD)).days == 51


@pytest.mark.parametrize(
    ("created", "why"),
    [
        ("", "it says ''"),
        ("yesterday", "it says 'yesterday'"),
        ("0001-01-01T00:00:00Z", "it says '0001-01-01T00:00:00Z'"),
        ("1970-01-01T00:00:00Z", "it says '1970-01-01T00:00:00Z'"),
        ("2026-11-22T00:00:00Z", "later than the clock of this host"),
    ],
)
def test_what_says_no_time_that_can_be_is_of_unknown_age(world: World, created: str, why: str) -> None:
    age = world.age(world.here(created))
    assert (age.made, age.due) == (None, False)
    assert str(age).startswith("base: nobody can tell how old it is (")
    assert why in str(age)
    assert age.to_json()["due"] is None


def test_a_lookup_without_an_answer_leaves_it_unknown(world: World) -> None:
    assert "registry x: status 500" in str(world.age(Unclear("registry x: status 500")))


def test_a_registry_that_cannot_be_read_leaves_it_unknown(world: World) -> None:
    found = world.there(OLD)
    world.memory.blobs.clear()
    assert "cannot be read" in world.age(found).why


def test_what_is_still_to_be_built_has_no_age_and_tiers_without_a_limit_are_not_asked_for(world: World) -> None:
    assert ages(world.work, world.plan().tiers) == ()
    assert [age.tier for age in ages(world.work, world.plan(world.here(OLD)).tiers)] == ["base", "ci-base"]


def test_where_no_stage_would_notice_a_new_epoch_that_is_said_first(tmp_path: Path) -> None:
    world = World(tmp_path, recipes.DOCKERFILE)
    for name in ("base", "ci-base"):
        age = world.age(world.here("2026-01-01T00:00:00Z", name), name)
        assert "no stage of it or its parents has ARG EPOCH" in str(age)


# --- offline ----------------------------------------------------------------------------------


def test_explain_tells_it_from_the_engine(world: World) -> None:
    world.here(OLD)
    world.work.records.save("tiny", "base", world.tier().inputs.manifest)
    found = explain(world.work, "base", "")
    assert found.age is not None
    assert found.age.due
    assert "\n  base: made 2026-10-01, 51 days old, at most 30: due; " in plans.explanation(found).text
    assert plans.explanation(found).document["age"]["due"] is True


def test_without_an_engine_from_the_record_of_its_build(world: World) -> None:
    tier = world.tier()
    world.engine.broken[tier.tag] = InfraError("no-engine", "nobody answers")
    assert tier.inputs.manifest is not None
    found = known_here(world.work, tier, [tier])
    assert found is not None
    assert "it was not built on this host" in found.why
    world.work.records.save("tiny", "base", tier.inputs.manifest, OLD)
    found = known_here(world.work, tier, [tier])
    assert found is not None
    assert found.days == 51
    assert world.memory.requests == []


def test_what_would_be_rebuilt_has_no_age_to_tell(world: World, tmp_path: Path) -> None:
    world.work.records.save("tiny", "base", world.tier().inputs.manifest)
    (tmp_path / "recipe/lists/needs.txt").write_text("others")
    found = explain(world.work, "base", "")
    assert (found.same, found.age) == (False, None)


def test_a_new_epoch_is_told_in_words_and_makes_a_new_identity(tmp_path: Path) -> None:
    world = World(tmp_path)
    before = {name: world.tier(name).identity for name in ("base", "ci-base", "test")}
    world.work.records.save("tiny", "base", world.tier().inputs.manifest)
    (tmp_path / "recipe/pins.json").write_text('{"EPOCH": "2026-W47"}\n')
    world.work.stack = stacks.load(str(tmp_path / "recipe/tiny.yaml"))
    found = explain(world.work, "base", "")
    assert found.notes == ("EPOCH moved from 2026-01 to 2026-W47",)
    assert [(change.kind, change.name) for change in found.changes] == [("arg", "EPOCH"), ("epoch", "")]
    assert all(world.tier(name).identity != identity for name, identity in before.items())


def test_no_other_change_is_called_one() -> None:
    assert moved([Change("arg", "EPOCH", "a", "b")]) == ""


# --- what ships -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", stacks.shipped())
def test_a_new_epoch_reaches_every_tier_that_must_not_be_old(name: str) -> None:
    stack = stacks.load(name)
    aged = [tier.name for tier in stack.tiers.values() if tier.max_age_days]
    assert {"base", "ci-base"} <= set(aged)
    args = resolve_args(stack, capture({}, {}), stacks.archs())
    trees = {RECIPE: Tree(RECIPE, stack.recipe, {}, lambda _root: None)}
    plan = planning.make(
        stack, tuple(aged), args, trees, roots={}, lookup=lambda *_: Absent(), last=lambda _: None, everything=True
    )
    tiers = {tier.name: tier for tier in plan.tiers}

    def reached(name: str) -> bool:
        found = tiers[name].inputs
        return "EPOCH" in dict(found.args) or any(reached(each.name) for each in found.parents if not each.is_root)

    assert [each for each in aged if not reached(each)] == []


# --- roots ------------------------------------------------------------------------------------


def test_a_root_that_is_gone_from_the_engine_is_the_recorded_one_of_its_epoch(world: World) -> None:
    root = world.work.stack.roots["busy"]
    made = Made(reference(world.work.stack, root), "sha256:" + "b" * 64, "test")
    world.work.records.save_roots("tiny", {"busy": made})
    here = world.work.roots()
    assert offline.roots(world.work) == (here, ())
    world.work.roots = dict
    assert offline.roots(world.work) == ({"busy": made}, ())
    world.work.stack = replace(world.work.stack, pins={"EPOCH": "2026-W47"})
    assert offline.roots(world.work) == ({}, ())
