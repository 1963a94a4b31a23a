"""The command lines of a step as commands of ours, each with its own result."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import line, state, upload
from .line import Part

_SHARD = re.compile(
    r"""[ ]--(?:shard-id|num-shards)[= ]["']?\$?\$\{?BUILDKITE_PARALLEL_JOB(?:_COUNT)?\}?["']?(?=\s|$)""", re.VERBOSE
)
_ONLY_SHELL = frozenset((":", "bg", "disown", "exit", "fg", "jobs", "kill", "return", "times", "type", "wait"))
"""Programs of the shell itself that nothing else has."""

_RUNS_PYTEST = re.compile(r"^(?!.*\b(?:pip|apt-get)\b).*(?<![\w./=-])pytest\s", re.DOTALL)
_FIXED_NETWORK = re.compile(r"\b192\.168\.\d+\.\d+")
BASH = ("bash", "-e", "-o", "pipefail", "-c")

Text = tuple[int, str]
"""A command line and its number in the step's list."""


class Note(NamedTuple):
    """Something of the line ``number`` that was not carried over: what, and what to do."""

    number: int
    what: str
    remedy: str


@dataclass
class Commands:
    """The commands of a step, each with the number of its line; ``env`` and ``workdir`` are the whole step's.

    ``before`` goes before every further command, and none has had ``unused`` of it yet; ``ending`` is told if another
    command follows.
    """

    workdir: str = ""
    env: dict[str, str] = field(default_factory=dict)
    made: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    later: dict[str, str] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    ending: list[Note] = field(default_factory=list)
    shards: bool = False

    def note(self, number: int, what: str, remedy: str) -> None:
        """Tell that something of line ``number`` was not carried over."""
        self.notes.append(Note(number, what, remedy))

    def add(self, text: Text) -> None:
        """One more line."""
        number, written = text
        clean = self.cleaned(number, written)
        found = line.read(clean)
        for comment in found.comments:
            self.note(number, f"the comment {comment!r}", "keep it as a comment of the file")
        for part in found.parts:
            self._take(number, part)

    def cleaned(self, number: int, text: str) -> str:
        """The line as the shell there gets it, without the words that divide its tests: our shards do that."""
        rest = _SHARD.sub("", text)
        self.shards = self.shards or rest != text
        filled = upload.filled(rest)
        for what in filled.told:
            self.note(number, what, upload.REMEDY)
        if "BUILDKITE_" in filled.text:
            self.note(number, "it reads variables of Buildkite, which no sandbox has", "write what it should do itself")
        return filled.text.strip()

    def finish(self, number: int) -> None:
        """Behind the last line, ``number``: what only changes the shell is a command if it runs something itself."""
        if any(map(state.runs, self.unused)):
            self._make(number, Part(self.before.pop(), plain=False))

    def _take(self, number: int, part: Part) -> None:
        if not self._sets(part):
            self._make(number, part)

    def _make(self, number: int, part: Part) -> None:
        self.notes += self.ending
        whole = Part(" && ".join((*self.before, part.text)), plain=False) if self.before else part
        env = {**self.later, **dict(whole.given)}
        made = _command(whole)
        if env and "shell" not in made:
            made["env"] = env
        elif self.later:
            made["env"] = dict(self.later)
        if "pytest" not in made and _RUNS_PYTEST.search(whole.text):
            remedy = "write it as pytest: its exit code is all its verdict, and every shard runs all of it"
            self.note(number, "pytest runs inside of another program", remedy)
        self.made.append((number, made))
        self.unused, self.ending = [], list(_ending(number, part))

    def _sets(self, part: Part) -> bool:
        """Whether ``part`` only changes what the commands behind it meet; notes that."""
        if part.plain and part.first == "export" and (given := _exports(part.words[1:])) is not None:
            (self.later if self.made or self.before else self.env).update(given)
        elif part.plain and part.first == "cd" and len(part.words) == 2 and not (self.made or self.before):
            self.workdir = posixpath.normpath(posixpath.join(self.workdir, part.words[1]))
        elif state.is_all(part.text):
            self.before.append(part.text)
            self.unused.append(part.text)
        else:
            return False
        return True


def _ending(number: int, part: Part) -> Iterator[Note]:
    """What ends with the command that ``part`` became, where all of the lines are one shell's there."""
    if part.plain:
        return
    if state.sets(part.text):
        remedy = "repeat that in the commands that follow, where they need it"
        yield Note(number, "what it sets or enters ends with it", remedy)
    if state.has_jobs(part.text):
        what = "what it starts in the background is no job of the commands that follow"
        yield Note(number, what, "start it, use it and end it in one command")


