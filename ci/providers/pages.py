"""The page of a CI's build, told in Markdown what a run did: GitHub's step summary, Buildkite's annotations."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ..errors import Outcome
from ..settings import Settings
from ..world import ci_agent, ci_files, files
from ..world.process import Run, run

LIMIT = 1 << 20
"""Bytes that GitHub takes of one step, and Buildkite of one annotation; of more they show nothing at all."""

_CUT = "\n\n*The rest was left out: a page has 1 MiB. The log and the run folder have all of it.*\n"
_CONTEXT = 100
_FENCE = re.compile("(`{3,})[a-z]*")


def wanted(settings: Settings) -> bool:
    """Whether there is such a page."""
    return bool(_summary(settings) or settings.host("BUILDKITE"))


def tell(settings: Settings, verb: str, outcome: Outcome, page: str, start: Run = run) -> None:
    """Show ``page``; a retry of the same job replaces what its first try said. Raises ``InfraError``."""
    if path := _summary(settings):
        there = next(iter(files.mark(Path(path))), 0)
        ci_files.append(Path(path), cut(f"\n{page}", LIMIT - there - 1))
        return
    ci_agent.annotate(cut(page, LIMIT), context(settings, verb), _style(outcome), start)


def _summary(settings: Settings) -> str:
    return settings.host("GITHUB_STEP_SUMMARY") if settings.host("GITHUB_ACTIONS") else ""


def context(settings: Settings, verb: str) -> str:
    """What the annotation of this job is called: the same for each try of it."""
    name = f"rocm-ci {verb} {settings.host('BUILDKITE_STEP_KEY') or settings.host('BUILDKITE_JOB_ID')}".strip()
    if len(name) <= _CONTEXT:
        return name
    return f"{name[: _CONTEXT - 17]} {hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _style(outcome: Outcome) -> str:
    if outcome is Outcome.SUPERSEDED:
        return "warning"
    return "error" if outcome.exit_code else "success"


def cut(page: str, room: int) -> str:
    """``page`` in at most ``room`` bytes, ended at a line and said to be; empty where not even that has room."""
    if len(page.encode("utf-8", "replace")) <= room:
        return page
    left = room - len(_CUT.encode())
    kept: list[str] = []
    fence = ""
    for line in page.split("\n"):
        left -= len(line.encode("utf-8", "replace")) + 1
        opened = _opened(line, fence)
        if left < len(opened) + 1:
            break
        kept.append(line)
        fence = opened
    if not kept:
        return _CUT.lstrip() if room >= len(_CUT.encode()) else ""
    return "\n".join([*kept, *([fence] if fence else [])]) + _CUT


def _opened(line: str, fence: str) -> str:
    """The fence that is open after ``line``."""
    if fence:
        return "" if line == fence else fence
    match = _FENCE.fullmatch(line)
    return match[1] if match else ""
