"""One step of another project's file as a step of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from ...errors import Place, Problem
from ...yaml_text import Path
from . import commands, sources, upload
from .asked import COMMANDS, DEVICES, GPUS, Asked
from .hardware import Device, device
from .home import Home

DEFAULT_MINUTES = 180
"""How long a step may take that does not say."""

BOUNDS = "steps"


class Ways(NamedTuple):
    """What a file as a whole decides for its steps.

    ``prefixes``: how sources match; ``mirrored``: whether steps say which of them run on these GPUs, so that one that
    says nothing does not; ``file``: its path in the source tree; ``folder``: the one of the source tree that a step
    runs in that names none.
    """

    home: Home
    prefixes: bool
    mirrored: bool
    file: str
    folder: str


class Made(NamedTuple):
    """A step in our form, and the place of each path below it that is not where its parent is."""

    data: dict[str, Any]
    places: dict[Path, Place]


def make(step: Asked, ways: Ways) -> Made:
    """The step in our form; what it loses and what is wrong is noted in ``step``."""
    data: dict[str, Any] = {"summary": _summary(step)}
    places: dict[Path, Place] = {("summary",): step.place("label")}
    where = _device(step, ways)
    said, on_nodes = _commands(step, ways)
    data["needs"] = _needs(step, where, nodes=on_nodes)
    data["bounds"] = BOUNDS
    data["limits"] = {"minutes": step.values.get("timeout_in_minutes", DEFAULT_MINUTES)}
    places |= {("needs",): step.place(_hardware_key(step)), ("limits", "minutes"): step.place("timeout_in_minutes")}
    if env := _env(step) | said.env:
        data["env"] = env
        places["env",] = step.place("env" if "env" in step.values else "commands")
    if said.workdir:
        data["workdir"] = said.workdir
        places["workdir",] = step.place("working_dir")
    if (shards := _shards(step, said)) != 1:
        data["shards"] = shards
        places["shards",] = step.place("parallelism")
    data |= _sources(step, ways, places)
    if (profiles := _profiles(step, where)) is not None:
        data["profiles"] = profiles
    data["commands"] = [each for _, each in said.made]
    key = step.chosen(COMMANDS)
    places["commands",] = step.place(key)
    places |= {("commands", index): step.place(key, number) for index, (number, _) in enumerate(said.made)}
    return Made(data, places)


def _summary(step: Asked) -> str:
    """The label without the number of its shard and without emoji codes."""
    return " ".join(re.sub(r"%[Nn]|:[a-z0-9_+-]+:", " ", step.text("label")).split())


def _env(step: Asked) -> dict[str, str]:
    env = step.values.get("env", {})
    for name, value in env.items():
        if not isinstance(value, str):
            hint = f'quote it: "{value}"'
            step.problems.append(Problem("wrong-type", f"env.{name} must be text", hint, place=step.place("env", name)))
    found = {name: upload.filled(value) for name, value in env.items() if isinstance(value, str)}
    for name, value in found.items():
        for what in value.told:
            step.lose("env", f"env.{name}: {what}", upload.REMEDY, name)
    return {name: value.text for name, value in found.items()}


# --- where it runs -------------------------------------------------------------------------------


def _hardware_key(step: Asked) -> str:
    return step.chosen(DEVICES) or "num_gpus"


def _device(step: Asked, ways: Ways) -> Device:
    """What it runs on; unknown where that is nothing of ours."""
    key = _hardware_key(step)
    name = step.text(key) if key != "num_gpus" else ""
    if not name:
        here = not ways.mirrored or bool(step.values.get("mirror_hardwares"))
        if not here:
            remedy = "add it to profiles, and say in needs.archs where it runs"
            step.lose("label", "it names no hardware of these, so no profile has it", remedy)
        return Device(known=here, gpus=1)
    found = device(name, ways.home.families)
    if not found.known:
        remedy = "no profile has it; write needs.archs and profiles where it can run on another GPU"
        step.lose(key, f"{key}: {name}, which is no product of archs.yaml", remedy)
    if found.mode:
        step.lose(
            key,
            f"the mode {found.mode} of the GPUs of {name}",
            "needs cannot ask for a mode; a pool of them can be a family",
        )
    return found


def _needs(step: Asked, where: Device, *, nodes: bool) -> dict[str, Any]:
    asked = step.chosen(GPUS)
    count = step.number(asked, where.gpus if where.known else 1)
    gpus = 0 if step.on("no_gpu") or (where.known and not where.gpus) else count
    if asked and gpus != count:
        step.lose(asked, f"{asked}: {count} of a step that has no GPU", "delete it, or no_gpu and the device")
    needs: dict[str, Any] = {"gpus": gpus}
    if gpus and where.arch:
        needs["archs"] = [where.arch]
    needs["network"] = True
    if nodes:
        needs["nodes"] = step.number("num_nodes", 1)
    elif step.number("num_nodes", 1) > 1:
        remedy = "write ranks: a program and its arguments for each node"
        step.lose(
            "num_nodes", f"num_nodes: {step.number('num_nodes', 1)}, whose commands do not say what each runs", remedy
        )
    return needs


def _profiles(step: Asked, where: Device) -> list[str] | None:
    """The profiles it is part of; None where all."""
    if not where.known:
        return []
    if step.on("fast_check_only"):
        for key in (each for each in ("optional", "autorun_on_main") if step.on(each)):
            step.lose(key, f"{key}: true beside fast_check_only", "say in profiles which pipelines it is part of")
        return ["pr"]
    if not step.on("optional"):
        return None
    if step.on("fast_check"):  # of a pipeline of its own there, whose steps those of changes leave out
        step.lose("fast_check", "fast_check: true of an optional step", "add pr to profiles, if a change shall run it")
    return [*(["main"] if step.on("autorun_on_main") else []), "nightly", "full"]


# --- what it runs --------------------------------------------------------------------------------


def _commands(step: Asked, ways: Ways) -> tuple[commands.Commands, bool]:
    key = step.chosen(COMMANDS)
    written = step.values.get(key, [])
    listed = written if isinstance(written, list) else [written]
    problem = Problem("wrong-type", "a command must be text", place=step.place(key))
    flat = [text for each in listed for text in (each if isinstance(each, list) else [each])]
    if not all(isinstance(text, str) for text in flat):
        step.problems.append(problem)
        listed = []
    if ways.prefixes:  # there a command passes through quotes of YAML once more
        listed = [[_once(each) for each in item] if isinstance(item, list) else _once(item) for item in listed]
    found, on_nodes = commands.said(listed, _workdir(step, ways), step.number("num_nodes", 1))
    for note in found.notes:
        below = (note.number,) if isinstance(written, list) else ()
        step.lose(key, note.what, note.remedy, *below)
    return found, on_nodes


def _once(text: str) -> str:
    return text.replace("\\\\", "\\")


def _workdir(step: Asked, ways: Ways) -> str:
    if folder := step.text("working_dir"):
        found = upload.filled(folder)
        for what in found.told:
            step.lose("working_dir", f"working_dir: {what}", upload.REMEDY)
        if "$" in found.text and not found.names:
            step.lose(
                "working_dir", f"working_dir: {found.text}, whose variables a shell reads there", "write the folder"
            )
        return found.text.rstrip("/") or "/"
    if ways.home.workspace:
        return str(PurePosixPath(ways.home.workspace) / ways.folder)
    step.lose(
        "label", "the folder it runs in by default", "give the stack's suite file a workspace, or the step a workdir"
    )
    return ""


def _shards(step: Asked, said: commands.Commands) -> int:
    shards = step.number("parallelism", 1)
    if shards != 1 and not said.shards:
        remedy = "its tests are divided among the shards instead; give shards back where each must run all"
        step.lose("parallelism", f"parallelism: {shards} of commands that do not divide", remedy)
    if shards == 1 and said.shards:
        remedy = "write shards, if its tests shall be divided"
        step.lose("label", "its commands divide their tests by a number of jobs that it does not give", remedy)
    return shards


# --- for which changes ---------------------------------------------------------------------------


def _sources(step: Asked, ways: Ways, places: dict[Path, Place]) -> dict[str, Any]:
    """``sources``, or nothing where every change runs it."""
    entries = step.values.get("source_file_dependencies", [])
    if not all(isinstance(each, str) for each in entries):
        place = step.place("source_file_dependencies")
        step.problems.append(Problem("wrong-type", "source_file_dependencies must be a list of text", place=place))
        return {}
    found = sources.prefixes(entries) if ways.prefixes else sources.boundaries(entries)
    for number in found.inert:
        what = f"{entries[number]!r}, which matches no path of a change there"
        step.lose("source_file_dependencies", what, "delete it, or write what was meant", number)
    if not found.patterns and (not entries or "" in entries) and ways.prefixes:
        return {}
    patterns = list(_unique(found.patterns))
    if not any(not each.startswith("!") for _, each in patterns):
        patterns = [(0, ways.file)]  # no change of a source runs it there, one of its file does
    places["sources",] = step.place("source_file_dependencies")
    places |= {
        ("sources", index): step.place("source_file_dependencies", number) for index, (number, _) in enumerate(patterns)
    }
    return {"sources": [each for _, each in patterns]}


def _unique(patterns: tuple[tuple[int, str], ...]) -> Iterator[tuple[int, str]]:
    seen = set()
    for number, each in patterns:
        if each not in seen:
            seen.add(each)
            yield number, each
