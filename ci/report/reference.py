"""The reference pages that are made from the tables: verbs, settings, exit codes.

``nox -s docs`` writes them; a test fails while they are stale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import EXIT_CODES, Outcome
from ..settings import HOST_NAMES, KNOWN, Known

if TYPE_CHECKING:
    from ..call import Option, Verb

_MADE = "<!-- Written by `nox -s docs` from the tables in `ci/`; edit those. -->"

_MEANING = {
    Outcome.OK: "everything that was asked for is there and was verified",
    Outcome.SKIPPED: "not needed here; the reason is printed",
    Outcome.FAILED: "the product is at fault: its compile, its test, its RUN line",
    Outcome.CONFIG: "what was written cannot be meant: a file, an option, a variable, the command line",
    Outcome.CONTRACT: "it was made but lacks what it must contain",
    Outcome.INFRA: "the world is at fault: engine, registry, disk, network; a retry may help",
    Outcome.SUPERSEDED: "somebody newer was faster; nothing was changed",
    Outcome.EMPTY: "nothing was run, which is never success",
    Outcome.INTERNAL: "a bug of ours; `--debug` shows the traceback",
    Outcome.TIMEOUT: "a limit of time was reached",
    Outcome.INTERRUPTED: "stopped by SIGINT (130) or SIGTERM (143)",
}

_SOURCES = """\
One precedence: flag > environment > stack > default. `inv config` prints each value with its source, secrets masked.
An unknown `ROCM_CI_` variable, an empty value and a line break in a value are errors. `ROCM_CI_HANDOFF_CI_BASE`
and its like, one for each tier, have the images a job of GitHub Actions takes (`--handoff github`); a pipeline fills
them."""

_DOORS = """\
## The doors

`python -m ci VERB` (installed: `rocm-ci VERB`) is the door for pipelines, `inv VERB` for people. Both perform the same
function with the same options. What differs is the doors' own:

| | `python -m ci` | `inv` | `nox` |
| --- | --- | --- | --- |
| mistyped verb or option | exit 2, with a suggestion | exit 1, after our suggestion | 3 (session), 2 (option) |
| Ctrl-C, SIGTERM while a verb runs | 130, 143 | 130, 143 | 130, -15 (children end with it) |
| Ctrl-C before a verb runs | 130 | 1 | 130 |
| exit codes of a verb | the table below | the table below | 1 for every failure |
| help | `VERB --help` | `VERB --help`, `--help VERB`, `--list` | `--list` |

- The result goes to stdout: text, or with `--json` exactly one document, on errors too
  (`{"schema": 1, "verb": ..., "outcome": ..., "problems": [...]}`). Progress, notices and errors go to stderr.
  A command line Invoke cannot parse leaves no document.
- Several verbs in one `inv` call are fine, but not with `--json`; the call ends at the first verb that fails.
- `inv --dry` is refused: it does not reach what we do. Use the verb's own `--plan`.
- A reader that goes away (`| head`) changes nothing; a result that cannot be written (a full disk) is exit 4.
- A run that makes something has a folder below `ROCM_CI_STATE`; its `result.json` has the outcome and the exit code
  however the run ended.
"""


def verbs(table: Sequence[Verb]) -> str:
    """``docs/reference/verbs.md``: every verb with its options, then the exit codes."""
    parts = ["# Verbs", _MADE, _DOORS.strip(), _exit_codes(), *map(_verb, table)]
    return "\n\n".join(parts) + "\n"


def settings() -> str:
    """``docs/reference/settings.md``: every variable that is read."""
    own = [known for known in KNOWN if known.name.startswith("ROCM_CI_")]
    arguments = [known for known in KNOWN if known not in own]
    parts = [
        "# Settings",
        _MADE,
        _SOURCES,
        "## Our own",
        _variables(own),
        "## Build arguments\n\nThe default is the stack's.",
        _variables(arguments),
        "## Of other programs\n\nHonoured where they are set; the rest of the environment is invisible to a run.",
        "\n".join(f"- `{name}`" for name in sorted(HOST_NAMES)),
    ]
    return "\n\n".join(parts) + "\n"


def _exit_codes() -> str:
    rows = ["## Exit codes", "", "| code | outcome | meaning |", "| --- | --- | --- |"]
    for outcome, code in EXIT_CODES.items():
        shown = "130, 143" if outcome is Outcome.INTERRUPTED else str(code)
        rows.append(f"| {shown} | `{outcome.value}` | {_MEANING[outcome]} |")
    rows += [
        "",
        "A run with mixed steps ends as the first of: " + ", ".join(f"`{each.value}`" for each in Outcome) + ".",
    ]
    return "\n".join(rows)


def _verb(verb: Verb) -> str:
    positional = f" {verb.argument.upper()}" if verb.argument else ""
    rows = [f"## `{verb.name}{positional}`", "", verb.summary, "", "| option | meaning |", "| --- | --- |"]
    if verb.argument:
        rows.append(f"| `{verb.argument.upper()}` | {_cell(verb.argument_help)} |")
    rows += [_option(option) for option in verb.options]
    return "\n".join(rows)


def _option(option: Option) -> str:
    typed = option.flag if option.kind == "flag" else f"{option.flag} VALUE"
    known = next((each for each in KNOWN if each.flag == option.flag), None)
    notes = [option.help]
    if known:
        notes.append(f"variable `{known.name}`")
        notes += [f"default `{known.default}`"] if known.default else []
    return f"| `{typed}` | {_cell('; '.join(notes))} |"


def _variables(table: Sequence[Known]) -> str:
    rows = ["| variable | meaning | flag | default |", "| --- | --- | --- | --- |"]
    for known in table:
        flag = f"`{known.flag}`" if known.flag else ""
        default = f"`{known.default}`" if known.default else ""
        rows.append(f"| `{known.name}` | {_cell(known.meaning)} | {flag} | {default} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
