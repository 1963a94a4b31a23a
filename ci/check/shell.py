"""Shell text as simple commands with their places: enough of the grammar to see which program gets which words.

Nothing is expanded: ``$X`` stays as it is written, and a command substitution is a command of its own.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from ..recipe.dockerfile.lexer import lex
from .fates import Fate, Options, Token, fates
from .wrappers import EXECS, SHELLS, WRAPPERS, script_of, unwrapped

_KEYWORDS = frozenset({"if", "then", "elif", "else", "while", "until", "do", "!", "{", "time"})
_RUN = re.compile(r"(?i)\A\s*(?:ONBUILD(?:\s|\\\n)+)?RUN\b")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=", re.ASCII)


class Command(NamedTuple):
    """A simple command: its words without quotes, behind keywords, assignments and wrappers such as sudo.

    ``given`` are its assignments, ``files`` what it is redirected to or from, ``fed`` its here-documents.  Commands
    that are joined by pipes have one ``pipeline``.  ``counts``: where it fails, the step does.
    """

    words: tuple[str, ...]
    given: tuple[str, ...]
    files: tuple[str, ...]
    fed: str
    pipeline: int
    line: int
    column: int
    counts: bool = True

    @property
    def program(self) -> str:
        """The name of the program, without its folder."""
        return self.words[0].rpartition("/")[2] if self.words else ""


def commands(text: str, line: int = 1, column: int = 1, options: Options = Options()) -> tuple[Command, ...]:  # noqa: B008 - frozen
    """The commands of shell ``text``, which begins at ``line`` and ``column`` of its file, in order of their places.

    ``options`` are those of the shell that runs it; a first line such as ``#!/bin/sh -e`` adds to them.
    """
    reader = _Reader(text, line, column)
    reader.until("")
    first = text.partition("\n")[0]
    return tuple(reader.finished(options.after(first.split()) if first.startswith("#!") else options))


def instruction(text: str, line: int, options: Options = Options()) -> tuple[Command, ...]:  # noqa: B008 - frozen
    """The commands of a RUN (or ONBUILD RUN) as it stands in a Dockerfile from ``line`` on."""
    for node in lex(text).nodes[:1]:
        if (node.trigger or node).is_json:
            return arguments((node.trigger or node).words, line)
    body = re.sub(_RUN, lambda match: re.sub(r"\w", " ", match[0]), _continued(text))
    return commands(body, line, 1, options)


def _continued(text: str) -> str:
    """The instruction with its continuations as a shell knows them; every word keeps its place.

    Where a line is continued, BuildKit allows blanks behind the backslash, and passes over comments and blank lines.
    """
    lines = text.split("\n")
    for at, line in enumerate(lines[:-1]):
        bare = line.rstrip(" \t\r")
        if at and (not line.strip() or line.lstrip().startswith("#")):
            lines[at] = "\\"
        elif bare.endswith("\\") and not bare.endswith("\\\\"):
            lines[at] = bare
        else:
            break
    return "\n".join(lines)


def arguments(words: Sequence[str], line: int = 1) -> tuple[Command, ...]:
    """The command that an argument list is, and those of a script it gives to a shell by -c."""
    return tuple(_Open(0, 0, [(0, word) for word in words]).command(line, 1, Fate(True, Options())))


@dataclass
class _Open:
    """A command while it is read; ``words`` with their offsets."""

    at: int
    pipeline: int
    words: list[tuple[int, str]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    fed: list[tuple[int, str]] = field(default_factory=list)
    substituted: bool = False

    def bare(self) -> tuple[list[tuple[int, str]], list[str]]:
        """The words from the program on, and the assignments in front of it."""
        words, given = list(self.words), []
        while words:
            word = words[0][1]
            name = word.rpartition("/")[2]
            if _ASSIGNMENT.match(word):
                given.append(words.pop(0)[1])
            elif word in _KEYWORDS or word.startswith("--"):
                words.pop(0)
            elif word == "function":  # and its name
                del words[:2]
            elif name in WRAPPERS and len(words) > 1:
                words = unwrapped(name, words)
            elif name == "find" and (started := [at for at, each in enumerate(words) if each[1] in EXECS]):
                words = words[started[0] + 1 :]
            else:
                break
        return words, given

    def command(self, line: int, column: int, fate: Fate, piped: str = "") -> Iterator[Command]:
        """The finished command at that place, and those of the script that it runs; ``piped`` is what it reads."""
        words, given = self.bare()
        texts = tuple(text for _, text in words)
        fed = "".join(text for _, text in self.fed)
        yield Command(texts, tuple(given), tuple(self.files), fed, self.pipeline, line, column, fate.counts)
        script = script_of(texts, fate.options)
        if script is None and piped and self.runs_what_it_is_fed:
            script = (piped, Options().after(texts[1:]))
        for each in commands(script[0], 1, 1, script[1]) if script else ():
            yield self.holding(each, fate)._replace(line=line, column=column)

    def holding(self, inner: Command, fate: Fate) -> Command:
        """A command of a script that this one runs: in a pipeline of its own, and it counts only if this does."""
        return inner._replace(pipeline=(self.pipeline + 1) * 1000 + inner.pipeline, counts=inner.counts and fate.counts)

    @property
    def passes_on(self) -> str:
        """What it writes into a pipe, where that stands in the text."""
        words = [text for _, text in self.bare()[0]]
        if words[:1] in (["echo"], ["printf"]):
            return " ".join(words[1:]).replace("\\n", "\n")
        return "".join(text for _, text in self.fed) if words in (["cat"], ["cat", "-"]) else ""

    @property
    def runs_what_it_is_fed(self) -> bool:
        """Whether its here-documents are scripts: those of a shell that is given no file."""
        words = [text for _, text in self.bare()[0]]
        if not words or words[0].rpartition("/")[2] not in SHELLS:
            return not words
        for before, word in pairwise(words):
            if re.fullmatch("-[a-z]*s", word):
                return True
            if word[0] not in "-+" and not re.fullmatch("[-+][a-zA-Z]*[oO]", before):
                return False
        return True


class _Reader:
    """A cursor over one text; commands are kept in the order in which they end."""

    def __init__(self, text: str, line: int, column: int) -> None:
        self.text = text
        self.line, self.column = line, column
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self.at = 0
        self.pipeline = 0
        self.end = ""
        self.open: _Open | None = None
        self.done: list[_Open] = []
        self.waiting: list[tuple[_Open, str, bool]] = []
        self.depth = 0
        self.signs: list[Token] = []

    def finished(self, options: Options) -> Iterator[Command]:
        """All commands, by place, of a text that is run with these options."""
        done = sorted(self.done, key=lambda one: one.at)
        said = [Token(each.at, tuple(text for _, text in each.words)) for each in done if not each.substituted]
        found = fates(sorted((*said, *self.signs), key=lambda token: token.at), options)
        passed: dict[int, str] = {}
        for each in done:
            words, _ = each.bare()
            fate = found.get(each.at, Fate(True, options))
            place = self._place(words[0][0] if words else each.at)
            yield from each.command(*place, fate, "" if each.fed else passed.get(each.pipeline, ""))
            passed[each.pipeline] = each.passes_on
            if each.runs_what_it_is_fed:
                start = Options().after([text for _, text in words][1:]) if words else options
                for at, body in each.fed:
                    for inner in commands(body, *self._place(at), start):
                        yield each.holding(inner, fate)

    def _place(self, at: int) -> tuple[int, int]:
        row = bisect_right(self.starts, at) - 1
        return self.line + row, at - self.starts[row] + (self.column if row == 0 else 1)

    def until(self, end: str) -> None:
        """Read commands up to ``end``, or all; a list inside of another begins with none open."""
        outer, self.open = self.open, None
        around, self.end = self.end, end
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == end:
                self.at += 1
                break
            self._step(char)
        self._close()
        self.open, self.end = outer, around

    def _step(self, char: str) -> None:
        if char in " \t\r":
            self.at += 1
        elif self.text.startswith("\\\n", self.at):
            self.at += 2
        elif char == "#":
            self.at = self._find("\n")
        elif char == "\n":
            self.at += 1
            self._sign("\n")
            self._next_pipeline()
            self._documents()
        elif char in ";&|()":
            self._separator(char)
        elif char in "<>":
            self._redirect()
        else:
            at = self.at
            word = self._word()
            if self.text[self.at : self.at + 1] in {"<", ">"} and word.isdigit():
                return  # the number of a descriptor
            self._opened(at).words.append((at, word))

    def _separator(self, char: str) -> None:
        self.at += 1
        if char == "(" and self.text[: self.at - 1].endswith("="):
            self.at = self._find(")") + 1  # the words of an array
        elif char == "(":
            self._close()
            self._sign("(")
            self.until(")")
            self._sign(")")
        elif char == "|" and self.text[self.at : self.at + 1] != "|":
            self._sign("|")
            self.at += self.text.startswith("&", self.at)
            self._close()
        else:
            twice = char in "&|" and self.text.startswith(char, self.at)
            self._sign(char * 2 if twice else char.replace(")", ";"))
            self.at += twice
            self._next_pipeline()

    def _sign(self, sign: str) -> None:
        """Keep an operator, unless it stands in a substitution: what becomes of those is not followed."""
        if not self.depth:
            self.signs.append(Token(self.at - 1, sign=sign))

    def _substitute(self, end: str) -> None:
        self.depth += 1
        self.until(end)
        self.depth -= 1

    def _next_pipeline(self) -> None:
        self._close()
        self.pipeline += 1

    def _opened(self, at: int) -> _Open:
        if self.open is None:
            self.open = _Open(at, self.pipeline, substituted=self.depth > 0)
        return self.open

    def _close(self) -> None:
        if self.open is not None:
            self.done.append(self.open)
            self.open = None

    def _redirect(self) -> None:
        opened = self._opened(self.at)
        sign = re.compile(r"<<<|<<-?|[<>]\(|[<>][>&|]?").match(self.text, self.at)
        assert sign is not None  # noqa: S101 - the caller saw the first character of it
        self.at = sign.end()
        if sign[0].endswith("("):
            self._substitute(")")
            return
        while self.text[self.at : self.at + 1] in {" ", "\t"}:
            self.at += 1
        at, word = self.at, self._word()
        if sign[0] == "<<<":
            opened.fed.append((at, word + "\n"))
        elif sign[0].startswith("<<"):
            self.waiting.append((opened, word, sign[0] == "<<-"))
        elif not word.isdigit() and word != "-":
            opened.files.append(word)

    def _documents(self) -> None:
        """The bodies of the here-documents that the line before announced."""
        for opened, name, chomps in self.waiting:
            start = self.at
            while self.at < len(self.text):
                end = self._find("\n")
                row = self.text[self.at : end]
                begin, self.at = self.at, min(end + 1, len(self.text))
                if (row.lstrip("\t") if chomps else row) == name:
                    opened.fed.append((start, self.text[start:begin]))
                    break
            else:
                opened.fed.append((start, self.text[start:]))
        self.waiting.clear()

    def _find(self, char: str) -> int:
        found = self.text.find(char, self.at)
        return len(self.text) if found < 0 else found

    def _word(self) -> str:
        parts: list[str] = []
        while self.at < len(self.text) and self.text[self.at] not in f" \t\r\n;&|()<>{self.end}":
            if self.text.startswith("\\\n", self.at):
                self.at += 2
            else:
                parts.append(self._piece())
        return "".join(parts)

    def _piece(self) -> str:
        char = self.text[self.at]
        if char == "'":
            end = self.text.find("'", self.at + 1)
            end = len(self.text) if end < 0 else end
            piece = self.text[self.at + 1 : end]
            self.at = end + 1
            return piece
        if char == '"':
            return self._quoted()
        if char in "$`":
            return self._dollar()
        if char == "\\":
            self.at += 1
            char = self.text[self.at : self.at + 1]
        self.at += 1
        return char

    def _quoted(self) -> str:
        self.at += 1
        parts: list[str] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == '"':
                self.at += 1
                break
            if char in "$`":
                parts.append(self._dollar())
                continue
            if char == "\\" and self.text[self.at + 1 : self.at + 2] in {'"', "\\", "$", "`", "\n"}:
                self.at += 1
                char = self.text[self.at].replace("\n", "")
            self.at += 1
            parts.append(char)
        return "".join(parts)

    def _dollar(self) -> str:
        """A variable as it is written; a substitution is read as commands, and stands as ``$()`` in the word."""
        if self.text[self.at] == "`":
            self.at += 1
            self._substitute("`")
            return "$()"
        if self.text.startswith("$((", self.at):
            end = self.text.find("))", self.at)
            self.at = len(self.text) if end < 0 else end + 2
            return "$(())"
        if self.text.startswith("$(", self.at):
            self.at += 2
            self._substitute(")")
            return "$()"
        if not self.text.startswith("${", self.at):
            self.at += 1
            return "$"
        start, depth = self.at, 0
        while self.at < len(self.text):
            char = self.text[self.at]
            if self.text.startswith("$(", self.at) or char == "`":
                self._dollar()
                continue
            depth += {"{": 1, "}": -1}.get(char, 0)
            self.at += 1
            if not depth and char == "}":
                break
        return self.text[start : self.at]
