"""Why a tier would, or would not, be rebuilt: its inputs now against those of another build. Offline."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..errors import ConfigError, InfraError
from ..identity import Change, Manifest, diff
from ..names import ContentTag, Reference
from ..recipe.stack import Stack
from ..recipe.tree import Tree
from ..world import git
from . import plan as planning
from . import travel
from .definition import LABEL
from .inputs import RECIPE
from .lookup import Absent
from .roots import Made
from .workspace import Workspace


@dataclass(frozen=True)
class Explanation:
    """``same`` is None where there is nothing to compare with; ``before`` is the other identity."""

    tier: str
    identity: str
    against: str
    before: str
    same: bool | None
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()


def explain(work: Workspace, tier: str, against: str) -> Explanation:
    """Compare the tier as it is now with the last build here, with an earlier identity, or with a commit."""
    made, notes = _roots(work)
    now = _manifest(work.stack, work, work.trees, made, tier)
    identity = now.identity if now else ""
    if now is None:
        return Explanation(tier, "", "it has no identity yet; inv plan says what it lacks", "", None, (), notes)
    name, before = _other(work, tier, against, made)
    if before is None:
        return Explanation(tier, identity, name, "", None, (), notes)
    changes = diff(before, now)
    return Explanation(tier, identity, name, before.identity, not changes, changes, notes)


def _roots(work: Workspace) -> tuple[Mapping[str, Made], tuple[str, ...]]:
    """The roots as the engine has them, else as the last build recorded them."""
    try:
        return work.roots(), ()
    except InfraError:
        known = work.records.roots(work.stack.name)
        return known, ("no engine answers; root images are taken as they were at the last build",)


def _manifest(
    stack: Stack, work: Workspace, trees: Mapping[str, Tree], made: Mapping[str, Made], tier: str
) -> Manifest | None:
    plan = planning.make(
        stack,
        (tier,),
        work.args,
        trees,
        roots=made,
        lookup=lambda _tag, _identity: Absent(),
        last=lambda _tier: None,
    )
    return next(item.inputs.manifest for item in plan.tiers if item.name == tier)


def _other(work: Workspace, tier: str, against: str, made: Mapping[str, Made]) -> tuple[str, Manifest | None]:
    if not against:
        return "the last build on this host", work.records.last(work.stack.name, tier)
    tag = ContentTag.parse(against.rpartition(":")[2])
    digits = tag.identity if tag else against
    found = work.records.manifest(digits) if re.fullmatch("[0-9a-f]+", digits) else None
    if found:
        return against, found
    if found := _from_label(work, against):
        return against, found
    top = git.toplevel(work.stack.recipe)
    if top is None:
        hint = "give a commit, an identity or a content tag; see .../manifests in the state folder"
        raise ConfigError("unknown-build", f"nothing is known of {against!r}, and the recipe is not in git", hint=hint)
    return f"commit {against}", _at_commit(work, tier, against, made)


def _from_label(work: Workspace, name: str) -> Manifest | None:
    """The manifest that an image in the engine carries."""
    if ":" not in name:
        return None
    image = work.engine.image(str(Reference.parse(name)))
    return travel.from_label(image.labels.get(LABEL + "manifest", "")) if image else None


def _at_commit(work: Workspace, tier: str, commit: str, made: Mapping[str, Made]) -> Manifest | None:
    """The manifest the tier would have had at ``commit``, recipe and sources of the same repository alike."""
    from contextlib import ExitStack
    from pathlib import Path

    from ..recipe import stack as stacks

    with ExitStack() as opened:
        copies: dict[Path, Path] = {}
        trees = {}
        for name, tree in work.trees.items():
            top = git.toplevel(tree.root)
            if top is None:
                trees[name] = tree
                continue
            if top not in copies:
                copies[top] = opened.enter_context(git.checkout(top, commit))
            inside = tree.root.resolve().relative_to(top)
            trees[name] = Tree(name, copies[top] / inside, {}, lambda _root: None)
        recipe = trees[RECIPE].root
        if not recipe.is_dir():
            raise ConfigError("no-recipe", f"{work.stack.recipe.name}/ does not exist at {commit}")
        file = recipe / work.stack.path.relative_to(work.stack.recipe)
        then = replace(stacks.load(str(file)), recipe=recipe)
        return _manifest(then, replace_args(work, then), trees, made, tier)


def replace_args(work: Workspace, then: Stack) -> Workspace:
    """The same call, with the arguments resolved against the stack as it was."""
    from ..recipe import stack as stacks
    from ..recipe.values import resolve_args

    return replace(work, stack=then, args=resolve_args(then, work.settings, stacks.archs()))
