"""How each CI folds a log, and how it is kept from reading commands in what a build prints.

A step's log is untrusted text: on GitHub Actions a line ``::add-path::x`` in it would be
obeyed, on Buildkite ``--- x`` would start a group.  ``safe`` takes that power away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import Place

_OFF = ("", "0", "false", "no")


@dataclass(frozen=True, slots=True)
class Folding:
    """No markers: a terminal, a file, or a CI whose log has no groups."""

    folds: bool = False

    def start(self, title: str) -> str:
        """The line that opens a folded group."""
        return _one_line(title)

    def end(self) -> str:
        """The line that closes the open group; empty where the next header does that."""
        return ""

    def failed(self, title: str) -> str:
        """The line that opens a group a reader sees unfolded."""
        return _one_line(title)

    def expand(self) -> str:
        """The line that ends the open group and unfolds it, where that can be done."""
        return self.end()

    @property
    def expands(self) -> bool:
        """Whether ``expand`` really shows the group; otherwise the last lines are worth repeating outside."""
        return False

    def safe(self, line: str) -> str:
        """A line of a step's log that this CI does not take for a command."""
        return line

    def annotation(self, level: str, title: str, message: str, place: Place | None = None) -> str:
        """A line that puts ``message`` beside the build's result; level is error, warning or notice."""
        del level, title, message, place
        return ""


class GitHub(Folding):
    """GitHub Actions: workflow commands, trimmed and then read at the start of a line (``##[`` anywhere)."""

    __slots__ = ()

    def start(self, title: str) -> str:
        """A command's value, so ``%`` and line ends are escaped."""
        return f"::group::{_data(_one_line(title))}"

    def end(self) -> str:
        """Groups do not nest; one marker closes what is open."""
        return "::endgroup::"

    def failed(self, title: str) -> str:
        """Every group starts folded here, so the title is a plain line."""
        return self.safe(_one_line(title))

    def safe(self, line: str) -> str:
        """``::`` is read after leading blanks, ``##[`` anywhere in the line."""
        shown = f"| {line}" if line.lstrip().startswith("::") else line
        return shown.replace("##[", "# #[")

    def annotation(self, level: str, title: str, message: str, place: Place | None = None) -> str:
        """``::error file=...,line=...,title=...::message``."""
        facts = {"title": title}
        if place:
            facts = {"file": place.file, "line": str(place.line), "col": str(place.column), **facts}
        given = ",".join(f"{name}={_property(value)}" for name, value in facts.items() if value not in ("", "0"))
        return f"::{level} {given}::{_data(message)}"


class Buildkite(Folding):
    """Buildkite: a header begins a group and ends the one before it."""

    __slots__ = ()

    def start(self, title: str) -> str:
        """A folded header."""
        return f"--- {_one_line(title)}"

    def failed(self, title: str) -> str:
        """An unfolded header."""
        return f"+++ {_one_line(title)}"

    def expand(self) -> str:
        """Unfolds the group that is open."""
        return "^^^ +++"

    @property
    def expands(self) -> bool:
        """Yes."""
        return True

    def safe(self, line: str) -> str:
        """Headers are read at the start of a line only."""
        return f"| {line}" if re.match(r"(?:---|\+\+\+|~~~|\^\^\^)(?: |$)", line) else line


def folding(environ: Mapping[str, str]) -> Folding:
    """The markers of the CI that ``environ`` tells of."""
    if environ.get("GITHUB_ACTIONS", "").lower() not in _OFF:
        return GitHub(folds=True)
    if environ.get("BUILDKITE", "").lower() not in _OFF:
        return Buildkite(folds=True)
    return Folding()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
