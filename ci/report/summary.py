"""What a run says at its end, as text for a terminal and as Markdown for a CI's summary page.

Success is a glance per tier; on failure the stage that failed and its last lines come first,
then the cause and the next command, and only then the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import Outcome, Problem
from ..printable import printable
from . import units
from .markdown import WIDEST_LINE, code, fenced, plain

if TYPE_CHECKING:
    from ..build.progress import Failure, StageTime

TAIL = 20
"""Log lines of the failed step that the text shows; Markdown shows all that were kept."""

_HEX64 = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
_REASONS = 4
_LAYERS = 3
_UNBROKEN = "\N{NO-BREAK SPACE}"
_LARGEST = "largest"
_INDENT = 13
_WARNINGS = 3
_CACHES = 3
_STAGES = 6
_KINDS = {
    "oom": "killed, most likely for lack of memory: fewer parallel jobs (MAX_JOBS) or more memory",
    "disk": "the disk is full: free some space (docker system df shows what the engine holds), then run it again",
}


@dataclass(frozen=True, slots=True)
class TierReport:
    """One tier: ``decision`` is reuse, build, adopt, failed or unknown; ``size`` and layers in bytes.

    ``cache`` says which caches were read and what became of those to be written, ``attested`` what is attested of
    the image and what is not.
    """

    tier: str
    tag: str
    digest: str
    decision: str
    reasons: tuple[str, ...] = ()
    stages: tuple[StageTime, ...] = ()
    seconds: float = 0.0
    size: int | None = None
    largest_layers: tuple[tuple[int, str], ...] = ()
    published: str = ""
    cache: tuple[str, ...] = ()
    attested: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run of a verb; ``failure`` is there when a build failed, ``next_command`` is what to type now."""

    verb: str
    stack: str
    outcome: Outcome
    tiers: tuple[TierReport, ...]
    seconds: float
    next_command: str
    run_folder: str
    problems: tuple[Problem, ...] = ()
    failure: Failure | None = None


def text(report: RunReport, *, width: int) -> str:
    """The summary for ``width`` columns, without colours; long values are cut, only commands and names are not."""
    lines = [*_failure_lines(report, width), *_problem_lines(report)]
    if lines:
        lines.append("")
    table = _table(report.tiers, width)
    lines += [_headline(report), "", *table]
    for tier in report.tiers:
        rows = _rows(tier)
        if tier.decision != "reuse" and rows:
            lines += ["", tier.tier, *_rows_as_text(rows, width)]
    last = [*lines, "", *_last_lines(report, table)]
    return "\n".join(last).replace("\n\n\n", "\n\n").rstrip() + "\n"


def markdown(report: RunReport) -> str:
    """The summary for a page that renders GitHub's Markdown; every value is escaped."""
    parts = [f"### {code(report.verb)} ({plain(report.stack)}): {report.outcome.value} in {_time(report)}"]
    parts += _markdown_failure(report)
    if report.tiers:
        parts.append(_markdown_table(report.tiers))
    parts += [_markdown_details(tier) for tier in report.tiers if tier.decision != "reuse" and _rows(tier)]
    if report.next_command and not _ended_badly(report):
        parts.append(f"**Next:** {code(report.next_command)}")
    return "\n\n".join(parts) + "\n"


def _ended_badly(report: RunReport) -> bool:
    return report.outcome.exit_code != 0


def _time(report: RunReport) -> str:
    return units.seconds(report.seconds)


def _headline(report: RunReport) -> str:
    return f"{report.verb} ({report.stack}): {report.outcome.value} in {_time(report)}"


def _failure_lines(report: RunReport, width: int) -> list[str]:
    found = report.failure
    if found is None:
        return []
    where = units.clip(found.step, max(40, width - 8)) or "the build"
    tail = [f"  | {line}"[:WIDEST_LINE].rstrip() for line in found.tail[-TAIL:]]
    if len(found.tail) > TAIL:
        tail.insert(0, "  | ... (the lines before these are in the run folder)")
    return [f"FAILED: {where}", *tail, f"  {found.message}", *_causes(found, "  cause: ")]


def _causes(found: Failure, lead: str) -> list[str]:
    return [lead + _KINDS[found.kind]] if found.kind in _KINDS else []


def _problem_lines(report: RunReport) -> list[str]:
    lines: list[str] = []
    for problem in report.problems:
        place = f" at {problem.place}" if problem.place else ""
        lines.append(f"error: {problem.message} [{problem.reference}]{place}")
        if problem.hint:
            lines.append(f"  hint: {problem.hint}")
    if report.next_command and _ended_badly(report):
        lines.append(f"next: {report.next_command}")
    return lines


def _table(tiers: tuple[TierReport, ...], width: int) -> list[str]:
    """One glance per tier: ``reuse  TAG  DIGEST  (nothing changed)``; the names as long as they fit."""
    lines: list[str] = []
    for shorten in (str, _short, _shortest):
        lines = _aligned([_glance(tier, shorten) for tier in tiers])
        if all(len(line) <= width for line in lines):
            break
    return lines


def _glance(tier: TierReport, shorten: Callable[[str], str]) -> tuple[str, str, str, str]:
    return tier.decision, shorten(tier.tag), _short_digest(tier, shorten), f"({_remark(tier)})"


def _short_digest(tier: TierReport, shorten: Callable[[str], str]) -> str:
    if not tier.digest:
        return "(no image)"
    return tier.digest if shorten is str else _short(tier.digest)


