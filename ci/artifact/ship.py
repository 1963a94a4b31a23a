"""Make a tier's bundle: bake its artifact stage on the parents that are there, pack the files, put them away."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..build.bake import Order, bake, build_error
from ..build.definition import FILES
from ..build.inputs import RECIPE
from ..build.perform import Performance, TierResult
from ..build.workspace import Workspace
from ..errors import ContractError
from ..wheels import bundle
from ..wheels.bundle import Manifest
from ..world import files, git
from ..world.locks import exclusive
from . import ground as grounds
from . import place
from .ground import Ground

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Shipped:
    """A bundle in its place: ``where`` as ``--artifact`` takes it; ``size`` in bytes."""

    where: str
    sha256: str
    size: int
    manifest: Manifest


def ship(performance: Performance, tier: str, out: str) -> Shipped:
    """Make the bundle of ``tier`` and put it into ``out``; the results get the parents' rows and the tier's.

    Raises ``ConfigError`` where the state of the parents forbids it, before anything is built.
    """
    send = place.target(out)
    work = performance.workspace
    stage = grounds.stage(work, tier)
    planned = replace(grounds.prepared(performance, tier), reasons=("its parents are there to be reused",))
    ground = grounds.survey(work, planned)
    grounds.note_parents(performance, ground)
    for name, found in ground.parents.items():
        if found.where == "engine" and work.place:
            performance.screen.warn(f"{name} is in this engine only: no other host can use the bundle (--push it)")
    held = performance.ledger.folder / planned.name / Path(FILES).parent
    thing = performance.ledger.will_make("folder", str(held))
    try:
        with (
            performance.ledger.spans.during("tier", tier),
            exclusive(work.state, f"ship-{planned.identity}", performance.screen.say),
            performance.building(planned) as row,
        ):
            row.decision, row.published = "ship", ""
            _bake(performance, ground, stage, row)
            packed = held / str(ground.name)
            manifest = bundle.make(packed, carried(held.parent / FILES), ground.facts(commit(work)))
            row.published = send(packed)
            return Shipped(row.published, bundle.digest(packed), packed.stat().st_size, manifest)
    finally:
        performance.ledger.clear(thing, lambda: files.remove(held), performance.screen.warn)


def commit(work: Workspace) -> str:
    """The commit of what is built, the first source or else the recipe; empty where none describes the tree."""
    name = next((name for name in work.trees if name != RECIPE), RECIPE)
    found = git.head(work.trees[name].root)
    return found.commit if found and not found.dirty else ""


def _bake(performance: Performance, ground: Ground, stage: str, row: TierResult) -> None:
    """Bring the files of the stage into the run's folder."""
    tier = ground.tier
    order = Order(tier, performance.pinned(tier), stage=stage)
    folder = performance.ledger.folder / tier.name
    done = bake(performance.workspace, folder, performance.screen, order, performance.ledger.spans)
    progress, baked = done.progress, done.baked
    row.stages, row.warnings = progress.stages, (*progress.warnings, *done.warnings)
    row.cache_read = tuple(map(str, done.helped.caches))
    if not baked.finished.ok:
        row.failure = progress.failure
        raise build_error(tier, baked.finished.code, progress.failure, baked.finished.tail())


def carried(root: Path) -> Mapping[str, Path]:
    """The files below ``root`` by their path in the bundle.

    Raises ``ContractError`` for what would not be the same on the other side: links, empty folders, modes
    other than 0644 and 0755, and a ``.dockerignore``, which BuildKit obeys in a folder and not in a stage.
    """
    found: dict[str, Path] = {}
    odd: list[str] = []
    for path in _all(root):
        name = path.relative_to(root).as_posix()
        why = _odd(path, name)
        if why:
            odd.append(f"{name}: {why}")
        elif not path.is_dir():
            found[name] = path
    if odd:
        more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
        message = f"the artifact stage has what a bundle cannot carry: {', '.join(odd[:_SHOWN])}{more}"
        raise ContractError(
            "not-plain", message, hint="let the stage hold plain files only, or put them into an archive"
        )
    if not found:
        raise ContractError(
            "empty-artifact", "the artifact stage holds no file", hint="COPY --from what it has to hold"
        )
    return found


def _all(root: Path) -> Iterator[Path]:
    for folder, names, leaves in os.walk(root):
        yield from (Path(folder) / name for name in sorted((*names, *leaves)))


def _odd(path: Path, name: str) -> str:
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        if mode != 0o755:
            return f"a folder of mode {mode:04o}"
        return "" if any(path.iterdir()) else "an empty folder"
    if not stat.S_ISREG(status.st_mode):
        return "a link" if path.is_symlink() else "no file"
    if name in {".dockerignore", bundle.MANIFEST}:
        return "a name with a meaning of its own"
    return "" if mode in {0o644, 0o755} else f"mode {mode:04o}"
