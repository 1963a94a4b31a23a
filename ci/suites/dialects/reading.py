"""A step file of another project as a document in our form: steps, names, one suite, and what could not be said."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from ...audit import secrets
from ...documents import Document
from ...errors import Place, Problem
from ...yaml_text import Path
from .asked import BOOLEANS, COMMANDS, LISTS, NUMBERS, TEXTS, TOLD, Asked, asked, of_a_group
from .hardware import device
from .home import Home
from .lost import Converted, Lost
from .steps import BOUNDS, DEFAULT_MINUTES, Ways, make

_LONGEST = 50
_SHM_MB = 16384
"""Shared memory of the containers that steps of this dialect are written for."""

_TOP = ("steps", "group", "env", "depends_on")
_CARRIED = frozenset((*BOOLEANS, *NUMBERS, *TEXTS, *LISTS, "env", "mirror", *COMMANDS))
_NO_TEST = ("block", "input", "trigger", "wait", "waiter", "signal")


def convert(document: Document, home: Home, *, grouped: bool = False) -> Converted:
    """``document`` in our form; its problems are those of the file, and of what no step can be made of.

    ``grouped``: it is of the grouped dialect, whether or not a key says so.
    """
    ways = _ways(document, home, grouped=grouped)
    lost: list[Lost] = []
    steps = list(_steps(document, home, lost))
    problems = [*_relevant(document)]
    places: dict[Path, Place] = {(): document.place()}
    keys: dict[Path, Place] = {}
    made: dict[str, Any] = {}
    named = _named(steps, problems)
    for name, step in named:
        found = make(step, ways)
        made[name] = found.data
        places["steps", name] = keys["steps", name] = step.place()
        places |= {("steps", name, *path): place for path, place in found.places.items()}
        keys |= {("steps", name, *path): place for path, place in found.places.items() if len(path) == 1}
        problems += step.problems
        step.tell_the_rest()
        lost += step.lost
    lost = [each._replace(what=secrets.masked(each.what)) for each in (*_of_the_file(document), *lost)]
    value = _whole(document, home, made)
    suite = next(iter(value["suites"]))
    places |= {
        ("suites",): document.place(),
        ("suites", suite): document.place("group"),
        ("steps",): document.place("steps"),
    }
    notices = _notices(document, ways, made, lost)
    return Converted(Document(document.file, value, places, tuple(problems), keys), tuple(lost), notices)


def _ways(document: Document, home: Home, *, grouped: bool) -> Ways:
    """How the file's sources match and who runs on these GPUs: a file of areas has groups, devices and mirrors."""
    steps = [each for each in document.value["steps"] if isinstance(each, dict)]
    areas = grouped or "group" in document.value or any("mirror" in each or "num_devices" in each for each in steps)
    mirrored = areas or any("mirror_hardwares" in each for each in steps)
    path = PurePosixPath(document.file)
    inside = not path.is_absolute() and ".." not in path.parts
    # There a step is started in the top of the tree, and the folder with the tests is given with the dependencies.
    folder = "" if areas and not document.value.get("depends_on") else "tests"
    return Ways(home, not areas, mirrored, str(path) if inside else path.name, folder)


def _steps(document: Document, home: Home, lost: list[Lost]) -> Iterator[Asked]:
    """Every step of the file that runs commands, those of inner groups too."""
    for path, step in _flat(document, ("steps",), document.value["steps"], lost):
        if kind := _no_test(step):
            remedy = "it runs no test; pipelines of ours do not wait for people"
            lost.append(Lost(document.place(*path), "", f"the step {kind}", remedy))
            continue
        mirrors = step["mirror"] if isinstance(step.get("mirror"), dict) else {}
        ours = [name for name in mirrors if _runs_here(mirrors[name], home)]
        found = [_mirror(document, path, step, name) for name in ours]
        if not ours or _runs_here(step, home):
            found.append(asked(document, path, step))
        elif any(key in mirrors[name] for name in ours for key in COMMANDS):
            where = step.get("device", "other hardware")
            what = f"what it runs itself, on {where}: its mirror has other commands"
            place = document.key(*path, next((key for key in COMMANDS if key in step), ""))
            found[0].lost.append(Lost(place, "", what, "a step of its own can run them here"))
        for name in (each for each in mirrors if each not in ours):
            place = document.key(*path, "mirror", name)
            remedy = TOLD.get(name, "a step of its own says in needs.archs and profiles where it runs")
            found[0].lost.append(Lost(place, "", f"the mirror {name}, which names no hardware of these", remedy))
        yield from found


def _flat(document: Document, path: Path, steps: Sequence[Any], lost: list[Lost]) -> Iterator[tuple[Path, Any]]:
    for index, step in enumerate(steps):
        if isinstance(step, dict) and isinstance(step.get("steps"), list):
            lost += of_a_group(document, (*path, index), step)
            yield from _flat(document, (*path, index, "steps"), step["steps"], lost)
        else:
            yield (*path, index), step


def _no_test(step: Any) -> str:
    """What a step is that runs no command, as ``'wait'``; empty for one that runs some, or says nothing at all."""
    if not isinstance(step, dict):
        return repr(step)
    kinds = [key for key in step if key in _NO_TEST]
    return repr(kinds[0]) if kinds and not any(key in step for key in COMMANDS) else ""


