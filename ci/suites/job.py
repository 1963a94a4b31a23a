"""A call of ``test``, from its options to its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..build.perform import Performance, Screen
from ..build.scope import Scope, Trust
from ..build.workspace import Workspace
from ..errors import ConfigError
from ..recipe.values import absent
from ..settings import Settings
from ..world import files, gpus, host, nics, probes
from ..world.buildx import environment as docker_environment
from ..world.gpus import Node
from ..world.ledger import Ledger
from ..world.slurm import Slurm, client_environment
from . import catalogue, durations, images, plan
from .catalogue import Catalogue
from .crewing import Crewing, width
from .history import History
from .images import Images
from .perform import Run
from .plan import RESERVE, SuitePlan
from .replay import replay
from .request import Request
from .runtime import Docker, Here, Runtime

SECRETS = ("HF_TOKEN",)
"""What a step can declare; nothing else of the caller's environment reaches a test."""


@dataclass(frozen=True)
class Job:
    """A call that can be meant: what is asked, what the node below ``root`` has, and the plan that follows."""

    request: Request
    work: Workspace
    catalogue: Catalogue
    node: Node
    plan: SuitePlan
    root: Path = Path("/")

    @property
    def settings(self) -> Settings:
        """The environment of the call."""
        return self.work.settings

    def on(self, images: Mapping[str, str]) -> Job:
        """The same job on these images, by tier and digest, whatever the trees say."""
        return replace(self, request=replace(self.request, images=images))

    def outlook(self) -> dict[str, str]:
        """Tier to the image it would run in, and whether that is there; nothing is written."""
        if self.request.runtime == "native" or not self.plan.tiers:
            return {}
        if self._given():
            return self._given()
        tiers = {each.name: each for each in self.work.plan(self.plan.tiers).tiers}
        shipped = images.shipped(self.work.stack, self.plan.tiers, self.request.bundle)
        return {
            name: f"made of its parents and the bundle in {self.request.bundle.where}"
            if name in shipped
            else f"{tiers[name].tag or 'unknown'} ({tiers[name].decision})"
            for name in self.plan.tiers
        }

    def perform(self, performance: Performance, begun: float) -> Run:
        """The run, its images there already, by ``performance``; whoever calls it performs it."""
        ledger, screen = performance.ledger, performance.screen
        for problem in self.node.problems:
            screen.warn(f"{problem.message}; {problem.hint}" if problem.hint else problem.message)
        state = files.state(str(self.work.state))
        until = begun + self.request.wish.deadline - RESERVE if self.request.wish.deadline else 0.0
        runtime, found = self._runtime(performance, until)
        history = History(state, self.work.stack.name, screen.say)
        self._describe(ledger, found.references)
        crewing = self._crewing(ledger, screen, found.references, history, until)
        return Run(
            self.plan,
            self.work.stack.name,
            found.references,
            runtime,
            self.catalogue.health,
            ledger,
            history,
            self.work.clock,
            screen,
            self._durations(),
            Slurm(client_environment(self.settings)),
            begun,
            replay(self.request, self.work, _planned_from(ledger) if crewing else None),
            part=self.request.shard,
            deadline=self.request.wish.deadline,
            require_gpu=self.request.wish.require_gpu,
            crewing=crewing,
            fallback=found.fallback,
        )

    def _describe(self, ledger: Ledger, found: Mapping[str, str]) -> None:
        """Keep with the results what they were made on."""
        node = self.node
        files.write_json(
            ledger.folder / "environment.json",
            {
                "schema": 1,
                "stack": self.work.stack.name,
                "args": {arg.name: arg.value for arg in self.work.args.values},
                "images": found,
                "runtime": self.request.runtime,
                "cores": host.cores(),
                "memory": host.memory(),
                "kernel": host.kernel(),
                "gpus": [
                    {"key": gpu.key, "arch": gpu.arch, "name": gpu.name, "vram_mb": gpu.vram_mb} for gpu in node.gpus
                ],
                "gpu_source": node.source,
                "rdma": list(node.rdma),
                "problems": [problem.message for problem in node.problems],
            },
        )

    def _crewing(
        self, ledger: Ledger, screen: Screen, found: Mapping[str, str], history: History, until: float
    ) -> Crewing | None:
        """How steps run beside each other; None where they run one after the other."""
        request = self.request
        jobs = width(request.jobs, self.plan.steps, len(gpus.allotted(self.settings, self.node)))
        if jobs == 1:
            return None
        planned_from = _planned_from(ledger)
        recorded = self._durations()
        steps = [each.name for each in self.plan.steps]
        files.write_json(planned_from, {step: {**history.seconds(step), **recorded.get(step, {})} for step in steps})
        options = ["--stack", str(self.work.stack.path), "--durations", str(planned_from)]
        options += ["--require-gpu"] if request.wish.require_gpu else []
        options += ["--catalogue", request.catalogue] if request.catalogue else []
        return Crewing(request.suite, tuple(options), found, jobs, screen, self.work.clock, until)

    def _runtime(self, performance: Performance, until: float) -> tuple[Runtime, Images]:
        ledger, screen = performance.ledger, performance.screen
        work, secrets = self.work, handed_over(self.work.scope, self.settings, screen)
        if self.request.runtime == "native":
            return Here(self.settings, screen, work.clock, secrets, self.root), Images({})
        if given := self._given():
            each = dict.fromkeys(given.values())
            ready = {name: images.given(work.engine, name, work.stack.platform, screen, ledger.spans) for name in each}
            found = Images({tier: ready[name] for tier, name in given.items()})
        else:
            found = images.resolve(performance, self.plan.tiers, self.request.bundle)
        state, run, env = (
            files.state(str(work.state)),
            ledger.folder.name,
            docker_environment(self.settings, work.engine.at),
        )
        who = (run, self.request.suite, work.clock, screen)
        return Docker(self.settings, work.engine, state, *who, env, secrets, self.root, until), found

    def _given(self) -> dict[str, str]:
        """Tier to the image somebody named for it; empty where the stack's own are run."""
        if self.request.images:
            return {tier: self.request.images[tier] for tier in self.plan.tiers}
        return dict.fromkeys(self.plan.tiers, self.request.image) if self.request.image else {}

    def _durations(self) -> Mapping[str, Mapping[str, float]]:
        """Recorded seconds by step and test: every shard of a run plans from the same file, wherever it runs."""
        path = Path(self.request.durations) if self.request.durations else self.catalogue.durations
        return durations.read(path) if path else {}


