"""From the text of a Dockerfile to its instructions: keyword, flags, words, heredocs, lines.

Follows moby's parser step by step (the tests compare the two), so that what counts as
one instruction here is what BuildKit runs.  Meaning is not judged: see ``model``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from .expand import SPACE, ExpandError, split_raw, split_words

_BLANKS = re.compile(r"[\t\v\f\r ]+")
_ANY_BLANK = re.compile(rf"[{SPACE}]+")
_PLAIN = re.compile(r"[^\s'\"\\`]+")
_HEREDOC = re.compile(r"(\d*)<<(-?)[\t\n\f\r ]*([^<]*)\Z")
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*\Z", re.ASCII)
_DIRECTIVES = frozenset({"syntax", "escape", "check"})

_WITH_HEREDOC = frozenset({"ADD", "COPY", "RUN"})
_JSON_OR_TEXT = frozenset({"CMD", "ENTRYPOINT", "RUN", "SHELL"})
_JSON_OR_WORDS = frozenset({"ADD", "COPY", "VOLUME"})
_TEXT = frozenset({"MAINTAINER", "STOPSIGNAL", "USER", "WORKDIR"})


class LexError(ValueError):
    """One instruction cannot be read; the message says why."""


class Heredoc(NamedTuple):
    """An inline document: ``content`` byte for byte, ``expand`` unless its delimiter is quoted."""

    name: str
    content: str = ""
    expand: bool = True
    chomp: bool = False
    descriptor: int = 0


class Node(NamedTuple):
    """One logical instruction; ``original`` is its text with the continuation lines joined."""

    keyword: str
    original: str
    flags: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    is_json: bool = False
    heredocs: tuple[Heredoc, ...] = ()
    start: int = 0
    end: int = 0
    trigger: Node | None = None


class Lexed(NamedTuple):
    """All instructions of a file, its parser directives, and what could not be read: (line, why)."""

    syntax: str | None
    escape: str
    nodes: tuple[Node, ...]
    errors: tuple[tuple[int, str], ...]


def lex(text: str) -> Lexed:
    """Split ``text`` (decoded, line ends untouched) into instructions; never raises."""
    reader = _Reader(text)
    nodes: list[Node] = []
    try:
        nodes.extend(reader.nodes())
    except LexError as error:
        reader.errors.append((reader.start, str(error)))
    return Lexed(_syntax(text), reader.escape, tuple(nodes), tuple(reader.errors))


def parse_heredoc(word: str) -> Heredoc | None:
    """The heredoc a word announces (``<<EOF``, ``3<<-"EOF"``), or ``None``; raises ``ExpandError``."""
    match = _HEREDOC.match(word)
    if not match or not match[3]:
        return None
    names = split_words(match[3], raw_quotes=False)
    if len(names) != 1:
        return None
    quoted = split_words(match[3], raw_quotes=True)
    expand = _quotes(names[0]) == _quotes(quoted[0])
    return Heredoc(names[0], "", expand, match[2] == "-", int(match[1] or 0))


def is_heredoc(word: str) -> bool:
    """Whether a COPY or ADD source is an inline document."""
    try:
        return "<<" in word and parse_heredoc(word) is not None
    except ExpandError:
        return False


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')


class _Reader:
    """Walks the physical lines once."""

    def __init__(self, text: str) -> None:
        self.lines = [line + "\n" for line in text.removeprefix("\ufeff").split("\n")]
        # The text after the last newline is a line only if there is some; it has no newline.
        last = self.lines.pop()[:-1]
        if last:
            self.lines.append(last)
        self.escape = "\\"
        self.at = 0
        self.start = 0
        self.errors: list[tuple[int, str]] = []
        self.seen: set[str] = set()
        self.directives_done = False

    def nodes(self) -> Iterator[Node]:
        while self.at < len(self.lines):
            raw = self.lines[self.at].rstrip("\r\n").lstrip(SPACE)
            self.at += 1
            self.start = self.at
            self._directive(raw)
            if raw.startswith("#"):
                continue
            part, ended = self._continued(raw)
            if ended and not part:
                continue
            try:
                node = _node(part if ended else self._join(part), self.escape)
            except LexError as error:
                self.errors.append((self.start, str(error)))
                continue
            heredocs = tuple(self._bodies(node))
            trigger = node.trigger and node.trigger._replace(heredocs=heredocs)
            yield node._replace(heredocs=heredocs, trigger=trigger, start=self.start, end=self.at)

    def _directive(self, line: str) -> None:
        if self.directives_done:
            return
        match = _DIRECTIVE.match(line)
        name = match[1].lower() if match else ""
        if not match or name not in _DIRECTIVES:
            self.directives_done = True
            return
        if name in self.seen:
            raise LexError(f"only one {name} parser directive can be used")
        self.seen.add(name)
        if name == "escape":
            if match[2] not in {"\\", "`"}:
                raise LexError(f"the escape directive takes \\ or `, not {match[2]}")
            self.escape = match[2]

    def _continued(self, line: str) -> tuple[str, bool]:
        """The line without its continuation character, and whether the instruction ends here."""
        bare = line.rstrip(" \t")
        if bare.endswith(self.escape) and (len(bare) == 1 or bare[-2] != self.escape):
            return bare[:-1], False
        return line, True

    def _join(self, first: str) -> str:
        parts = [first]
        ended = False
        while not ended and self.at < len(self.lines):
            line = self.lines[self.at].rstrip("\r\n")
            self.at += 1
            start = line.lstrip(SPACE)
            self._directive(line)
            if not start or start.startswith("#"):
                continue
            part, ended = self._continued(line)
            parts.append(part)
        return "".join(parts)

    def _bodies(self, node: Node) -> Iterator[Heredoc]:
        """The documents that follow an instruction, each up to its delimiter."""
        inner = node.trigger if node.keyword.upper() == "ONBUILD" and node.trigger else node
        if inner.keyword.upper() not in _WITH_HEREDOC or inner.is_json or "<<" not in node.original:
            return
        for heredoc in _announced(node.original):
            body: list[str] = []
            while True:
                if self.at >= len(self.lines):
                    raise LexError(f"the heredoc {heredoc.name} is never closed")
                line = self.lines[self.at]
                self.at += 1
                mark = line.rstrip("\r\n")
                if (mark.lstrip("\t") if heredoc.chomp else mark) == heredoc.name:
                    break
                body.append(line)
            yield heredoc._replace(content="".join(body))


def _announced(line: str) -> list[Heredoc]:
    try:
        words = split_raw(line)
    except ExpandError:
        return []  # as BuildKit: a line it cannot split has no heredocs
    try:
        return [found for word in words if "<<" in word and (found := parse_heredoc(word))]
    except ExpandError as error:
        raise LexError(f"a heredoc cannot be read: {error}") from None


def _syntax(text: str) -> str | None:
    """The image of a ``# syntax=`` line; it may follow a ``#!`` line, unlike other directives."""
    lines = text.removeprefix("\ufeff").split("\n")
    for line in lines[1:] if lines[0].startswith("#!") else lines:
        match = _DIRECTIVE.match(line)
        if not match or match[1].lower() not in _DIRECTIVES:
            return None
        if match[1].lower() == "syntax":
            return match[2].partition(" ")[0]
    return None


