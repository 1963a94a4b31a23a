"""The arguments of pytest, read as far as that is possible without its plugins."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_VALUED = frozenset((
    "-k", "-m", "-n", "-p", "-o", "-c", "-W", "-r", "--ignore", "--ignore-glob", "--deselect", "--timeout",
    "--timeout-method", "--maxfail", "--durations", "--durations-min", "--rootdir", "--confcutdir", "--tb",
    "--import-mode", "--junitxml", "--junit-xml", "--log-level", "--log-cli-level", "--log-file", "--basetemp",
    "--capture", "--color", "--dist", "--numprocesses", "--maxprocesses", "--reruns", "--reruns-delay",
    "--only-rerun", "--cov", "--cov-report", "--cov-config", "--override-ini", "--config-file", "--shard-id",
    "--num-shards", "--splits", "--group", "--show-capture", "--verbosity", "--assert", "--code-highlight",
    "--pythonwarnings", "--keyword", "--max-worker-restart",
))  # fmt: skip
_FLAGS = frozenset((
    "--exitfirst", "--verbose", "--quiet", "--showlocals", "--forked", "--lf", "--ff", "--nf", "--sw",
    "--last-failed", "--failed-first", "--no-header", "--no-summary", "--strict", "--strict-markers",
    "--strict-config", "--disable-warnings", "--setup-show", "--full-trace", "--no-cov", "--keep-duplicates",
    "--stepwise", "--cache-clear", "--no-flaky-report",
))  # fmt: skip
_CHANGES_WHAT = frozenset((
    "--pyargs", "--doctest-modules", "--doctest-glob", "--collect-only", "--co", "--ignore-glob", "--rootdir",
    "--config-file", "-c",
))  # fmt: skip
_SHORT = re.compile("-[a-zA-Z]+")
_CONFIGURED = re.compile(r"python_(files|classes|functions)|testpaths|addopts")


class Operand(NamedTuple):
    """A test that is asked for: ``word`` as it is written, its ``path``, its ``names`` behind it."""

    word: str
    path: str
    names: tuple[str, ...]


class Asked(NamedTuple):
    """What pytest is asked to run; ``plain`` is False where an option changes what that means.

    ``ignored`` are files and tests it leaves out, ``values`` those of other options: (word as it is written, value).
    """

    operands: tuple[Operand, ...]
    ignored: tuple[tuple[str, str], ...]
    keyword: str
    values: tuple[tuple[str, str], ...]
    plain: bool


def read(words: Sequence[str]) -> Asked:
    """The arguments of one call."""
    pairs = tuple(_pairs(words))
    given = {option for option, _, _ in pairs}
    configured = any(option in {"-o", "--override-ini"} and _CONFIGURED.match(value) for option, value, _ in pairs)
    return Asked(
        operands=tuple(_operand(value) for option, value, _ in pairs if not option),
        ignored=tuple((word, value) for option, value, word in pairs if option in {"--ignore", "--deselect"}),
        keyword=next((value for option, value, _ in reversed(pairs) if option in {"-k", "--keyword"}), ""),
        values=tuple((word, value) for option, value, word in pairs if option and value and option not in _VALUED),
        plain=not (given & _CHANGES_WHAT or configured),
    )


def _operand(word: str) -> Operand:
    path, _, names = word.partition("::")
    return Operand(word, path, tuple(name.partition("[")[0] for name in names.split("::")) if names else ())


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(option, its value, the word it stands in); an operand has no option.

    A word behind an option that nobody here knows may be either: it is a value.
    """
    pending = ""
    for word in words:
        if pending:
            yield pending, word, word
            pending = ""
        elif word.startswith("--"):
            option, equals, value = word.partition("=")
            if equals or option in _FLAGS:
                yield option, value, word
            elif option in _CHANGES_WHAT - _VALUED:
                yield option, "", word
            else:
                pending = option
        elif word in _VALUED or (_SHORT.fullmatch(word) and f"-{word[-1]}" in _VALUED and word[:2] not in _VALUED):
            pending = f"-{word[-1]}"
        elif word.startswith("-") and word != "-":
            yield word[:2], word[2:], word
        else:
            yield "", word, word
    if pending:
        yield pending, "", pending
