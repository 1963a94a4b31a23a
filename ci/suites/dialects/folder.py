"""A folder of step files, as newer projects keep them: each read alone, all of them one document in our form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...documents import Document, read, refuse
from ...errors import ConfigError, Place, Problem
from ...world import files
from . import reading
from .home import Home
from .lost import Converted, is_foreign
from .sources import boundaries


def documents(folder: Path, shown: str) -> tuple[Document, ...]:
    """Every YAML file below ``folder``; raises ``ConfigError`` for those that are no step files, and where none is."""
    names = [name for name in files.walk(folder) if name.endswith((".yaml", ".yml"))]
    found = tuple(read(files.read_text(folder / name), f"{shown.rstrip('/')}/{name}") for name in names)
    if not found:
        hint = "name the folder that has the step files, as .buildkite/test_areas"
        raise ConfigError("no-file", f"{shown} has no step file", hint=hint)
    refuse(tuple(problem for each in found if not is_foreign(each) for problem in _other(each)))
    return found


def _other(document: Document) -> tuple[Problem, ...]:
    hint = "a folder of step files has nothing else: name a folder below it, or this file alone"
    return document.problems or (
        Problem("no-step-file", f"{document.file} has no list of steps", hint, place=document.place()),
    )


def joined(found: Sequence[Document], home: Home, shown: str) -> Converted:
    """The step files as one document called ``shown``: the suites of all, and of one group's files one suite.

    A change of a file runs its steps: it is one of their sources.
    """
    parts = [reading.convert(each, home, grouped=True) for each in found]
    steps: dict[str, Any] = {}
    suites: dict[str, Any] = {}
    places: dict[tuple[str | int, ...], Place] = {}
    keys: dict[tuple[str | int, ...], Place] = {}
    problems: list[Problem] = []
    for part in parts:
        problems += [*part.document.problems, *_twice(part.document, places)]
        value = part.document.value
        steps |= {name: _with(step, part.document.file) for name, step in value["steps"].items()}
        for name, suite in value["suites"].items():
            before = suites.setdefault(name, {"summary": suite["summary"], "steps": []})
            before["steps"] += suite["steps"]
        places = {**part.document.places, **places}
        keys = {**part.document.keys, **keys}
    places |= {path: Place(shown) for path in ((), ("steps",), ("suites",))}
    whole = {**parts[0].document.value, "steps": steps, "suites": suites}
    lost = tuple(each for part in parts for each in part.lost)
    idle = sum(step.get("profiles") == [] for step in steps.values())
    made = f"{len(steps)} steps, {idle} of them in no profile"
    notice = f"{shown} is a folder of {len(parts)} Buildkite step files: {made}"
    told = (reading.not_carried(lost, shown),) if lost else ()
    return Converted(Document(shown, whole, places, tuple(problems), keys), lost, (notice, *told))


def _with(step: dict[str, Any], file: str) -> dict[str, Any]:
    own = [each for _, each in boundaries([file]).patterns if each not in step.get("sources", ())]
    return {**step, "sources": [*step["sources"], *own]} if "sources" in step else step


def _twice(document: Document, places: dict[tuple[str | int, ...], Place]) -> Iterator[Problem]:
    for name in document.value["steps"]:
        if ("steps", name) in places:
            hint = f"give it another label or a key; the other is at {places['steps', name]}"
            yield Problem("duplicate-step", f"two steps are {name}", hint, place=document.place("steps", name))


def of_configuration(document: Document) -> Problem | None:
    """What is wrong with a file that only names the folders of step files; None for any other."""
    value = document.value
    named = value.get("job_dirs") if isinstance(value, dict) else None
    if not isinstance(named, list):
        return None
    folders = ", or ".join(f"--catalogue {each}" for each in named)
    message = f"{document.file} has no steps: it names the folders that have them"
    return Problem("no-step-file", message, folders or "name the step file itself", place=document.key("job_dirs"))
