"""The rule about two lists that say one thing: globs beside what the images' identities say already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..errors import Place, Problem
from ..pipeline.patterns import Globs, parse
from ..recipe.dockerfile.globs import GlobError
from .material import Case
from .sources import List, lists

_INPUT = "an input of "


def drift(case: Case) -> Iterator[Problem]:
    """No glob says again, or takes back, what an identity says: that files run every step."""
    if case.source is None or not case.triggers:
        return
    inputs = {file: why for file, why in case.triggers.items() if why.startswith(_INPUT)}
    said: set[tuple[str, str]] = set()
    for one in lists(case):
        try:
            found = tuple(_hiding(case, one, inputs) if one.key == "docs" else _again(case, one, inputs))
        except GlobError:
            continue  # of which another rule tells
        for problem in found:
            if (one.key, problem.message) not in said:
                said.add((one.key, problem.message))
                yield problem


def _hiding(case: Case, one: List, inputs: Mapping[str, str]) -> Iterator[Problem]:
    """Documents that are made into an image: a change of them alone would make another image, and run nothing."""
    decided: dict[str, list[str]] = {}
    for file, pattern in Globs(one.patterns).matches(case.paths):
        if file in inputs:
            decided.setdefault(pattern, []).append(file)
    for pattern, files in decided.items():
        message = f"docs: {pattern} matches {_shown(files)}, {inputs[files[0]]}"
        back = files if len(files) == 1 else sorted({"".join(each.partition("/")[:2]) for each in files})
        shown = ", ".join(f'"!{each}"' for each in back)
        hint = f"put {shown} behind it, or keep what it matches out of the image: a change of it alone runs nothing"
        yield Problem("hidden-input", message, hint, place=_place(one, pattern))


def _again(case: Case, one: List, inputs: Mapping[str, str]) -> Iterator[Problem]:
    known = case.triggers if one.key == "run_all" else inputs
    let_in: set[str] = set()
    for written in one.patterns:
        pattern = parse(written)
        taken = case.paths.taken(pattern)
        if pattern.takes_back:
            hidden = sorted(let_in.intersection(taken) & known.keys())
            if hidden:
                message = f"{one.key}: {written} takes back {_shown(hidden)}, {known[hidden[0]]}"
                hint = "a change of it runs every step all the same: delete the pattern"
                yield Problem("hidden-input", message, hint, place=_place(one, written))
            let_in.difference_update(taken)
            continue
        let_in.update(taken)
        if taken and all(file in known for file in taken):
            message = f"{one.key}: {written} decides nothing: {_shown(taken)}, {known[taken[0]]}"
            hint = "delete it: a change of these files runs every step, and of two lists one grows old"
            yield Problem("said-twice", message, hint, place=_place(one, written))


def _shown(files: Sequence[str]) -> str:
    more = len(files) - 1
    return f"{files[0]} and {more} more" if more else files[0]


def _place(one: List, pattern: str) -> Place:
    return one.places[one.patterns.index(pattern)]
