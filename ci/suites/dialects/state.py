"""What a command leaves to those behind it in the same shell: variables, functions, the folder, its jobs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .line import KEYWORDS, TOKEN

_STATE = frozenset((
    ".", "alias", "cd", "deactivate", "declare", "dirs", "enable", "eval", "exec", "export", "function", "getopts",
    "hash", "let", "mapfile", "popd", "pushd", "read", "readarray", "readonly", "set", "shift", "shopt", "source",
    "trap", "typeset", "ulimit", "umask", "unalias", "unset",
))  # fmt: skip
"""Programs of the shell itself, which only change what the commands behind them meet."""

_STATE_WITH: Mapping[str, frozenset[str]] = {
    "conda": frozenset({"activate", "deactivate"}),
    "mamba": frozenset({"activate", "deactivate"}),
    "module": frozenset({"load", "unload", "purge"}),
    "printf": frozenset({"-v"}),
}
"""Programs that do so with one of these words behind them."""

_IN_FRONT = KEYWORDS - _STATE | {"builtin", "command"}
"""Words that a program may stand behind."""

_RUNS = frozenset((".", "eval", "exec", "source"))
"""Those of them that run what somebody else wrote."""

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*(?:\[[^]]*\])?\+?=.*", re.ASCII | re.DOTALL)
_DOCUMENT = re.compile(
    r"""(?<!<)<<-?[ \t]*(?P<quote>['"\\]?)(?P<end>\w+)(?P=quote)?(?P<rest>[^\n]*\n)"""
    r"""(?:(?:.*?\n)??[ \t]*(?P=end)(?=\n)|.*)""",
    re.DOTALL,
)
"""A document of the lines that follow: up to its end, or all of them where that is missing."""


class _Simple(NamedTuple):
    """A simple command of the shell itself: its words as written; ``job``: it runs beside what follows."""

    words: tuple[str, ...]
    job: bool = False

    @property
    def first(self) -> int:
        """Where its program stands behind variables that are given to it."""
        return next((at for at, word in enumerate(self.words) if not _ASSIGNMENT.fullmatch(word)), len(self.words))

    @property
    def is_state(self) -> bool:
        name, second = (*self.words[self.first : self.first + 2], "", "")[:2]
        return not self.job and (not name or name in _STATE or second in _STATE_WITH.get(name, ()))


def is_all(text: str) -> bool:
    """Whether ``text`` is one command that only changes what those behind it meet, and may stand in front of each."""
    alone = all(token.lastgroup in ("blank", "word", "pipe") for token in TOKEN.finditer(text))
    return alone and any(each.is_state for each in _simple(text))


def runs(text: str) -> bool:
    """Whether a command that only changes the shell runs something else on its way, which may be all it is for."""
    (simple,) = _simple(text)
    return "$(" in text or "`" in text or simple.words[simple.first : simple.first + 1] in [(name,) for name in _RUNS]


def sets(text: str) -> bool:
    """Whether some command in ``text`` changes what those behind it meet; one in parentheses or a pipe does not."""
    return any(each.is_state for each in _simple(text))


def has_jobs(text: str) -> bool:
    """Whether something in ``text`` is left running beside what follows: nothing in it waits for that or ends it."""
    left = False
    for each in _simple(text):
        left = each.job or (left and each.words[each.first : each.first + 1] not in (("wait",), ("kill",)))
    return left


def _simple(text: str) -> Iterator[_Simple]:
    """The simple commands of ``text``, without those of subshells and pipes, which keep to themselves what they set."""
    text = _DOCUMENT.sub(lambda match: match["rest"], text + "\n") + "\n"
    reader = _Reader()
    for token in TOKEN.finditer(text):
        kind, sign = token.lastgroup, token[0]
        before, behind = text[: token.start()][-1:], text[token.end() :][:1]
        if kind == "word":
            reader.word(sign)
        elif kind == "pipe" and sign != "|":
            reader.redirect(numbered=before.isdigit())
        elif sign == "(":
            reader.opened(function=bool(re.match(r"\s*\)", text[token.end() :])), counting=behind == "(")
        elif sign == ")":
            reader.closed()
        elif sign == "&" and (before in {"<", ">", "|"} or behind == ">"):
            continue  # of a redirection such as 2>&1
        elif kind in ("pipe", "and", "odd", "end"):
            yield from reader.finished(sign)


@dataclass
class _Reader:
    """The words of the command that is being read, and of those around its parentheses."""

    words: list[str] = field(default_factory=list)
    around: list[list[str]] = field(default_factory=list)
    file_next: bool = False
    piped: bool = False

    def word(self, word: str) -> None:
        if self.file_next:
            self.file_next = False
        elif self.words or word not in _IN_FRONT:
            self.words.append(word)

    def redirect(self, *, numbered: bool) -> None:
        if numbered and self.words and self.words[-1].isdigit():
            self.words.pop()
        self.file_next = True

    def opened(self, *, function: bool, counting: bool) -> None:
        """An opening parenthesis: of a function ``f()``, of ``((X = 1))``, of a list or of a subshell."""
        if (function and len(self.words) == 1) or (counting and not self.words):
            self.words = ["let"]
        self.around.append(self.words)
        self.words, self.file_next = [], False

    def closed(self) -> None:
        """A closing parenthesis; one that ends a pattern of ``case`` closes nothing."""
        self.words = self.around.pop() if self.around else []

    def finished(self, sign: str) -> Iterator[_Simple]:
        words, self.words, self.file_next = tuple(self.words), [], False
        if words and not self.around and not (self.piped or sign == "|"):
            yield _Simple(words, job=sign == "&")
        self.piped = sign == "|"
