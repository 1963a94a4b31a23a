"""The identity of a tier: each input changes it and is named, each non-input leaves it alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.build import plan as planning
from ci.build.inputs import RECIPE
from ci.build.lookup import Absent
from ci.build.roots import Made
from ci.identity import Change, Input, Manifest, diff
from ci.recipe import stack as stacks
from ci.recipe.tree import Tree
from ci.recipe.values import resolve_args
from ci.settings import capture
from tests import recipes


@dataclass
class World:
    """What a build of the tiny stack depends on, and everything it must not depend on."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    root: str = "sha256:" + "a" * 64

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe"

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def manifest(self, tier: str) -> Manifest:
        stack = stacks.load(str(self.recipe / "tiny.yaml"))
        args = resolve_args(stack, capture(environ=self.environ), stacks.archs())
        assert args.problems == ()
        trees = {
            RECIPE: Tree(RECIPE, self.recipe, {}, lambda _root: None),
            "src": Tree("src", self.folder / "src", {}, lambda _root: None),
        }
        plan = planning.make(
            stack,
            (tier,),
            args,
            trees,
            roots={"busy": Made("rocm-ci/root:busy", self.root, "test")},
            lookup=lambda _tag, _identity: Absent(),
            last=lambda _tier: None,
        )
        found = next(item.inputs.manifest for item in plan.tiers if item.name == tier)
        assert found is not None
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    recipes.write(tmp_path)
    return World(tmp_path)


@dataclass(frozen=True)
class Case:
    """One change; ``names`` are the inputs of ``tier`` that explain must name, and nothing else."""

    change: Callable[[World], object]
    tier: str
    names: tuple[tuple[str, str], ...]
    values: Mapping[str, str] = field(default_factory=dict)


def _relink(world: World) -> None:
    (world.recipe / "scripts/link").unlink()
    (world.recipe / "scripts/link").symlink_to("b.sh")


def _move_bytes(world: World) -> None:
    (world.recipe / "first.txt").write_text("1234")
    (world.recipe / "second.txt").write_text("567890")


INPUTS: dict[str, Case] = {
    "bytes": Case(
        lambda w: w.edit("recipe/scripts/b.sh", "echo b", "echo c"), "base", (("file", "recipe:scripts/b.sh"),)
    ),
    "mode": Case(lambda w: (w.recipe / "scripts/b.sh").chmod(0o755), "base", (("file", "recipe:scripts/b.sh"),)),
    "link target": Case(_relink, "base", (("file", "recipe:scripts/link"),)),
    "new file": Case(lambda w: (w.recipe / "scripts/c.sh").write_text(""), "base", (("file", "recipe:scripts/c.sh"),)),
    "renamed": Case(
        lambda w: (w.recipe / "scripts/b.sh").rename(w.recipe / "scripts/bb.sh"),
        "base",
        (("file", "recipe:scripts/b.sh"), ("file", "recipe:scripts/bb.sh")),
    ),
    "build arg": Case(
        lambda w: w.environ.update(PYTORCH_ROCM_ARCH="gfx950"),
        "base",
        (("arg", "PYTORCH_ROCM_ARCH"),),
        {"old": "gfx942", "new": "gfx950"},
    ),
    "stack default": Case(
        lambda w: w.edit("recipe/tiny.yaml", "default: blue", "default: red"),
        "ci-base",
        (("arg", "COLOUR"),),
        {"old": "blue", "new": "red"},
    ),
    "ARG default": Case(
        lambda w: w.edit("recipe/Dockerfile.tiny", "LEVEL=1", "LEVEL=2"),
        "base",
        (("arg", "LEVEL"),),
        {"old": "1", "new": "2"},
    ),
    "root": Case(lambda w: setattr(w, "root", "sha256:" + "b" * 64), "base", (("root", "ROOT"),)),
    "dockerignore": Case(
        lambda w: w.edit("recipe/.dockerignore", "**/*.md", "**/b.sh\n**/*.md"),
        "base",
        (("file", "recipe:scripts/b.sh"),),
    ),
    "heredoc body": Case(
        lambda w: w.edit("recipe/Dockerfile.tiny", "# not a comment", "# still not a comment"),
        "base",
        (("instruction", "base"),),
    ),
    "RUN text": Case(
        lambda w: w.edit("recipe/Dockerfile.tiny", "echo level", "echo  level"), "base", (("instruction", "base"),)
    ),
    "mount source": Case(
        lambda w: w.edit("recipe/lists/needs.txt", "beta", "gamma"), "base", (("file", "recipe:lists/needs.txt"),)
    ),
    "platform": Case(
        lambda w: w.edit("recipe/tiny.yaml", "linux/amd64", "linux/arm64"),
        "base",
        (("platform", ""),),
        {"old": "linux/amd64", "new": "linux/arm64"},
    ),
    "epoch": Case(
        lambda w: w.edit("recipe/pins.json", "2026-01", "2026-02"),
        "base",
        (("epoch", ""),),
        {"old": "2026-01", "new": "2026-02"},
    ),
    "bytes moved to the next file": Case(
        _move_bytes, "ci-base", (("file", "recipe:first.txt"), ("file", "recipe:second.txt"))
    ),
    "source tree": Case(
        lambda w: w.edit("src/lib/deep/two.py", "2", "3"), "ci-base", (("file", "src:lib/deep/two.py"),)
    ),
    "parent": Case(lambda w: w.edit("recipe/scripts/b.sh", "echo b", "echo c"), "ci-base", (("parent", "BASE_IMAGE"),)),
    "grandparent": Case(
        lambda w: w.edit("recipe/scripts/b.sh", "echo b", "echo c"), "test", (("parent", "CI_BASE_IMAGE"),)
    ),
    "instruction removed": Case(
        lambda w: w.edit("recipe/Dockerfile.tiny", "COPY test.txt /opt/test.txt\n", "WORKDIR /\n"),
        "test",
        (("file", "recipe:test.txt"), ("instruction", "test")),
    ),
}


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_changes_the_identity_and_is_named(world: World, name: str) -> None:
    case = INPUTS[name]
    before = world.manifest(case.tier)
    case.change(world)
    after = world.manifest(case.tier)
    assert before.identity != after.identity
    changes = diff(before, after)
    assert tuple((change.kind, change.name) for change in changes) == case.names
    for side, value in case.values.items():
        assert getattr(changes[0], side) == value
    assert all(change.old != change.new for change in changes)


