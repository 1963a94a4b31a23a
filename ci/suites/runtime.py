"""Where steps run: each in a container of its own, or all in the container we are in already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
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
from ..world.sandbox import RUN_LABEL, STEP_LABEL, Limits, Passed, Sandbox, Spec
from . import models
from .catalogue import Step
from .words import Folders, environment, mask

SUITE = files.package_data("suite_data", "tests/gpu")
"""The test files that ship with the tool; they run inside images and know nothing of it."""

MODELS = "/rocm-ci/models"
_QUEUE = 2 * 3600.0
"""Seconds to wait for GPUs that others of this host have."""

_RETURN = 60.0
"""Seconds that video memory may take to come back after its owner has ended, or an engine after a restart."""


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

    def unwell(self, gpu: Gpu, why: str) -> None:
        """Hear that a GPU did not pass its health program."""

    def recover(self) -> None:
        """Give a world that just failed a minute to answer again."""


@dataclass
class Docker:
    """Steps in containers of the engine, on the GPUs of the node below ``root``.

    Nobody waits for GPUs past ``until`` (0: no limit).  ``before`` is the node when the GPUs of the present
    step were leased, with these alone.
    """

    settings: Settings
    engine: Engine
    state: Path
    run: str
    suite: str
    clock: Clock
    screen: Screen
    env: Mapping[str, str]
    secrets: Mapping[str, str]
    root: Path = Path("/")
    until: float = 0.0
    before: Node | None = field(default=None, init=False)

    @contextmanager
    def gpus(self, step: Step) -> Iterator[tuple[Gpu, ...]]:
        """Lease them, those that nobody holds first, and afterwards look that each is as it was."""
        self.before = None
        if not step.needs.gpus:
            yield ()
            return
        node = inventory(self.settings, self.root)
        dirty.recheck(self.state, node, self.screen.say)
        fitting = sorted(_fitting(self.settings, node, step), key=lambda gpu: bool(node.held(gpu.key)))
        lasts = step.limits.seconds + Limits(step.limits.seconds, None, step.limits.grace).teardown_seconds
        with leases.leased(
            self.state,
            fitting,
            step.needs.gpus,
            run=self.run,
            verb=f"test {self.suite} {step.name}",
            lasts=lasts,
            patience=self._patience(),
            say=self.screen.say,
            clock=self.clock,
        ) as leased:
            self.before = before = _only(inventory(self.settings, self.root), leased)
            self._show_holders(before)
            try:
                yield before.gpus
            except BaseException:  # what ended the step is the news, not what it left
                try:
                    self._look_after(before, step)
                except InfraError as error:
                    self.screen.warn(f"{len(before.gpus)} GPU(s) may be dirty and are not marked: {error}")
                raise
            if leaks := self._look_after(before, step):
                message = f"step {step.name} left {len(leaks)} GPU(s) dirty: {'; '.join(map(str, leaks))}"
                raise InfraError("dirty-gpu", message, hint=dirty.REMEDY)

    def _patience(self) -> float:
        return min(_QUEUE, max(0.0, self.until - self.clock.monotonic())) if self.until else _QUEUE

    def _show_holders(self, node: Node) -> None:
        """Name whoever uses a GPU without a lease: nobody here can ask them to leave."""
        for gpu in node.gpus:
            for each in node.held(gpu.key):
                size = "memory" if each.vram_mb is None else f"{each.vram_mb} MiB"
                who = f"process {each.pid} {each.name}".strip()
                self.screen.warn(f"{who}, which is not ours, holds {size} of {gpu.key}; it is left alone")

    def _look_after(self, before: Node, step: Step) -> tuple[dirty.Leak, ...]:
        """Mark what did not come back, so that the next step does not fail for it; gives what was marked."""
        leaks = dirty.settle(lambda: inventory(self.settings, self.root), before, _RETURN, self.clock)
        for leak in leaks:
            if not leak.sure:
                self.screen.warn(f"nobody says how much memory of {leak.gpu} is in use: a leak of it would go unseen")
                continue
            made = dirty.mark(self.state, leak, run=self.run, who=f"step {step.name}", clock=self.clock)
            self.screen.warn(f"{made}; {dirty.REMEDY}")
        return tuple(leak for leak in leaks if leak.sure)

    def room(self, step: Step, gpus: tuple[Gpu, ...], folder: Path, image: str) -> Room:
        """A container with exactly the leased devices, bounded as the step's bounds say."""
        inside = Folders()
        spec = Spec(
            name=container_name(self.run, f"{step.name}-{folder.name}"),
            image=image,
            env=environment(step, inside, mask(range(len(gpus)))),
            secrets=_declared(step, self.secrets),
            mounts=(Mount(SUITE, inside.suite), Mount(folder, inside.results, read_only=False)),
            shm_mb=step.bounds.shm_mb,
            memory_mb=step.bounds.memory_mb or None,
            pids=step.bounds.pids or None,
            ipc=step.bounds.ipc,
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
        if not (gpus or step.needs.rdma):
            return spec
        node = self.before or inventory(self.settings, self.root)
        if gpus and not node.kfd:
            hint = "load the driver: modprobe amdgpu; inv doctor shows what is there"
            raise InfraError("no-device", "this node has GPUs but no /dev/kfd: nothing can compute on them", hint=hint)
        devices = [each for each in (node.kfd, *(gpu.render for gpu in gpus)) if each] if gpus else []
        rdma = node.rdma if step.needs.rdma else ()
        return replace(
            spec,
            devices=tuple(self._passed(path) for path in (*(device.path for device in devices), *rdma)),
            group_ids=tuple(sorted({device.gid for device in devices})),
            capabilities=("IPC_LOCK",) if rdma else (),
        )

    def _passed(self, path: str) -> Passed:
        return Passed(path, str(Path("/") / Path(path).relative_to(self.root)))

    def unwell(self, gpu: Gpu, why: str) -> None:
        """Keep a GPU from whoever comes next, unless somebody else holds it: then that may be all that is wrong."""
        strangers = self.before.held(gpu.key) if self.before else ()
        if strangers:
            self.screen.warn(f"{gpu.key}: {why}; it is not marked dirty, because somebody else holds it")
            return
        now = inventory(self.settings, self.root)
        seen = now.gpu(gpu.key)
        leak = dirty.Leak(gpu.key, gpu.used_mb, seen.used_mb if seen else None, now.held(gpu.key))
        made = dirty.mark(self.state, leak, run=self.run, who=f"run of {self.suite}", clock=self.clock, unwell=why)
        self.screen.warn(f"{made}; {dirty.REMEDY}")

    def recover(self) -> None:
        """An engine that is restarted is back within seconds; one that is not says so when it is asked next."""
        end = self.clock.monotonic() + _RETURN
        while self.clock.monotonic() < end:
            with suppress(InfraError):
                self.engine.version()
                return
            self.clock.sleep(1.0)


@dataclass
class Here:
    """Steps in the container we are in: whoever started it has given it its GPUs, so none is leased."""

    settings: Settings
    screen: Screen
    clock: Clock
    secrets: Mapping[str, str]
    root: Path = Path("/")

    def unwell(self, gpu: Gpu, why: str) -> None:
        """Say so: the node is not ours to mark."""
        self.screen.warn(f"{gpu.key}: {why}")

    def recover(self) -> None:
        """There is no engine to wait for."""

    @contextmanager
    def gpus(self, step: Step) -> Iterator[tuple[Gpu, ...]]:
        """The first of the GPUs this container was given."""
        if not step.needs.gpus:
            yield ()
            return
        yield _fitting(self.settings, inventory(self.settings, self.root), step)[: step.needs.gpus]

    def room(self, step: Step, gpus: tuple[Gpu, ...], folder: Path, image: str) -> Room:
        """A folder of the run; ``image`` is not used."""
        del image
        inside = Folders(str(SUITE), str(folder), str(folder / "cache"))
        numbers = tuple(gpu.index for gpu in gpus)
        env = dict(environment(step, inside, mask(numbers)))
        if step.models:
            cache = models.check(self.settings.get("ROCM_CI_MODEL_CACHE").value, step.models)
            env |= {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
        spec = Spec(name=step.name, env=env, secrets=_declared(step, self.secrets), workdir=str(SUITE))
        return Room(Native(spec, self.settings, self.screen.say, clock=self.clock), inside, "folder", numbers)


def _fitting(settings: Settings, node: Node, step: Step) -> tuple[Gpu, ...]:
    """The GPUs we may use that the step can run on."""
    archs = step.needs.archs
    return tuple(gpu for gpu in allotted(settings, node) if not archs or gpu.arch in archs)


def _only(node: Node, gpus: tuple[Gpu, ...]) -> Node:
    """``node`` with only ``gpus``, as they are now, in the order the runtime counts them."""
    ordered = sorted(gpus, key=lambda gpu: gpu.index)
    return node._replace(gpus=tuple(node.gpu(gpu.key) or gpu for gpu in ordered))


def _declared(step: Step, secrets: Mapping[str, str]) -> Mapping[str, str]:
    return {name: secrets[name] for name in step.secrets if name in secrets}
