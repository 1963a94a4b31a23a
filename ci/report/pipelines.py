"""A pipeline as a person reads it, and as a document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..answer import Answer
from ..errors import Outcome
from ..pipeline.make import Made
from ..pipeline.placing import Placed, told
from ..pipeline.select import Choice
from ..printable import printable
from ..providers.jobs import Job
from .units import counted


def answer(made: Made, *, explain: bool) -> Answer:
    """A table of all steps; with ``explain``, every reason in full. Steps that nobody can run make it ``empty``."""
    lines = _explained(made) if explain else _table(made)
    text = "\n".join([*lines, "", *_ending(made)])
    return Answer(_outcome(made), text, document(made))


def emitted(made: Made, text: str) -> Answer:
    """The pipeline in a CI's words, which stands alone on stdout."""
    return Answer(_outcome(made), text, document(made))


def as_json(made: Made) -> Answer:
    """The document, as text too."""
    found = document(made)
    # GitHub Actions reads commands in what is printed, this one anywhere in a line.
    return Answer(_outcome(made), json.dumps(found, indent=2).replace("##[", "#\\u0023["), found)


def committed(text: str, notices: Sequence[str]) -> Answer:
    """A workflow to commit."""
    found = {"schema": 1, "verb": "pipeline", "outcome": Outcome.OK, "workflow": text, "notices": list(notices)}
    return Answer(Outcome.OK, text, found)


def document(made: Made) -> dict[str, Any]:
    """Everything that was decided, and the jobs that follow."""
    terms, selection = made.given.terms, made.selection
    return {
        "schema": 1,
        "verb": "pipeline",
        "outcome": _outcome(made),
        "stack": terms.stack.name,
        "catalogue": terms.catalogue.file,
        "profile": selection.profile,
        "change": {
            "base": made.diff.base or None,
            "files": len(made.diff.files),
            "unknown": made.diff.unknown or None,
        },
        "everything": selection.everything or None,
        "steps": [
            {
                "step": each.step,
                "runs": each.runs,
                "why": each.why,
                "places": [_place(at) for at in made.placed.get(each.step, ())],
            }
            for each in selection.choices
        ],
        "jobs": [_job(job) for job in made.wired.pipeline.jobs],
        "unplaced": [
            {"step": each.placed.step.name, **_place(each.placed), "fails": absent.pool is not None}
            for each, absent in zip(made.wired.unplaced, made.wired.pipeline.absent, strict=True)
        ],
        "notices": list(made.notices),
    }


def _outcome(made: Made) -> Outcome:
    return Outcome.EMPTY if made.empty else Outcome.OK


def _place(at: Placed) -> Mapping[str, Any]:
    return {
        "arch": at.arch or None,
        "pool": at.pool.name if at.pool else None,
        "refused": [{"pool": pool, "why": why} for pool, why in at.refused],
    }


def _job(job: Job) -> Mapping[str, Any]:
    return {
        "key": job.key,
        "label": job.label,
        "command": list(job.command),
        "pool": job.pool.name,
        "minutes": job.minutes,
        "after": list(job.after),
        "env": dict(job.env or {}),
        "makes": list(job.makes),
        "takes": list(job.takes),
        "soft": job.soft or None,
        "priority": job.priority,
        "why": job.why,
    }


# --- text ---------------------------------------------------------------------------------------


def _table(made: Made) -> Iterator[str]:
    rows = [
        ("step", "runs", "where", "why"),
        *((each.step, "yes" if each.runs else "no", _where(made, each), each.why) for each in made.selection.choices),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield printable("  ".join([*cells, row[3]]).rstrip())


def _where(made: Made, choice: Choice) -> str:
    """``mi300x-1 x 4, mi355x-1 x 4``: the pools, and the shards on each."""
    return ", ".join(
        (at.pool.name if at.pool else "nowhere") + (f" x {at.step.shards}" if at.step.shards > 1 else "")
        for at in (made.placed[choice.step] if choice.runs else ())
    )


def _explained(made: Made) -> Iterator[str]:
    for each in made.selection.choices:
        yield f"{each.step}: {'runs' if each.runs else 'does not run'}: {printable(each.why)}"
        for at in made.placed.get(each.step, ()):
            yield f"  {_goes(at, runs=each.runs)}"
            if at.refused:
                yield f"    not {printable(told(at.refused))}"


def _goes(at: Placed, *, runs: bool) -> str:
    on = f" ({at.arch})" if at.arch else ""
    return f"{'goes' if runs else 'would go'} to {at.pool.name}{on}" if at.pool else f"no pool can take it{on}"


def _ending(made: Made) -> Iterator[str]:
    jobs, selection = made.wired.pipeline.jobs, made.selection
    images = sum(bool(job.priority) for job in jobs)
    nowhere = {each.placed.step.name for each in made.wired.unplaced}
    runs = sum(each.runs for each in selection.choices)
    yield (
        f"{runs} of {counted(len(selection.choices), 'step')} selected under profile {selection.profile}: "
        f"{counted(len(jobs) - images, 'job')}, {counted(images, 'image job')} before"
    )
    if nowhere:
        yield f"{counted(len(nowhere), 'step')} with no pool for some or all of it: {', '.join(sorted(nowhere))}"
    if made.diff.base:
        yield f"{counted(len(made.diff.files), 'file')} changed since {made.diff.base[:12]}"
    if selection.everything:
        yield printable(f"all steps of the profile: {selection.everything}")