def _age(world: World) -> None:
    for path in world.recipe.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)


def _umask(world: World) -> None:
    for path in world.recipe.rglob("*.sh"):
        path.chmod(0o700 if path.stat().st_mode & 0o100 else 0o600)


NON_INPUTS: dict[str, Callable[[World], object]] = {
    "mtime": _age,
    "umask": _umask,
    "comment": lambda w: w.edit("recipe/Dockerfile.tiny", "# a comment", "# another comment\n\n# and one more"),
    "comment in a continuation": lambda w: w.edit(
        "recipe/Dockerfile.tiny", "target=/run/needs.txt \\\n", "target=/run/needs.txt \\\n# why\n"
    ),
    "trailing blanks": lambda w: w.edit("recipe/Dockerfile.tiny", "AS base\n", "AS base  \n"),
    "job count": lambda w: w.environ.update(MAX_JOBS="7"),
    "build number": lambda w: w.environ.update(BUILDKITE_BUILD_NUMBER="12", GITHUB_RUN_ID="9"),
    "stage not reached": lambda w: w.edit("recipe/Dockerfile.tiny", "nobody needs", "somebody edited"),
    "file not reached": lambda w: w.edit("src/README", "not copied", "edited"),
    "ignored file": lambda w: w.edit("recipe/scripts/notes.md", "ignored", "edited"),
    "list spelling": lambda w: w.environ.update(PYTORCH_ROCM_ARCH="MI300X"),
    "default said aloud": lambda w: w.environ.update(NIC_BACKEND="none"),
    "stack summary": lambda w: w.edit("recipe/tiny.yaml", "one of everything", "another summary"),
    "child stage": lambda w: w.edit("recipe/test.txt", "test", "other"),
}


@pytest.mark.parametrize("name", NON_INPUTS)
def test_a_non_input_leaves_the_identity_alone(world: World, name: str) -> None:
    before = world.manifest("ci-base")
    NON_INPUTS[name](world)
    after = world.manifest("ci-base")
    assert diff(before, after) == ()
    assert before.identity == after.identity


def test_an_argument_whose_default_nobody_uses_is_no_input(world: World) -> None:
    world.environ["PYTORCH_ROCM_ARCH"] = "gfx950"
    before = world.manifest("base").identity
    world.edit("recipe/tiny.yaml", "default: gfx942", "default: gfx90a")
    assert world.manifest("base").identity == before


# --- the encoding -------------------------------------------------------------------------


def test_the_encoding_is_what_the_docs_say() -> None:
    manifest = Manifest.of([Input("file", "recipe:a", "0644 00"), Input("arg", "A", "é")])
    expected = b"rocm-ci manifest 1\n3:arg,1:A,2:\xc3\xa9,4:file,8:recipe:a,7:0644 00,"
    assert manifest.encode() == expected


def test_vectors_of_the_docs_hold() -> None:
    text = (Path(__file__).parents[2] / "docs/reference/identity.md").read_text()
    rows = [line.split("`")[1::2] for line in text.splitlines() if line.startswith("| `[")]
    assert len(rows) >= 3
    import json

    for inputs, identity in rows:
        assert Manifest.from_json(json.loads(inputs)).identity == identity


words = st.text(max_size=6)
inputs = st.builds(Input, words, words, words)


@given(st.lists(inputs, max_size=5), st.lists(inputs, max_size=5))
def test_equal_encodings_mean_equal_inputs(one: list[Input], two: list[Input]) -> None:
    left, right = Manifest.of(one), Manifest.of(two)
    assert (left.encode() == right.encode()) == (set(one) == set(two))


@given(st.lists(inputs, max_size=5))
def test_json_gives_the_manifest_back(items: list[Input]) -> None:
    manifest = Manifest.of(items)
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_moved_instruction_is_one_change_not_many() -> None:
    def manifest(*texts: str) -> Manifest:
        return Manifest.of(Input("instruction", f"s/{n:04d}", text) for n, text in enumerate(texts))

    changes = diff(manifest("FROM a", "RUN b", "RUN c"), manifest("FROM a", "RUN x", "RUN b", "RUN c"))
    assert changes == (Change("instruction", "s", None, "RUN x"),)
