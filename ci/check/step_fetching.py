"""Rules about what a test step fetches while it runs: nothing unchecked, nothing that can move."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from ..errors import Problem
from . import fetching
from .installers import installer, operands
from .material import Case, Step
from .shell import Command

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PINNED = re.compile(r"[\w.\[\],-]+\s*(?:===?)\s*[^*]+")
_REMOTE = re.compile(r"(?:[\w.\[\],-]+\s*@\s*)?(?:git\+|https?://|hg\+|svn\+)")
_FILE = re.compile(r"[.~/$]|.*\.(?:whl|tar\.gz|zip|txt|toml)\b|.*[/\\]")
_LOCKED = {"--require-hashes", "--no-index", "--locked", "--frozen"}
_HUBS = {"hf", "huggingface-cli"}


def step_downloads(case: Case) -> Iterator[Problem]:
    """What a step fetches is pinned: a version, a full commit, a hash that is compared."""
    if case.catalogue is None:
        return
    found: dict[tuple[str, str, str], list[Command]] = {}
    for call in case.calls:
        at = case.catalogue.document.place(*call.where)
        command = call.command._replace(line=at.line, column=at.column)
        found.setdefault((call.step, call.arch, case.in_suites(at).file), []).append(command)
    for (name, _, file), commands in found.items():
        step = Step(file, tuple(commands))
        problems = [*fetching.unchecked([step]), *fetching.moving([step], _nothing)]
        problems += [problem for command in commands for problem in _of_command(step, command)]
        for each in problems:
            yield each._replace(message=f"step {name}: {each.message}", hint=_HINTS[each.reference])


_HINTS = {
    "unchecked-download": "bring it with the image (ADD --checksum=sha256:...); or check it here: sha256sum -c",
    "moving-source": "bring it with the image, at a full commit; or check a full commit out in this step",
    "unlocked-install": "bring it with the image; or NAME==VERSION, or git+URL@COMMIT with 40 digits",
    "moving-model": "name it under models:, and the cache has it; or --revision with a full commit",
}


def _nothing(_name: str) -> bool:
    return False


def _of_command(step: Step, command: Command) -> Iterator[Problem]:
    at = step.place(command)
    for what in _unpinned(command):
        yield Problem("unlocked-install", f"what is installed as {what} is another thing every day", place=at)
    words = command.words
    if command.program in _HUBS and words[1:2] == ("download",):
        given = [each for before, each in pairwise(words) if before == "--revision"]
        given += [each.removeprefix("--revision=") for each in words if each.startswith("--revision=")]
        if not any(_COMMIT.fullmatch(each) for each in given):
            yield Problem("moving-model", f"{command.program} download takes what its branch is at that day", place=at)


def _unpinned(command: Command) -> Iterator[str]:
    """The requirements of an installer that can move."""
    words = installer(command)
    if not words or _LOCKED & set(words) or {"PIP_REQUIRE_HASHES=1", "PIP_NO_INDEX=1"} & set(command.given):
        return
    named = words[0] in {"easy_install", "uvx"}
    if not named and words[1] in {"sync", "run"}:
        return
    yield from (word for word in operands(words[0], words[1 if named else 2 :]) if not _is_pinned(word))


def _is_pinned(word: str) -> bool:
    if _REMOTE.match(word):
        return "#sha256=" in word or any(map(_COMMIT.fullmatch, re.split(r"[@#&]", word)))
    return bool(_PINNED.fullmatch(word) or _FILE.match(word))
