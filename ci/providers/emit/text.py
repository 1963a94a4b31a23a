"""YAML as pipelines need it: block style, one line a value, read alike by YAML 1.1 and 1.2."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import lru_cache

Value = str | int | Mapping[str, "Value"] | Sequence["Value"]

_PLAIN = re.compile(r"(?:[A-Za-z]|\.?/)[\w./()+=-]*(?: [\w./()+=-]+)*", re.ASCII)
_WORDS = frozenset(("true", "false", "yes", "no", "on", "off", "y", "n", "null"))
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def dump(value: Mapping[str, Value]) -> str:
    """``value`` as a YAML document, keys in their order; ends with a line end."""
    lines: list[str] = []
    _mapping(lines, value, "")
    return "\n".join(lines) + "\n"


def line(words: Sequence[str]) -> str:
    """The words as one line of a shell, which reads them back and does nothing else with them."""
    first = words[0]
    quoted = f"'{first}'" if "=" in first and shlex.quote(first) == first else shlex.quote(first)
    return " ".join([quoted, *map(shlex.quote, words[1:])])


def comment(text: str) -> str:
    """``text`` as one line of comment."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return f"# {' '.join(shown.split())}".rstrip().replace("##[", "# #[")


def _mapping(lines: list[str], value: Mapping[str, Value], indent: str) -> None:
    for key, item in value.items():
        _entry(lines, f"{indent}{_text(key)}:", item, indent + "  ")


def _entry(lines: list[str], head: str, item: Value, indent: str) -> None:
    if isinstance(item, str):
        lines.append(f"{head} {_text(item)}")
    elif isinstance(item, int):
        lines.append(f"{head} {str(item).lower()}")
    elif not item:
        lines.append(f"{head} {'{}' if isinstance(item, Mapping) else '[]'}")
    else:
        lines.append(head)
        if isinstance(item, Mapping):
            _mapping(lines, item, indent)
        else:
            _sequence(lines, item, indent)


def _sequence(lines: list[str], value: Sequence[Value], indent: str) -> None:
    inner = indent + "  "
    for item in value:
        if isinstance(item, Mapping) and item:
            first = len(lines)
            _mapping(lines, item, inner)
            lines[first] = f"{indent}- {lines[first][len(inner) :]}"
        else:
            _entry(lines, f"{indent}-", item, inner)


@lru_cache(1024)
def _text(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    quoted = _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
    return quoted.replace("##[", "#\\x23[")  # GitHub Actions reads commands in what is printed
