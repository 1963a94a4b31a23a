"""The values of a YAML text in which nothing is out of the ordinary, without their places: twice as fast.

A text of ours is right nearly always, and then nobody asks where its values stand.  Whatever could be wrong,
or is only rare, is left to ``yaml_text``, which tells it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .yaml_text import DEEPEST, MOST, TAG, meant, odd_character, parser_of


class _Unusual(Exception):
    """The text holds what ``yaml_text`` has to look at."""


def values(text: str, most: int = MOST) -> Any:
    """What ``yaml_text.Text.read`` finds in ``text`` without a problem, or None where that has to look itself.

    Raises ``ConfigError`` where PyYAML has no libyaml.
    """
    import yaml

    if odd_character(text):
        return None
    parser = parser_of(text)
    try:
        return _Values(parser, most).document()
    except (_Unusual, yaml.YAMLError):
        return None
    finally:
        parser.dispose()


class _Values:
    """The values of one parser's events; one call per value, and nothing in it that could wait."""

    def __init__(self, parser: Any, most: int) -> None:
        import yaml

        self._next = parser.get_event
        self._left = most
        self._scalar, self._end = yaml.ScalarEvent, yaml.StreamEndEvent
        self._map, self._map_end = yaml.MappingStartEvent, yaml.MappingEndEvent
        self._list, self._list_end = yaml.SequenceStartEvent, yaml.SequenceEndEvent

        def plain(text: str) -> Any:
            kind = str(parser.resolve(yaml.ScalarNode, text, (True, False))).removeprefix(TAG)
            value = meant(kind, text)
            if value is None:
                raise _Unusual
            return value

        self._plain = lru_cache(maxsize=None)(plain)

    def document(self) -> Any:
        """The one document of the text."""
        self._next()  # the stream begins
        if self._next().__class__ is self._end:
            raise _Unusual
        value = self._value(self._next(), 0)
        self._next()  # the document ends
        if self._next().__class__ is not self._end:
            raise _Unusual
        return value

    def _value(self, event: Any, depth: int) -> Any:
        """The value that begins with ``event``."""
        kind = event.__class__
        self._left -= 1
        if self._left < 0 or depth > DEEPEST or event.anchor is not None or event.tag is not None:
            raise _Unusual
        if kind is self._scalar:
            return event.value if event.style else self._plain(event.value)
        return self._mapping(depth + 1) if kind is self._map else self._items(depth + 1)

    def _mapping(self, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while (event := self._next()).__class__ is self._scalar:
            key: str = event.value
            unlike_text = not event.style and self._plain(key).__class__ is not str
            if unlike_text or key in result or event.tag is not None or event.anchor is not None:
                raise _Unusual
            result[key] = self._value(self._next(), depth)
        if event.__class__ is not self._map_end:
            raise _Unusual
        return result

    def _items(self, depth: int) -> list[Any]:
        result: list[Any] = []
        while (event := self._next()).__class__ is not self._list_end:
            result.append(self._value(event, depth))
        return result
