"""The tiny recipe with tiers that must not be old, an engine and a registry in memory; no day passes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ci.build import plan as planning
from ci.build.age import Age, ages
from ci.build.inputs import RECIPE
from ci.build.lookup import IDENTITY, Absent, Answer, Found
from ci.build.plan import Plan, TierPlan
from ci.build.record import Records
from ci.build.roots import Made
from ci.names import Place, Reference
from ci.recipe import stack as stacks
from ci.recipe.tree import Tree
from ci.recipe.values import resolve_args
from ci.settings import capture
from ci.world.engine import Image
from ci.world.fakes import FakeClock, FakeEngine
from ci.world.registry import Registry
from tests import recipes
from tests.memory_registry import MemoryRegistry

OLD = "2026-10-01T04:05:06.858167133Z"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PLACE = Place("localhost:5000", "team")
STACK = recipes.STACK.replace("    target: base\n", "    target: base\n    max_age_days: 30\n").replace(
    "    target: ci_base\n", "    target: ci_base\n    max_age_days: 60\n"
)
DOCKERFILE = recipes.DOCKERFILE.replace("ARG LEVEL=1\n", "ARG LEVEL=1\nARG EPOCH\n")


class World:
    """The tiny recipe, whose base may be 30 days old and ci-base 60; it is 2026-11-21 all the time."""

    def __init__(self, folder: Path, dockerfile: str = DOCKERFILE) -> None:
        stack = stacks.load(str(recipes.write(folder, dockerfile, STACK)))
        self.engine = FakeEngine()
        self.memory = MemoryRegistry()
        clock = FakeClock(NOW)
        registry = Registry(PLACE.host, send=self.memory, clock=clock, credentials=lambda _host: None)
        self.work: Any = SimpleNamespace(
            stack=stack,
            args=resolve_args(stack, capture({}, {}), stacks.archs()),
            trees={
                RECIPE: Tree(RECIPE, folder / "recipe", {}, lambda _root: None),
                "src": Tree("src", folder / "src", {}, lambda _root: None),
            },
            engine=self.engine, clock=clock, place=PLACE, registry=registry, writes=PLACE, target=registry,
            records=Records(folder / "state"),
            roots=lambda: {"busy": Made("rocm-ci/root:busy", "sha256:" + "a" * 64, "test")},
        )  # fmt: skip

    def plan(self, answer: Answer | None = None) -> Plan:
        """Every tier, looked up with this answer for all; by default absent."""
        work = self.work
        return planning.make(
            work.stack, ("test",), work.args, work.trees, roots=work.roots(),
            lookup=lambda _tag, _identity: answer or Absent(), last=lambda _tier: None, everything=True,
        )  # fmt: skip

    def tier(self, name: str = "base") -> TierPlan:
        return next(tier for tier in self.plan().tiers if tier.name == name)

    def here(self, created: str, name: str = "base") -> Found:
        """The image of a tier in the engine."""
        tier = self.tier(name)
        image = Image("sha256:" + "d" * 64, (), (), {IDENTITY: tier.identity}, (), 1, created)
        self.engine.images[tier.tag] = image
        return Found(f"{tier.tag}@{image.id}", image.id, "engine")

    def there(self, created: str, name: str = "base") -> Found:
        """The image of a tier in the registry alone."""
        tier = self.tier(name)
        repository = PLACE.repository(Reference.parse(tier.tag).path).path
        tag = Reference.parse(tier.tag).tag
        digest = self.memory.image(repository, tag, {IDENTITY: tier.identity}, b"", created=created)
        return Found(f"{PLACE}/{repository}:{tag}@{digest}", digest, "registry")

    def age(self, answer: Answer, name: str = "base") -> Age:
        return next(age for age in ages(self.work, self.plan(answer).tiers) if age.tier == name)
