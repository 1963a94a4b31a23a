"""The command line of ``python -m ci``: from words to a performed verb, mistakes answered with suggestions."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

from . import settings
from .call import Verb
from .documents import suggest
from .door import perform, refuse, write
from .errors import CiError, ConfigError, Outcome, Problem
from .verbs import VERBS
from .world.process import die_with_parent

PROGRAM = "python -m ci" if __package__ == "ci" else "rocm-ci"
HELP = ("-h", "--help")


def run(argv: Sequence[str], stdout: TextIO | None, stderr: TextIO | None) -> int:
    """Parse and perform; returns the exit code, 2 for what cannot be parsed."""
    fill_standard_descriptors()
    if settings.under_nox():  # Nox does not pass SIGTERM on; without this a cancelled session leaves us running
        die_with_parent(settings.nox_process())
    if not argv:
        write(overview(), stderr, None)
        return Outcome.CONFIG.exit_code
    if argv[0] in HELP:
        return write(overview(), stdout, stderr)
    try:
        verb = find(argv[0])
        if asks_for_help(argv):
            return write(parser(verb).format_help(), stdout, stderr)
        values = parse(verb, argv[1:])
    except CiError as error:
        return refuse(argv[0], error, stdout, stderr, as_json="--json" in argv)
    return perform(verb, values, stdout, stderr)


def find(name: str) -> Verb:
    """The verb called ``name``; raises ``ConfigError`` with the nearest one."""
    for verb in VERBS:
        if verb.name == name:
            return verb
    if name.startswith("-"):
        hint = f"options come after the verb; {PROGRAM} --help shows the verbs"
        raise ConfigError("no-verb", f"{name} stands where a verb is wanted", hint=hint)
    raise ConfigError("unknown-verb", f"there is no verb {name!r}", hint=suggest(name, [verb.name for verb in VERBS]))


def parse(verb: Verb, words: Sequence[str]) -> dict[str, Any]:
    """The values of a verb's options; raises ``ConfigError`` with every word that is not understood."""
    known, left = parser(verb).parse_known_args(words)
    if left:
        raise ConfigError.of(_unknown(verb, left))
    return vars(known)


def parser(verb: Verb) -> argparse.ArgumentParser:
    """The parser of one verb, made from the table; errors are raised, help is the caller's."""
    made = _Parser(prog=f"{PROGRAM} {verb.name}", description=verb.summary, allow_abbrev=False, add_help=False)
    if verb.argument:
        made.add_argument(verb.argument, help=_literal(verb.argument_help))
    for option in verb.options:
        action: Any = {"value": _Once, "flag": "store_true", "list": "append"}[option.kind]
        made.add_argument(option.flag, dest=option.name, action=action, default=None, help=_literal(option.help))
    made.add_argument(*HELP, action="store_true", default=argparse.SUPPRESS, help="show this text")
    return made


def overview() -> str:
    """What the tool does and every verb in a line."""
    width = max(len(verb.name) for verb in VERBS)
    rows = [f"  {verb.name:{width}}  {verb.summary}" for verb in VERBS]
    return "\n".join(
        [
            f"usage: {PROGRAM} VERB [options]",
            "",
            "One task runner for everything between a commit and a released ROCm image.",
            "",
            *rows,
            "",
            f"{PROGRAM} VERB --help shows the options of a verb.",
        ]
    )


def asks_for_help(argv: Sequence[str]) -> bool:
    """Whether help is asked for anywhere before a ``--``."""
    words = argv[: argv.index("--")] if "--" in argv else argv
    return any(word in HELP for word in words)


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing and leaving."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError("usage", message, hint=f"{self.prog} --help shows the options")


class _Once(argparse.Action):
    """Takes a value; a second one is refused, as nobody can tell which of the two is meant."""

    def __call__(self, _parser: object, space: argparse.Namespace, value: Any, flag: str | None = None) -> None:
        if getattr(space, self.dest) is not None:
            raise ConfigError("given-twice", f"{flag} is given twice", hint="leave one of the two out")
        setattr(space, self.dest, value)


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def _unknown(verb: Verb, left: Sequence[str]) -> list[Problem]:
    """A problem for every option nobody knows; the words around them are told only where there is none."""
    flags = [option.flag for option in verb.options]
    options = [word.partition("=")[0] for word in left if word.startswith("-") and word != "-"]
    if options:
        return [
            Problem("unknown-option", f"{verb.name} has no option {word}", suggest(word, flags)) for word in options
        ]
    hint = f"{PROGRAM} {verb.name} --help shows what it takes; values with blanks need quotes"
    return [Problem("unexpected-word", f"{verb.name} does not take {word!r}", hint) for word in left]


def fill_standard_descriptors() -> None:
    """Open what was closed before we began: else the next file would become our stdout, or a child's."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
