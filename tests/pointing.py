"""A channel of images, ``base`` and ``ci_base``, of the tiny recipe: commits by letter, and a registry in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ci.build import plan as planning
from ci.build.inputs import RECIPE
from ci.build.lookup import IDENTITY, Absent
from ci.build.plan import TierPlan
from ci.build.roots import Made
from ci.names import Reference
from ci.publish.pointing import Asked, promote
from ci.publish.release import Result
from ci.recipe import stack as stacks
from ci.recipe.tree import Tree
from ci.recipe.values import resolve_args
from ci.settings import capture
from ci.world.fakes import FakeClock
from ci.world.ledger import Ledger
from tests import recipes
from tests.publishing import World, by_letter, commit, run_id

IMAGES = {"base": "base", "ci_base": "ci-base"}
ROOT = Made("rocm-ci/root:busy", "sha256:" + "a" * 64, "test")
BUILT = "team/rocm-ci-test/tiny"
"""The repository that builds publish in; the channel's own is another one unless ``own`` says so."""


class Pointing(World):
    """The channel; each commit has another file in ``ci-base``, and from the letter m on another base."""

    def __init__(self, root: Path, *, own: bool = True, trees: Path | None = None) -> None:
        super().__init__(root)
        self.trees = trees or root / ".trees"
        repository = "rocm-ci-test/tiny" if own else "rocm-ci-test/shown"
        self.channel = replace(self.channel, word="", images=IMAGES, repository=repository)
        self.repository = f"team/{repository}"
        self._numbers = count(1)

    def work(self, letter: str) -> Any:
        """The workspace at a commit."""
        folder = self.trees / letter
        if not folder.exists():
            recipes.write(folder)
            (folder / "recipe/first.txt").write_text(letter)
            (folder / "recipe/lists/needs.txt").write_text("late" if letter >= "m" else "early")
        stack = stacks.load(str(folder / "recipe/tiny.yaml"))
        places = self.places()
        return SimpleNamespace(
            stack=stack,
            args=resolve_args(stack, capture({}, {}), stacks.archs()),
            trees={
                RECIPE: Tree(RECIPE, folder / "recipe", {}, lambda _root: None),
                "src": Tree("src", folder / "src", {}, lambda _root: None),
            },
            place=places.place,
            registry=places.registry,
            roots=lambda: {"busy": ROOT},
            records=SimpleNamespace(roots=lambda _stack: {}),
        )

    def tiers(self, letter: str) -> dict[str, TierPlan]:
        """The plan at a commit."""
        work = self.work(letter)
        plan = planning.make(
            work.stack, ("ci-base",), work.args, work.trees,
            roots=work.roots(), lookup=lambda _tag, _identity: Absent(), last=lambda _tier: None,
        )  # fmt: skip
        return {tier.name: tier for tier in plan.tiers}

    def build(self, letter: str, *tiers: str, label: str = "") -> dict[str, str]:
        """Publish the images of a commit under their content tags, those that are there left alone; their digests."""
        found = {}
        for tier in tiers or IMAGES.values():
            plan = self.tiers(letter)[tier]
            tag = Reference.parse(plan.tag).tag
            there = self.registry.tags.get(BUILT, {}).get(tag)
            labels = {IDENTITY: label or plan.identity}
            found[tier] = there or self.registry.image(BUILT, tag, labels, plan.identity.encode())
        return found

    def asked(self, letter: str, recorder: Any = None, clock: FakeClock | None = None) -> Asked:
        """The promotion of a commit, as one run sees it."""
        places = self.places(recorder, clock)
        return Asked(self.work(letter), places, commit(letter), by_letter, lambda _old, _new: None)

    def promote(self, letter: str, recorder: Any = None, clock: FakeClock | None = None) -> Result:
        """Promote a commit in a run of its own."""
        return self.run(self.asked(letter, recorder, clock))

    def run(self, asked: Asked) -> Result:
        """Perform what is asked in a run of its own."""
        run = run_id(next(self._numbers))
        ledger = Ledger.begin(self.root / ".state", run, "promote")
        screen = SimpleNamespace(say=self.said.append, warn=self.said.append)
        performance: Any = SimpleNamespace(ledger=ledger, screen=screen, workspace=asked.work)
        try:
            return promote(asked, performance)
        finally:
            ledger.end()

    def end(self) -> dict[str, Any]:
        """Everything that may matter to anybody afterwards, in the channel's own repository."""
        tags, manifests = self.registry.tags, self.registry.manifests
        held = {"tags": dict(tags.get(self.repository, {})), "manifests": set(manifests.get(self.repository, {}))}
        return {**super().end(), **held}

    def moving(self) -> dict[str, str]:
        """The pointers and their digests; a tombstone is no digest any more."""
        stored = self.registry.manifests.get(self.repository, {})
        tags = self.registry.tags.get(self.repository, {})
        stones = {digest for digest, (_, body) in stored.items() if not json.loads(body).get("manifests", body)}
        return {tag: digest for tag, digest in tags.items() if tag in IMAGES and digest not in stones}
