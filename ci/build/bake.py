"""One bake: fill a private context, write the definition, run buildx, and tell what a bad end means."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import CiError, FailedError, InfraError, InternalError
from ..world import buildx, files
from ..world.spans import Spans
from . import attest, builder, cache_refs, caches, context, definition, host, traced, travel
from .attest import Attested
from .cache_refs import Ref
from .definition import LABEL
from .inputs import RECIPE
from .lookup import IDENTITY
from .plan import TierPlan
from .progress import Failure, Progress
from .workspace import Workspace

if TYPE_CHECKING:
    from .perform import Screen

LOG, FIRST_LOG = "progress.jsonl", "progress-with-caches.jsonl"
"""What BuildKit told, and what it told the first time where the build was done twice."""

STALL = 120.0
"""Seconds without a byte after which a layer of a cache is not waited for any longer."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of BuildKit.

    ``parents`` maps the tier's parent arguments to pinned references.  ``image`` is the name an image gets in
    the engine; with ``stage`` there is no image, and the files of that stage go to ``definition.FILES``.  ``given``
    maps a stage to the folder, relative to the bake's own, that stands in for it.
    """

    tier: TierPlan
    parents: Mapping[str, str]
    image: str = ""
    stage: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


class Helped(NamedTuple):
    """What a build does with beside its recipe: caches that it reads, attestations that it makes."""

    caches: tuple[Ref, ...] = ()
    attested: Attested = Attested()


class Done(NamedTuple):
    """How a build ended: what BuildKit told, the end of buildx, with what it was done, and what went wrong beside.

    ``doubted`` are the caches of an attempt that had to be made again.
    """

    progress: Progress
    baked: buildx.Baked
    helped: Helped
    warnings: tuple[str, ...]
    doubted: tuple[Ref, ...] = ()


class _Stalled(Exception):
    """A layer that a cache promised does not come."""


def bake(work: Workspace, folder: Path, screen: Screen, order: Order, spans: Spans) -> Done:
    """Carry ``order`` out in ``folder``, which keeps context, definition and log; a bad end is in what it gives.

    An end that may be the fault of a cache or of a scanner is none: the build is done once more without them.
    """
    tier = order.tier
    trees = {name: work.trees[name].root for name in tier.inputs.selected}
    context.materialise(folder / "context", tier.inputs.selected, trees)
    (folder / "context" / RECIPE).mkdir(parents=True, exist_ok=True)
    files.write_whole(folder / "Dockerfile", tier.inputs.text.encode())
    with host.network(work.settings, wanted_secrets(tier), work.engine.gateway) as network:
        chosen = caches.choose(work, tier)
        for notice in (*network.notices, *chosen.notes):
            screen.say(notice)
        helped = Helped(chosen.refs, attest.wanted(work) if order.image else Attested())
        attempt = partial(_attempt, work, folder, screen, order, dict(network.secrets), spans=spans)
        progress, baked = attempt(helped=helped)
        why = spoilt(progress, baked, helped)
        if baked is not None and not why:
            return Done(progress, baked, helped, chosen.notes)
        warning = f"{tier.name}: built once more without caches and scanner, because {why}"
        screen.warn(warning)
        (folder / LOG).replace(folder / FIRST_LOG)
        sbom = helped.attested.without_sbom("the build went wrong with it or with a cache")
        helped = Helped((), sbom if helped.attested.scans else helped.attested)
        progress, baked = attempt(helped=helped)
        if baked is None:
            raise InternalError("stalled-without-caches", f"{tier.name}: no cache was read, and one stalled")
        return Done(progress, baked, helped, (*chosen.notes, warning), chosen.refs)


def _attempt(
    work: Workspace,
    folder: Path,
    screen: Screen,
    order: Order,
    secrets: Mapping[str, str],
    *,
    spans: Spans,
    helped: Helped,
) -> tuple[Progress, buildx.Baked | None]:
    """One run of buildx; None for its end where it was stopped because a layer of a cache did not come."""
    progress = Progress()
    env = buildx.environment(work.settings, work.engine.at) | definition.secret_environment(secrets)
    files.write_whole(folder / definition.CA_FILE, secrets.get("ca", "").encode())
    files.write_json(folder / "bake.json", _definition(work, order, tuple(secrets), helped))
    with files.disk_errors(f"cannot write {folder / LOG}"):
        log = files.LineLog(folder / LOG)

    def on_line(_stream: str, line: str) -> None:
        log.add(line)
        shown.feed(line)
        if helped.caches and progress.stalled > STALL:
            raise _Stalled

    try:
        with suppress(_Stalled), screen.build(order.tier.name, progress) as shown, log:
            return progress, buildx.bake(
                folder,
                order.tier.name,
                builder=buildx.builder(work.settings, work.engine.at),
                env=env | cache_refs.environment(helped.caches, work.settings),
                on_line=on_line,
                allow=tuple(f"fs.read={each}" for each in cache_refs.folders(helped.caches)),
            )
        return progress, None
    finally:
        traced.record(spans, progress)


def spoilt(progress: Progress, baked: buildx.Baked | None, helped: Helped) -> str:
    """What a cache or a scanner may be blamed for; empty for a good end, and for one that is the product's own."""
    if baked is None:
        return f"no byte came of a cached layer for {STALL:g} s"
    failure = progress.failure
    if baked.finished.ok or failure is None or failure.kind == "disk":
        return ""
    if failure.stage and failure.exit_code is not None:
        return ""
    read = bool(helped.caches) and progress.imported
    scanned = helped.attested.scans and any(word in failure.step + failure.message for word in ("sbom", "scanner"))
    return f"it ended with: {failure.message}" if read or scanned else ""


