"""Markdown as CI systems and GitHub render it: every value escaped, so that nothing in it is markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

WIDEST_LINE = 500
"""Characters of a line that are shown; the rest tells nobody anything."""


def plain(value: str) -> str:
    """Plain text: nothing in it is markup, and it stays on one line."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", " ".join(value.split()))


def code(value: str) -> str:
    """A code span, also inside a table; its fence is longer than any run of backticks within."""
    line = " ".join(value.split()).replace("|", "\\|")
    fence = "`" * (_longest_run(line) + 1)
    pad = " " if "`" in line else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def fenced(lines: Sequence[str]) -> str:
    """A block of lines as they are; very long ones are cut."""
    fence = "`" * max(3, max(map(_longest_run, lines)) + 1)
    return "\n".join([f"{fence}text", *(line[:WIDEST_LINE] for line in lines), fence])


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are Markdown already."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _longest_run(line: str) -> int:
    return max((len(run) for run in re.findall("`+", line)), default=0)
