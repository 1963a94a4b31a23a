"""Stack files: all mistakes at once, each at its place; the chain of tiers; the shipped stacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci.errors import ConfigError, Problem
from ci.recipe import stack as stacks
from ci.recipe.stack import Stack
from tests import recipes


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(folder: Path, stack: str = recipes.STACK) -> Stack:
    return stacks.load(str(recipes.write(folder, stack=stack)))


def refused(folder: Path, *edits: tuple[str, str], pins: str = "") -> tuple[Problem, ...]:
    text = recipes.STACK
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    path = recipes.write(folder, stack=text)
    if pins:
        (path.parent / "pins.json").write_text(pins)
    with pytest.raises(ConfigError) as caught:
        stacks.load(str(path))
    return caught.value.problems


def places(problems: tuple[Problem, ...]) -> list[tuple[str, str]]:
    return [(problem.reference, str(problem.place)) for problem in problems]


def test_a_stack_is_read_whole(tmp_path: Path) -> None:
    stack = load(tmp_path)
    assert (stack.name, stack.file, stack.repository) == ("tiny", "recipe/tiny.yaml", "rocm-ci-test/tiny")
    assert stack.recipe == tmp_path / "recipe"
    assert (stack.sources, list(stack.roots), list(stack.tiers)) == (("src",), ["busy"], ["base", "ci-base", "test"])
    assert stack.tiers["ci-base"].parents == (("BASE_IMAGE", "base"),)
    assert stack.pins == {"EPOCH": "2026-01"}
    assert next(str(arg.place) for arg in stack.args) == "recipe/tiny.yaml:8:22"


def test_the_recipe_is_the_folder_above_stacks(tmp_path: Path) -> None:
    path = recipes.write(tmp_path)
    (path.parent / "stacks").mkdir()
    moved = path.rename(path.parent / "stacks/tiny.yaml")
    assert stacks.load(str(moved)).recipe == path.parent


def test_all_mistakes_of_the_schema_at_once(tmp_path: Path) -> None:
    found = refused(
        tmp_path,
        ("summary: one of everything", "summry: on"),
        ("platform: linux/amd64", "platform: linux/amd46"),
        ("type: text", "type: txt"),
        ("    target: test\n", "    target: test\n    target: again\n"),
        pins='{"EPOCH": ""}',
    )
    assert places(found) == [
        ("ambiguous-value", "recipe/tiny.yaml:3:9"),
        ("duplicate-key", "recipe/tiny.yaml:25:5"),
        ("missing-key", "recipe/tiny.yaml:1:1"),
        ("unknown-key", "recipe/tiny.yaml:3:1"),
        ("wrong-value", "recipe/tiny.yaml:5:11"),
        ("wrong-value", "recipe/tiny.yaml:10:18"),
        ("too-short", "recipe/pins.json:1:11"),
    ]


def test_all_names_that_lead_nowhere_at_once(tmp_path: Path) -> None:
    found = refused(
        tmp_path,
        ("parents: {ROOT: busy}", "parents: {ROOT: buzy}"),
        ("parents: {CI_BASE_IMAGE: ci-base}", "parents: {CI_BASE_IMAGE: ci-bse}\n    beside: [tset]"),
        ("    dockerfile: Dockerfile.tiny\n    target: ci_base", "    dockerfile: Dockerfile.tny\n    target: ci_base"),
    )
    assert places(found) == [
        ("unknown-parent", "recipe/tiny.yaml:17:21"),
        ("no-dockerfile", "recipe/tiny.yaml:19:17"),
        ("unknown-parent", "recipe/tiny.yaml:25:30"),
        ("unknown-tier", "recipe/tiny.yaml:26:14"),
    ]
    assert ["busy" in found[0].hint, "ci-base" in found[2].hint, "test" in found[3].hint] == [True] * 3


@pytest.mark.parametrize(
    ("old", "new", "reference", "place"),
    [
        ("busy: {image", "base: {image", "name-clash", "12:3"),
        ("sources: [src]", "sources: [recipe]", "name-clash", "6:11"),
        ("sources: [src]", "sources: [src, src]", "name-clash", "6:16"),
        ("rocm-ci-test/tiny", "registry.example/tiny", "wrong-value", "4:13"),
        ("rocm-ci-test/tiny", "localhost/tiny", "wrong-value", "4:13"),
        ("rocm-ci-test/tiny", '"rocm-ci-test/tiny\\n"', "wrong-value", "4:13"),
        ("  test:\n", "  Test_1:\n", "wrong-value", "22:3"),
        ("  test:\n", f"  {'t' * 60}:\n", "too-long", "22:3"),
        ("parents: {ROOT: busy}", "parents: {ROOT: test}", "tier-cycle", "None"),
        ("    parents: {ROOT: busy}", "    parents: {ROOT: busy}\n    beside: [base]", "tier-cycle", "None"),
    ],
)
def test_names_that_would_break_later_are_refused_now(
    tmp_path: Path, old: str, new: str, reference: str, place: str
) -> None:
    found = places(refused(tmp_path, (old, new)))
    where = place if place == "None" else f"recipe/tiny.yaml:{place}"
    assert (reference, where) in found


def test_a_broken_file_is_one_problem(tmp_path: Path) -> None:
    assert [p.reference for p in refused(tmp_path, ("tiers:", "tiers: ["))] == ["syntax"]


@pytest.mark.parametrize(
    ("pins", "reference"),
    [("[]", "wrong-type"), ('{"A": 1}', "wrong-type"), ('{"A": "1", "A": "2"}', "duplicate-key"), ("{", "syntax")],
)
def test_pins_are_strict(tmp_path: Path, pins: str, reference: str) -> None:
    (problem,) = refused(tmp_path, pins=pins)
    assert problem.reference == reference
    assert problem.place is not None
    assert problem.place.file == "recipe/pins.json"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("locl", "did you mean local?"), ("./nowhere.yaml", "--stack"), ("nowhere.yml", "--stack"), ("", "allowed")],
)
def test_a_stack_that_does_not_exist(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        stacks.load(name)
    problem = caught.value.problems[0]
    assert (problem.reference, hint in problem.hint) == ("no-stack", True)


def test_a_folder_is_no_stack(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="/ is a folder"):
        stacks.load(f"{tmp_path}/")


def test_an_unknown_tier_has_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path).tier("ci_base")
    assert caught.value.problems[0].hint == "did you mean ci-base or base?"


def test_the_chain_has_parents_first_and_what_stands_beside(tmp_path: Path) -> None:
    beside = "  tool:\n    dockerfile: Dockerfile.tiny\n    target: base\n    parents: {ROOT: busy}\n"
    text = recipes.STACK.replace("parents: {BASE_IMAGE: base}", "parents: {BASE_IMAGE: base}\n    beside: [tool]")
    stack = load(tmp_path, text + beside)
    assert [tier.name for tier in stack.chain("test")] == ["tool", "base", "ci-base", "test"]
    assert [tier.name for tier in stack.chain("base")] == ["base"]
    assert [tier.name for tier in stack.chain("test", "base")] == [tier.name for tier in stack.chain("test")]


@pytest.mark.parametrize("name", stacks.shipped())
def test_shipped_stacks_load(name: str) -> None:
    stack = stacks.load(name)
    assert stack.name == name
    assert [tier.name for tier in stack.chain(*stack.tiers)]


def test_the_table_of_archs() -> None:
    table = {arch.name: arch for arch in stacks.archs()}
    assert table["gfx942"].mach == 0x4C
    assert {name for name, arch in table.items() if "deepep" in arch.supports} == {"gfx942", "gfx950"}


def test_a_lock_that_is_a_folder_is_no_empty_lock(tmp_path: Path) -> None:
    path = recipes.write(tmp_path)
    (path.parent / "pins.json").unlink()
    (path.parent / "pins.json").mkdir()
    with pytest.raises(ConfigError) as caught:
        stacks.load(str(path))
    assert "pins.json" in caught.value.problems[0].message