def wanted_secrets(tier: TierPlan) -> frozenset[str]:
    """The ids of the secrets that the steps of a tier mount."""
    inputs = tier.inputs.manifest.inputs if tier.inputs.manifest else ()
    return host.mounted(item.value for item in inputs if item.kind == "instruction")


def _definition(work: Workspace, order: Order, secrets: tuple[str, ...], helped: Helped) -> dict[str, Any]:
    tier = order.tier
    return definition.define(
        tier.inputs,
        platform=work.stack.platform,
        name=order.image,
        labels={} if order.stage else {**_labels(work, tier), **order.labels},
        parents=order.parents,
        secrets=secrets,
        cache={"from": tuple(cache_refs.source(ref, work.settings) for ref in helped.caches)},
        stage=order.stage,
        given=order.given,
        attest=helped.attested.words,
        driver=builder.driver(work.settings, work.engine.at),
    )


def _labels(work: Workspace, tier: TierPlan) -> Mapping[str, str]:
    """Equal inputs, equal labels: no commit, time or run is among them."""
    found = {IDENTITY: tier.identity, LABEL + "stack": work.stack.name, LABEL + "tier": tier.name}
    if tier.inputs.manifest and (packed := travel.label(tier.inputs.manifest)):
        found[LABEL + "manifest"] = packed
    return found


_WORLD = (
    "failed to do request", "dial tcp", "connection refused", "connection reset", "i/o timeout", "TLS handshake",
    "unexpected EOF", "error reading from server", "transport is closing", "no space left on device",
    "Cannot connect to the Docker daemon", "failed to resolve source metadata", "session healthcheck failed",
    "closing transport", "graceful_stop", "server is shutting down",
)  # fmt: skip
"""What BuildKit says when the world is at fault; it has no codes for it. A step that ran and failed never counts."""


def build_error(tier: TierPlan, code: int, failure: Failure | None, tail: str) -> CiError:
    """The error of a failed bake: ``failed`` for a RUN of the product, ``infra`` for the world."""
    if failure is None:
        hint = "the engine went away or was told to stop; run inv doctor, then the same command again"
        return InfraError(
            "build-broke-off", f"{tier.name}: buildx ended with {code} and no reason", context=tail, hint=hint
        )
    where = failure.step or failure.stage or tier.name
    context_text = "\n".join(failure.tail[-20:])
    if failure.kind == "disk":
        hint = "free space: docker system df, inv reap, docker builder prune; or move ROCM_CI_STATE to another disk"
        return InfraError("disk", f"{tier.name}: the disk is full at {where}", context=context_text, hint=hint)
    if failure.kind == "oom":
        hint = "probably out of memory: set MAX_JOBS lower and run the same command again"
        return InfraError("killed", f"{tier.name}: {where} was killed", context=context_text, hint=hint)
    if failure.exit_code is not None and failure.stage not in tier.inputs.tier.fetch:
        hint = f"see the last lines above; the whole log is {tier.name}/progress.jsonl in the run folder"
        return FailedError(
            "run-failed", f"{tier.name}: {where} ended with {failure.exit_code}", context=context_text, hint=hint
        )
    message = f"{tier.name}: {where}: {failure.message}"
    if failure.exit_code is not None or any(mark in failure.message + tail for mark in _WORLD):
        hint = "a retry may help; inv doctor tells what is wrong with engine, registry and network"
        return InfraError("build-world", message, context=context_text, hint=hint)
    hint = f"fix {tier.inputs.tier.dockerfile}, then run the same command again"
    return FailedError("build-failed", message, context=context_text, hint=hint)
