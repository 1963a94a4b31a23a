"""What can be known of a build without one: its root images, and everything as it was at another commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from ..errors import ConfigError, InfraError
from ..recipe import stack as stacks
from ..recipe.stack import Stack
from ..recipe.tree import Tree
from ..recipe.values import resolve_args
from ..world import git
from .inputs import RECIPE
from .roots import Made, reference
from .workspace import Workspace


def roots(work: Workspace) -> tuple[Mapping[str, Made], tuple[str, ...]]:
    """The roots as the engine has them, else as the last build here recorded them; and what is to be said of that.

    A root that the engine has no more is the recorded one, as long as it has the same name, which has the epoch in it.
    """
    known = work.records.roots(work.stack.name)
    try:
        here = work.roots()
    except InfraError:
        return known, ("no engine answers; root images are taken as they were at the last build",)
    same = {name: reference(work.stack, root) for name, root in work.stack.roots.items()}
    return {**{name: made for name, made in known.items() if made.reference == same.get(name)}, **here}, ()


@contextmanager
def at_commit(work: Workspace, commit: str) -> Iterator[Workspace]:
    """The same call at ``commit``: recipe and sources of the same repository as they were, arguments resolved anew.

    A tree outside of git stays as it is.  Raises ``ConfigError`` where git has no such commit or recipe.
    """
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
        yield replace(replace_args(work, replace(stacks.load(str(file)), recipe=recipe)), trees=trees)


def replace_args(work: Workspace, then: Stack) -> Workspace:
    """The same call, with the arguments resolved against the stack as it was."""
    return replace(work, stack=then, args=resolve_args(then, work.settings, stacks.archs()))