def _runs_here(step: Any, home: Home) -> bool:
    name = step.get("device") if isinstance(step, dict) else None
    return isinstance(name, str) and device(name, home.families).known


def _mirror(document: Document, path: Path, step: dict[str, Any], mirror: str) -> Asked:
    """The step as a mirror runs it: its own limits and shards or the defaults, its own sources beside the step's."""
    made = asked(document, path, step, mirror)
    own = step["mirror"][mirror]
    theirs = step.get("source_file_dependencies")
    if isinstance(own.get("source_file_dependencies"), list) and isinstance(theirs, list):
        both = [*own["source_file_dependencies"], *theirs]
        made.values["source_file_dependencies"] = list(dict.fromkeys(map(str, both)))
    for key in ("timeout_in_minutes", "parallelism"):
        if key in step and key not in own:
            place = document.key(*path, key)
            remedy = f"write it for the mirror; it has {DEFAULT_MINUTES} minutes and one part otherwise"
            made.lost.append(Lost(place, "", f"{key}: {step[key]} of the step, which is not its mirror's", remedy))
    return made


# --- names ---------------------------------------------------------------------------------------


def _named(steps: Sequence[Asked], problems: list[Problem]) -> list[tuple[str, Asked]]:
    """Each step with a name of its own: its key or label, with its hardware where several have that."""
    steps = [step for step in steps if _has_label(step, problems)]
    first = [slug(step.text("key") or step.text("label")) for step in steps]
    several = {name for name, count in Counter(first).items() if count > 1}
    named: dict[str, Asked] = {}
    for plain, step in zip(first, steps, strict=True):
        name = plain
        hardware = step.text("agent_pool") or step.text("device") or step.text("gpu")
        if plain in several and hardware:
            name = slug(f"{plain} {hardware}")
            step.values["label"] = f"{step.text('label')} ({hardware})"
        if name in named:
            hint = f"give it another label or a key; the other is on line {named[name].place().line}"
            problems.append(Problem("duplicate-step", f"two steps are {name}", hint, place=step.place("label")))
            continue
        step.name = name
        step.lost = [each._replace(step=name) for each in step.lost]
        named[name] = step
    return list(named.items())


def _has_label(step: Asked, problems: list[Problem]) -> bool:
    problems += step.problems
    step.problems.clear()
    if slug(step.text("key") or step.text("label")):
        return True
    hint = "a step is known by its label"
    problems.append(Problem("missing-key", "the step has no label", hint, place=step.place()))
    return False


def slug(text: str) -> str:
    """``text`` as a name of ours; one too long ends in a part of its hash."""
    plain = re.sub(r"%[Nn]|:[a-z0-9_+-]+:", " ", text)
    name = "-".join(re.findall(r"[a-z0-9]+", plain.lower()))
    if len(name) <= _LONGEST:
        return name
    mark = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{name[: _LONGEST - 7].rpartition('-')[0]}-{mark}"


# --- the file ------------------------------------------------------------------------------------


def _whole(document: Document, home: Home, steps: dict[str, Any]) -> dict[str, Any]:
    group = document.value.get("group")
    summary = group if isinstance(group, str) else PurePosixPath(document.file).stem
    bounds = {BOUNDS: {"shm_mb": _SHM_MB, "memory_mb": 0, "pids": 16384}}
    suite = {"summary": summary, "steps": list(steps)}
    return {"schema": 1, **home.own, "bounds": bounds, "steps": steps, "suites": {slug(summary) or "steps": suite}}


def _of_the_file(document: Document) -> Iterator[Lost]:
    for key in document.value:
        if key not in _TOP:
            yield Lost(
                document.key(key), "", f"the key {key!r} of the file", "say it in the stack or the pipeline file"
            )
    if "env" in document.value:
        yield Lost(document.key("env"), "", "env of all steps", "write it into the steps that need it")
    if document.value["steps"]:
        remedy = "a step that needs it declares secrets: [HF_TOKEN]"
        yield Lost(document.key("steps"), "", "the tokens that every step could read there", remedy)


def _relevant(document: Document) -> Iterator[Problem]:
    """The problems of the file, without what YAML guesses where nothing is made of it: it is told as lost."""
    if document.problems:
        used = {place for path, place in document.places.items() if _CARRIED.intersection(path)}
        yield from (each for each in document.problems if each.reference != "ambiguous-value" or each.place in used)


def _notices(document: Document, ways: Ways, steps: dict[str, Any], lost: Sequence[Lost]) -> tuple[str, ...]:
    kind = "prefixes (now globs with * behind)" if ways.prefixes else "paths"
    idle = sum(step.get("profiles") == [] for step in steps.values())
    made = f"{document.file} is a Buildkite step file: {len(steps)} steps, {idle} of them in no profile"
    told = (
        f"; its sources are {kind}; a step has {DEFAULT_MINUTES} minutes, the network and {_SHM_MB} MB of shared memory"
    )
    return (made + told + " unless it says otherwise", *([not_carried(lost, document.file)] if lost else []))


def not_carried(lost: Sequence[Lost], file: str) -> str:
    """How much of ``file`` was lost, and where it is told."""
    return f"{len(lost)} things of {file} are not carried over; `catalogue convert` lists them"
