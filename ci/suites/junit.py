"""JUnit as pytest writes it, read into plain values; a document that is broken is said to be, never raised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .source import NAME, TESTS, Source, State, WrongContent, one_line

_DEPTH = 16
_CHILDREN = {"failure": "failed", "error": "error", "skipped": "skipped"}
_COLLECTING = {("error", "collection failure"), ("skipped", "collection skipped")}


class Case(NamedTuple):
    """One entry of JUnit; ``collecting`` is one for a file that could not be, or did not want to be, collected."""

    classname: str
    name: str
    outcome: str
    reason: str = ""
    collecting: bool = False


class Junit(NamedTuple):
    """What JUnit says; ``bad`` is its own sum of failures and errors."""

    source: Source
    cases: tuple[Case, ...] = ()
    bad: int = 0


def parse(data: bytes) -> Junit:
    """JUnit XML as pytest writes it."""
    from xml.parsers import expat

    if not data:
        return Junit(Source(State.BROKEN, "0 bytes"))
    reader = _Reader()
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reader.refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    source = Source()
    try:
        data.decode()
        parser.Parse(data, True)
    except UnicodeDecodeError:
        source = Source(State.BROKEN, "it is not UTF-8")
    except expat.ExpatError as error:
        source = Source(State.BROKEN, f"no whole XML: {error}")
    except WrongContent as error:
        source = Source(State.BROKEN, str(error))
    return Junit(source, tuple(reader.cases), reader.bad)


class _Reader:
    """Handlers of the parser; of all the text it keeps the end of what an entry is about."""

    def __init__(self) -> None:
        self.cases: list[Case] = []
        self.bad = 0
        self._path: list[str] = []
        self._case = Case("", "", "passed")
        self._text = ""

    def refuse(self, *_declaration: object) -> None:
        """A document type could define entities that grow without end, or are files of this host."""
        raise WrongContent("it declares a document type")

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""
        if not self._path and tag not in {"testsuites", "testsuite"}:
            raise WrongContent(f"its first element is {tag[:40]!r}")
        self._path.append(tag)
        if len(self._path) > _DEPTH:
            raise WrongContent("its elements are nested too deep")
        if tag == "testsuite":
            self.bad += _count(attributes, "failures") + _count(attributes, "errors")
        elif tag == "testcase":
            name, folder = attributes.get("name", ""), attributes.get("classname", "")
            if not 0 < len(name) <= NAME or len(folder) > NAME or len(self.cases) == TESTS:
                raise WrongContent(f"entry {len(self.cases) + 1} is absurd")
            self._case = Case(folder, name, "passed")
        elif tag in _CHILDREN and self._path[-2] == "testcase":
            self._text = ""
            self._case = _with(self._case, tag, attributes)

    def text(self, data: str) -> None:
        """Text of the element that is open."""
        if self._path[-1] in _CHILDREN:
            self._text = (self._text + data)[-2000:]

    def end(self, tag: str) -> None:
        """An element ends."""
        self._path.pop()
        if tag == "testcase":
            self.cases.append(self._case)
        elif tag in _CHILDREN and self._case.collecting and self._text.strip():
            # "E   ModuleNotFoundError: ..." ends a traceback; a skip is "('file', 3, 'Skipped: ...')"
            last = self._text.strip().splitlines()[-1]
            self._case = self._case._replace(reason=one_line(last.removeprefix("E ")))


def _with(case: Case, tag: str, attributes: Mapping[str, str]) -> Case:
    """The entry with what one of its elements says; the worst one counts."""
    outcome = "xfailed" if attributes.get("type") == "pytest.xfail" else _CHILDREN[tag]
    if case.outcome in {"failed", "error"} and outcome not in {"failed", "error"}:
        return case
    message = attributes.get("message", "")
    # Entries of tests have a type or say when they failed, whatever the test's own words are.
    collecting = (tag, message) in _COLLECTING and "type" not in attributes
    return case._replace(outcome=outcome, reason=one_line(message), collecting=collecting)


def _count(attributes: Mapping[str, str], name: str) -> int:
    text = attributes.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise WrongContent(f"{name} is {text[:40]!r}")
    return int(text)
