"""One bake: fill a private context, write the definition, run buildx, and tell what a bad end means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CiError, FailedError, InfraError
from ..world import buildx, files
from . import context, definition, host, travel
from .definition import LABEL
from .inputs import RECIPE
from .lookup import IDENTITY
from .plan import TierPlan
from .progress import Failure, Progress
from .workspace import Workspace

if TYPE_CHECKING:
    from .perform import Screen


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
    push: bool = False


def bake(work: Workspace, folder: Path, screen: Screen, order: Order) -> tuple[Progress, buildx.Baked]:
    """Carry ``order`` out in ``folder``, which keeps context, definition and log; a bad end is in what it gives."""
    inputs = order.tier.inputs
    trees = {name: work.trees[name].root for name in inputs.selected}
    context.materialise(folder / "context", inputs.selected, trees)
    (folder / "context" / RECIPE).mkdir(parents=True, exist_ok=True)
    files.write_whole(folder / "Dockerfile", inputs.text.encode())
    progress = Progress()
    with (
        host.network(work.settings, _wanted_secrets(order.tier), work.engine.gateway) as network,
        screen.build(order.tier.name, progress) as shown,
    ):
        for notice in network.notices:
            screen.say(notice)
        env = buildx.environment(work.settings, work.engine.at) | definition.secret_environment(network.secrets)
        files.write_whole(folder / definition.CA_FILE, network.secrets.get("ca", "").encode())
        files.write_json(folder / "bake.json", _definition(work, order, tuple(network.secrets)))
        with files.disk_errors(f"cannot write {folder / 'progress.jsonl'}"):
            log = files.LineLog(folder / "progress.jsonl")

        def on_line(_stream: str, line: str) -> None:
            log.add(line)
            shown.feed(line)

        with log:
            builder = buildx.builder(work.settings, work.engine.at)
            baked = buildx.bake(folder, order.tier.name, builder=builder, env=env, on_line=on_line)
    return progress, baked


def _wanted_secrets(tier: TierPlan) -> frozenset[str]:
    inputs = tier.inputs.manifest.inputs if tier.inputs.manifest else ()
    return host.mounted(item.value for item in inputs if item.kind == "instruction")


def _definition(work: Workspace, order: Order, secrets: tuple[str, ...]) -> dict[str, Any]:
    cache: dict[str, tuple[str, ...]] = {}
    tier = order.tier
    if work.place and tier.decision != "unknown":  # BuildKit would wait for a silent registry without end
        ref = f"{work.place.repository(work.stack.repository + '/cache')}:{tier.name}"
        cache["from"] = (f"type=registry,ref={ref}",)
        if order.push:
            cache["to"] = (f"type=registry,ref={ref},mode=max,ignore-error=true",)
    return definition.define(
        tier.inputs,
        platform=work.stack.platform,
        name=order.image,
        labels={} if order.stage else {**_labels(work, tier), **order.labels},
        parents=order.parents,
        secrets=secrets,
        cache=cache,
        stage=order.stage,
        given=order.given,
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
