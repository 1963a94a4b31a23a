"""Whether the step that a shell command is part of fails where the command does.

Lists, pipelines, groups and ``set -e`` are followed; what a condition or the caller of a function does is not: there a
failure counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_OPEN = {"if": "fi", "while": "done", "until": "done", "for": "done", "select": "done", "case": "esac", "{": "}"}
_CLOSE = frozenset({"fi", "done", "esac", "}", ")"})
_INNER = frozenset({"!", "time", "then", "elif", "else", "do"})
_ASK = frozenset({"if", "elif", "while", "until"})
_BREAKS = frozenset({";", "\n"})
_LISTS = frozenset({"for", "case", "select"})
_MILD = frozenset({":", "echo", "printf", "rm", "sleep", "true"})
"""What lets a script go on, in one that takes its functions from another file."""


class Options(NamedTuple):
    """What a shell does by itself: end at a failure (``set -e``), and see one within a pipeline."""

    errexit: bool = False
    pipefail: bool = False

    def after(self, words: Sequence[str]) -> Options:
        """The options after a ``set`` with these words, or of a shell that is started with them."""
        found = self
        for word, following in zip(words, (*words[1:], ""), strict=False):
            if match := re.fullmatch("([-+])([a-zA-Z]+)", word):
                on = match[1] == "-"
                if "e" in match[2] or (match[2].endswith("o") and following == "errexit"):
                    found = found._replace(errexit=on)
                if match[2].endswith("o") and following == "pipefail":
                    found = found._replace(pipefail=on)
        return found


class Token(NamedTuple):
    """A command with its words as they are written, keywords included; or an operator in ``sign``."""

    at: int
    words: tuple[str, ...] = ()
    sign: str = ""


class Fate(NamedTuple):
    """Whether a failure of the command ``counts``, and the options where it stands."""

    counts: bool
    options: Options


def fates(tokens: Sequence[Token], options: Options) -> Mapping[int, Fate]:
    """The fate of each command by its offset; ``options`` are those at the start."""
    flow = _Flow([part for token in tokens for part in _parts(token)], options)
    return {each.at: flow.fate(index) for index, each in enumerate(flow.tokens) if each.words}


def _parts(token: Token) -> list[Token]:
    """The keywords of a command as signs, and what is left of it."""
    found, words = [], list(token.words)
    if words[:1] == ["function"] and len(words) > 1:  # name() { in other words; some write both
        found, words = [token._replace(words=(words[1],))], words[2:]
        found += [Token(token.at, sign=sign) for sign in "()"] if words else []
    while words and (words[0] in _INNER or words[0] in _OPEN or words[0] in _CLOSE):
        found.append(Token(token.at, sign=words.pop(0)))
        if found[-1].sign in _LISTS:
            words.clear()
    return [*found, *([token._replace(words=tuple(words))] if words or token.sign else [])]


class _Flow:
    """A text as signs and commands: which group each is in, where groups end, what is asked, which options hold."""

    def __init__(self, tokens: list[Token], options: Options) -> None:
        self.tokens = tokens
        self.around = [-1] * len(tokens)
        self.ends: dict[int, int] = {}
        self.asked = [False] * len(tokens)
        self.options = [options] * len(tokens)
        open_, asks = list[int](), list[bool]()
        for index, token in enumerate(tokens):
            if token.sign in _CLOSE and open_:
                self.ends[open_.pop()] = index
                asks.pop()
            self.around[index] = open_[-1] if open_ else -1
            if token.sign in _OPEN or token.sign == "(":
                open_.append(index)
                asks.append(token.sign in _ASK)
            elif asks and token.sign in {"then", "do", "elif"}:
                asks[-1] = token.sign == "elif"
            self.asked[index] = any(asks)
            options = options.after(token.words) if token.words[:1] == ("set",) else options
            self.options[index] = options
        self.sourced = any(token.words[:1] in {(".",), ("source",)} for token in tokens)

    def fate(self, index: int) -> Fate:
        return Fate(self.asked[index] or self._counts(index), self.options[index])

    def _sign(self, index: int) -> str:
        return self.tokens[index].sign if 0 <= index < len(self.tokens) else "\n"

    def _counts(self, index: int) -> bool:
        """What becomes of the status of the command, from operator to operator and from group to group."""
        if self._sign(self._first(index) - 1) == "!":
            return False
        at, exits = index, self.options[index].errexit and not self._shielded(index)
        while at + 1 < len(self.tokens):
            sign = self._sign(at + 1)
            if sign == "|" and self.options[index].pipefail:
                at = self._operand(at + 2)
            elif sign == "&&":
                at, exits = self._operand(at + 2), False
            elif sign in {"||", "&", "|"}:
                return sign == "||" and self._ends_it(at + 2)
            elif sign in _BREAKS and not self._leaves(at + 1):
                return exits or self._next_looks(at + 1)
            else:
                group = self.around[at]
                if group < 0 or self._is_function(group) or group not in self.ends:
                    return True
                if self._sign(group) in {"for", "while", "until", "select"}:
                    return exits
                at = self.ends[group]
        return True

    def _leaves(self, index: int) -> bool:
        """Whether nothing more of its group comes after the separator at ``index``."""
        after = self._skip(index)
        arm = self._sign(index) == ";" == self._sign(index + 1)
        return arm or after >= len(self.tokens) or self._sign(after) in {*_CLOSE, "else", "elif"}

    def _skip(self, index: int) -> int:
        while index < len(self.tokens) and self._sign(index) in _BREAKS:
            index += 1
        return index

    def _next_looks(self, index: int) -> bool:
        """Whether the command after a separator looks at the status itself."""
        after = self._skip(index)
        while self._sign(after) in {*_INNER, *_OPEN} and after < len(self.tokens):
            after += 1
        return after < len(self.tokens) and any("$?" in word for word in self.tokens[after].words)

    def _shielded(self, index: int) -> bool:
        """Whether ``set -e`` does not hold, because a group around it is an operand itself."""
        group = self.around[index]
        while group >= 0:
            if self._sign(self.ends.get(group, len(self.tokens)) + 1) in {"||", "&&"}:
                return True
            group = self.around[group]
        return False

    def _is_function(self, group: int) -> bool:
        before = group - 1
        while self._sign(before) == "\n" and before >= 0:
            before -= 1
        return self._sign(before) == ")" and self._sign(before - 1) == "("

    def _first(self, index: int) -> int:
        """Where the pipeline begins that the command at ``index`` is part of."""
        while self._sign(index - 1) == "|":
            starts = {end: start for start, end in self.ends.items()}
            index = starts.get(index - 2, index - 2)
        return index

    def _operand(self, index: int) -> int:
        """The last token of the command or group that begins at ``index``."""
        index = self._skip(index)
        while self._sign(index) in {"!", "time"}:
            index += 1
        return min(self.ends.get(index, index), len(self.tokens) - 1)

    def _ends_it(self, index: int) -> bool:
        """Whether what stands behind ``||`` ends the step, or fails itself."""
        index = self._skip(index)
        last = self._operand(index)
        inside = self.tokens[index : last + 1]
        if any(self._ender(each.words, alone=index == last) for each in inside):
            return True
        return self._sign(last + 1) == "&&" and self._ends_it(last + 2)

    def _ender(self, words: tuple[str, ...], *, alone: bool) -> bool:
        if not words:
            return False
        if words[0] in {"exit", "return"}:
            return words[1:2] != ("0",) if len(words) > 1 else alone
        if words[0] in {"false", "kill"}:
            return True
        body = self._body(words[0])
        if body is None:
            return self.sourced and words[0] not in _MILD
        ended = [each.words for each in body if each.words[:1] in {("exit",), ("return",), ("false",)}]
        return any(each[0] == "false" or each[1:] not in {(), ("0",)} for each in ended)

    def _body(self, name: str) -> list[Token] | None:
        """What the function of that name does; None where the text has none."""
        for at, each in enumerate(self.tokens):
            group = self._skip(at + 3)
            if each.words == (name,) and self._sign(at + 1) == "(" and self._is_function(group):
                return self.tokens[group : self.ends.get(group, len(self.tokens))]
        return None