def _planned_from(ledger: Ledger) -> Path:
    """The seconds that the shards of a run with ``--jobs`` are planned from."""
    return ledger.folder / "planned-from.json"


def handed_over(scope: Scope, settings: Settings, screen: Screen) -> Mapping[str, str]:
    """The secrets that steps may declare: none in an untrusted run, whose code is a stranger's."""
    found = {name: value for name in SECRETS if (value := settings.host(name))}
    if found and scope.trust is not Trust.TRUSTED:
        screen.say(f"no step gets {', '.join(found)}: {scope}")
        return {}
    return found


def read(request: Request, work: Workspace, root: Path = Path("/")) -> Job:
    """What ``request`` means on the node below ``root``; raises ``ConfigError`` with all that cannot be meant."""
    found = catalogue.load(work.stack, request.catalogue)
    node = gpus.inventory(work.settings, root)
    usable = gpus.allotted(work.settings, node)
    cluster = request.runtime == "native" and probes.installed("sbatch")
    ours = not request.image and request.runtime == "docker"  # else nobody knows how the image was built
    lacks = absent(work.stack, work.args) if ours else {}
    archs = tuple(gpu.arch for gpu in usable)
    here = plan.Here(archs, host.memory() // 10**9, bool(node.rdma), cluster, lacks, nics.backends(root))
    made = plan.make(found, request.suite, here, request.wish, work.clock.now().date())
    if ours:
        _compare_archs(work, made, here.archs)
    return Job(request, work, found, node, made, root)


def _compare_archs(work: Workspace, made: SuitePlan, archs: tuple[str, ...]) -> None:
    """An image without code for this node's GPU fails in the first kernel, after minutes of loading."""
    built = [arch for arch in work.args.get("PYTORCH_ROCM_ARCH").split(";") if arch]
    if not built:  # a stack that does not choose its archs
        return
    steps = [each.step for each in made.steps if not each.skip and each.step.needs.gpus]
    needed = {arch for step in steps for arch in archs if not step.needs.archs or arch in step.needs.archs}
    for arch in sorted(needed - set(built)):
        hint = f'build for it: --arch "{";".join((*built, arch))}", or run on another node'
        raise ConfigError("image-arch", f"the image is built for {' '.join(built)}, this node has {arch}", hint=hint)
