"""Strict YAML and JSON: every value knows its place, and all problems come at once.

YAML 1.1 reads ``on`` and ``no`` as booleans, keeps the last of two equal keys and
accepts an empty value as null.  In a file that decides what gets released each of
these is a mistake, so here each is a problem with file, line and column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import ConfigError, Place, Problem

Path = tuple[str | int, ...]

_YAML_11_BOOLEANS = {"yes", "no", "on", "off", "y", "n"}
_TAG = "tag:yaml.org,2002:"


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


def read(text: str, file: str) -> Document:
    """Parse YAML or JSON (a subset of YAML). Syntax problems are in ``Document.problems``, never raised."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        node = yaml.compose(text, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        what = getattr(error, "problem", None) or str(error)
        problem = Problem("syntax", f"not valid YAML: {what}", "fix the line named here", place=place)
        return Document(file, {}, {(): place}, (problem,))
    if node is None:
        place = Place(file)
        return Document(file, {}, {(): place}, (Problem("empty-file", "the file is empty", place=place),))
    walk = _Walk(file)
    value = walk.plain(node, ())
    return Document(file, value, walk.places, tuple(walk.problems), walk.keys)


def suggest(word: str, known: Sequence[str]) -> str:
    """``did you mean x or y?`` for the nearest of ``known``, else the list of what is allowed."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=2, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"allowed: {', '.join(known)}"


@dataclass
class _Walk:
    file: str
    places: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    keys: dict[Path, Place] = field(default_factory=dict)
    inside: list[Any] = field(default_factory=list)

    def plain(self, node: Any, path: Path) -> Any:
        """The node as plain data; notes its place and whatever is wrong with it."""
        mark = node.start_mark
        place = Place(self.file, mark.line + 1, mark.column + 1)
        self.places[path] = place
        if node.id == "scalar":
            return self._scalar(node, place)
        if any(node is outer for outer in self.inside):
            self._refuse(place, "the value contains itself", "write the value out instead of an *alias")
            return ""
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            self._refuse(place, f"the tag {node.tag} means nothing here", "delete the tag")
        self.inside.append(node)
        try:
            if node.id == "mapping":
                return self._mapping(node, path)
            return [self.plain(item, (*path, index)) for index, item in enumerate(node.value)]
        finally:
            self.inside.pop()

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            mark = key_node.start_mark
            place = Place(self.file, mark.line + 1, mark.column + 1)
            key = key_node.value
            if key_node.id != "scalar" or not isinstance(key, str):
                self.problems.append(Problem("key-type", "a key must be plain text", place=place))
                continue
            if key_node.tag not in (_TAG + "str", "!") and not key_node.style:  # None, or "" from the C parser
                self._refuse(place, f"key {key!r} is not read as text by YAML", f'quote it: "{key}"')
            if key in result:
                hint = f"keep one of them; the other is on line {self.keys[(*path, key)].line}"
                self.problems.append(Problem("duplicate-key", f"key {key!r} appears twice", hint, place=place))
                continue
            self.keys[(*path, key)] = place
            result[key] = self.plain(value_node, (*path, key))
        return result

    def _scalar(self, node: Any, place: Place) -> Any:
        text: str = node.value
        kind = node.tag.removeprefix(_TAG)
        if kind == "str":
            return text
        if kind == "bool":
            if text.lower() in _YAML_11_BOOLEANS:
                self._refuse(place, f"{text} is a boolean to YAML", f'write true or false, or quote it: "{text}"')
            return text.lower() in ("true", "yes", "on", "y")
        if kind == "int" and re.fullmatch(r"[-+]?(0|[1-9][0-9]*)", text):
            return int(text)
        if kind == "float" and re.fullmatch(r"[-+]?[0-9]+\.[0-9]+", text):
            return float(text)
        if kind == "null":
            self._refuse(place, "the value is empty", "give a value or delete the key")
            return ""
        self._refuse(place, f"{text!r} is read by YAML as {kind}", f'quote it: "{text}"')
        return text

    def _refuse(self, place: Place, message: str, hint: str) -> None:
        self.problems.append(Problem("ambiguous-value", message, hint, place=place))


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
    if not document.places.keys() - {()} and document.problems:
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
    place = doc.place(*path)
    name = ".".join(str(part) for part in path) or "the file"
    wanted = schema.get("type")
    if wanted and not _is(value, wanted):
        yield Problem("wrong-type", f"{name} must be {_article(wanted)}, not {_shown(value)}", place=place)
        return
    if "const" in schema and value != schema["const"]:
        yield Problem("wrong-value", f"{name} must be {schema['const']!r}, not {_shown(value)}", place=place)
    if "enum" in schema and value not in schema["enum"]:
        hint = suggest(str(value), [str(item) for item in schema["enum"]])
        yield Problem("wrong-value", f"{name} cannot be {_shown(value)}", hint, place=place)
    if isinstance(value, str):
        yield from _check_text(name, value, schema, place)
    elif isinstance(value, dict):
        yield from _check_object(doc, path, value, schema, top)
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield Problem("too-few", f"{name} needs at least {schema['minItems']} entries", place=place)
        for index, item in enumerate(value):
            yield from _check(doc, (*path, index), item, schema.get("items", {}), top)


def _is(value: Any, kind: str) -> bool:
    """Whether ``value`` is of a JSON type: 1.0 is an integer there, true is none."""
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _check_text(name: str, value: str, schema: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    if len(value) < schema.get("minLength", 0):
        yield Problem("too-short", f"{name} must not be empty", place=place)
    elif len(value) > schema.get("maxLength", len(value)):
        yield Problem("too-long", f"{name} is longer than {schema['maxLength']} characters", place=place)
    elif "pattern" in schema and not re.search(schema["pattern"], value):
        hint = schema.get("description", f"it must match {schema['pattern']}")
        yield Problem("wrong-value", f"{name} cannot be {value!r}", hint, place=place)


def _check_object(
    doc: Document, path: Path, value: dict[str, Any], schema: Mapping[str, Any], top: Mapping[str, Any]
) -> Iterator[Problem]:
    place = doc.place(*path)
    name = ".".join(str(part) for part in path) or "the file"
    known: Mapping[str, Any] = schema.get("properties", {})
    other = schema.get("additionalProperties", {})
    for key in schema.get("required", ()):
        if key not in value:
            yield Problem("missing-key", f"{name} lacks {key}", place=place)
    if len(value) < schema.get("minProperties", 0):
        yield Problem("too-few", f"{name} must not be empty", place=place)
    for key, item in value.items():
        if "propertyNames" in schema:
            yield from _check_key(doc, (*path, key), key, schema["propertyNames"], top)
        if key in known:
            yield from _check(doc, (*path, key), item, known[key], top)
        elif other is False:
            where = doc.key(*path, key)
            yield Problem("unknown-key", f"{name} has no key {key!r}", suggest(key, list(known)), place=where)
        else:
            yield from _check(doc, (*path, key), item, other, top)


def _check_key(
    doc: Document, path: Path, key: str, schema: Mapping[str, Any], top: Mapping[str, Any]
) -> Iterator[Problem]:
    place = doc.key(*path)
    for problem in _check(Document(doc.file, key, {(): place}), (), key, schema, top):
        message = problem.message.replace("the file", f"the key {'.'.join(map(str, path))}", 1)
        yield Problem(problem.reference, message, problem.hint, place=place)


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def refuse(problems: Sequence[Problem]) -> None:
    """Raise one ``ConfigError`` with all ``problems``, if there are any."""
    if problems:
        raise ConfigError.of(problems)