def _node(line: str, escape: str) -> Node:
    """Keyword, flags and words of one joined line."""
    parts = _BLANKS.split(line.strip(SPACE), maxsplit=1)
    keyword = parts[0]
    rest, flags = _split_flags(parts[1], escape) if len(parts) == 2 else ("", ())
    rest = rest.strip(SPACE)
    name = keyword.upper()
    if name == "ONBUILD":
        trigger = _node(rest, escape) if rest else None
        words = (trigger.keyword, *trigger.words) if trigger else ()
        return Node(keyword, line, flags, words, trigger=trigger)
    if name == "HEALTHCHECK":
        kind, _, command = _ANY_BLANK.sub(" ", rest, count=1).partition(" ")
        found = _json(command)
        tail = found if found is not None else ((command,) if command else ())
        return Node(keyword, line, flags, (kind, *tail) if kind else (), found is not None)
    found = _json(rest) if name in _JSON_OR_TEXT or name in _JSON_OR_WORDS else None
    if found is not None:
        return Node(keyword, line, flags, found, True)
    return Node(keyword, line, flags, _words(name, rest, escape))


def _words(name: str, rest: str, escape: str) -> tuple[str, ...]:
    if not rest:
        return ()
    if name in _JSON_OR_TEXT | _TEXT:
        return (rest,)
    if name == "ARG":
        return tuple(_quoted_words(rest, escape))
    if name in {"ENV", "LABEL"}:
        return tuple(_pairs(name, rest, escape))
    if name in _JSON_OR_WORDS | {"EXPOSE", "FROM"}:
        return tuple(_BLANKS.split(rest))
    return ()


