"""Word expansion as BuildKit does it: ``$X``, ``${X:-word}``, quotes and the escape character.

A port of the rules of BuildKit's shell lexer, quirks included, because a word that
expands differently here would hash another file than the one that is copied.
What a variable holds is asked from a ``lookup``: a value, ``None`` for "has none",
or ``UnknownVariable`` raised for "cannot be known from the Dockerfile".
"""

from __future__ import annotations

import re
from collections.abc import Callable

SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""What Go calls white space; Python's own idea has four characters more."""

Lookup = Callable[[str], str | None]

_SPECIAL = frozenset("@*#?-$!0")
_MODIFIERS = frozenset("+-?#%")


class ExpandError(ValueError):
    """The word is not one that BuildKit (or this model of it) can expand."""


class UnknownVariable(LookupError):
    """The value of ``name`` is not written in the Dockerfile: it may come from the base image."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def expand(word: str, lookup: Lookup, escape: str = "\\") -> str:
    """One word, expanded and unquoted; raises ``ExpandError`` or what ``lookup`` raises."""
    if "$" not in word and '"' not in word and "'" not in word and escape not in word:
        return word
    return _Word(word, lookup, escape).process(None, raw_escapes=False)[0]


def split_raw(line: str) -> list[str]:
    """The words of a line with quotes, escapes and variables left as written (heredoc search)."""
    scan = _Word(line, lambda _name: None, "\\", raw_quotes=True, skip_unset=True)
    return scan.process(None, raw_escapes=True)[1]


def split_words(text: str, *, raw_quotes: bool) -> list[str]:
    """The words of ``text``, variables left as written, quotes kept only if ``raw_quotes``."""
    scan = _Word(text, lambda _name: None, "\\", raw_quotes=raw_quotes, skip_unset=True)
    return scan.process(None, raw_escapes=False)[1]


class _Word:
    """A cursor over one piece of text."""

    def __init__(
        self,
        text: str,
        lookup: Lookup,
        escape: str,
        *,
        raw_quotes: bool = False,
        skip_unset: bool = False,
    ) -> None:
        self.text = text
        self.position = 0
        self.lookup = lookup
        self.escape = escape
        self.raw_quotes = raw_quotes
        self.skip_unset = skip_unset
        self.raw_escapes = False
        # BuildKit shares this buffer between nested calls: a ${X:-word} in the middle of
        # a word drops what came before it from the list of words. Kept, it decides what a heredoc is.
        self.buffer: list[str] = []

    def peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def next(self) -> str:
        char = self.peek()
        self.position += len(char)
        return char

    def process(self, stop: str | None, *, raw_escapes: bool) -> tuple[str, list[str]]:
        """Expand up to ``stop`` (or the end): the text, and the same split into words."""
        outer, self.raw_escapes = self.raw_escapes, raw_escapes
        try:
            return self._process(stop)
        finally:
            self.raw_escapes = outer

    def _process(self, stop: str | None) -> tuple[str, list[str]]:
        result: list[str] = []
        words = _Words(self.buffer)
        special = {"$": self._dollar, "<": self._angle, "'": self._single, '"': self._double}
        while char := self.peek():
            if char == stop:
                self.position += 1
                return "".join(result), words.finish()
            if char in special:
                piece = special[char]()
                result.append(piece)
                (words.add if char == "$" else words.add_raw)(piece)
                continue
            self.position += 1
            if char != self.escape:
                words.add(char)
                result.append(char)
                continue
            if self.raw_escapes:
                words.add_raw(char)
                result.append(char)
            escaped = self.next()
            if not escaped:
                break
            words.add_raw(escaped)
            result.append(escaped)
        if stop is not None:
            raise ExpandError(f"the text ends before the matching {stop}")
        return "".join(result), words.finish()

    def _single(self) -> str:
        start = self.position
        end = self.text.find("'", start + 1)
        if end < 0:
            raise ExpandError("a single quote is never closed")
        self.position = end + 1
        return self.text[start : end + 1] if self.raw_quotes else self.text[start + 1 : end]

    def _double(self) -> str:
        quote = self.next()
        result = [quote] if self.raw_quotes else []
        while char := self.peek():
            if char == "$":
                result.append(self._dollar())
                continue
            self.position += 1
            if char == '"':
                if self.raw_quotes:
                    result.append(char)
                return "".join(result)
            if char == self.escape:
                if self.raw_escapes:
                    result.append(char)
                following = self.peek()
                if not following:
                    continue
                if following in {'"', "$", self.escape}:
                    char = self.next()
            result.append(char)
        raise ExpandError("a double quote is never closed")

    def _angle(self) -> str:
        self.position += 1
        if self.peek() != "<":
            return "<"
        start = self.position
        self.position += 1
        while self.peek() in {"\t", "\r", " "}:
            self.position += 1
        return "<" + self.text[start : self.position]

    def _dollar(self) -> str:
        self.position += 1
        if self.peek() != "{":
            name = self._name()
            return self._value(name, "$" + name) if name else "$"
        self.position += 1
        if self.peek() in {"", "{", "}", ":"}:
            raise ExpandError("bad substitution")
        name = self._name()
        operator = self.next()
        if operator == "}":
            return self._value(name, f"${{{name}}}")
        if operator == "/":
            return self._replace(name)
        return self._modified(name, operator)

    def _value(self, name: str, written: str) -> str:
        value = self.lookup(name)
        if value is None:
            return written if self.skip_unset else ""
        return value

    def _name(self) -> str:
        start = self.position
        first = self.peek()
        if first.isdecimal():
            while self.peek().isdecimal():
                self.position += 1
        elif first in _SPECIAL:
            self.position += len(first)
        else:
            while (char := self.peek()) and (char.isalpha() or char.isdecimal() or char == "_"):
                self.position += 1
        return self.text[start : self.position]

    def _modified(self, name: str, operator: str) -> str:
        colon = operator == ":"
        kind = self.next() if colon else operator
        if kind not in _MODIFIERS and not colon:
            raise ExpandError(f"unsupported modifier ({operator}) in ${{{name}...}}")
        trims = kind in {"#", "%"}
        if colon and trims:
            raise ExpandError(f"unsupported modifier (:{kind}) in ${{{name}...}}")
        word = self.process("}", raw_escapes=trims)[0]
        value = self.lookup(name)
        if value is None and self.skip_unset:
            return f"${{{name}{':' * colon}{kind}{word}}}"
        missing = value is None or (colon and not value)
        if kind == "-":
            return word if missing else value or ""
        if kind == "+":
            return "" if missing else word
        if kind == "?":
            if missing:
                raise ExpandError(f"{name}: {word or 'is not allowed to be unset or empty'}")
            return value or ""
        if not trims:
            raise ExpandError(f"unsupported modifier (:{kind}) in ${{{name}...}}")
        return _trim(kind, word, value or "")

    def _replace(self, name: str) -> str:
        everywhere = self.peek() == "/"
        self.position += everywhere
        pattern = self.process("/", raw_escapes=True)[0]
        replacement = self.process("}", raw_escapes=True)[0]
        value = self.lookup(name)
        if value is None and self.skip_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        regex = _pattern(pattern, greedy=True)
        # Go and Python disagree on empty matches and on "$1" in the replacement.
        if regex.fullmatch("") or (everywhere and "$" in replacement):
            raise ExpandError(f"${{{name}/{pattern}/{replacement}}} is not modelled")
        return regex.sub(lambda _match: replacement, value or "", count=0 if everywhere else 1)


class _Words:
    """Splits at unquoted blanks while text arrives piece by piece."""

    def __init__(self, buffer: list[str]) -> None:
        buffer.clear()
        self.buffer = buffer
        self.words: list[str] = []
        self.inside = False

    def add(self, text: str) -> None:
        for char in text:
            if char not in SPACE:
                self.buffer.append(char)
                self.inside = True
            elif self.inside and self.buffer:
                self.finish()

    def add_raw(self, text: str) -> None:
        if text:
            self.buffer.append(text)
        self.inside = True

    def finish(self) -> list[str]:
        if self.buffer:
            self.words.append("".join(self.buffer))
            self.buffer.clear()
            self.inside = False
        return self.words


def _pattern(pattern: str, *, greedy: bool) -> re.Pattern[str]:
    """A shell pattern (``*`` and ``?`` only, as in BuildKit) as a regular expression."""
    out: list[str] = []
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*":
            out.append(".*" if greedy else ".*?")
        elif char == "?":
            out.append(".")
        elif char == "\\":
            following = pattern[position : position + 1]
            if following in {"}", "/"}:
                continue
            if following not in {"*", "?", "\\"}:
                raise ExpandError(f"invalid escape \\{following} in the pattern {pattern}")
            position += 1
            out.append(re.escape(following))
        else:
            out.append(re.escape(char))
    return re.compile("".join(out))


def _trim(kind: str, word: str, value: str) -> str:
    """``${X#p}``, ``##``, ``%`` and ``%%``; a suffix is trimmed as the prefix of the reversed text."""
    greedy = word.startswith(kind)
    pattern = word[1:] if greedy else word
    if kind == "#":
        match = _pattern(pattern, greedy=greedy).match(value)
        return value[match.end() :] if match else value
    match = _pattern(_reversed(pattern), greedy=greedy).match(value[::-1])
    return value[: len(value) - match.end()] if match else value


def _reversed(pattern: str) -> str:
    """The pattern read backwards, each escape kept before what it escapes."""
    return "".join(re.findall(r"(?s)\\.|.", pattern)[::-1])