def _aligned(rows: list[tuple[str, str, str, str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _short(name: str) -> str:
    """Cut every run of 64 hex digits to its first 12."""
    return _HEX64.sub(r"\1...", name)


def _shortest(tag: str) -> str:
    """The tag alone, cut; the whole name stands below."""
    return _short(tag.rpartition(":")[2])


def _remark(tier: TierReport) -> str:
    fixed = {"reuse": "nothing changed", "adopt": "built elsewhere", "unknown": "could not tell"}
    return fixed.get(tier.decision) or units.seconds(tier.seconds)


def _rows(tier: TierReport) -> list[tuple[str, str]]:
    """What there is to say about a tier, as name and value; names repeat."""
    rows = _listed("why", tier.reasons, _REASONS, f"more: inv explain {tier.tier}")
    if tier.stages:
        rows.append(("stages", _stage_times(tier.stages)))
    if tier.size is not None:
        rows.append(("size", units.size(tier.size)))
    layers = tuple(f"{units.size(size)}, {_made_by(command)}" for size, command in tier.largest_layers)
    rows += _listed(_LARGEST, layers, _LAYERS, "")
    if tier.published:
        rows.append(("published", tier.published))
    rows += _listed("cache", tuple(map(_short, tier.cache)), _CACHES, "more in result.json")
    if tier.attested:
        rows.append(("attested", "; ".join(tier.attested)))
    return rows + _listed("warnings", tier.warnings, _WARNINGS, "more in the run folder")


def _listed(name: str, values: tuple[str, ...], most: int, more: str) -> list[tuple[str, str]]:
    rows = list(values[:most])
    if more and len(values) > most:
        rows.append(f"{len(values) - most} {more}")
    return [(name, value) for value in rows]


def _rows_as_text(rows: list[tuple[str, str]], width: int) -> list[str]:
    lines: list[str] = []
    for index, (name, value) in enumerate(rows):
        repeated = index > 0 and rows[index - 1][0] == name
        text = _row(name, value, width)
        lines += [" " * _INDENT + text[0][_INDENT:], *text[1:]] if repeated else text
    return lines


def _row(name: str, value: str, width: int) -> list[str]:
    """Wrapped below its name; a layer's command is cut instead, nobody reads it to the end."""
    from textwrap import wrap

    room = max(30, width - _INDENT)
    wrapped = (
        [units.clip(value, room)] if name == _LARGEST else wrap(printable(value), room, max_lines=3, placeholder=" ...")
    )
    lines = [f"  {name if index == 0 else '':<{_INDENT - 2}}{line}" for index, line in enumerate(wrapped)]
    return [line.replace(_UNBROKEN, " ") for line in lines]


def _last_lines(report: RunReport, table: list[str]) -> list[str]:
    """What to copy: the last image's full name where the table had to cut it, and the next command."""
    cut = [tier.tag for tier in report.tiers[-1:] if tier.digest and not any(tier.tag in line for line in table)]
    rows = [("image", tag) for tag in cut]
    if report.run_folder:
        rows.append(("run folder", report.run_folder))
    if report.next_command and not _ended_badly(report):
        rows.append(("next", report.next_command))
    return [f"{name:<{_INDENT}}{value}" for name, value in rows]


def _stage_times(stages: tuple[StageTime, ...]) -> str:
    """The slowest first; the cached ones as a number."""
    cached = [stage for stage in stages if stage.state == "cached"]
    ran = sorted((s for s in stages if s.state not in ("cached", "waiting")), key=lambda s: -s.seconds)
    shown = [f"{s.name} {units.seconds(s.seconds)}{_mark(s)}" for s in ran[:_STAGES]]
    if len(ran) > _STAGES:
        shown.append(f"{len(ran) - _STAGES} more")
    if cached:
        shown.append(f"{len(cached)} cached")
    return ", ".join(part.replace(" ", _UNBROKEN) for part in shown)


def _mark(stage: StageTime) -> str:
    return "" if stage.state in ("done", "running") else f" {stage.state}"


def _made_by(command: str) -> str:
    """The instruction behind a layer, without what BuildKit wraps around it."""
    command = re.sub(r"^RUN (?:\|\d+ (?:\S+=\S* )*)?/bin/(?:ba)?sh -\w*c ", "RUN ", command)
    return command.removesuffix(" # buildkit")


def _markdown_failure(report: RunReport) -> list[str]:
    parts: list[str] = []
    found = report.failure
    if found:
        parts.append(f"**FAILED:** {code(found.step or 'the build')}: {plain(found.message)}")
        if found.tail:
            parts.append(fenced(found.tail))
        parts += [plain(cause) for cause in _causes(found, "Cause: ")]
    for problem in report.problems:
        hint = f"<br>{plain(problem.hint)}" if problem.hint else ""
        parts.append(f"**Error:** {plain(problem.message)} {code(problem.reference)}{hint}")
    if report.next_command and _ended_badly(report):
        parts.append(f"**Next:** {code(report.next_command)}")
    return parts


def _markdown_table(tiers: tuple[TierReport, ...]) -> str:
    lines = ["| Tier | Decision | Image | Digest | Size |", "| --- | --- | --- | --- | ---: |"]
    for tier in tiers:
        decision = f"{tier.decision} ({_remark(tier)})"
        digest = code(tier.digest) if tier.digest else "no image"
        cells = (plain(tier.tier), decision, code(tier.tag), digest, units.size(tier.size))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _markdown_details(tier: TierReport) -> str:
    cells: dict[str, list[str]] = {}
    for name, value in _rows(tier):
        cells.setdefault(name, []).append(plain(value[:WIDEST_LINE]))
    rows = "\n".join(f"| {name} | {'<br>'.join(values)} |" for name, values in cells.items())
    return (
        f"<details><summary>{plain(tier.tier)}: why, stages, layers</summary>\n\n"
        f"| | |\n| --- | --- |\n{rows}\n\n</details>"
    )
