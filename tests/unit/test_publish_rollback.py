"""Going back: images and wheels together, pointers of other releases too, killed after each write, planned alike."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from ci.errors import ConfigError, ContractError, InfraError, SupersededError
from ci.publish import journal
from ci.publish.manifest import MANIFEST, Release, Standing
from ci.publish.rollback import outlook, resolve, rollback
from ci.publish.switch import Switched, switch
from tests.publishing import REPOSITORY, Hasty, Killed, Recorder, Rule, World, by_letter, commit, killed_at, run_id

SETS = {"b": ("main", "tools"), "c": ("main", "base", "tools")}


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of small writes: that each waits for the disk is for the tests of the store."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


def released(world: World, letters: str, first: int = 1) -> list[Release]:
    """Release these one after the other; they have other images and wheels each."""
    made = []
    for number, letter in enumerate(letters, first):
        projects = ("rocm-probe", "torch") if letter == "b" else ("rocm-probe",)
        made.append(world.staged(letter, SETS.get(letter, ("main", "base")), projects))
        switch(world.places(), made[-1], run_id(number), "release", by_letter)
    return made


def back(world: World, to: str, number: int = 50, recorder: Recorder | None = None) -> Switched:
    return rollback(world.places(recorder, Hasty()), to, run_id(number))


def standing(world: World) -> Standing:
    found = world.standing()
    assert found is not None
    return found


def test_images_and_wheels_go_back_together_and_other_pointers_go(tmp_path: Path) -> None:
    world = World(tmp_path)
    released(world, "ab")
    assert set(world.moving()) == {"nightly", "tools-nightly"}
    recorder = Recorder(after=Rule(world))
    done = back(world, commit("a"), recorder=recorder)
    assert set(world.moving()) == {"nightly", "base-nightly"}
    world.settled()
    assert not done.already
    made = standing(world)
    assert (made.sequence, made.kind, made.commit, made.before) == (3, "rollback", commit("a"), commit("b"))
    assert made.withdrawn == (commit("b"),)
    assert [each.kind for each in journal.history(world.places(), made)] == ["release", "release", "rollback"]
    assert [what.partition(" ")[2] for what in recorder.writes[:3]] == [
        "lease.json",
        f"journal/00000003-{run_id(50)}.json",
        "standing.json",
    ]


def test_the_plan_is_what_is_done_and_writes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    released(world, "ab")
    kept, recorder = world.end(), Recorder()
    planned = outlook(world.places(recorder), commit("a"))
    assert recorder.writes == []
    assert world.end() == kept
    done = back(world, commit("a"))
    assert planned.moves == done.moves
    assert (planned.standing.commit, planned.standing.withdrawn, planned.already) == (
        commit("a"), done.standing.withdrawn, False,
    )  # fmt: skip
    assert [move.pointer.rpartition(":")[2] for move in done.moves if move.old and not move.new] == ["tools-nightly"]
    assert [move.pointer.rpartition(":")[2] for move in done.moves if move.new and not move.old] == ["base-nightly"]


def test_going_back_to_what_stands_is_done_and_repairs(tmp_path: Path) -> None:
    world = World(tmp_path)
    made = released(world, "a")
    recorder = Recorder()
    assert back(world, commit("a"), recorder=recorder).already
    assert recorder.writes == ["swap lease.json"] * 2
    world.registry.image(REPOSITORY, "nightly", {"by": "hand"})
    planned = outlook(world.places(), commit("a"))
    assert planned.already
    assert [move.new for move in planned.moves if move.old != move.new] == [made[0].images[0].digest]
    assert back(world, commit("a"), 51).already
    world.settled()


@pytest.mark.parametrize(
    "to", [commit("a"), "aaaaaaa", "0.2.0.dev97", "v0.2.0.dev97", "0.2.0.dev97+rocm.7.14.gaaaaaaaaaaaa"]
)
def test_a_release_has_three_names(tmp_path: Path, to: str) -> None:
    world = World(tmp_path)
    released(world, "ab")
    assert resolve(world.places(), to) == commit("a")
    assert back(world, to).standing.commit == commit("a")


@pytest.mark.parametrize("to", ["aaaaaa", "fffffff", "0.2.0", "latest", "", commit("z")])
def test_what_the_journal_does_not_know_is_refused_with_what_it_knows(tmp_path: Path, to: str) -> None:
    world = World(tmp_path)
    released(world, "ab")
    world.staged("f")  # staged whole, but the channel never stood at it
    recorder = Recorder()
    with pytest.raises(ConfigError) as raised:
        back(world, to, recorder=recorder)
    (problem,) = raised.value.problems
    assert problem.reference == "unknown-release"
    assert commit("a") in problem.context
    assert commit("b") in problem.context
    assert recorder.writes == ["swap lease.json"] * 2


def test_a_prefix_or_version_of_two_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number, letter in enumerate("ab", 1):
        release = world.staged(letter, version="1.0+rocm.7.14")
        switch(world.places(), release, run_id(number), "release", by_letter)
    with pytest.raises(ConfigError) as raised:
        back(world, "1.0")
    (problem,) = raised.value.problems
    assert (problem.reference, problem.context.split()) == ("several-releases", [commit("a"), commit("b")])


def test_a_channel_without_a_release_has_nothing_to_go_back_to(tmp_path: Path) -> None:
    for images, command in (({}, "inv release-nightly --channel"), ({"rocm-probe": "main"}, "inv promote HEAD --to")):
        world = World(tmp_path)
        world.channel = replace(world.channel, images=images)
        with pytest.raises(ConfigError) as raised:
            outlook(world.places(), commit("a"))
        (problem,) = raised.value.problems
        assert problem.reference == "no-standing"
        assert problem.hint.startswith(f"{command} {world.channel.name} ")


def test_digests_and_wheels_that_are_gone_are_named_and_nothing_moves(tmp_path: Path) -> None:
    world = World(tmp_path)
    first, _ = released(world, "ab")
    del world.registry.manifests[REPOSITORY][first.images[1].digest]
    (world.folder / commit("a") / first.wheels[0].sha256 / first.wheels[0].filename).unlink()
    kept = world.end()
    for act in (partial(outlook, world.places()), partial(back, world)):
        with pytest.raises(ContractError) as raised:
            act(commit("a"))
        assert raised.value.exit_code == 3
        assert first.images[1].digest in raised.value.problems[0].context
        assert first.wheels[0].filename in raised.value.problems[0].context
    assert world.end() == kept


def test_a_release_whose_manifest_is_gone_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    released(world, "ab")
    (world.folder / commit("a") / MANIFEST).unlink()
    with pytest.raises(ContractError, match="no release of"):
        back(world, commit("a"))


def test_a_release_that_was_taken_back_stays_back_and_newer_ones_go_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    _, second, third = released(world, "abc")
    back(world, commit("a"))
    assert standing(world).withdrawn == (commit("b"), commit("c"))
    for late in (second, third):
        with pytest.raises(SupersededError, match="taken back"):
            switch(world.places(), late, run_id(60), "release", by_letter)
    released(world, "d", 61)
    assert standing(world).commit == commit("d")
    assert standing(world).withdrawn == (commit("b"), commit("c"))
    world.settled()


def test_going_forward_again_gives_one_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    released(world, "abc")
    back(world, commit("a"))
    back(world, commit("b"), 51)
    assert (standing(world).commit, standing(world).withdrawn) == (commit("b"), (commit("c"),))
    world.settled()


def test_an_index_of_every_release_loses_those_taken_back_and_no_other(tmp_path: Path) -> None:
    world = World(tmp_path, listing="every")
    released(world, "abc")
    listed = []
    for number, letter in enumerate("bacb", 50):
        back(world, commit(letter), number, Recorder(after=Rule(world)))
        listed.append("".join(each[0] for each in standing(world).listed))
        world.settled()
    assert listed == ["ab", "a", "ac", "ab"]


def test_an_undone_switch_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    world = World(tmp_path)
    released(world, "a")
    second = world.staged("b")
    with pytest.raises(InfraError):
        switch(world.places(Recorder(refused=lambda n: n == 5)), second, run_id(2), "release", by_letter)
    with pytest.raises(ConfigError, match="never stood"):
        back(world, commit("b"))


@pytest.mark.parametrize("paged", [False, True], ids=["folder", "bucket"])
def test_killed_after_every_write_and_run_again(tmp_path: Path, *, paged: bool) -> None:
    def world(name: str) -> World:
        made = World(tmp_path / name, paged=paged)
        released(made, "ab")
        return made

    calm = world("calm")
    recorder = Recorder(after=Rule(calm))
    back(calm, commit("a"), 50, recorder)
    wanted = calm.end()
    assert len(recorder.writes) > (15 if paged else 9)
    for number, what in enumerate(recorder.writes, 1):
        torn = world(str(number))
        rule = Rule(torn)
        with pytest.raises(Killed):
            back(torn, commit("a"), 50, killed_at(number, around=rule))
        right = torn.moving()
        again = Recorder(after=rule)
        back(torn, commit("a"), 51, again)
        assert torn.end() == wanted, what
        assert not [tag for tag, digest in again.tags if right.get(tag) == digest], f"{what}: done twice"
        torn.settled()


@pytest.mark.parametrize("paged", [False, True], ids=["folder", "bucket"])
def test_a_switch_that_was_cut_off_is_gone_back_from_without_going_forward_first(
    tmp_path: Path, *, paged: bool
) -> None:
    """Half of B stands: nothing may come to B only to leave it again."""
    for number in range(3, 20 if paged else 9):
        world = World(tmp_path / str(number), paged=paged)
        released(world, "a")
        second = world.staged("b", SETS["b"], ("rocm-probe", "torch"))
        rule = Rule(world)
        with pytest.raises(Killed):
            switch(world.places(killed_at(number, around=rule)), second, run_id(2), "release", by_letter)
        recorder = Recorder(after=rule)
        back(world, commit("a"), 50, recorder)
        assert second.images[0].digest not in {digest for _, digest in recorder.tags}
        assert not [what for what in recorder.writes if "torch" in what and what.startswith("page")]
        world.settled()


def test_a_registry_that_deletes_nothing_keeps_the_channel_as_it_was(tmp_path: Path) -> None:
    world = World(tmp_path, deletes=False)
    made = [world.staged("a"), world.staged("b", ("main", "base", "tools"))]
    for number, release in enumerate(made, 1):
        switch(world.places(), release, run_id(number), "release", by_letter)
    with pytest.raises(InfraError) as raised:
        back(world, commit("a"))
    assert raised.value.problems[-1].message == f"channel nightly stands at release {commit('b')[:12]}, as before"
    world.settled()
