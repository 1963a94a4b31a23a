"""The version that a release stamps on the wheel of a source, and which tree a release is named after."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ci import settings
from ci.build import plan as planning
from ci.build.lookup import Absent
from ci.build.record import Records
from ci.build.roots import Made
from ci.build.workspace import Workspace
from ci.errors import ConfigError, InfraError
from ci.publish.stamped import stamped
from ci.publish.trees import named_after
from ci.recipe import args as types
from ci.recipe import stack as stacks
from ci.recipe.stack import Fetched
from ci.recipe.tree import Tree
from ci.recipe.values import resolve_args
from ci.world.fakes import FakeClock, FakeEngine, FakeRun
from tests import recipes

STACK = recipes.STACK.replace("text, default: blue}", "pep440-version, default: 0.0.0+rocm, version_of: src}")
COMMIT = "0123456789ab" + "c" * 28


def workspace(folder: Path) -> Workspace:
    """The tiny recipe, whose argument COLOUR is the version of its source."""
    stack = stacks.load(str(recipes.write(folder, stack=STACK)))
    given = settings.capture({}, {})
    trees = {name: Tree(name, folder / name, {}, lambda _root: None) for name in ("recipe", "src")}
    args, records = resolve_args(stack, given, stacks.archs()), Records(folder / "state")
    return Workspace(given, stack, args, trees, FakeEngine(), None, None, folder / "state", records, FakeClock())


def git(work: Workspace, answer: str) -> FakeRun:
    """Git that describes the commit of the source so; empty: no tag is behind it; dubious: it cannot read it."""
    words = ("describe", "--tags", "--long", "--abbrev=40", "--match", "*[0-9]*")
    argv = ("git", "-c", "core.fsmonitor=false", "-C", str(work.trees["src"].root))
    head = (128, "", "fatal: dubious") if answer == "dubious" else (0, f"{COMMIT}\n", "")
    described = (0, f"{answer}\n", "") if "-g" in answer else (128, "", "fatal")
    return FakeRun({(*argv, *words): described, (*argv, "rev-parse", "--verify", "HEAD"): head})


def identities(work: Workspace) -> dict[str, str]:
    busy = {"busy": Made("x", "sha256:" + "a" * 64, "test")}
    made = planning.make(
        work.stack, ("test",), work.args, work.trees,
        roots=busy, lookup=lambda _tag, _identity: Absent(), last=lambda _tier: None,
    )  # fmt: skip
    return {tier.name: tier.identity for tier in made.tiers}


def test_a_release_has_the_version_of_its_commit(tmp_path: Path) -> None:
    work = workspace(tmp_path)
    assert work.args.get("COLOUR") == "0.0.0+rocm"
    one, two = (stamped(work, git(work, f"v0.12.0-{count}-g{COMMIT}")) for count in (5, 6))
    assert (one.args.get("COLOUR"), two.args.get("COLOUR")) == (
        "0.12.1.dev5+g0123456789ab", "0.12.1.dev6+g0123456789ab",
    )  # fmt: skip
    assert [arg for arg in one.args.values if arg.name != "COLOUR"] == [
        arg for arg in work.args.values if arg.name != "COLOUR"
    ]
    plain, first, second = identities(work), identities(one), identities(two)
    assert plain["base"] == first["base"] == second["base"], "what the version does not reach"
    assert len({plain["ci-base"], first["ci-base"], second["ci-base"]}) == 3, "it is an input of what it reaches"


@pytest.mark.parametrize("tag", ["v0.12.0", "0.12.0rc1", "v0.12", "v1.0.post1", "v1.0.dev3", "V0.12.0-RC1"])
@pytest.mark.parametrize("count", [0, 5])
def test_what_is_stamped_could_be_given(tmp_path: Path, tag: str, count: int) -> None:
    work = workspace(tmp_path)
    made = stamped(work, git(work, f"{tag}-{count}-g{COMMIT}")).args.get("COLOUR")
    assert types.pep440_version("COLOUR", made) == types.Checked(made)


def test_a_version_that_was_given_stays(tmp_path: Path) -> None:
    work = workspace(tmp_path)
    given = tuple(arg._replace(value="1.2.3", source="environment") for arg in work.args.values)
    work = replace(work, args=work.args._replace(values=given))
    assert stamped(work, FakeRun({})).args == work.args


def test_a_version_that_nobody_can_tell_is_refused(tmp_path: Path) -> None:
    work = workspace(tmp_path)
    away = replace(work, trees={"recipe": work.trees["recipe"]})
    cases = {
        "no-version": (away, FakeRun({})),
        "no-version-tag": (work, git(work, "")),
    }
    for reference, (space, run) in cases.items():
        with pytest.raises(ConfigError) as refused:
            stamped(space, run)
        assert refused.value.problems[0].reference == reference
        assert "COLOUR" in refused.value.problems[0].hint
    with pytest.raises(InfraError, match="git cannot tell"):
        stamped(work, git(work, "dubious"))
    fetched = replace(away.stack, fetched={"src": Fetched("src", "R", "setup.py")}, sources=())
    with pytest.raises(ConfigError) as refused:
        stamped(replace(away, stack=fetched), FakeRun({}))
    assert refused.value.problems[0].hint == "leave R out in a checkout, or with --source src=PATH; or give COLOUR"
    with pytest.raises(ConfigError, match="nightly-2026 is no version"):
        stamped(work, git(work, f"nightly-2026-5-g{COMMIT}"))


def test_a_release_is_named_after_what_it_is_built_from(tmp_path: Path) -> None:
    work = workspace(tmp_path)
    assert named_after(work) == "src"
    begun = {"lib": Fetched("lib", "", ""), "src": Fetched("src", "REMOTE", "setup.py")}
    bare = replace(work, stack=replace(work.stack, sources=(), fetched=begun))
    assert named_after(bare) == "src"
    away = replace(bare, trees={name: tree for name, tree in work.trees.items() if name != "src"})
    assert named_after(away) == "recipe"


def test_the_source_of_a_version_is_a_source(tmp_path: Path) -> None:
    file = recipes.write(tmp_path, stack=STACK.replace("version_of: src", "version_of: scr"))
    with pytest.raises(ConfigError) as refused:
        stacks.load(str(file))
    (problem,) = refused.value.problems
    assert (problem.reference, problem.hint) == ("unknown-source", "did you mean src?")


def test_the_shipped_stack_says_so() -> None:
    stack = stacks.load("vllm")
    assert {spec.name: spec.version_of for spec in stack.args if spec.version_of} == {"VLLM_VERSION": "vllm"}
