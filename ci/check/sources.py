"""Rules about globs: each matches something, and a step's sources match what it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..errors import Place, Problem
from ..pipeline.patterns import Globs, Paths, Pattern, parse
from ..recipe.dockerfile.globs import GlobError, has_wildcard
from ..suites.catalogue import Catalogue
from . import collecting, listed, paths
from .material import Case
from .paths import Named
from .steps import place
from .tree import Tree


class List(NamedTuple):
    """Patterns of one list, each with its place; ``key`` is ``docs`` or ``run_all`` of the pipeline, or ``sources``."""

    key: str
    step: str
    patterns: tuple[str, ...]
    places: tuple[Place, ...]


def lists(case: Case) -> Iterator[List]:
    """Every list of patterns of the pipeline file and the suite file."""
    if pools := case.pools:
        for key, patterns in (("docs", pools.docs), ("run_all", pools.run_all)):
            places = (pools.document.place(key, index) for index in range(len(patterns)))
            yield List(key, "", patterns, tuple(each._replace(file=case.pipeline_file) for each in places))
    for name, step in case.catalogue.data.items() if case.catalogue else ():
        sources = tuple(step.get("sources", ()))
        at = (place(case, "steps", name, "sources", index) for index in range(len(sources)))
        yield List("sources", name, sources, tuple(at))


def patterns(case: Case) -> Iterator[Problem]:
    """Every pattern can be meant, and matches a file; one with ! takes something back."""
    for one in lists(case):
        let_in: set[str] = set()
        for written, at in zip(one.patterns, one.places, strict=True):
            try:
                pattern = parse(written)
            except GlobError as error:
                hint = "write tests/x for a file or folder, *.md, a/**/b.py, or ! and one of these"
                yield Problem("bad-pattern", f"{one.key}: {error}", hint, place=at)
                continue
            if case.source is not None:
                taken = case.paths.taken(pattern)
                if why := _dead(case.source, pattern, taken, let_in):
                    yield Problem("dead-pattern", f"{one.key}: {written} {why[0]}", why[1], place=at)
                (let_in.difference_update if pattern.takes_back else let_in.update)(taken)


def _dead(tree: Tree, pattern: Pattern, taken: Sequence[str], let_in: set[str]) -> tuple[str, str] | None:
    """Why a pattern does nothing, and what to do; ``let_in`` are the files that the patterns before it let in."""
    if not taken and not tree.has(pattern.path):
        path = pattern.path.removesuffix("*")
        near = "" if has_wildcard(path) else tree.nearest(path)
        hint = f"did you mean {near}?" if near else "correct it, or delete it: it decides nothing"
        return f"matches no file of {tree.root.name}/", hint
    if pattern.takes_back and not let_in.intersection(taken):
        hint = "the last pattern that matches decides: put it behind what it takes from, or delete it"
        return "takes back nothing that a pattern before it lets in", hint
    return None


def uncovered(case: Case) -> Iterator[Problem]:
    """A change of a test that a step runs makes the step run: one of its sources matches it."""
    if case.catalogue is None or case.source is None:
        return
    matched: dict[str, set[str]] = {}
    for one in paths.named(case):
        name = one.call.step
        sources = case.catalogue.data[name].get("sources")
        if not sources or not (one.operand or one.sure):
            continue
        if name not in matched:
            matched[name] = _matched(case.paths, sources)
        tests = tuple(_tests(case.catalogue, case.source, case.shipped, one))
        loose = [each for each in tests if each not in matched[name] and each not in case.triggers]
        if loose:
            what = loose[0] if len(tests) == 1 else f"{loose[0]} ({len(loose)} of {len(tests)} files)"
            message = f"step {name} runs {one.word}, and none of its sources matches {what}"
            hint = f"add {loose[0] if len(loose) == 1 else loose[0].rpartition('/')[0] + '/'} to its sources"
            yield Problem("uncovered-test", message, hint, place=paths.place_of(case, one.call, one.word))


def _matched(files: Paths, sources: list[str]) -> set[str]:
    try:
        return {file for file, _ in Globs(sources).matches(files)}
    except GlobError:  # of which the rule above tells
        return set(files.files)


def _tests(catalogue: Catalogue, source: Tree, shipped: Tree, one: Named) -> Iterator[str]:
    """The files of the source that are run: one that is named, and the test files of a folder that are not ignored."""
    top = one.spot.path
    if one.spot.tree == "suite":
        if not shipped.root.is_relative_to(source.root):
            return
        top = (shipped.root / top).relative_to(source.root).as_posix()
    ignored = [each for _, each in (one.asked.ignored if one.asked else ()) if "::" not in each]
    spots = [spot for each in ignored if (spot := listed.spot(catalogue, one.call.folder, each))]
    for file in source.below(top):
        is_run = file == top or collecting.is_test_file(file)
        if is_run and not any(f"{file}/".startswith(f"{spot.path}/") for spot in spots):
            yield file
