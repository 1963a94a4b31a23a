"""The shapes of a Dockerfile: its stages, arguments and instructions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .lexer import Heredoc, is_heredoc


class Arg(NamedTuple):
    """``ARG name`` or ``ARG name=default``; ``default`` is raw, as written."""

    name: str
    default: str | None
    line: int


class Instruction(NamedTuple):
    """One instruction.

    ``text`` is canonical: continuation lines joined, comment lines, blank lines and
    trailing blanks gone, heredoc bodies byte for byte.  ``words`` are its operands
    (raw); an ONBUILD has the instruction it triggers in ``trigger``.
    """

    keyword: str
    text: str
    flags: tuple[tuple[str, str], ...]
    line: int
    words: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    trigger: Instruction | None = None

    def flag(self, name: str) -> str | None:
        """The value of ``--name``, or ``None`` if it is not given."""
        return next((value for key, value in self.flags if key == name), None)

    def all_flags(self, name: str) -> tuple[str, ...]:
        """The values of a flag that may be repeated."""
        return tuple(value for key, value in self.flags if key == name)

    def is_set(self, name: str) -> bool:
        """Whether the boolean ``--name`` is on."""
        value = self.flag(name)
        return value is not None and value.lower() != "false"

    @property
    def args(self) -> tuple[Arg, ...]:
        """The arguments an ARG instruction declares, in order."""
        return tuple(_arg(word, self.line) for word in self.words)

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of a COPY or ADD, inline documents left out; raw."""
        return tuple(word for word in self.words[:-1] if not is_heredoc(word))


@dataclass(frozen=True, slots=True)
class Stage:
    """``FROM base AS name`` and what follows it; ``name`` is lower case, ``base`` raw."""

    index: int
    name: str | None
    base: str
    platform: str | None
    line: int
    instructions: tuple[Instruction, ...]
    text: str = ""

    @property
    def id(self) -> str:
        """The name, or ``#`` and the index from 0 as ``COPY --from`` counts."""
        return self.name or f"#{self.index}"


class Dockerfile(NamedTuple):
    """A whole file; ``global_args`` are the ARGs before the first FROM."""

    file: str
    syntax: str | None
    escape: str
    global_args: tuple[Arg, ...]
    stages: tuple[Stage, ...]

    def stage(self, name: str) -> Stage | None:
        """The stage of that name, whatever its case."""
        name = name.lower()
        return next((stage for stage in self.stages if stage.name == name), None)


def _arg(word: str, line: int) -> Arg:
    name, equals, default = word.partition("=")
    return Arg(name, default if equals else None, line)
