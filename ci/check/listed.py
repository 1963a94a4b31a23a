"""What the steps of a suite file run: each program with its words, the folder it starts in, and where that stands."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from ..errors import Place
from ..suites.catalogue import Catalogue
from . import shell

_PYTEST = ("pytest", "py.test")
_UNKNOWN = re.compile(r"[$*?~`<>{}]|\A-|\A[;+]\Z")
"""What a shell fills in, an option, and what ends the words of ``find -exec``."""
_SUITE = "{suite}"

Path = tuple[str | int, ...]


class Spot(NamedTuple):
    """A file or folder of an image: ``suite`` of the shipped test files, ``source`` of the tree under test."""

    tree: str
    path: str


@dataclass(frozen=True)
class Call:
    """One program of a step as it is written: ``words`` with the program first, started in ``folder`` of the image.

    ``where`` is the path, in the suite file, of its list of words or of its shell line; ``arch`` the kind of node that
    it is written for (``cpu`` or a gfx target), empty for all.
    """

    step: str
    arch: str
    words: tuple[str, ...]
    folder: str
    where: Path
    command: shell.Command

    @property
    def pytest(self) -> tuple[str, ...] | None:
        """The arguments of pytest where this starts it, else None."""
        if self.command.program in _PYTEST:
            return self.words[1:]
        at = next((at for at, pair in enumerate(pairwise(self.words)) if pair == ("-m", "pytest")), None)
        return None if at is None else self.words[at + 2 :]


def calls(catalogue: Catalogue) -> Iterator[Call]:
    """Every program that a step starts, those of its variants too; a shell line has several."""
    for name, step in catalogue.data.items():
        yield from _variant(name, "", step, step, ("steps", name))
        yield from _variant(name, "cpu", step, step.get("cpu", {}), ("steps", name, "cpu"))
        for arch, each in step.get("archs", {}).items():
            yield from _variant(name, arch, step, each, ("steps", name, "archs", arch))


def _variant(name: str, arch: str, step: Mapping[str, Any], given: Mapping[str, Any], where: Path) -> Iterator[Call]:
    folder = step.get("workdir", _SUITE)
    for index, command in enumerate(given.get("commands", ())):
        for path, found in _programs(command, (*where, "commands", index)):
            start = folder
            for each in found:
                if each.words:
                    yield Call(name, arch, each.words, start, path, each)
                if each.program == "cd" and len(each.words) == 2:
                    start = posixpath.normpath(posixpath.join(start, each.words[1]))


def _programs(command: Mapping[str, Any], where: Path) -> Iterator[tuple[Path, tuple[shell.Command, ...]]]:
    if "shell" in command:
        yield (*where, "shell"), shell.commands(command["shell"])
    if "pytest" in command:
        yield (*where, "pytest"), shell.arguments(("pytest", *command["pytest"]))
    if "run" in command:
        yield (*where, "run"), shell.arguments(command["run"])
    for rank, words in enumerate(command.get("ranks", ())):
        yield (*where, "ranks", rank), shell.arguments(words)


def place(catalogue: Catalogue, call: Call, word: str) -> Place:
    """Where ``word`` of a call stands in the suite file: its own line where it has one."""
    written = catalogue.document.value
    for key in call.where:
        written = written[key]
    index = written.index(word) if isinstance(written, list) and word in written else None
    return catalogue.document.place(*call.where) if index is None else catalogue.document.place(*call.where, index)


def spot(catalogue: Catalogue, folder: str, word: str) -> Spot | None:
    """The file or folder that ``word`` names in ``folder`` of an image; None where that is neither suite nor source."""
    if not word or _UNKNOWN.search(word.removeprefix(_SUITE)):
        return None
    whole = posixpath.normpath(posixpath.join(folder, word))
    for tree, root in (("suite", _SUITE), ("source", catalogue.workspace.rstrip("/"))):
        if root and (whole == root or whole.startswith(f"{root}/")):
            return Spot(tree, whole[len(root) + 1 :])
    return None
