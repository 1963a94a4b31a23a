"""What stands between a pipeline's text and the words a program gets, written down as each reader documents it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_Part = Callable[[Mapping[str, str]], str]
_SUBSTRING = re.compile(r"\s*([+-]?[0-9]+)\s*(?:\}|[:\ufffd]\s*([+-]?[0-9]+)\s*\})")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]")


class UnreadableError(ValueError):
    """The reader refuses the text, or would do more with it than hand it on."""


def uploaded(text: str, env: Mapping[str, str]) -> str:
    """A text after ``buildkite-agent pipeline upload``, as buildkite/interpolate 0.1.5 reads it.

    Two backslashes stay two; a backslash or a dollar before a dollar goes away and expands nothing; a dollar before
    what begins no name stays. The whole text is read before a name is looked up. Half a character that a substring
    leaves is a surrogate.
    """
    part, _ = _read(text, "")
    return part(env)


def _read(text: str, end: str) -> tuple[_Part, str]:
    """What stands before ``end``, and what is left with it; all of it where ``end`` is nothing."""
    found: list[_Part] = []
    while text and (not end or text[0] != end):
        if text.startswith(("\\\\", "$(")):
            part, text = _as_it_is(text[:2]), text[2:]
        elif text.startswith(("\\$", "$$")):
            part, text = _as_it_is("$"), text[2:]
        elif text.startswith("${"):
            part, text = _braced(*_name(text[2:]))
        elif text[0] == "$" and text[1:2].isalpha():
            part, text = _looked_up(*_name(text[1:]))
        else:
            part, text = _as_it_is(text[0]), text[1:]
        found.append(part)
    return lambda env: "".join(part(env) for part in found), text


def _as_it_is(text: str) -> _Part:
    return lambda _: text


def _looked_up(name: str, rest: str) -> tuple[_Part, str]:
    return lambda env: env.get(name) or "", rest


def _name(text: str) -> tuple[str, str]:
    """The name that ``text`` begins with, and what is left."""
    if not text[:1].isalpha():
        raise UnreadableError(f"no name: {text!r}")
    end = next((at for at, each in enumerate(text) if not (each.isalnum() or each == "_")), len(text))
    return text[:end], text[end:]


def _braced(name: str, text: str) -> tuple[_Part, str]:
    """What stands between braces behind a name, and what is left behind the closing one."""
    operator = next((each for each in (":-", "-", "?", ":", "}") if text.startswith(each)), "")
    text = text.removeprefix(operator)
    if operator == "}":
        return _looked_up(name, text)
    if operator == ":":
        return _substring(name, text)
    content, rest = _read(text, "}")
    if not operator or not rest:
        raise UnreadableError(f"no operator or no closing brace: {text!r}")

    def part(env: Mapping[str, str]) -> str:
        value = env.get(name)
        if value is None and operator == "?":
            raise UnreadableError(f"{name} is not set: {content(env)}")
        return content(env) if value is None or (not value and operator == ":-") else value

    return part, rest[1:]


def _substring(name: str, text: str) -> tuple[_Part, str]:
    """From one byte of a value on, and how many bytes, or up to which from its end."""
    found = _SUBSTRING.match(text)
    if not found:
        raise UnreadableError(f"no substring: {text!r}")
    start, count = int(found[1]), found[2]

    def part(env: Mapping[str, str]) -> str:
        value = (env.get(name) or "").encode()
        first = min(max(start + len(value) if start < 0 else start, 0), len(value))
        if count is None:
            cut = value[first:]
        else:
            last = int(count) + (first if int(count) >= 0 else len(value))
            cut = value[first : max(last, first)]
        return cut.decode(errors="surrogateescape")

    return part, text[found.end() :]


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
