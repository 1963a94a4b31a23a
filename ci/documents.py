"""Strict YAML and JSON: every value knows its place, and all problems come at once.

The reading itself is in ``yaml_text``; here are documents, and the schemas they are checked with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from .errors import ConfigError, Place, Problem
from .yaml_text import MOST, Path, Text
from .yaml_values import values


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data (dict, list, str, int, float, bool) read from ``file``, and where each value stands."""

    file: str
    value: Any
    places: Mapping[Path, Place]
    problems: tuple[Problem, ...] = ()
    keys: Mapping[Path, Place] = field(default_factory=dict)

    def key(self, *path: str | int) -> Place:
        """Where the key of the value at ``path`` stands: what is wrong with a key is shown there."""
        return self.keys.get(path) or self.place(*path)

    def place(self, *path: str | int) -> Place:
        """Where the value at ``path`` stands; the nearest parent for a path that is not there."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(self.file))


def read(text: str, file: str, most: int = MOST) -> Document:
    """Parse YAML or JSON (a subset of YAML). Syntax problems are in ``Document.problems``, never raised.

    Whatever the text is, this ends within a second: nesting, values (``most``) and copies by ``*alias`` are bounded.
    Raises ``ConfigError`` where PyYAML has no libyaml.
    """
    found = values(text, most)
    if found is not None:
        whole = cache(partial(Text.read, text, file, most))
        return Document(file, found, _Later(lambda: whole().places), (), _Later(lambda: whole().keys))
    careful = Text.read(text, file, most)
    return Document(file, careful.value, careful.places, tuple(careful.problems), careful.keys)


class _Later(Mapping[Path, Place]):
    """Places that are found when somebody asks: of a text that is right nobody does."""

    def __init__(self, find: Callable[[], Mapping[Path, Place]]) -> None:
        self._find = find

    def __getitem__(self, path: Path) -> Place:
        return self._find()[path]

    def __iter__(self) -> Iterator[Path]:
        return iter(self._find())

    def __len__(self) -> int:
        return len(self._find())


def suggest(word: str, known: Sequence[str]) -> str:
    """``did you mean x or y?`` for the nearest of ``known``, else the list of what is allowed."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=2, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"allowed: {', '.join(known)}"


# --- schema -------------------------------------------------------------------------------

SCHEMA_KEYWORDS = frozenset(
    (
        "$schema", "$id", "$defs", "$ref", "title", "description", "type", "properties", "required",
        "additionalProperties", "enum", "const", "pattern", "items", "minItems", "minLength", "maxLength",
        "minProperties", "propertyNames",
    )
)  # fmt: skip
"""The part of JSON Schema that ``check`` knows; a test refuses a schema that uses another keyword."""

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}


def check(document: Document, schema: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Everything in ``document`` that the schema forbids, each with its place.

    The schema file is the one truth for editors and for us; this interprets the subset in
    ``SCHEMA_KEYWORDS`` because no schema library knows line numbers, or imports in milliseconds.
    What ``read`` already refused is not said a second time in the schema's words.
    """
    if document.problems and not document.places.keys() - {()}:
        return ()  # it could not be parsed at all: every key would be missing
    said = {problem.place for problem in document.problems if problem.reference == "ambiguous-value"}
    found = _check(document, (), document.value, schema, schema)
    return tuple(problem for problem in found if problem.place not in said or problem.reference not in _OF_A_VALUE)


_OF_A_VALUE = ("wrong-type", "wrong-value", "too-short")


def _check(
    doc: Document, path: Path, value: Any, schema: Mapping[str, Any], top: Mapping[str, Any]
) -> Iterator[Problem]:
    if "$ref" in schema:
        schema = top["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    wanted = schema.get("type")
    if wanted and not _is(value, wanted):
        yield _of(doc, path, "wrong-type", f"must be {_article(wanted)}, not {_shown(value)}")
        return
    if "const" in schema and value != schema["const"]:
        yield _of(doc, path, "wrong-value", f"must be {schema['const']!r}, not {_shown(value)}")
    if "enum" in schema and value not in schema["enum"]:
        hint = suggest(str(value), [str(item) for item in schema["enum"]])
        yield _of(doc, path, "wrong-value", f"cannot be {_shown(value)}", hint)
    if isinstance(value, str):
        yield from _check_text(doc, path, value, schema)
    elif isinstance(value, dict):
        yield from _check_object(doc, path, value, schema, top)
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield _of(doc, path, "too-few", f"needs at least {schema['minItems']} entries")
        for index, item in enumerate(value):
            yield from _check(doc, (*path, index), item, schema.get("items", {}), top)


def _of(doc: Document, path: Path, reference: str, what: str, hint: str = "") -> Problem:
    """``what`` is wrong with the value at ``path``, by its name."""
    name = ".".join(map(str, path)) or "the file"
    return Problem(reference, f"{name} {what}", hint, place=doc.place(*path))


def _is(value: Any, kind: str) -> bool:
    """Whether ``value`` is of a JSON type: 1.0 is an integer there, true is none."""
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _check_text(doc: Document, path: Path, value: str, schema: Mapping[str, Any]) -> Iterator[Problem]:
    if len(value) < schema.get("minLength", 0):
        yield _of(doc, path, "too-short", "must not be empty")
    elif len(value) > schema.get("maxLength", len(value)):
        yield _of(doc, path, "too-long", f"is longer than {schema['maxLength']} characters")
    elif "pattern" in schema and not re.search(schema["pattern"], value):
        hint = schema.get("description", f"it must match {schema['pattern']}")
        yield _of(doc, path, "wrong-value", f"cannot be {value!r}", hint)


def _check_object(
    doc: Document, path: Path, value: dict[str, Any], schema: Mapping[str, Any], top: Mapping[str, Any]
) -> Iterator[Problem]:
    known: Mapping[str, Any] = schema.get("properties", {})
    other = schema.get("additionalProperties", {})
    for key in schema.get("required", ()):
        if key not in value:
            yield _of(doc, path, "missing-key", f"lacks {key}")
    if len(value) < schema.get("minProperties", 0):
        yield _of(doc, path, "too-few", "must not be empty")
    for key, item in value.items():
        if "propertyNames" in schema:
            yield from _check_key(doc, (*path, key), key, schema["propertyNames"], top)
        if key in known:
            yield from _check(doc, (*path, key), item, known[key], top)
        elif other is False:
            found = _of(doc, path, "unknown-key", f"has no key {key!r}", suggest(key, list(known)))
            yield found._replace(place=doc.key(*path, key))
        else:
            yield from _check(doc, (*path, key), item, other, top)


def _check_key(
    doc: Document, path: Path, key: str, schema: Mapping[str, Any], top: Mapping[str, Any]
) -> Iterator[Problem]:
    for problem in _check(Document(doc.file, key, {}), (), key, schema, top):
        message = problem.message.replace("the file", f"the key {'.'.join(map(str, path))}", 1)
        yield Problem(problem.reference, message, problem.hint, place=doc.key(*path))


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def refuse(problems: Sequence[Problem]) -> None:
    """Raise one ``ConfigError`` with all ``problems``, if there are any."""
    if problems:
        raise ConfigError.of(problems)
