"""A commit is released once: with other arguments it would be another release of the same name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ci.errors import ContractError
from ci.publish import release as releasing
from ci.publish.journal import Move
from ci.publish.switch import switch
from ci.recipe.values import ArgValue
from ci.report import releases
from tests.aging import World as Aging
from tests.publishing import World, by_letter, run_id


def work(**args: str) -> Any:
    values = tuple(ArgValue(name, args[name], "flag") for name in args)
    return SimpleNamespace(args=SimpleNamespace(values=values), stack=SimpleNamespace(pins={"TORCH": "2.13"}))


def test_the_same_arguments_are_the_same_release(tmp_path: Path) -> None:
    made = replace(World(tmp_path).staged("a"), args={"PYTORCH_ROCM_ARCH": "gfx942"}, pins={"TORCH": "2.13"})
    releasing.same_inputs(made, work(PYTORCH_ROCM_ARCH="gfx942"))
    with pytest.raises(ContractError, match="TORCH"):
        releasing.same_inputs(replace(made, pins={"TORCH": "2.12"}), work(PYTORCH_ROCM_ARCH="gfx942"))


@pytest.mark.parametrize("args", [{}, {"PYTORCH_ROCM_ARCH": "gfx950"}, {"PYTORCH_ROCM_ARCH": "gfx942", "MORE": "1"}])
def test_other_arguments_are_refused_and_told(tmp_path: Path, args: dict[str, str]) -> None:
    made = replace(World(tmp_path).staged("a"), args={"PYTORCH_ROCM_ARCH": "gfx942"})
    with pytest.raises(ContractError, match="with other arguments") as caught:
        releasing.same_inputs(made, work(**args))
    assert "released" in caught.value.problems[0].context


@pytest.mark.parametrize("listing", ["current", "every"])
def test_what_an_index_would_list(tmp_path: Path, listing: str) -> None:
    world = World(tmp_path, listing=listing)
    first, second = world.staged("a"), world.staged("b")
    switch(world.places(), first, run_id(1), "release", by_letter)
    found = releasing.listed(world.places(), second)
    assert found == ((first, second) if listing == "every" else (second,))
    switch(world.places(), second, run_id(2), "release", by_letter)
    assert releasing.listed(world.places(), second) == found


def test_pointers_are_told_with_what_they_show(tmp_path: Path) -> None:
    world = World(tmp_path)
    made = world.staged("a")
    places = world.places()
    pointer = f"image:{places.reference('nightly')}"
    assert releasing.moves(places, {pointer: None}, made.commit) == (Move(pointer, None, None, made.commit),)
    switch(places, made, run_id(1), "release", by_letter)
    shown = {each.pointer: each for each in releasing.moves(world.places(), {pointer: "sha256:x"}, made.commit)}
    assert (shown[pointer].old, shown[pointer].new) == (made.images[0].digest, "sha256:x")
    base = shown[f"image:{places.reference('base-nightly')}"]
    assert (base.old, base.new) == (made.images[1].digest, None), "what a release drops is told as well"


# --- images that are too old --------------------------------------------------------------------


@pytest.mark.parametrize("created", ["2026-10-01T00:00:00Z", "2026-11-20T00:00:00Z", ""])
def test_a_release_warns_of_images_that_are_too_old_and_of_those_nobody_can_tell(tmp_path: Path, created: str) -> None:
    aging = Aging(tmp_path)
    found = aging.here(created)
    aging.here(created, "ci-base")
    aging.work.plan = lambda *_, **__: aging.plan(found)
    ground: Any = SimpleNamespace(work=aging.work, places=None, channels=SimpleNamespace(images={"base": "base"}))
    told = releasing.aged(ground)
    if created.startswith("2026-11"):
        assert told == ()
        return
    assert told[0].startswith("base: made 2026-10-01, 51 days old, at most 30: due" if created else "base: nobody can")
    outlook = releasing.Outlook("nightly", "c" * 40, False, (), {}, (), told)
    shown = releases.planned("release-nightly", outlook)
    assert f"  warning: {told[0]}" in shown.text.splitlines()
    assert shown.document["warnings"] == list(told)


def test_a_stack_that_lets_images_grow_old_is_not_looked_up_for_that(tmp_path: Path) -> None:
    aging = Aging(tmp_path)
    aging.work.stack = replace(aging.work.stack, tiers={})
    assert releasing.aged(SimpleNamespace(work=aging.work)) == ()  # type: ignore[arg-type]
