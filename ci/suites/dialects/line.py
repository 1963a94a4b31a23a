"""One line of shell: its commands joined by ``&&``, each with its words where no shell is needed to find them."""

from __future__ import annotations

import re
from typing import NamedTuple

TOKEN = re.compile(
    r"""
      (?P<blank>(?:[ \t\r]|(?<![^ \t\r\n])\\\n|\\\n(?=[ \t\r\n]|\Z))+)
    | (?P<comment>\#[^\n]*)
    | (?P<and>&&)
    | (?P<end>\n)
    | (?P<odd>\|\||[;&()])
    | (?P<pipe>\||[<>]+)
    | (?P<word>(?:[^\s'"\\;&|<>()$]|\$\([^()]*\)|\$|'[^']*'
            |"(?:[^"\\$]|\\.|\$\((?:[^()"]|"[^"]*")*+\)|\$)*+"|\\[^\n])+)
    | (?P<rest>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_PIECE = re.compile(
    r"""'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|\\(?P<escaped>.)|(?P<bare>[^'"\\]+)""", re.DOTALL
)
_GIVEN = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<value>.*)", re.ASCII | re.DOTALL)
_BRACES = re.compile(r"\{[^{}]*(?:,|\.\.)[^{}]*\}")
KEYWORDS = frozenset((
    "!", "[[", "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "select", "then",
    "time", "until", "while", "{", "}",
))  # fmt: skip


class Part(NamedTuple):
    """One command as ``text``.

    ``words`` are its program and arguments behind the variables ``given`` to it, as a program would get them;
    ``plain`` is false where only a shell can tell them, and ``first`` is then its first word as written.
    """

    text: str
    words: tuple[str, ...] = ()
    given: tuple[tuple[str, str], ...] = ()
    plain: bool = True
    first: str = ""


class Line(NamedTuple):
    """The commands of a line, and the comments that were left out."""

    parts: tuple[Part, ...]
    comments: tuple[str, ...] = ()


def read(text: str) -> Line:
    """The commands of ``text``, a line or several; one, not plain, where they are joined by more than ``&&``."""
    parts: list[Part] = []
    comments: list[str] = []
    words: list[str] = []
    start, reach, pipes, whole = 0, 0, False, text
    for token in TOKEN.finditer(text + "\n"):
        kind = token.lastgroup
        reach = token.end() if kind in ("word", "pipe") else reach  # a word may end with a blank: "a\\ "
        if kind == "word":
            words.append(token[0])
        elif kind == "pipe":
            pipes = True
        elif kind == "comment":
            comments.append(token[0].lstrip("# ").rstrip())
            text = text[: token.start()] + " " * len(token[0]) + text[token.end() :]
        elif kind == "end" and not (words or pipes):
            start = token.end()
        elif kind in ("and", "end"):
            parts.append(_part(text[start:reach].lstrip(), words, pipes=pipes))
            words, start, pipes = [], token.end(), False
        elif kind in ("odd", "rest"):
            return Line((_shell(whole),))
    if text[start:].strip():  # a backslash at the very end joins the last command to nothing
        return Line((_shell(whole),))
    if any(_is_odd(part, several=len(parts) > 1) for part in parts):
        return Line((_shell(whole),))
    return Line(tuple(parts), tuple(comments))


def _is_odd(part: Part, *, several: bool) -> bool:
    """Whether a shell has to read all of the line for this part of it: a loop, nothing before ``&&``, a document."""
    return part.first in KEYWORDS or not part.text or (several and "<<" in part.text)


def _shell(text: str) -> Part:
    return Part(text.strip(), plain=False)


def _part(text: str, written: list[str], *, pipes: bool) -> Part:
    given: list[tuple[str, str]] = []
    words: list[str] = []
    first = ""
    plain = not pipes
    for word in written:
        match = _GIVEN.fullmatch(word) if not first else None
        if match is None:
            first = first or word
            bare = _unquoted(word)
        else:
            bare = _unquoted(match["value"])
        if bare is None:
            plain = False
        elif match is not None:
            given.append((match["name"], bare))
        else:
            words.append(bare)
    if not plain:
        return Part(text, plain=False, first=first)
    return Part(text, tuple(words), tuple(given), plain=True, first=first)


def _unquoted(word: str) -> str | None:
    """The word without its quotes; None where a shell would put something else in its place."""
    out: list[str] = []
    for piece in _PIECE.finditer(word):
        if piece["single"] is not None:
            out.append(piece["single"])
        elif piece["double"] is not None:
            if re.search(r"(?<!\\)(?:\\\\)*[$`]", piece["double"]):
                return None
            out.append(re.sub(r'\\(["\\$`\n])', lambda match: match[1].strip("\n"), piece["double"]))
        elif piece["escaped"] is not None:
            out.append(piece["escaped"])
        elif _expands(piece["bare"], word):
            return None
        else:
            out.append(piece["bare"])
    return "".join(out)


def _expands(bare: str, word: str) -> bool:
    """Whether a shell would replace something in unquoted text; no file is called like a pytest id (``a.py::b[c]``)."""
    globs = "*?" if "::" in word else "*?["
    return any(char in bare for char in "$`" + globs) or word.startswith("~") or _BRACES.search(bare) is not None
