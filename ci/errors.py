"""Every way a run can end, and the one error type that says why.

An outcome is what a script reads (exit code, ``result.json``); a problem is what a
person reads: what happened, the likely cause, the next command.  An error carries
one outcome and one or more problems, so that all mistakes of a run are shown at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar, NamedTuple


class Outcome(StrEnum):
    """How a step or a run ended, in the order a mixed run reports them."""

    INTERRUPTED = "interrupted"
    TIMEOUT = "timeout"
    INTERNAL = "internal"
    CONFIG = "config"
    CONTRACT = "contract"
    FAILED = "failed"
    INFRA = "infra"
    SUPERSEDED = "superseded"
    EMPTY = "empty"
    OK = "ok"
    SKIPPED = "skipped"

    @property
    def exit_code(self) -> int:
        """The process exit code of this outcome; a SIGTERM adds 13 (see ``Interrupted``)."""
        return EXIT_CODES[self]


EXIT_CODES: dict[Outcome, int] = {
    Outcome.OK: 0,
    Outcome.SKIPPED: 0,
    Outcome.FAILED: 1,
    Outcome.CONFIG: 2,
    Outcome.CONTRACT: 3,
    Outcome.INFRA: 4,
    Outcome.SUPERSEDED: 5,
    Outcome.EMPTY: 6,
    Outcome.INTERNAL: 70,
    Outcome.TIMEOUT: 124,
    Outcome.INTERRUPTED: 130,
}


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome of a run with mixed steps; a run without any step is ``empty``."""
    order = list(Outcome)
    return min(outcomes, key=order.index, default=Outcome.EMPTY)


LOGIN = re.compile(
    r"(?<=//)(?=(?<!ssh://)[^\s/?#:]*@|[^\s/?#:]*:[^\s/?#]*@|[^\s/?#:\[@]*:(?!\d{1,5}[/?#,;'\")\]]))\S*@(?!sha256:)"
    r"|(?<![^\s'\"`=([{<,;])(?!mailto:)[^\s/:@'\"`=([{<,;]+:(?!:)[^\s/]*@(?!sha256:)"
)
"""``user:password@`` in front of a host, or ``token@`` in a URL; where there is one, rather too much than too little.

An ``@`` behind the host of a URL is none, unless what stands in the place of the port cannot be one; nor is the user
of ssh, which takes no token; nor what follows ``::``, as in the name of a test.
"""

_QUERY = re.compile(
    r"([?&][^=&\s]*(?:token|key|sig|secret|password)[^=&\s]*=)[^&\s]+?(?=['\")\]},;]*(?:[&\s]|$))", re.IGNORECASE
)


def masked(text: str) -> str:
    """``text`` as a person may see it: a URL or address loses its login, and its query what looks like a secret."""
    return _QUERY.sub(r"\1****", LOGIN.sub("****@", text))


class Place(NamedTuple):
    """A position in a file a person can open; ``line`` and ``column`` count from 1, 0 is unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        parts = [self.file, *(str(n) for n in (self.line, self.column) if n)]
        return ":".join(parts)


class Problem(NamedTuple):
    """One thing that is wrong.

    ``reference`` is a stable kebab-case name to search for; ``message`` says what
    happened; ``context`` is evidence (a log tail, the values compared); ``hint`` is
    the likely cause and the next command.
    """

    reference: str
    message: str
    hint: str = ""
    context: str = ""
    place: Place | None = None

    @property
    def shown(self) -> Problem:
        """The same as it may be shown: whatever prints or keeps a problem takes this one."""
        return self._replace(message=masked(self.message), hint=masked(self.hint), context=masked(self.context))


class CiError(BaseException):
    """The root of every error this package raises on purpose.

    No ``Exception``, so that no library's ``except Exception`` can swallow it: a signal
    raises ``Interrupted`` wherever the program happens to be, in the middle of a parser too.
    """

    outcome: ClassVar[Outcome] = Outcome.INTERNAL

    def __init__(
        self,
        reference: str,
        message: str,
        *,
        hint: str = "",
        context: str = "",
        place: Place | None = None,
    ) -> None:
        super().__init__(message)
        self.problems: tuple[Problem, ...] = (Problem(reference, message, hint, context, place),)

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> CiError:
        """One error that carries all ``problems``, each once; there must be at least one."""
        found = tuple(dict.fromkeys(problems))
        first = found[0]
        error = cls(first.reference, first.message)
        error.problems = found
        return error

    @property
    def exit_code(self) -> int:
        """The exit code a process ends with when this error ends it."""
        return self.outcome.exit_code


class InternalError(CiError):
    """A bug of ours."""


class ConfigError(CiError):
    """What the caller wrote cannot be meant: a file, an option, a variable."""

    outcome = Outcome.CONFIG


class ContractError(CiError):
    """The thing was made but lacks what it must contain."""

    outcome = Outcome.CONTRACT


class FailedError(CiError):
    """The product is at fault: its compile, its test, its RUN line."""

    outcome = Outcome.FAILED


class InfraError(CiError):
    """The world is at fault: daemon, registry, disk, network. A retry may help."""

    outcome = Outcome.INFRA


class SupersededError(CiError):
    """Somebody newer was faster; nothing was changed."""

    outcome = Outcome.SUPERSEDED


class EmptyError(CiError):
    """Nothing was run, which is never success."""

    outcome = Outcome.EMPTY


class DeadlineError(CiError):
    """A limit of time was reached."""

    outcome = Outcome.TIMEOUT


class Interrupted(CiError):
    """A signal asked us to stop; ``signal`` is its number, ``rungs`` what the command at work needed to end."""

    outcome = Outcome.INTERRUPTED

    def __init__(self, signal: int, message: str = "", *, hint: str = "") -> None:
        super().__init__("interrupted", message or f"stopped by signal {signal}", hint=hint)
        self.signal = signal
        self.rungs: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """128 + the signal: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.signal
