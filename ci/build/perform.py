"""Carry a plan out: get roots, build what is missing, verify, tag, publish, one tier after the other.

An image is exported under a name of its run, looked at again, and only then gets its
content tag; a kill at any moment leaves nothing under a tag that has not been verified.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import CiError, ContractError, FailedError, InfraError, Outcome
from ..names import Reference, build_tag
from ..world import files
from ..world.ledger import Ledger
from ..world.locks import exclusive
from . import roots
from .definition import LABEL
from .inputs import RECIPE
from .lookup import IDENTITY, Absent, Answer, Found, Unclear, in_engine, in_registry, verify_remote
from .plan import Plan, TierPlan
from .workspace import Workspace

if TYPE_CHECKING:  # what only a build needs is imported by the build: a reuse must not wait for it
    from pathlib import Path

    from ..world import buildx
    from .progress import Failure, Progress, StageTime


class Shown(Protocol):
    """A build on show."""

    def feed(self, line: str) -> None:
        """One line of buildx's progress."""


class Screen(Protocol):
    """What a run tells a person while it works (``report.console`` is it; tests record)."""

    def say(self, text: str) -> None:
        """A line of progress."""

    def warn(self, text: str) -> None:
        """Something is not as it should be, and the run goes on."""

    def build(self, tier: str, progress: Progress) -> AbstractContextManager[Shown]:
        """Show one build: every line of buildx is fed to what this yields, which feeds ``progress``."""


@dataclass
class TierResult:
    """How one tier ended."""

    tier: str
    decision: str
    reasons: tuple[str, ...]
    reference: str = ""
    digest: str = ""
    identity: str = ""
    outcome: Outcome = Outcome.OK
    stages: tuple[StageTime, ...] = ()
    seconds: float = 0.0
    size: int | None = None
    largest_layers: tuple[tuple[int, str], ...] = ()
    published: str = "engine"
    cache: str | None = None
    warnings: tuple[str, ...] = ()
    failure: Failure | None = None


