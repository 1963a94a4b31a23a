"""One call of a verb: its options and where its output goes.

Results go to stdout, as text or as one JSON document; progress and logs go to stderr.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from .answer import Answer
from .errors import ConfigError, Problem
from .settings import Settings, capture

if TYPE_CHECKING:
    from .report.console import Console
    from .world.ledger import Ledger


class Option(NamedTuple):
    """One option: ``kind`` is value, flag or list; ``sets`` marks an option that beats a variable of ``settings``."""

    name: str
    help: str
    kind: str = "value"
    sets: bool = False

    @property
    def flag(self) -> str:
        """As typed: ``--nic-backend``."""
        return "--" + self.name


class Verb(NamedTuple):
    """A command: a plain function of one ``Call``. ``argument`` names its one positional, if it has one."""

    name: str
    run: Callable[[Call], Answer]
    options: tuple[Option, ...]
    argument: str = ""
    argument_help: str = ""

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (self.run.__doc__ or "").strip().partition("\n")[0]


@dataclass
class Call:
    """The options somebody gave to ``verb``, and this run's screen and ledger.

    ``so_far`` is what a verb that ends in an error has done by then, ``page`` the same as Markdown: told beside the
    error.
    """

    verb: Verb
    values: Mapping[str, Any]
    stderr: TextIO | None
    ledger: Ledger | None = field(default=None)
    so_far: Mapping[str, Any] = field(default_factory=dict)
    page: str = ""

    def text(self, name: str) -> str:
        """The value of a value option or of the positional; empty when not given."""
        return str(self.values.get(name) or "")

    def refuse_empty(self) -> None:
        """Raise ``ConfigError`` for all that was given without a value, which is not the same as left out."""
        hint = "give it a value or leave it out; an unset variable of a shell gives none"
        found = [
            Problem("empty-value", f"{self._typed(name)} was given and is empty", hint)
            for name, value in self.values.items()
            if _is_empty(value)
        ]
        if found:
            raise ConfigError.of(found)

    def _typed(self, name: str) -> str:
        return name if name == self.verb.argument else f"--{name}"

    def on(self, name: str) -> bool:
        """Whether a flag was given."""
        return bool(self.values.get(name))

    def pairs(self, name: str, form: str) -> dict[str, str]:
        """A repeated option of ``form``, such as ``NAME=PATH``, as a mapping."""
        result: dict[str, str] = {}
        for item in self.values.get(name) or ():
            key, equals, value = item.partition("=")
            if not (key and equals and value):
                hint = f"give --{name} {form}; what holds blanks or stars needs quotes"
                raise ConfigError("bad-pair", f"--{name} wants {form}, not {item!r}", hint=hint)
            if key in result:
                hint = "leave one of the two out"
                raise ConfigError("given-twice", f"--{name} {key} is given twice", hint=hint)
            result[key] = value
        return result

    @cached_property
    def settings(self) -> Settings:
        """The environment and the flags of this call, read once."""
        flags = {
            option.flag: str(self.values[option.name])
            for option in self.verb.options
            if option.sets and self.values.get(option.name) is not None
        }
        return capture(flags)

    @cached_property
    def console(self) -> Console:
        """The one place that writes to stderr."""
        return console(self.settings.environ, self.stderr)


def _is_empty(value: Any) -> bool:
    words = value if isinstance(value, list) else [value]
    return any(isinstance(word, str) and not word.strip() for word in words)


def console(environ: Mapping[str, str], stderr: TextIO | None) -> Console:
    """A console on ``stderr``, able to do what the environment says; None is a stream that was closed."""
    from .providers.folding import folding
    from .report.console import Console, capabilities
    from .world.clock import SystemClock

    able = capabilities(environ, stderr is not None and stderr.isatty())
    return Console(
        stderr,
        interactive=able.interactive,
        colour=able.colour,
        unicode=able.unicode,
        folding=folding(environ),
        clock=SystemClock(),
    )
