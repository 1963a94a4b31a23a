"""YAML text as plain data, read event by event: no value without its place, and nothing that YAML guesses.

YAML 1.1 reads ``on`` and ``no`` as booleans, keeps the last of two equal keys and
accepts an empty value as null.  In a file that decides what gets released each of
these is a mistake, so here each is a problem with file, line and column.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NoReturn

from .errors import ConfigError, Place, Problem

Path = tuple[str | int, ...]

_BOOLEANS = {"true": True, "false": False}

_INT = r"[-+]?(0|[1-9][0-9]{0,14})"
_FLOAT = r"[-+]?[0-9]{1,15}\.[0-9]+"
_HUGE = r"[-+]?[0-9]{16,}(\.[0-9]*)?"
"""More digits than every reader of JSON keeps."""
TAG = "tag:yaml.org,2002:"

MOST = 50_000
"""Values of a text that people write: six times a catalogue of 250 steps, and half a second."""

DEEPEST = 100
_MOST_COPIED = 20_000

_ODD = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
_ODD_ASCII = "[^\t\n\r\x20-\x7e]"
"""What no YAML text may hold, and the byte order mark; an expression of the whole takes long to compile."""


@dataclass
class Text:
    """What a text holds: its value, and by path where each value and each key stands."""

    value: Any
    places: dict[Path, Place]
    keys: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def read(cls, text: str, file: str, most: int = MOST) -> Text:
        """The one document of ``text``, of at most ``most`` values; a text that cannot be read is its problem alone."""
        import yaml

        if odd := odd_character(text):
            return _unread(_odd_character(text, odd.start(), file))
        parser = parser_of(text)
        reader = _Reader(parser, file, most)
        try:
            value = reader.document()
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
            what = getattr(error, "problem", None) or str(error)
            return _unread(Problem("syntax", f"not valid YAML: {what}", "fix the line named here", place=place))
        except _Refused as refused:
            return _unread(refused.problem)
        finally:
            parser.dispose()
        return cls(value, reader.places, reader.keys, reader.problems)


def parser_of(text: str) -> Any:
    """libyaml's parser of ``text``; raises ``ConfigError`` where PyYAML has none."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", None)
    if loader is None:
        hint = "install a wheel of it: pip install --force-reinstall --only-binary :all: pyyaml"
        raise ConfigError("no-libyaml", "PyYAML was built without libyaml, and is too slow without", hint=hint)
    return loader(text)


def odd_character(text: str) -> re.Match[str] | None:
    """The first character that no YAML text may hold, if there is one."""
    return re.search(_ODD_ASCII if text.isascii() else _ODD, text)


def meant(kind: str, text: str) -> Any:
    """The value of a plain scalar that YAML takes for ``kind``, and people do too; None where they might not."""
    if kind == "str":
        return text
    if kind == "bool":
        return _BOOLEANS.get(text.lower())
    if kind == "int" and re.fullmatch(_INT, text):
        return int(text)
    if kind == "float" and re.fullmatch(_FLOAT, text):
        return float(text)
    return None


def _unread(problem: Problem) -> Text:
    return Text({}, {(): problem.place or Place("")}, {}, [problem])


def _odd_character(text: str, at: int, file: str) -> Problem:
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    hint = "save the file as UTF-8 without a byte order mark" if text[at] == "\ufeff" else "delete it"
    what = f"not valid YAML: the character U+{ord(text[at]):04X} cannot be here"
    return Problem("syntax", what, hint, place=Place(file, line, column))


