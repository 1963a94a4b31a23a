"""Shell text as simple commands with their places: enough of the grammar to see which program gets which words.

Nothing is expanded: ``$X`` stays as it is written, and a command substitution is a command of its own.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

_KEYWORDS = frozenset({"if", "then", "elif", "else", "while", "until", "do", "!", "{", "time"})
_WRAPPERS = frozenset({"builtin", "command", "env", "exec", "nice", "nohup", "sudo", "timeout", "xargs"})
_SHELLS = frozenset({"ash", "bash", "dash", "ksh", "sh", "zsh"})
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=", re.ASCII)
_OPERAND = re.compile(r"[\d.]+[smhd]?")


class Command(NamedTuple):
    """A simple command: its words without quotes, behind keywords, assignments and wrappers such as sudo.

    ``given`` are its assignments, ``files`` what it is redirected to or from, ``fed`` its here-documents.  Commands
    that are joined by pipes have one ``pipeline``.
    """

    words: tuple[str, ...]
    given: tuple[str, ...]
    files: tuple[str, ...]
    fed: str
    pipeline: int
    line: int
    column: int

    @property
    def program(self) -> str:
        """The name of the program, without its folder."""
        return self.words[0].rpartition("/")[2] if self.words else ""


def commands(text: str, line: int = 1, column: int = 1) -> tuple[Command, ...]:
    """The commands of shell ``text``, which begins at ``line`` and ``column`` of its file, in order of their places."""
    reader = _Reader(text, line, column)
    reader.until("")
    return tuple(reader.finished())


def instruction(text: str, line: int) -> tuple[Command, ...]:
    """The commands of a RUN (or ONBUILD RUN) as it stands in a Dockerfile from ``line`` on."""
    body = re.sub(r"(?i)\A\s*(?:ONBUILD\s+)?RUN\b", lambda match: " " * len(match[0]), text)
    # Comment lines between continuations are no part of the command: as a continuation they keep every other place.
    body = re.sub(r"(?m)^[ \t]*#.*\n", lambda match: " " * (len(match[0]) - 2) + "\\\n", body)
    form = re.match(r"(?:\s|\\\n|--\S+)*", body)
    rest = body[form.end() :] if form else body
    try:
        words = json.loads(rest) if rest.startswith("[") else None
    except ValueError:
        words = None
    return commands(body, line) if words is None else arguments([str(word) for word in words], line)


def arguments(words: Sequence[str], line: int = 1) -> tuple[Command, ...]:
    """The command that an argument list is, and those of a script it gives to a shell by -c."""
    return tuple(_Open(0, 0, [(0, word) for word in words]).command(line, 1))


@dataclass
class _Open:
    """A command while it is read; ``words`` with their offsets."""

    at: int
    pipeline: int
    words: list[tuple[int, str]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    fed: list[tuple[int, str]] = field(default_factory=list)

    def bare(self) -> tuple[list[tuple[int, str]], list[str]]:
        """The words from the program on, and the assignments in front of it."""
        words, given = list(self.words), []
        while words:
            word = words[0][1]
            if _ASSIGNMENT.match(word):
                given.append(words.pop(0)[1])
            elif word in _KEYWORDS or word.startswith("--"):
                words.pop(0)
            elif word.rpartition("/")[2] in _WRAPPERS and len(words) > 1:
                words.pop(0)
                while len(words) > 1 and (words[0][1].startswith("-") or _OPERAND.fullmatch(words[0][1])):
                    words.pop(0)
            else:
                break
        return words, given

    def command(self, line: int, column: int) -> Iterator[Command]:
        """The finished command at that place, and those of the script it gives to a shell by -c."""
        words, given = self.bare()
        texts = tuple(text for _, text in words)
        fed = "".join(text for _, text in self.fed)
        yield Command(texts, tuple(given), tuple(self.files), fed, self.pipeline, line, column)
        options = [text for text in texts[1:-1] if re.fullmatch("-[a-z]*c", text)]
        if options and texts[0].rpartition("/")[2] in _SHELLS:
            script = texts[texts.index(options[0]) + 1]
            inner = commands(script)
            yield from (each._replace(line=line, column=column, pipeline=_inside(self, each)) for each in inner)

    @property
    def runs_what_it_is_fed(self) -> bool:
        """Whether its here-documents are scripts: those of a shell that is given no file."""
        words = [text for _, text in self.bare()[0]]
        if not words or words[0].rpartition("/")[2] not in _SHELLS:
            return not words
        for before, word in pairwise(words):
            if re.fullmatch("-[a-z]*s", word):
                return True
            if word[0] not in "-+" and not re.fullmatch("[-+][a-zA-Z]*[oO]", before):
                return False
        return True


def _inside(outer: _Open, inner: Command) -> int:
    """A pipeline of a script within a script, told apart from those around it."""
    return (outer.pipeline + 1) * 1000 + inner.pipeline


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
        self.nested: list[tuple[int, str]] = []

    def finished(self) -> Iterator[Command]:
        """All commands, by place."""
        for each in sorted(self.done, key=lambda one: one.at):
            words, _ = each.bare()
            yield from each.command(*self._place(words[0][0] if words else each.at))
            if each.runs_what_it_is_fed:
                for at, body in each.fed:
                    inner = commands(body, *self._place(at))
                    yield from (command._replace(pipeline=_inside(each, command)) for command in inner)

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
            self.until(")")
        elif char == "|" and self.text[self.at : self.at + 1] != "|":
            self.at += self.text.startswith("&", self.at)
            self._close()
        else:
            self._next_pipeline()

    def _next_pipeline(self) -> None:
        self._close()
        self.pipeline += 1

    def _opened(self, at: int) -> _Open:
        if self.open is None:
            self.open = _Open(at, self.pipeline)
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
            self.until(")")
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
            self.until("`")
            return "$()"
        if self.text.startswith("$((", self.at):
            end = self.text.find("))", self.at)
            self.at = len(self.text) if end < 0 else end + 2
            return "$(())"
        if self.text.startswith("$(", self.at):
            self.at += 2
            self.until(")")
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