@dataclass
class Performance:
    """One run of ``perform``: the workspace, its ledger, and the results so far."""

    workspace: Workspace
    ledger: Ledger
    screen: Screen
    push: bool
    on_unknown: str
    results: list[TierResult] = field(default_factory=list)

    @property
    def failure(self) -> Failure | None:
        """Why the last build failed, if one did."""
        return next((result.failure for result in self.results if result.failure), None)

    def run(self, goals: tuple[str, ...]) -> Plan:
        """Bring every goal into being; raises at the first tier that cannot be, results kept."""
        plan = self.workspace.plan(goals)
        if plan.missing_roots:
            for name in plan.missing_roots:
                self._get_root(name)
            plan = self.workspace.plan(goals)
        for tier in plan.tiers:
            self._settle(tier)
        if any(result.decision != "reuse" for result in self.results):
            self.workspace.remember()
        return plan

    def _get_root(self, name: str) -> None:
        work = self.workspace
        with exclusive(work.state, f"root-{name}", self.screen.say):
            roots.ensure(
                work.stack,
                work.stack.roots[name],
                work.engine,
                registry=work.place,
                ledger=self.ledger,
                say=self.screen.say,
            )

    def _settle(self, tier: TierPlan) -> None:
        """Reuse or build one tier. Equal identities build once per host: others wait, then find it."""
        if tier.decision == "reuse" and tier.found:
            self._reuse(tier, tier.found, tier.reasons)
            return
        self._refuse_unknown(tier)
        with exclusive(self.workspace.state, tier.identity, self.screen.say) as waited:
            answer = self._look_again(tier, waited=waited)
            if isinstance(answer, Found):
                self._reuse(tier, answer, ("another run on this host built it meanwhile",))
            else:
                self._build(tier)

    def _look_again(self, tier: TierPlan, *, waited: bool) -> Answer:
        """What changed since the plan: a run that ended just before we had the lock leaves no other trace."""
        if waited:
            answer = self.workspace.look(tier.tag, tier.identity)
            if not isinstance(answer, Unclear):
                return answer
        elif tier.decision == "unknown":
            return Absent()
        return in_engine(self.workspace.engine, tier.tag, tier.identity)

    def _refuse_unknown(self, tier: TierPlan) -> None:
        if not tier.identity:
            hint = "somebody removed it meanwhile; run the same command again"
            raise InfraError("no-root", f"{tier.name}: {'; '.join(tier.reasons)}", hint=hint)
        if tier.decision == "unknown" and self.on_unknown != "build":
            hint = "run the same command again, or say --on-unknown build to build without knowing"
            raise InfraError("could-not-tell", f"{tier.name}: {'; '.join(tier.reasons)}", hint=hint)
        if tier.decision == "unknown":
            self.screen.warn(f"{tier.name}: {'; '.join(tier.reasons)}; building, as --on-unknown build says")

    def _reuse(self, tier: TierPlan, found: Found, reasons: tuple[str, ...]) -> None:
        result = TierResult(tier.name, "reuse", reasons, found.reference, found.digest, tier.identity)
        result.published = found.where
        self.results.append(result)
        work = self.workspace
        if found.where == "registry" and work.registry and work.place:
            verify_remote(work.registry, work.place, tier.tag, tier.identity, found.digest)
        if self.push and found.where == "engine":
            self._publish(tier, result)
        elif self.push:
            self._attach(tier)

    def _build(self, tier: TierPlan) -> None:
        result = TierResult(tier.name, "build", tier.reasons, identity=tier.identity)
        self.results.append(result)
        begun = self.workspace.clock.monotonic()
        try:
            self._bake(tier, result)
            if tier.inputs.manifest:
                self.workspace.records.save(self.workspace.stack.name, tier.name, tier.inputs.manifest)
            if self.push:
                self._publish(tier, result)
        except CiError as error:
            result.outcome = error.outcome
            raise
        finally:
            result.seconds = self.workspace.clock.monotonic() - begun

    def _bake(self, tier: TierPlan, result: TierResult) -> None:
        """Build under the run's own name, verify, then give the content tag."""
        work = self.workspace
        folder = self.ledger.folder / tier.name
        name = f"{work.stack.repository}:{build_tag(self.ledger.folder.name, tier.name)}"
        image_thing = self.ledger.will_make("image", name)
        try:
            progress, baked = self._run_buildx(tier, folder, name)
            result.stages, result.warnings = progress.stages, progress.warnings
            result.cache = progress.cache_export
            if not baked.finished.ok:
                result.failure = progress.failure
                work.engine.image(name)  # an engine that is gone is the reason, whatever its last words were
                raise build_error(tier, baked.finished.code, progress.failure, baked.finished.tail())
            result.digest = self._verify(tier, name, baked.metadata)
            work.engine.tag(name, tier.tag)
            result.reference = f"{tier.tag}@{result.digest}"
            self._measure(tier, result)
        finally:
            self.ledger.clear(image_thing, lambda: work.engine.untag(name), self.screen.warn)

    def _run_buildx(self, tier: TierPlan, folder: Path, name: str) -> tuple[Progress, buildx.Baked]:
        from ..world import buildx
        from . import context, definition, host
        from .progress import Progress

        work = self.workspace
        trees = {context_name: work.trees[context_name].root for context_name in tier.inputs.selected}
        context.materialise(folder / "context", tier.inputs.selected, trees)
        (folder / "context" / RECIPE).mkdir(parents=True, exist_ok=True)
        files.write_whole(folder / "Dockerfile", tier.inputs.text.encode())
        progress = Progress()
        with (
            host.network(work.settings, self._wanted_secrets(tier), work.engine.gateway) as network,
            self.screen.build(tier.name, progress) as shown,
        ):
            for notice in network.notices:
                self.screen.say(notice)
            env = buildx.environment(work.settings, work.engine.at) | definition.secret_environment(network.secrets)
            files.write_whole(folder / definition.CA_FILE, network.secrets.get("ca", "").encode())
            files.write_json(folder / "bake.json", self._definition(tier, name, tuple(network.secrets)))
            with files.disk_errors(f"cannot write {folder / 'progress.jsonl'}"):
                log = files.LineLog(folder / "progress.jsonl")

            def on_line(_stream: str, line: str) -> None:
                log.add(line)
                shown.feed(line)

            with log:
                baked = buildx.bake(
                    folder,
                    tier.name,
                    builder=buildx.builder(work.settings, work.engine.at),
                    env=env,
                    on_line=on_line,
                )
        return progress, baked

    def _wanted_secrets(self, tier: TierPlan) -> frozenset[str]:
        from . import host

        inputs = tier.inputs.manifest.inputs if tier.inputs.manifest else ()
        return host.mounted(item.value for item in inputs if item.kind == "instruction")

    def _definition(self, tier: TierPlan, name: str, secrets: tuple[str, ...]) -> dict[str, Any]:
        from . import definition

        work = self.workspace
        cache: dict[str, tuple[str, ...]] = {}
        if work.place and tier.decision != "unknown":  # BuildKit would wait for a silent registry without end
            ref = f"{work.place.repository(work.stack.repository + '/cache')}:{tier.name}"
            cache["from"] = (f"type=registry,ref={ref}",)
            if self.push:
                cache["to"] = (f"type=registry,ref={ref},mode=max,ignore-error=true",)
        return definition.define(
            tier.inputs,
            platform=work.stack.platform,
            name=name,
            labels=self._labels(tier),
            parents={parent.argument: self._pinned(parent.reference, parent.name) for parent in tier.inputs.parents},
            secrets=secrets,
            cache=cache,
        )

    def _pinned(self, reference: str, name: str) -> str:
        """The parent by digest: the one this run settled, or the root the engine has."""
        settled = next((result for result in self.results if result.tier == name), None)
        if settled:
            return settled.reference
        image = self.workspace.engine.image(reference)
        if image is None:
            raise InfraError("no-parent", f"{reference} vanished from the engine", hint="run the same command again")
        return f"{reference}@{image.id}"

    def _labels(self, tier: TierPlan) -> Mapping[str, str]:
        """Equal inputs, equal labels: no commit, time or run is among them."""
        from . import travel

        labels = {IDENTITY: tier.identity, LABEL + "stack": self.workspace.stack.name, LABEL + "tier": tier.name}
        if tier.inputs.manifest and (packed := travel.label(tier.inputs.manifest)):
            labels[LABEL + "manifest"] = packed
        return labels

    def _verify(self, tier: TierPlan, name: str, metadata: Mapping[str, object]) -> str:
        """Look again: the image the engine has is the one BuildKit says it made, of this identity."""
        made = metadata.get(tier.name)
        digest = made.get("containerimage.digest", "") if isinstance(made, dict) else ""
        image = self.workspace.engine.image(name)
        if image is None or not digest:
            hint = "run inv doctor: the engine needs the containerd image store"
            raise InfraError("no-image", f"{tier.name} was built but the engine has no image of it", hint=hint)
        if image.id != digest or image.labels.get(IDENTITY) != tier.identity:
            message = f"{tier.name}: BuildKit made {digest}, the engine has {image.id}"
            raise ContractError("wrong-image", message, hint="run inv doctor, then the same command again")
        return str(digest)

    def _measure(self, tier: TierPlan, result: TierResult) -> None:
        """Sizes as a container sees them, unpacked; a layer nobody explains is the root image's."""
        rows = [(size, text or "(root image)") for size, text in self.workspace.engine.history(tier.tag)]
        result.size = sum(size for size, _ in rows)
        result.largest_layers = tuple(row for row in sorted(rows, reverse=True)[:3] if row[0])

    def _publish(self, tier: TierPlan, result: TierResult) -> None:
        """Push under the content tag; the first image there wins, a later builder adopts it."""
        from ..world import registry as oci

        work = self.workspace
        if work.place is None or work.registry is None:
            return
        answer = in_registry(work.registry, work.place, tier.tag)
        if isinstance(answer, Unclear):
            raise InfraError("could-not-tell", f"{tier.name}: {answer.reason}", hint="run the same command again")
        if isinstance(answer, Found):
            self._adopt(tier, result, answer)
            return
        name = Reference.parse(tier.tag)
        remote = f"{work.place.repository(name.path)}:{name.tag}"
        self.screen.say(f"{tier.name}: pushing {remote}")
        thing = self.ledger.will_make("image", remote)
        try:
            work.engine.tag(tier.tag, remote)
            pushed = work.engine.push(remote)
            seen = work.registry.head(work.place.repository(name.path).path, name.tag)
            if not isinstance(seen, oci.Found) or pushed != result.digest:
                message = f"{remote}: pushed {result.digest}, the registry shows {getattr(seen, 'digest', seen)}"
                raise InfraError("push-unverified", message, hint="run the same command again")
            self._attach(tier)
        except CiError:
            self.ledger.clear(thing, lambda: work.engine.untag(remote), self.screen.warn)
            raise
        self.ledger.gone(thing)
        if seen.digest != pushed:  # somebody else pushed at the same moment, and came last
            self._adopt(tier, result, Found(f"{remote}@{seen.digest}", seen.digest, "registry"))
            return
        result.reference, result.published = f"{remote}@{pushed}", f"engine, {work.place.host}"

    def _attach(self, tier: TierPlan) -> None:
        """Put the manifest beside the published image; a rerun after a kill finds it there, or does it then."""
        from ..world import registry as oci
        from . import travel

        work = self.workspace
        if work.place is None or work.registry is None or tier.inputs.manifest is None:
            return
        name = Reference.parse(tier.tag)
        repository = work.place.repository(name.path).path
        seen = work.registry.head(repository, name.tag)
        if not isinstance(seen, oci.Found):
            raise InfraError("push-unverified", f"{tier.tag} was published and is not there: {seen}")
        subject = {"mediaType": seen.media_type, "digest": seen.digest, "size": seen.size}
        travel.publish(work.registry, repository, subject, tier.inputs.manifest)

    def _adopt(self, tier: TierPlan, result: TierResult, found: Found) -> None:
        result.published = f"engine, {self.workspace.place.host}" if self.workspace.place else "engine"
        result.reference = found.reference
        if found.digest == result.digest:
            return
        self.screen.say(f"{tier.name}: somebody published this identity first; adopting {found.digest[:19]}")
        self.workspace.engine.pull(found.reference, self.workspace.stack.platform)
        self.workspace.engine.tag(found.reference, tier.tag)
        local = in_engine(self.workspace.engine, tier.tag, tier.identity)
        if not isinstance(local, Found) or local.digest != found.digest:
            raise ContractError("wrong-image", f"{found.reference} is not the image it is said to be")
        ours = self.workspace.engine.image(result.digest)
        if ours and not ours.tags:  # the image that lost its name to theirs
            self.workspace.engine.untag(result.digest)
        result.decision, result.digest = "adopt", found.digest


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
        hint = "free space: docker system df, inv reap, docker builder prune"
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
