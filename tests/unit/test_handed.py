"""An image that was handed on, compared with what the taker's own stack, arguments and files make."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ci.build import handed, travel
from ci.build.definition import LABEL
from ci.build.inputs import RECIPE
from ci.build.record import Records
from ci.build.roots import reference
from ci.build.workspace import Workspace
from ci.errors import ContractError, Outcome, Problem
from ci.identity import Manifest
from ci.providers.handing import Image
from ci.recipe import stack as stacks
from ci.recipe.pins import MARK
from ci.recipe.tree import Tree
from ci.recipe.values import found_commits, resolve_args
from ci.settings import capture
from ci.world.engine import Image as Here
from ci.world.fakes import FakeClock, FakeEngine
from tests import recipes

BRANCHED = recipes.STACK.replace(
    "COLOUR: {type: text, default: blue}", "LIB_BRANCH: {type: git-commit, environment: true}"
)
WITH_BRANCH = recipes.DOCKERFILE.replace("COLOUR", "LIB_BRANCH")
DIGEST = "sha256:" + "d" * 64
NAMED = f"host/tiny:test-v1@{DIGEST}"


def here(layers: str, **labels: str) -> Here:
    return Here(DIGEST, (), (), labels, (layers,), 0)


@dataclass
class Host:
    """An agent with a checkout in ``folder``, a root of these layers (none: it has no root), and an environment."""

    folder: Path
    root: str = "one"
    environ: dict[str, str] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)
    engine: FakeEngine = field(default_factory=FakeEngine)

    @property
    def work(self) -> Workspace:
        settings = capture({}, self.environ)
        stack = stacks.load(str(self.folder / "recipe/tiny.yaml"))
        args = found_commits(
            stack, resolve_args(stack, settings, stacks.archs()), lambda _, name: self.commits.get(name, "")
        )
        if self.root:
            self.engine.images[reference(stack, stack.roots["busy"])] = here(self.root)
        trees = {
            RECIPE: Tree(RECIPE, self.folder / "recipe", {}, lambda _root: None),
            "src": Tree("src", self.folder / "src", {}, lambda _root: None),
        }
        state = self.folder / "state"
        return Workspace(
            settings, stack, args, trees, self.engine, None, None, state, Records(state), FakeClock()
        )  # fmt: skip

    def manifest(self, tier: str = "test") -> Manifest:
        (found,) = (each.inputs.manifest for each in self.work.plan((tier,)).tiers if each.name == tier)
        assert found
        return found

    def hands_on(self, tier: str = "test") -> Image:
        work = self.work
        return Image(NAMED, self.manifest(tier).identity, "test-v1", handed.found(work), handed.arguments(work))

    def refused(self, image: Image, tier: str = "test") -> Problem:
        with pytest.raises(ContractError) as caught:
            handed.compare(self.work, tier, image)
        assert caught.value.outcome is Outcome.CONTRACT
        return caught.value.problems[0]


def host(folder: Path, **more: Any) -> Host:
    recipes.write(folder)
    return Host(folder, **more)


def test_what_stack_arguments_and_files_make_is_taken(tmp_path: Path) -> None:
    assert handed.compare(host(tmp_path / "b").work, "test", host(tmp_path / "a").hands_on()) == ""


@pytest.mark.parametrize("root", ["", "of another day"])
def test_a_root_that_the_taker_has_not_or_has_otherwise_is_no_difference(tmp_path: Path, root: str) -> None:
    taker = host(tmp_path / "b", root=root)
    work = taker.work
    taker.engine.asked.clear()
    assert handed.compare(work, "test", host(tmp_path / "a").hands_on()) == ""
    assert taker.engine.asked == [], "the engine is not asked for anything"


def test_other_arguments_of_the_builder_are_named_although_nobody_knows_its_manifest(tmp_path: Path) -> None:
    image = host(tmp_path / "a", environ={"PYTORCH_ROCM_ARCH": "gfx950"}).hands_on()
    problem = host(tmp_path / "b").refused(image)
    assert problem.reference == "other-handoff"
    assert image.identity[:12] in problem.message
    assert problem.context == "PYTORCH_ROCM_ARCH: gfx950 there, gfx942 here"
    assert f"docker pull {NAMED}; inv explain test --against {NAMED}" in problem.hint


def test_a_file_that_differs_is_named_where_the_manifest_is_known(tmp_path: Path) -> None:
    builder = host(tmp_path / "a")
    (tmp_path / "a/recipe/test.txt").write_text("other")
    image, manifest = builder.hands_on(), builder.manifest()
    unknown = host(tmp_path / "b").refused(image)
    assert unknown.context == "what differs cannot be told: the manifest of that image is not here"

    labelled = FakeEngine(images={"host/tiny:test-v1": here("x", **{LABEL + "manifest": travel.label(manifest)})})
    problem = Host(tmp_path / "b", engine=labelled).refused(image)
    assert problem.context == "file recipe:test.txt differs"
    assert "docker pull" not in problem.hint

    recorded = host(tmp_path / "c")
    recorded.work.records.save("tiny", "test", manifest)
    problem = recorded.refused(image)
    assert problem.context == "file recipe:test.txt differs"
    assert f"inv explain test --against {image.identity[:12]} --stack " in problem.hint


def test_an_image_without_an_identity_is_another(tmp_path: Path) -> None:
    image, taker = host(tmp_path / "a").hands_on(), host(tmp_path / "b")
    assert "identity (none)" in taker.refused(image._replace(identity="")).message
    assert "identity /etc/*" in taker.refused(image._replace(identity="/etc/*")).message


def test_a_taker_without_an_identity_of_its_own_says_why(tmp_path: Path) -> None:
    image = host(tmp_path / "a").hands_on()
    assert "busy is not here yet" in handed.compare(host(tmp_path / "b").work, "test", image._replace(found={}))
    recipes.write(tmp_path / "c", WITH_BRANCH, BRANCHED.replace("environment: true", f'default: "{MARK}main"'))
    taker = Host(tmp_path / "c")
    assert "LIB_BRANCH is not resolved: main" in handed.compare(taker.work, "test", image)


def test_a_branch_that_moved_between_two_jobs_is_no_difference_and_another_branch_is(tmp_path: Path) -> None:
    before, after = "a" * 40, "b" * 40
    for name in "abcd":
        recipes.write(tmp_path / name, WITH_BRANCH, BRANCHED)
    builder = Host(tmp_path / "a", environ={"LIB_BRANCH": "main"}, commits={"main": before})
    image = builder.hands_on()
    assert (
        handed.compare(
            Host(tmp_path / "b", environ={"LIB_BRANCH": "main"}, commits={"main": after}).work, "test", image
        )
        == ""
    )
    assert handed.compare(Host(tmp_path / "c", environ={"LIB_BRANCH": "main"}).work, "test", image) == "", (
        "nobody answers now"
    )
    other = Host(tmp_path / "d", environ={"LIB_BRANCH": "next"}, commits={"next": after})
    # The tier's own parent has it: what differs is told by the argument.
    assert f"LIB_BRANCH: {before} there, {after} here" in other.refused(image).context
