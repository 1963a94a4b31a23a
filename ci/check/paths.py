"""Rules about the files that steps name: they are there, they are tests, and they are for this platform."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import Place, Problem
from ..suites import ids
from ..suites.catalogue import Catalogue
from . import collecting, listed, pytest_words
from .material import Case
from .steps import as_on, place
from .tree import Tree

_SCRIPT = re.compile(r"[\w./+@-]+\.(?:py|sh|cu|hip)")
_DATA = re.compile(r"[\w./+@-]+\.(?:ya?ml|json|jsonl|txt|toml|jinja2?)")


class Named(NamedTuple):
    """A file or folder that a call names: its ``spot``, and what pytest was ``asked`` where it is a test to run.

    The path is the ``value`` in ``word``.  ``sure``: it has to be there.
    """

    call: listed.Call
    word: str
    value: str
    spot: listed.Spot
    sure: bool
    asked: pytest_words.Asked | None = None
    operand: pytest_words.Operand | None = None


def tree_of(case: Case, spot: listed.Spot) -> Tree | None:
    """The files that a spot is among; None where they are not here."""
    return case.shipped if spot.tree == "suite" else case.source


def named(case: Case) -> Iterator[Named]:
    """Every path of the suites or the source in every call."""
    if case.catalogue:
        for call in case.calls:
            yield from _of_call(case.catalogue, call)


def _of_call(catalogue: Catalogue, call: listed.Call) -> Iterator[Named]:
    words = call.pytest
    if words is None:
        for number, word in enumerate(call.words):
            yield from _of_word(catalogue, call, word, word, sure=number == 0 and "/" in word)
        return
    asked = pytest_words.read(words)
    for operand in asked.operands:
        spot = listed.spot(catalogue, call.folder, operand.path)
        if spot and not _UNEXPANDED.search(operand.path):
            yield Named(call, operand.word, operand.path, spot, asked.plain, asked, operand)
    for word, value in asked.values:
        yield from _of_word(catalogue, call, word, value, sure=False)
    for word, ignored in asked.ignored:
        spot = listed.spot(catalogue, call.folder, ignored.partition("::")[0])
        if spot:
            yield Named(call, word, ignored, spot, sure=False)


_UNEXPANDED = re.compile(r"[$*?\[{]")


def _of_word(catalogue: Catalogue, call: listed.Call, word: str, value: str, *, sure: bool) -> Iterator[Named]:
    """The path that a word, or an option's value, may be: what looks like a script, and what lies in the workspace."""
    script, data = _SCRIPT.fullmatch(value), _DATA.fullmatch(value)
    inside = bool(script) and bool(catalogue.workspace) and value.startswith(catalogue.workspace.rstrip("/") + "/")
    if sure or script or data:
        spot = listed.spot(catalogue, call.folder, value)
        if spot and spot.path:
            yield Named(call, word, value, spot, inside or sure)


# --- listed-paths -----------------------------------------------------------------------------------


def listed_paths(case: Case) -> Iterator[Problem]:
    """Every path that a step, a skip or a quarantine names is there."""
    if case.catalogue is None:
        return
    for each in named(case):
        tree = tree_of(case, each.spot)
        if tree and not tree.has(each.spot.path) and (each.sure or _is_meant(case, each, tree)):
            at = place_of(case, each.call, each.word)
            yield _missing(f"step {each.call.step}", each.spot.path, tree, at)
    yield from _workdirs(case, case.catalogue)
    yield from _exempted(case, case.catalogue)


def place_of(case: Case, call: listed.Call, word: str) -> Place:
    """Where a word of a call stands, by the name a person may open."""
    assert case.catalogue is not None  # noqa: S101 - whoever has a call has its file
    return case.in_suites(listed.place(case.catalogue, call, word))


def _is_meant(case: Case, one: Named, tree: Tree) -> bool:
    """Whether a word that need not be a path surely is one that has to be there.

    The folder it begins with is there; and it is a script, or it cannot be written either because its folder is not.
    """
    first, slash, _ = one.value.partition("/")
    begins = listed.spot(case.catalogue, one.call.folder, first) if case.catalogue else None
    if not slash or not begins or begins.path not in tree.folders:
        return False
    return bool(_SCRIPT.fullmatch(one.value)) or one.spot.path.rpartition("/")[0] not in tree.folders


def _missing(who: str, path: str, tree: Tree, at: Place) -> Problem:
    near = tree.nearest(path)
    hint = f"did you mean {near}?" if near else "correct the path, or delete it: what it tested is run by nobody"
    if (tree.root / path).exists():
        hint = f"git does not track it: git add {path}"
    return Problem("no-path", f"{who}: there is no {path} in {tree.root.name}/", hint, place=at)


