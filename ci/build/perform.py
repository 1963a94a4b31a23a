"""Carry a plan out: get roots, build what is missing, verify, tag, publish, one tier after the other.

An image is exported under a name of its run, looked at again, and only then gets its
content tag; a kill at any moment leaves nothing under a tag that has not been verified.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ..errors import CiError, ConfigError, ContractError, InfraError, InternalError, Outcome, Problem
from ..names import Place, Reference, build_tag
from ..world.ledger import Ledger
from ..world.locks import exclusive
from ..world.spans import Span
from . import roots
from .lookup import ENGINE, IDENTITY, REGISTRY, SCOPE, Absent, Answer, Found, Unclear, in_engine, in_registry
from .plan import Plan, TierPlan
from .workspace import Workspace

if TYPE_CHECKING:  # what only a build needs is imported by the build: a reuse must not wait for it
    from ..world import registry as oci
    from .bake import Done, Order
    from .cache_kept import Kept
    from .progress import Failure, Progress, StageTime

_NOTHING: Mapping[str, str] = {}


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
    cache_read: tuple[str, ...] = ()
    cache: tuple[Kept, ...] = ()
    attested: tuple[str, ...] = ()
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
        plan = self.prepare(goals)
        for tier in plan.tiers:
            with self.ledger.spans.during("tier", tier.name) as doing:
                self._settle(tier)
                doing.span = doing.span._replace(cached=self.results[-1].decision != "build", why=tier.reasons)
        if any(result.decision != "reuse" for result in self.results):
            self.workspace.remember()
        return plan

    def prepare(self, goals: tuple[str, ...]) -> Plan:
        """The plan, with the roots here that it needs: without them it has no identities."""
        with self.ledger.spans.during("plan", f"plan of {', '.join(goals)}"):
            plan = self.workspace.plan(goals)
        refuse_lacking(plan)
        if any(tier.decision != "reuse" for tier in plan.tiers):
            from . import builder

            builder.refuse_unusable(self.workspace, plan, push=self.push, warn=self.screen.warn)
        if not plan.missing_roots:
            return plan
        for name in plan.missing_roots:
            self._get_root(name)
        return self.workspace.plan(goals)

    def _get_root(self, name: str) -> None:
        work = self.workspace
        with self.ledger.spans.during("root", name), exclusive(work.state, f"root-{name}", self.screen.say):
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
        begun = self.ledger.spans.now()
        with exclusive(self.workspace.state, tier.identity, self.screen.say) as waited, self._alone(tier) as shared:
            if waited or shared:
                self.ledger.spans.record(Span("wait", "others that build it", begun, self.ledger.spans.now()))
            answer = self._look_again(tier, waited=waited or shared)
            if isinstance(answer, Found):
                where = "" if shared and not waited else " on this host"
                self._reuse(tier, answer, (f"another run{where} built it meanwhile",))
            else:
                self._build(tier)

    def _alone(self, tier: TierPlan) -> AbstractContextManager[bool]:
        """Equal identities that are published build once per store as well."""
        if not self.push:
            return nullcontext(False)
        from .flight import alone

        return alone(self.workspace, tier, self.ledger.folder.name, self.screen.say)

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
        self.workspace.verify(found, tier.tag, tier.identity)
        if found.where == ENGINE:
            self._publish(tier, result)
        elif self.push and (found.where == SCOPE or self.workspace.writes == self.workspace.place):
            self._attach(tier)

    def _build(self, tier: TierPlan) -> None:
        with self.building(tier) as result:
            order, done = self._bake(tier, result)
            if tier.inputs.manifest:
                image = self.workspace.engine.image(tier.tag)
                made = image.created if image else ""
                self.workspace.records.save(self.workspace.stack.name, tier.name, tier.inputs.manifest, made)
            self._publish(tier, result)
            self._follow_up(order, done, result)

    def _follow_up(self, order: Order, done: Done, result: TierResult) -> None:
        """What comes after an image that is in its place, and decides nothing any more: a signature, caches."""
        from .attest import sign
        from .cache_keep import keep

        if self.push and result.decision == "build":
            result.attested += (sign(self.workspace, result.reference),)
        folder = self.ledger.folder / result.tier
        with self.ledger.spans.during("caches", "what is kept for the next build"):
            result.cache = keep(self.workspace, folder, self.screen, order, done, push=self.push)

    def build_from(self, tier: TierPlan, given: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """Build a tier in which folders stand in for stages (see ``bake.Order``), as ``tier.tag`` of this engine.

        It is not published and not remembered as the last build: its identity says what it is made from, and
        nobody here saw that the folders are what those stages would have made.
        """
        with self.ledger.spans.during("tier", tier.name), self.building(tier) as result:
            self._bake(tier, result, given, labels)

    @contextmanager
    def building(self, tier: TierPlan) -> Iterator[TierResult]:
        """The row of a tier that is built, with how it ended and how long that took."""
        result = TierResult(tier.name, "build", tier.reasons, identity=tier.identity)
        self.results.append(result)
        begun = self.workspace.clock.monotonic()
        try:
            yield result
        except CiError as error:
            result.outcome = error.outcome
            raise
        finally:
            result.seconds = self.workspace.clock.monotonic() - begun

    def _bake(
        self,
        tier: TierPlan,
        result: TierResult,
        given: Mapping[str, str] = _NOTHING,
        labels: Mapping[str, str] = _NOTHING,
    ) -> tuple[Order, Done]:
        """Build under the run's own name, verify, hold it to its contract, then give the content tag."""
        from .bake import Order, bake, build_error
        from .gate import Gate

        work = self.workspace
        gate = Gate(work, self.ledger, self.screen, tier.name)
        name = f"{work.stack.repository}:{build_tag(self.ledger.folder.name, tier.name)}"
        order = Order(tier, self.pinned(tier), name, given=given, labels=labels)
        image_thing = self.ledger.will_make("image", name)
        try:
            done = bake(work, self.ledger.folder / tier.name, self.screen, order, self.ledger.spans)
            progress, baked = done.progress, done.baked
            result.stages, result.warnings = progress.stages, (*progress.warnings, *done.warnings)
            result.cache_read, result.attested = tuple(map(str, done.helped.caches)), done.helped.attested.told
            if not baked.finished.ok:
                result.failure = progress.failure
                work.engine.image(name)  # an engine that is gone is the reason, whatever its last words were
                raise build_error(tier, baked.finished.code, progress.failure, baked.finished.tail())
            result.digest = self._verify(tier, name, baked.metadata)
            with self.ledger.spans.during("contract", tier.name):
                gate.hold(name)
            work.engine.tag(name, tier.tag)
            result.reference = f"{tier.tag}@{result.digest}"
            self._measure(tier, result)
            return order, done
        finally:
            self.ledger.clear(image_thing, lambda: work.engine.untag(name), self.screen.warn)

    def pinned(self, tier: TierPlan) -> Mapping[str, str]:
        """The tier's parents by digest, by the argument that names them."""
        return {parent.argument: self._pinned(parent.reference, parent.name) for parent in tier.inputs.parents}

    def _pinned(self, reference: str, name: str) -> str:
        """The parent by digest: the one this run settled, or the root the engine has."""
        settled = next((result for result in self.results if result.tier == name), None)
        if settled or "@" in reference:
            return settled.reference if settled else reference
        image = self.workspace.engine.image(reference)
        if image is None:
            raise InfraError("no-parent", f"{reference} vanished from the engine", hint="run the same command again")
        return f"{reference}@{image.id}"

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
        """Push under the content tag, if that is asked for; the first image there wins, a later builder adopts it."""
        if why := self.workspace.scope.withheld:
            result.published = f"engine, not published: {why}"
        if not self.push or self.workspace.place is None:  # wheels alone are released without any registry
            return
        from ..world import registry as oci

        place, registry = self._target()
        answer = in_registry(registry, place, tier.tag)
        if isinstance(answer, Unclear):
            raise InfraError("could-not-tell", f"{tier.name}: {answer.reason}", hint="run the same command again")
        if isinstance(answer, Found):
            self._adopt(tier, result, answer)
            return
        work, name = self.workspace, Reference.parse(tier.tag)
        remote = f"{place.repository(name.path)}:{name.tag}"
        self.screen.say(f"{tier.name}: pushing {remote}")
        thing = self.ledger.will_make("image", remote)
        try:
            work.engine.tag(tier.tag, remote)
            with self.ledger.spans.during("push", remote):
                pushed = work.engine.push(remote)
            seen = registry.head(place.repository(name.path).path, name.tag)
            if not isinstance(seen, oci.Found) or pushed != result.digest:
                message = f"{remote}: pushed {result.digest}, the registry shows {getattr(seen, 'digest', seen)}"
                raise InfraError("push-unverified", message, hint="run the same command again")
            self._attach(tier)
        except CiError:
            self.ledger.clear(thing, lambda: work.engine.untag(remote), self.screen.warn)
            raise
        self.ledger.gone(thing)
        if seen.digest != pushed:  # somebody else pushed at the same moment, and came last
            self._adopt(tier, result, Found(f"{remote}@{seen.digest}", seen.digest, REGISTRY))
            return
        result.reference, result.published = f"{remote}@{pushed}", self._published()

    def _target(self) -> tuple[Place, oci.Registry]:
        """Where this run publishes, and what answers there."""
        work = self.workspace
        if work.writes is None or work.target is None:
            raise InternalError("nowhere-to-push", f"a push was asked for, and {work.scope} may write nowhere")
        return work.writes, work.target

    def _published(self) -> str:
        """How a result tells where its image is: a scope is never told as what everybody reads."""
        place, _ = self._target()
        return f"engine, {place.host}" if place == self.workspace.place else f"engine, scope {place}"

    def _attach(self, tier: TierPlan) -> None:
        """Put the manifest beside the published image; a rerun after a kill finds it there, or does it then."""
        from ..world import registry as oci
        from . import travel

        place, registry = self._target()
        if tier.inputs.manifest is None:
            return
        name = Reference.parse(tier.tag)
        repository = place.repository(name.path).path
        seen = registry.head(repository, name.tag)
        if not isinstance(seen, oci.Found):
            raise InfraError("push-unverified", f"{tier.tag} was published and is not there: {seen}")
        subject = {"mediaType": seen.media_type, "digest": seen.digest, "size": seen.size}
        travel.publish(registry, repository, subject, tier.inputs.manifest)

    def _adopt(self, tier: TierPlan, result: TierResult, found: Found) -> None:
        result.published = self._published()
        result.reference = found.reference
        if found.digest == result.digest:
            return
        self.screen.say(f"{tier.name}: somebody published this identity first; adopting {found.digest[:19]}")
        with self.ledger.spans.during("pull", found.reference):
            self.workspace.engine.pull(found.reference, self.workspace.stack.platform)
        self.workspace.engine.tag(found.reference, tier.tag)
        local = in_engine(self.workspace.engine, tier.tag, tier.identity)
        if not isinstance(local, Found) or local.digest != found.digest:
            raise ContractError("wrong-image", f"{found.reference} is not the image it is said to be")
        ours = self.workspace.engine.image(result.digest)
        if ours and not ours.tags:  # the image that lost its name to theirs
            self.workspace.engine.untag(result.digest)
        result.decision, result.digest = "adopt", found.digest


def refuse_lacking(plan: Plan) -> None:
    """A build never begins with a pin that nobody resolved or a source that nobody gave."""
    if plan.lacking:
        raise ConfigError.of(Problem("unresolved", item.why, item.hint) for item in plan.lacking)