class _Refused(Exception):
    """The text cannot be read any further."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass
class _Anchor:
    """What stands behind ``&name``; ``begin`` and ``end`` (0: not read yet) are its part of the places."""

    line: int
    path: Path
    begin: int
    end: int = 0
    value: Any = None


class _Reader:
    """The values of one parser's events, with their places and whatever is wrong with them."""

    def __init__(self, parser: Any, file: str, most: int) -> None:
        import yaml

        self.file = file
        self.places: dict[Path, Place] = {}
        self.keys: dict[Path, Place] = {}
        self.problems: list[Problem] = []
        self._next = parser.get_event
        self._yaml = yaml
        self._kind_of = lru_cache(maxsize=None)(lambda text: parser.resolve(yaml.ScalarNode, text, (True, False)))
        self._order: list[Path] = []
        self._anchors: dict[str, _Anchor] = {}
        self._left, self._copied = most, 0

    def document(self) -> Any:
        """The one document of the text."""
        self._next()  # the stream begins
        if isinstance(self._next(), self._yaml.StreamEndEvent):
            hint = "check the path, or fill it"
            raise _Refused(Problem("empty-file", "the file is empty", hint, place=Place(self.file)))
        value = self._value(self._next(), ())
        self._next()  # the document ends
        event = self._next()
        if not isinstance(event, self._yaml.StreamEndEvent):
            self._stop(event, "not valid YAML: expected a single document", "keep one document in a file")
        return value

    def _value(self, event: Any, path: Path) -> Any:
        """The value that begins with ``event``."""
        place = self._note(event, path)
        kind = event.__class__
        if kind is self._yaml.AliasEvent:
            return self._copy(event, path, place)
        anchor = self._anchor(event, path) if event.anchor else None
        if kind is self._yaml.ScalarEvent:
            value = self._scalar(event, place)
        else:
            if event.tag not in (None, "!", TAG + "map", TAG + "seq"):
                self._refuse(place, f"the tag {event.tag} means nothing here", "delete the tag")
            value = self._mapping(path) if kind is self._yaml.MappingStartEvent else self._list(path)
        if anchor is not None:
            anchor.value, anchor.end = value, len(self._order)
        return value

    def _note(self, event: Any, path: Path) -> Place:
        self._count(event, len(path))
        self._order.append(path)
        place = self.places[path] = self._place(event)
        return place

    def _count(self, event: Any, depth: int) -> None:
        """Stop where the text holds more than anybody wrote."""
        self._left -= 1
        if self._left < 0:
            self._stop(event, "it holds more values than anybody writes", "divide the file")
        if depth > DEEPEST:
            self._stop(event, f"nested deeper than {DEEPEST} levels", "a bracket may be lost further up")

    def _anchor(self, event: Any, path: Path) -> _Anchor:
        if event.anchor in self._anchors:
            first = self._anchors[event.anchor].line
            what = f"not valid YAML: the anchor {event.anchor!r} appears twice"
            self._stop(event, what, f"give it another name; the other is on line {first}")
        return self._anchors.setdefault(event.anchor, _Anchor(self._place(event).line, path, len(self._order) - 1))

    def _copy(self, event: Any, path: Path, place: Place) -> Any:
        """What ``*name`` stands for, its places repeated."""
        anchor = self._anchors.get(event.anchor)
        if anchor is None:
            what = f"not valid YAML: found undefined alias {event.anchor!r}"
            self._stop(event, what, "an &anchor of that name comes before it")
        if not anchor.end:
            self._refuse(place, "the value contains itself", "write the value out instead of an *alias")
            return ""
        self._copied += anchor.end - anchor.begin
        if self._copied > _MOST_COPIED:
            self._stop(event, f"aliases repeat more than {_MOST_COPIED} values", "write the values out")
        for below in self._order[anchor.begin + 1 : anchor.end]:
            copy = (*path, *below[len(anchor.path) :])
            self.places[copy] = self.places[below]
            self._order.append(copy)
            if below in self.keys:
                self.keys[copy] = self.keys[below]
        return anchor.value

    def _list(self, path: Path) -> list[Any]:
        result: list[Any] = []
        while (event := self._next()).__class__ is not self._yaml.SequenceEndEvent:
            result.append(self._value(event, (*path, len(result))))
        return result

    def _mapping(self, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while (event := self._next()).__class__ is not self._yaml.MappingEndEvent:
            place = self._place(event)
            if event.__class__ is not self._yaml.ScalarEvent:
                self.problems.append(Problem("key-type", "a key must be plain text", place=place))
                self._skip(event)
                self._skip(self._next())
                continue
            key: str = event.value
            if not event.style and self._kind(event) != "str":
                self._refuse(place, f"key {key!r} is not read as text by YAML", f'quote it: "{key}"')
            if key in result:
                hint = f"keep one of them; the other is on line {self.keys[(*path, key)].line}"
                self.problems.append(Problem("duplicate-key", f"key {key!r} appears twice", hint, place=place))
                self._skip(self._next())
                continue
            below = (*path, key)
            self.keys[below] = place
            result[key] = self._value(self._next(), below)
        return result

    def _skip(self, event: Any) -> None:
        """Leave out the value that begins with ``event``."""
        depth = 0
        while True:
            kind = event.__class__.__name__
            depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
            self._count(event, depth)
            if not depth:
                return
            event = self._next()

    def _kind(self, event: Any) -> str:
        """What YAML 1.1 takes a scalar for: ``str``, ``int``, ``bool``, ..., or a tag that is not its own."""
        if event.tag not in (None, "!"):
            return str(event.tag).removeprefix(TAG)
        if event.style or event.tag == "!":
            return "str"
        return str(self._kind_of(event.value)).removeprefix(TAG)

    def _scalar(self, event: Any, place: Place) -> Any:
        text: str = event.value
        kind = self._kind(event)
        value = meant(kind, text)
        if value is not None:
            return value
        if kind == "bool":
            self._refuse(place, f"{text} is a boolean to YAML", f'write true or false, or quote it: "{text}"')
            return text.lower() in ("yes", "on", "y")
        if kind == "null":
            self._refuse(place, "the value is empty", "give a value or delete the key")
            return ""
        if kind in ("int", "float") and re.fullmatch(_HUGE, text):
            hint = "write a number of at most 15 digits in front of the point, or quote what is none"
            self._refuse(place, f"{text[:15]}... is a number of {len(text)} characters", hint)
        else:
            self._refuse(place, f"{text!r} is read by YAML as {kind}", f'quote it: "{text}"')
        return text

    def _refuse(self, place: Place, message: str, hint: str) -> None:
        self.problems.append(Problem("ambiguous-value", message, hint, place=place))

    def _stop(self, event: Any, message: str, hint: str) -> NoReturn:
        raise _Refused(Problem("syntax", message, hint, place=self._place(event)))

    def _place(self, event: Any) -> Place:
        mark = event.start_mark
        return Place(self.file, mark.line + 1, mark.column + 1)
