"""Caches are written after the image is there and published: their end is told, and decides nothing.

Each is an export of its own, in which BuildKit finds every step done already.  Whether it was written is read from
BuildKit's own record of the export, since its exit code says nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import DeadlineError, InfraError
from ..names import Reference
from ..recipe.caching import REGISTRY
from ..world import buildx, files
from . import builder, cache_refs, caches, definition
from .bake import Done, Order
from .cache_kept import FAILED, SKIPPED, WRITTEN, Kept
from .cache_look import Connect, look
from .cache_refs import Ref
from .inputs import Inputs
from .progress import Progress

if TYPE_CHECKING:
    from .perform import Screen
    from .workspace import Workspace

SILENCE = 600.0
"""Seconds without a word after which an export is given up: a layer of many gigabytes is sent without any."""


class Item(NamedTuple):
    """One cache to write, what it is of, and how much of it; ``branch`` is a second name of it in a registry."""

    ref: Ref
    of: Inputs
    mode: str
    always: bool = False
    branch: str = ""


class _Building(Exception):
    """BuildKit does a step again: that is no export, and might take hours."""


def keep(
    work: Workspace,
    folder: Path,
    screen: Screen,
    order: Order,
    done: Done,
    *,
    push: bool,
    connect: Connect | None = None,
) -> tuple[Kept, ...]:
    """Write the caches of a tier that was just built in ``folder``; nothing where this run may write none."""
    items = tuple(wanted(work, order, push=push))
    answers = look([item.ref for item in items], work.clock, connect)
    doubted = {ref.name for ref in done.doubted}
    kept: list[Kept] = []
    for index, item in enumerate(items):
        there = answers[item.ref]
        if isinstance(there, str):
            kept.append(Kept(str(item.ref), FAILED, there))
        elif there and not item.always and item.ref.name not in doubted:
            kept.append(Kept(str(item.ref), SKIPPED, "it is there"))
        else:
            screen.say(f"{order.tier.name}: writing the cache {item.ref}")
            file = f"bake-cache-{index}.json"
            files.write_json(folder / file, _definition(work, order, item, done.helped.caches))
            why = _export(work, folder, file, item, done.helped.caches)
            kept.append(Kept(str(item.ref), FAILED if why else WRITTEN, why))
        if item.branch and kept[-1].state != FAILED:
            kept.append(_name(work, item))
    for each in kept:
        if each.state == FAILED:
            screen.warn(f"{order.tier.name}: no cache {each.where}: {each.why}; the image is fine")
    return tuple(kept)


def wanted(work: Workspace, order: Order, *, push: bool) -> Iterator[Item]:
    """What the policy wants kept, in the places that this run may write.

    A registry gives one cache two names, so the branch costs nothing; a bucket and a folder keep the latest of a
    branch only, and where no branch is known, that of these inputs.
    """
    places = [shelf for shelf in caches.shelves(work, push=push) if shelf.writes]
    if not places:
        return
    whole = order.tier.inputs
    content, branch = caches.content_name(whole), caches.branch_name(work, whole, caches.branch(work))
    for shelf in places:
        if shelf.backend == REGISTRY:
            yield Item(Ref(shelf, content), whole, "max", branch=branch)
        else:
            yield Item(Ref(shelf, branch or content), whole, "max", always=bool(branch))
    for part in caches.components(work, order.tier).values():
        yield from (Item(Ref(shelf, caches.content_name(part)), part, "min") for shelf in places)


def _definition(work: Workspace, order: Order, item: Item, read: Sequence[Ref]) -> dict[str, Any]:
    """The build of the image once more, for its cache alone; it gets no secrets, since no step is to run."""
    made = definition.define(
        item.of,
        platform=work.stack.platform,
        name="",
        labels={},
        parents={parent.argument: order.parents[parent.argument] for parent in item.of.parents},
        secrets=(),
        cache={
            "from": tuple(cache_refs.source(ref, work.settings) for ref in read),
            "to": (cache_refs.target(item.ref, work.settings, item.mode),),
        },
        driver=builder.driver(work.settings, work.engine.at),
    )
    target: Mapping[str, Any] = made["target"][item.of.tier.name]
    return {"target": {item.of.tier.name: {**target, "output": ["type=cacheonly"]}}}


def _export(work: Workspace, folder: Path, file: str, item: Item, read: Sequence[Ref]) -> str:
    """Why the cache was not written; empty when it was."""
    progress = Progress()
    refs = (item.ref, *read)
    for each in cache_refs.folders((item.ref,)):
        Path(each).mkdir(parents=True, exist_ok=True)

    def on_line(_stream: str, line: str) -> None:
        progress.feed(line)
        if progress.executing:
            raise _Building

    allowed = [f"fs.read={each}" for each in cache_refs.folders(refs)]
    allowed += [f"fs.write={each}" for each in cache_refs.folders((item.ref,))]
    env = buildx.environment(work.settings, work.engine.at) | cache_refs.environment(refs, work.settings)
    try:
        buildx.bake(
            folder,
            item.of.tier.name,
            builder=buildx.builder(work.settings, work.engine.at),
            env=env,
            on_line=on_line,
            file=file,
            allow=tuple(allowed),
            inactivity=SILENCE,
        )
    except _Building:
        return "BuildKit no longer has what it built: it began to build again"
    except (InfraError, DeadlineError) as error:
        return str(error)
    failure = progress.failure.message if progress.failure else "BuildKit exported nothing"
    told = progress.cache_export or failure
    return "" if told == "ok" else told


def _name(work: Workspace, item: Item) -> Kept:
    """Give the cache its branch's name as well: the same bytes under a second tag."""
    ref = Ref(item.ref.shelf, item.branch)
    path = Reference.parse(item.ref.shelf.root).path
    if work.target is None:
        return Kept(str(ref), SKIPPED, "this run may write nowhere")
    found = work.target.manifest(path, item.ref.name)
    if not isinstance(found, tuple):
        return Kept(str(ref), FAILED, f"{item.ref} cannot be read back: {getattr(found, 'reason', 'it is gone')}")
    try:
        work.target.put_manifest(path, item.branch, found[1], found[0].media_type)
    except InfraError as error:
        return Kept(str(ref), FAILED, str(error))
    return Kept(str(ref), WRITTEN)