def _json(rest: str) -> tuple[str, ...] | None:
    """The strings of an exec form; ``None`` where BuildKit falls back to the shell form."""
    if not rest.startswith("["):
        return None
    try:
        found = json.loads(rest, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in found):
        raise LexError("the JSON form takes strings only")
    return tuple(found)


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _split_flags(line: str, escape: str) -> tuple[str, tuple[str, ...]]:
    """The leading ``--name=value`` words, unquoted, and the rest of the line."""
    flags: list[str] = []
    at = 0
    while True:
        while at < len(line) and line[at] in SPACE:
            at += 1
        if not line.startswith("--", at):
            return line[at:], tuple(flags)
        at, word, quoted = _flag_word(line, at, escape)
        if word == "--":
            return line[at:], tuple(flags)
        if not word.isascii():
            raise LexError(f"a flag with other than ASCII characters is not modelled: {word}")
        if word or quoted:
            flags.append(word)


def _flag_word(line: str, at: int, escape: str) -> tuple[int, str, bool]:
    out: list[str] = []
    quote = ""
    quoted = False
    while at < len(line):
        if not quote and (plain := _PLAIN.match(line, at)):
            out.append(plain[0])
            at = plain.end()
            continue
        char = line[at]
        if not quote and char in SPACE:
            break
        at += 1
        if quote and char == quote:
            quote = ""
        elif not quote and char in {"'", '"'}:
            quote, quoted = char, True
        elif char == escape:
            out.append(line[at : at + 1])
            at += 1
        else:
            out.append(char)
    return min(at, len(line)), "".join(out), quoted


def _quoted_words(rest: str, escape: str) -> Iterator[str]:
    """Words separated by blanks outside quotes; quotes and escapes stay in the words."""
    if '"' not in rest and "'" not in rest and escape not in rest:
        yield from filter(None, _ANY_BLANK.split(rest))
        return
    word: list[str] = []
    quote = ""
    seen_quote = False
    at = 0
    while at < len(rest):
        char = rest[at]
        at += 1
        if not quote and char in SPACE:
            if word or seen_quote:
                yield "".join(word)
            word, seen_quote = [], False
            continue
        if quote:
            if char == quote:
                quote = ""
        elif char in {"'", '"'}:
            quote, seen_quote = char, True
        if char == escape and quote != "'":
            if at == len(rest):
                break
            word.append(char)
            char = rest[at]
            at += 1
        word.append(char)
    if word or seen_quote:
        yield "".join(word)


def _pairs(keyword: str, rest: str, escape: str) -> Iterator[str]:
    """Names and values in turn, of ``A=b C=d`` or of the old ``A b``."""
    words = list(_quoted_words(rest, escape))
    if words and "=" not in words[0]:
        parts = _BLANKS.split(rest, maxsplit=1)
        if len(parts) < 2:
            raise LexError(f"{keyword} takes a name and a value")
        yield from parts
        return
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise LexError(f"{keyword}: no = in {word}")
        yield from (name, value)
