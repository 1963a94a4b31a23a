"""Where steps run: each in a container of its own, or all in the container we are in already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from ..build.perform import Screen
from ..errors import InfraError
from ..names import container_name
from ..settings import Settings
from ..world import dirty, files, leases
from ..world.clock import Clock
from ..world.container import Container
from ..world.containers import Mount
from ..world.engine import Engine
from ..world.gpus import Gpu, Node, allotted, inventory
from ..world.native import Native
from ..world.sandbox import RUN_LABEL, STEP_LABEL, Limits, Sandbox, Spec
from . import models
from .catalogue import Step
from .words import Folders, environment

SUITE = files.package_data("suite_data", "tests/gpu")
"""The test files that ship with the tool; they run inside images and know nothing of it."""

MODELS = "/rocm-ci/models"
_QUEUE = 2 * 3600.0
"""Seconds to wait for GPUs that others of this host have."""

_RETURN = 60.0
"""Seconds that video memory may take to come back after its owner has ended."""


class Room(NamedTuple):
    """A sandbox that has not begun, how the step sees its folders there, what the ledger is to remember,
    and the number each of its GPUs has inside."""

    sandbox: Sandbox
    inside: Folders
    kind: str
    numbers: tuple[int, ...] = ()


class Runtime(Protocol):
    """Docker and native are the two."""

    def gpus(self, step: Step) -> AbstractContextManager[tuple[Gpu, ...]]:
        """The GPUs of a step, its own for as long as the context lasts; well before, and looked at after."""

    def room(self, step: Step, gpus: tuple[Gpu, ...], folder: Path, image: str) -> Room:
        """A room for the step, whose results go to ``folder`` of this host."""

    def unwell(self, gpu: Gpu, why: str, *, hung: bool) -> None:
        """Hear that a GPU failed its health program."""


@dataclass
class Docker:
    """Steps in containers of the engine."""

    settings: Settings
    engine: Engine
    state: Path
    run: str
    suite: str
    clock: Clock
    screen: Screen
    env: Mapping[str, str]
    secrets: Mapping[str, str]

    @contextmanager
    def gpus(self, step: Step) -> Iterator[tuple[Gpu, ...]]:
        """Lease them, prove each well, and afterwards look that each is as it was."""
        if not step.needs.gpus:
            yield ()
            return
        node = inventory(self.settings)
        dirty.recheck(self.state, node, self.screen.say)
        fitting = [gpu for gpu in allotted(self.settings, node) if not step.needs.archs or gpu.arch in step.needs.archs]
        lasts = step.limits.seconds + Limits(step.limits.seconds, None, step.limits.grace).teardown_seconds
        with leases.leased(
            self.state,
            fitting,
            step.needs.gpus,
            run=self.run,
            verb=f"test {self.suite} {step.name}",
            lasts=lasts,
            patience=_QUEUE,
            say=self.screen.say,
            clock=self.clock,
        ) as gpus:
            before = _only(inventory(self.settings), gpus)
            try:
                yield gpus
            finally:
                self._look_after(before, step)

    def _look_after(self, before: Node, step: Step) -> None:
        """Mark what did not come back, so that the next step does not fail for it."""
        leaks = dirty.settle(lambda: inventory(self.settings), before, _RETURN, self.clock)
        for leak in leaks:
            made = dirty.mark(self.state, leak, run=self.run, who=f"step {step.name}", clock=self.clock)
            self.screen.warn(f"{made}; {dirty.REMEDY}")
        if leaks:
            message = f"step {step.name} left {len(leaks)} GPU(s) dirty: {'; '.join(map(str, leaks))}"
            raise InfraError("dirty-gpu", message, hint=dirty.REMEDY)

    def room(self, step: Step, gpus: tuple[Gpu, ...], folder: Path, image: str) -> Room:
        """A container with exactly the leased devices, bounded as the step's profile says."""
        inside = Folders()
        spec = Spec(
            name=container_name(self.run, f"{step.name}-{folder.name}"),
            image=image,
            env=environment(step, inside, _mask(range(len(gpus)))),
            secrets=_declared(step, self.secrets),
            mounts=(Mount(SUITE, inside.suite), Mount(folder, inside.results, read_only=False)),
            shm_mb=step.profile.shm_mb,
            memory_mb=step.profile.memory_mb or None,
            pids=step.profile.pids or None,
            ipc=step.profile.ipc,
            network="bridge" if step.needs.network else "none",
            labels={RUN_LABEL: self.run, STEP_LABEL: step.name},
        )
        spec = self._with_devices(self._with_models(spec, step), step, gpus)
        return Room(
            Container(spec, self.engine, self.env, self.screen.say, clock=self.clock),
            inside,
            "container",
            tuple(range(len(gpus))),
        )

    def _with_models(self, spec: Spec, step: Step) -> Spec:
        if not step.models:
            return spec
        cache = models.check(self.settings.get("ROCM_CI_MODEL_CACHE").value, step.models)
        env = {**spec.env, "HF_HOME": MODELS, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": "/rocm-ci/cache/modules"}
        return replace(spec, env=env, mounts=(*spec.mounts, Mount(cache, MODELS)))

    def _with_devices(self, spec: Spec, step: Step, gpus: tuple[Gpu, ...]) -> Spec:
        """``/dev/kfd`` and the render nodes by path, their groups by number: names differ between host and image."""
        node = inventory(self.settings) if gpus or step.needs.rdma else None
        if node is None:
            return spec
        devices = [gpu.render for gpu in gpus if gpu.render]
        devices += [node.kfd] if gpus and node.kfd else []
        rdma = node.rdma if step.needs.rdma else ()
        return replace(
            spec,
            devices=(*(device.path for device in devices), *rdma),
            group_ids=tuple(sorted({device.gid for device in devices})),
            capabilities=("IPC_LOCK",) if rdma else (),
        )

    def unwell(self, gpu: Gpu, why: str, *, hung: bool) -> None:
        """Keep a GPU that failed its health program from whoever comes next."""
        leak = dirty.Leak(gpu.key, gpu.used_mb, None, ())
        made = dirty.mark(self.state, leak, run=self.run, who="its health program", clock=self.clock, hung=hung)
        self.screen.warn(f"{made}; {why}")


@dataclass
class Here:
    """Steps in the container we are in: whoever started it has given it its GPUs, so none is leased."""

    settings: Settings
    screen: Screen
    clock: Clock
    secrets: Mapping[str, str]

    def unwell(self, gpu: Gpu, why: str, *, hung: bool) -> None:
        """Say so: the node is not ours to mark."""
        self.screen.warn(f"{gpu.key}{' hangs' if hung else ''}: {why}")

    @contextmanager
    def gpus(self, step: Step) -> Iterator[tuple[Gpu, ...]]:
        """The first of the GPUs this container was given."""
        if not step.needs.gpus:
            yield ()
            return
        yield allotted(self.settings, inventory(self.settings))[: step.needs.gpus]

    def room(self, step: Step, gpus: tuple[Gpu, ...], folder: Path, image: str) -> Room:
        """A folder of the run; ``image`` is not used."""
        del image
        inside = Folders(str(SUITE), str(folder), str(folder / "cache"))
        numbers = tuple(gpu.index for gpu in gpus)
        env = dict(environment(step, inside, _mask(numbers)))
        if step.models:
            cache = models.check(self.settings.get("ROCM_CI_MODEL_CACHE").value, step.models)
            env |= {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
        spec = Spec(name=step.name, env=env, secrets=_declared(step, self.secrets), workdir=str(SUITE))
        return Room(Native(spec, self.settings, self.screen.say, clock=self.clock), inside, "folder", numbers)


def _only(node: Node, gpus: tuple[Gpu, ...]) -> Node:
    """``node`` with only the devices among ``gpus``, as they are now."""
    keys = {gpu.key for gpu in gpus}
    return node._replace(gpus=tuple(gpu for gpu in node.gpus if gpu.key in keys))


def _mask(numbers: Iterable[int]) -> str:
    """In a container nothing but the leased devices is there, counted from 0."""
    return ",".join(map(str, numbers))


def _declared(step: Step, secrets: Mapping[str, str]) -> Mapping[str, str]:
    return {name: secrets[name] for name in step.secrets if name in secrets}
