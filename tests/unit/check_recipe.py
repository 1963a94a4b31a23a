"""A tiny recipe with a defect planted in it, for the tests of ``check``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

from ci.check import material
from ci.check.rules import Finding, apply
from ci.settings import capture
from ci.world.process import Command, Finished
from tests import recipes

TODAY = date(2026, 11, 22)
Check = Callable[..., tuple[Finding, ...]]
FIRST = "FROM ${BASE_IMAGE} AS unreached"
PLANTED = recipes.DOCKERFILE.splitlines().index(FIRST) + 2
"""The line at which a defect is planted."""


def no_git(command: Command, *_rest: object) -> Finished:
    """Git where it tracks nothing."""
    return Finished(command, 0 if "ls-files" in command.argv else 128, "", "")


def found(stack: str, **environ: str) -> tuple[Finding, ...]:
    """What ``check`` finds in a stack."""
    return apply(material.read(capture({"--stack": stack}, environ), no_git, today=TODAY))


def plant(
    folder: Path, lines: str = "", *, files: dict[str, str] | None = None, stack: str = "", dockerfile: str = ""
) -> Path:
    """Write the recipe and its source to a new folder below ``folder``; gives the stack file."""
    text = dockerfile or recipes.DOCKERFILE.replace(f"{FIRST}\n", f"{FIRST}\n{lines}\n")
    path = recipes.write(folder / str(len(list(folder.iterdir()))), text, stack or recipes.STACK)
    for name, content in (files or {}).items():
        (path.parent / name).parent.mkdir(exist_ok=True)
        (path.parent / name).write_text(content)
    return path


def shown(findings: tuple[Finding, ...]) -> list[tuple[str, str, str]]:
    """Rule, reference, and file:line:column without its folders."""
    return [(each.rule, each.problem.reference, str(each.problem.place or "").rpartition("/")[2]) for each in findings]