def _exports(words: Sequence[str]) -> dict[str, str] | None:
    """``A=1 B=2`` as variables; None where a word is none."""
    pairs = [word.partition("=") for word in words]
    if not pairs or not all(equals and re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) for name, equals, _ in pairs):
        return None
    return {name: value for name, _, value in pairs}


def _command(part: Part) -> dict[str, Any]:
    if not part.plain or "" in part.words or part.words[0] in _ONLY_SHELL:
        return {"shell": part.text}
    words = list(part.words)
    if words[0] in ("pytest", "py.test"):
        return {"pytest": words[1:] or ["--verbosity=0"]}
    if words[0] in ("python", "python3") and words[1:3] == ["-m", "pytest"]:
        return {"pytest": words[3:] or ["--verbosity=0"]}
    return {"run": words}


# --- a step on several nodes ---------------------------------------------------------------------


def ranks(found: Commands, texts: Sequence[Text], groups: Sequence[Sequence[Text]], nodes: int) -> bool:
    """Whether the lines say what each of ``nodes`` runs, and then as commands of that many ranks.

    Either a list per node (``groups``), or a line per node, or ``[a, b] && [c, d]``: b beside d after a beside c.
    """
    if len(groups) == nodes:
        whole = [(group[0][0], " && ".join(text for _, text in group)) for group in groups if group]
        return len(whole) == nodes and _together(found, [whole])
    if len(texts) == 1 and (rounds := _brackets(texts[0][1], nodes)):
        return _together(found, [[(texts[0][0], text) for text in each] for each in rounds])
    if len(texts) == 1 and (script := _launcher(texts[0][1], nodes)):
        found.workdir = script[0]
        found.note(texts[0][0], "the script that started the nodes", "its commands are ranks; Slurm starts them")
        return _together(found, [[(texts[0][0], text) for text in script[1:]]])
    return len(texts) == nodes and _together(found, [list(texts)])


def _together(found: Commands, rounds: Sequence[Sequence[Text]]) -> bool:
    for each in rounds:
        words = [_rank(found.cleaned(number, text)) for number, text in each]
        for number, text in each:
            if match := _FIXED_NETWORK.search(text):
                found.note(number, f"the address {match[0]} of a network of theirs", "use MASTER_ADDR and MASTER_PORT")
        found.made.append((each[0][0], {"ranks": words}))
    return bool(rounds)


def _rank(text: str) -> list[str]:
    found = line.read(text)
    part = found.parts[0] if len(found.parts) == 1 else None
    if part is None or not part.plain or not part.words or "" in part.words:
        return [*BASH, text]
    given = [f"{name}={value}" for name, value in part.given]
    return ["env", *given, *part.words] if given else list(part.words)


def _brackets(text: str, nodes: int) -> list[list[str]]:
    """``p ; [a, b] && [c, d]`` as [[p ; a, p ; c], [p ; b, p ; d]]; empty for anything else."""
    match = re.fullmatch(r"(?P<first>[^\[\]]*;)?\s*(?P<lists>\[[^\[\]]*\](?:\s*&&\s*\[[^\[\]]*\])+)\s*", text)
    lists = re.findall(r"\[([^\[\]]*)\]", match["lists"]) if match else []
    split = [[each.replace('"', "").strip() for each in inner.split(",")] for inner in lists]
    if match is None or len(lists) != nodes or len({len(each) for each in split}) != 1 or not all(map(all, split)):
        return []
    first = f"{match['first']} " if match["first"] else ""
    return [[first + each for each in row] for row in zip(*split, strict=True)]


def _launcher(text: str, nodes: int) -> list[str]:
    """``run-multi-node-test.sh FOLDER NODES GPUS IMAGE COMMAND...`` as the folder and a command per node."""
    quoted = text.replace("$IMAGE_TAG", "IMAGE_TAG")
    found = line.read(quoted)
    words = found.parts[0].words if len(found.parts) == 1 and found.parts[0].plain else ()
    if not words or not words[0].endswith("run-multi-node-test.sh") or len(words) != 5 + nodes:
        return []
    return [words[1], *words[5:]]


def said(commands: Sequence[Any], workdir: str, nodes: int) -> tuple[Commands, bool]:
    """What the command lines mean in ``workdir``, and whether they say what each of several ``nodes`` runs.

    A list among the lines is one node's.
    """
    found = Commands(workdir)
    groups = [[(number, str(text)) for text in each] for number, each in enumerate(commands) if isinstance(each, list)]
    flat = [
        (number, str(text))
        for number, each in enumerate(commands)
        for text in (each if isinstance(each, list) else [each])
    ]
    if nodes > 1 and ranks(found, flat, groups, nodes):
        return found, True
    for text in flat:
        found.add(text)
    found.finish(flat[-1][0] if flat else 0)
    return found, False