def _workdirs(case: Case, catalogue: Catalogue) -> Iterator[Problem]:
    for name, step in catalogue.data.items():
        spot = listed.spot(catalogue, "/", step.get("workdir", ""))
        tree = tree_of(case, spot) if spot else None
        if spot and tree and not tree.has(spot.path):
            yield _missing(f"step {name}: its workdir", spot.path, tree, place(case, "steps", name, "workdir"))


def _exempted(case: Case, catalogue: Catalogue) -> Iterator[Problem]:
    for name, step in catalogue.data.items():
        for index, each in enumerate(step.get("skips", ())):
            spot = listed.spot(catalogue, step.get("workdir", "{suite}"), ids.file(each["test"]))
            at = place(case, "steps", name, "skips", index, "test")
            yield from _test_problems(case, f"skip of step {name}", each["test"], spot, at)
    for index, each in enumerate(case.catalogue.document.value.get("quarantine", ()) if case.catalogue else ()):
        at = place(case, "quarantine", index, "test")
        yield from _test_problems(case, "quarantine", each["test"], None, at)


def _test_problems(case: Case, who: str, test: str, spot: listed.Spot | None, at: Place) -> Iterator[Problem]:
    """pytest names a test from the folder it takes for the root: any file whose path ends like that may be meant."""
    file, names = ids.file(test), tuple(part.partition("[")[0] for part in test.split("::")[1:])
    trees = [tree_of(case, spot)] if spot else [case.shipped, case.source]
    if spot is None and case.source is None:
        trees = []  # it may be a test of the source
    known = [tree for tree in trees if tree]
    found = [(tree, path) for tree in known for path in tree.ordered if path == file or path.endswith(f"/{file}")]
    found += [(tree, file) for tree in known if tree.has(file) and not found]
    if known and not found:
        yield _missing(who, spot.path if spot else file, known[-1], at)
    elif names and found and not any(collecting.has(tree, path, names) for tree, path in found):
        message = f"{who}: {found[0][1]} has no {'::'.join(names)}"
        yield Problem("no-test", message, "delete it, or give the test's new name", place=at)


# --- elsewhere, nothing-collected -------------------------------------------------------------------


def elsewhere(case: Case) -> Iterator[Problem]:
    """No step lists tests that say of themselves that they are for another platform."""
    if case.catalogue is None:
        return
    patterns = []
    for index, each in enumerate(case.catalogue.elsewhere):
        try:
            patterns.append((re.compile(each.pattern), each.reason))
        except re.error as error:
            at = place(case, "elsewhere", index, "pattern")
            yield Problem("bad-pattern", f"{each.pattern} is no regular expression: {error}", place=at)
    for one in named(case) if patterns else ():
        tree = tree_of(case, one.spot)
        if tree and one.operand and not _is_skipped(case, one):
            files = list(tree.below(one.spot.path))
            tests = [each for each in files if one.spot.path in tree.files or collecting.is_test_file(each)]
            whys = (next((why for regex, why in patterns if regex.search(tree.text(each))), "") for each in tests)
            why = next(whys, "")
            if why and all(whys):
                hint = "take it out, or skip it with this reason and a day"
                message = f"step {one.call.step} lists {one.spot.path}: {why}"
                yield Problem("elsewhere", message, hint, place=place_of(case, one.call, one.word))


def _is_skipped(case: Case, one: Named) -> bool:
    """Whether the step, or these tests of it, are left out: by an exemption that holds, or as no profile has it."""
    if case.catalogue is None:
        return False
    step = as_on(case.catalogue, one.call.step, one.call.arch)
    holding = [each for each in step.skips if each.holds(case.today)]
    return (
        not step.profiles
        or bool(step.skip and step.skip.holds(case.today))
        or any(one.spot.path == each.test or one.spot.path.endswith(f"/{each.test}") for each in holding)
    )


def nothing_collected(case: Case) -> Iterator[Problem]:
    """pytest finds a test in every file and folder that a step gives it."""
    if case.catalogue is None:
        return
    for one in named(case):
        tree = tree_of(case, one.spot)
        if tree and one.asked and one.operand and not _may_be_empty(case.catalogue, one.call):
            why = collecting.nothing(tree, one.asked, one.operand, one.spot.path)
            if why:
                message = f"step {one.call.step}: pytest collects nothing from {one.word}: {why}"
                hint = "a step that runs no test ends as empty (exit 6): name what it shall run"
                yield Problem("nothing-collected", message, hint, place=place_of(case, one.call, one.word))


def _may_be_empty(catalogue: Catalogue, call: listed.Call) -> bool:
    written = catalogue.document.value
    for key in call.where[:-1] if call.where[-1] in {"pytest", "run", "shell"} else call.where[:-2]:
        written = written[key]
    return bool(written.get("allow_empty"))
