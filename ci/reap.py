"""Remove what crashed runs left behind: what their ledgers name, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from .answer import Answer
from .errors import InfraError, Outcome, worst
from .settings import Settings
from .world import files
from .world.clock import Clock
from .world.engine import Engine, endpoint
from .world.ledger import Ledger, Thing, abandoned, outdated
from .world.slurm import Slurm, client_environment, is_job_of

_KEPT = timedelta(days=14)
"""How long the records of an ended run stay: its plan, context, log and result."""


def answer(settings: Settings, clock: Clock, *, dry: bool) -> Answer:
    """Go through the ledgers of runs whose process is gone; a run that still works is left alone."""
    state = Path(settings.get("ROCM_CI_STATE").value)
    engine = Engine(endpoint(settings))
    slurm = Slurm(client_environment(settings))
    rows: list[dict[str, str]] = []
    outcomes = [Outcome.OK]
    for ledger in list(abandoned(state)):  # all are read before anything is removed: one we cannot read stops here
        for thing in ledger.open_things():
            problem = None if dry else _remove(thing, ledger, engine, slurm)
            rows.append({"run": ledger.folder.name, "kind": thing.kind, "name": thing.name, "problem": problem or ""})
            if problem:
                outcomes.append(Outcome.INFRA)
        if not dry and not ledger.open_things():
            ledger.end()
    old = outdated(state, clock.now() - _KEPT)
    for folder in () if dry else old:
        files.remove(folder)
    lines = [_line(row, dry=dry) for row in rows] or ["nothing was left behind"]
    if old:
        lines.append(
            f"{'would remove' if dry else 'removed'} the records of {len(old)} runs older than {_KEPT.days} days"
        )
    outcome = worst(outcomes)
    return Answer(
        outcome, "\n".join(lines), {"schema": 1, "outcome": outcome, "removed": rows, "records": len(old), "plan": dry}
    )


def _remove(thing: Thing, ledger: Ledger, engine: Engine, slurm: Slurm) -> str | None:
    """Remove one thing and write it down; gives what stood in the way."""
    try:
        if thing.kind == "image":
            engine.untag(thing.name)
        elif thing.kind == "container":
            engine.remove_container(thing.name)
        elif thing.kind == "slurm-job":
            if not is_job_of(thing.name, ledger.folder.name):
                return "no job of that run has such a name, and so it is not this tool's to cancel"
            slurm.cancel(thing.name)
        elif thing.kind not in ("file", "folder"):
            return f"nobody here knows how to remove a {thing.kind}; use the rocm-ci that made it"
        elif not ledger.holds(thing):
            return "it is not in the run's own folder, and so not this tool's to remove"
        else:
            files.remove(Path(thing.name))
            if Path(thing.name).exists():
                return "could not be removed; try as its owner or as root"
        ledger.gone(thing)
    except (InfraError, OSError) as error:
        return str(error)
    return None


def _line(row: dict[str, str], *, dry: bool) -> str:
    verb = "would remove" if dry else ("cannot remove" if row["problem"] else "removed")
    tail = f": {row['problem']}" if row["problem"] else ""
    return f"{verb} {row['kind']} {row['name']} of run {row['run']}{tail}"
