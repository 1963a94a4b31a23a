"""What stands between a pipeline's text and the words a program gets, written down as each reader documents it."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[^\W\d_]\w*")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]")


class UnreadableError(ValueError):
    """The reader refuses the text, or would do more with it than hand it on."""


def uploaded(text: str, env: Mapping[str, str]) -> str:
    """A text after ``buildkite-agent pipeline upload``: its grammar is in the README of buildkite/interpolate.

    Two backslashes stay two; a backslash or a dollar before a dollar goes away and expands nothing; ``$(`` stays.
    """
    found, rest = [], text
    while rest:
        if rest.startswith(("\\\\", "$(")):
            found.append(rest[:2])
            rest = rest[2:]
        elif rest.startswith(("\\$", "$$")):
            found.append("$")
            rest = rest[2:]
        elif rest.startswith("$") and len(rest) > 1:
            value, rest = _expanded(rest[1:], env)
            found.append(value)
        else:
            found.append(rest[0])
            rest = rest[1:]
    return "".join(found)


def _expanded(text: str, env: Mapping[str, str]) -> tuple[str, str]:
    """The value of what follows a dollar, and what is left."""
    braced = text.startswith("{")
    text = text.removeprefix("{")
    name = _NAME.match(text)
    if not name:
        raise UnreadableError(f"no identifier: {text!r}")
    value, rest = env.get(name[0], ""), text[name.end() :]
    if not braced:
        return value, rest
    operator, closed, rest = rest.partition("}")
    if not closed:
        raise UnreadableError("no closing brace")
    if operator.startswith(":-"):
        return value or uploaded(operator[2:], env), rest
    if operator.startswith("?") and name[0] not in env:
        raise UnreadableError(f"{name[0]} is not set: {operator[1:]}")
    return value, rest


def evaluated(text: str) -> str:
    """A text after GitHub Actions evaluated its expressions, of which only a quoted text is allowed here."""
    found = []
    while "${{" in text:
        before, _, rest = text.partition("${{")
        literal = re.match(r"\s*'((?:[^']|'')*)'\s*\}\}", rest)
        if not literal:
            raise UnreadableError(f"an expression that is no text: {rest!r}")
        found += [before, literal[1].replace("''", "'")]
        text = rest[literal.end() :]
    return "".join([*found, text])


def words(line: str) -> tuple[str, ...]:
    """The words a POSIX shell makes of one simple command; anything else it could do with it is refused."""
    found: list[str] = []
    word: list[str] | None = None
    position = 0
    while position < len(line):
        character = line[position]
        if character in "'\"":
            end = line.index(character, position + 1)
            part = line[position + 1 : end]
            if character == '"' and any(special in part for special in '$`\\"'):
                raise UnreadableError(f"read inside of quotes: {part!r}")
            word = [*(word or []), part]
            position = end + 1
            continue
        if character == " ":
            if word is not None:
                found.append("".join(word))
            word = None
        elif _PLAIN.match(character):
            word = [*(word or []), character]
        else:
            raise UnreadableError(f"{character!r} means something to a shell")
        position += 1
    if word is not None:
        found.append("".join(word))
    if re.match(r"[A-Za-z_][A-Za-z0-9_]*=", line):
        raise UnreadableError("a variable is set instead of a program run")
    return tuple(found)
