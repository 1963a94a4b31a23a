"""``python -m ci VERB`` (installed: ``rocm-ci VERB``): the door for pipelines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import settings
from .call import Verb
from .door import perform
from .verbs import VERBS
from .world.process import die_with_parent


def parser() -> argparse.ArgumentParser:
    """The command line, made from the table of verbs."""
    top = argparse.ArgumentParser(
        prog=f"python -m {__package__}" if __package__ == "ci" else "rocm-ci",
        description="One task runner for everything between a commit and a released ROCm image.",
        allow_abbrev=False,
    )
    commands = top.add_subparsers(metavar="VERB", required=True)
    for verb in VERBS:
        command = commands.add_parser(verb.name, help=verb.summary, description=verb.summary, allow_abbrev=False)
        command.set_defaults(verb=verb)
        if verb.argument:
            command.add_argument(verb.argument, help=verb.argument_help)
        for option in verb.options:
            action = {"value": "store", "flag": "store_true", "list": "append"}[option.kind]
            command.add_argument(option.flag, dest=option.name, action=action, default=None, help=option.help)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and perform; returns the exit code (2 for a command line that cannot be parsed)."""
    if settings.under_nox():
        die_with_parent()  # Nox does not pass SIGTERM on; without this a cancelled session leaves us running
    values = vars(parser().parse_args(argv))
    verb: Verb = values.pop("verb")
    return perform(verb, values, sys.stdout, sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
