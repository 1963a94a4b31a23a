"""The GPUs of this node: which there are, who may open them, who holds them. Nothing here writes.

Three sources, asked in this order: ``amd-smi``, ``rocm-smi``, the kernel's own files.  The kernel's are
read in any case: only they know the render node of a partition, and what the runtime's masks count.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ConfigError, Problem
from ..settings import Settings

if TYPE_CHECKING:
    from .process import Run
    from .smi import Found
    from .sysfs import Kernel

MASKS = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
"""Variables that hide GPUs from a program. They compose: two of them can hide every GPU."""


class Device(NamedTuple):
    """A device file: its numeric group, and why it does not open for reading and writing (empty where it does)."""

    path: str
    gid: int
    trouble: str


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device that a program can be given: a GPU, a die of one (MI250), or a partition (CPX, DPX).

    ``index`` is what ROCR_VISIBLE_DEVICES counts, ``uuid`` what it takes by name, ``pci`` the address of
    the physical device: partitions share it.  Memory is in MiB, None where nobody said.
    """

    index: int
    pci: str
    arch: str
    name: str
    vram_mb: int | None
    used_mb: int | None
    render: Device | None
    uuid: str
    partition: int = 0
    kfd_id: int = 0

    @property
    def key(self) -> str:
        """The identity of the device: the same whatever source saw it, and usable as a file name."""
        return f"{self.pci}+{self.partition}" if self.partition else self.pci


class Holder(NamedTuple):
    """A process that has memory of a GPU: ours or a stranger's, to be shown and never touched."""

    pid: int
    name: str
    gpu: str
    vram_mb: int | None


class Node(NamedTuple):
    """What this node has. ``source`` is ``amd-smi``, ``rocm-smi``, ``sysfs`` or ``none``; ``rdma`` are device paths."""

    gpus: tuple[Gpu, ...]
    kfd: Device | None
    rdma: tuple[str, ...]
    source: str
    problems: tuple[Problem, ...]
    holders: tuple[Holder, ...]

    def gpu(self, key: str) -> Gpu | None:
        """The device of that identity."""
        return next((gpu for gpu in self.gpus if gpu.key == key), None)

    def held(self, key: str) -> tuple[Holder, ...]:
        """Who holds that device."""
        return tuple(holder for holder in self.holders if holder.gpu == key)


def inventory(settings: Settings, root: Path = Path("/"), *, start: Run | None = None, seconds: float = 5.0) -> Node:
    """Look at the node below ``root``; each question has ``seconds``, and one that hangs is left behind.

    Never raises for what the node is like: that is in ``problems``.
    """
    from . import smi, sysfs
    from .probes import ask, gather

    start = start or partial(ask, seconds=seconds)
    kernel = gather({"kernel": partial(sysfs.look, root)}, seconds)["kernel"]
    problems: list[Problem] = []
    if not isinstance(kernel, sysfs.Kernel):
        problems.append(_silent_kernel(kernel, seconds))
        kernel = sysfs.NOTHING
    found = smi.NOTHING
    for tool in (smi.amd_smi, smi.rocm_smi):
        found = tool(start, seconds)
        problems += (each for each in found.problems if kernel.driver or each.reference == "smi-hung")
        if found.gpus:
            break
    seen = tuple(_joined(found.gpus, kernel)) if found.gpus else kernel.gpus
    problems += _disagreements(found, kernel)
    usable = _numbered([gpu for gpu in seen if gpu.render], kernel)
    if seen or kernel.driver:
        problems += access(kernel.kfd, [gpu.render for gpu in usable if gpu.render], settings)
    source = (found.source if found.gpus else "sysfs") if usable else "none"
    return Node(usable, kernel.kfd, kernel.rdma, source, tuple(problems), _holders(found, kernel, seen))


def _silent_kernel(said: object, seconds: float) -> Problem:
    message = "the kernel's files about its GPUs cannot be read"
    if said is None:
        message = f"the kernel's files about its GPUs gave no answer within {seconds:g} s: is the driver hung?"
    return Problem("sysfs-hung", message, "see dmesg; the node may need a reset", "" if said is None else repr(said))


def _joined(rows: Iterable[Gpu], kernel: Kernel) -> Iterator[Gpu]:
    """What a tool said, with what only the kernel knows."""
    for row in rows:
        same = _of_kernel(row, kernel.gpus)
        if same is None:
            yield replace(row, render=None if kernel.gpus else kernel.slots.get(row.pci))
        else:
            yield replace(
                row,
                pci=same.pci,
                partition=same.partition,
                kfd_id=same.kfd_id,
                arch=same.arch or row.arch,
                name=row.name or same.name,
                vram_mb=same.vram_mb if row.vram_mb is None else row.vram_mb,
                used_mb=same.used_mb if row.used_mb is None else row.used_mb,
                uuid=same.uuid or row.uuid,
                render=same.render,
            )


def _of_kernel(row: Gpu, gpus: Sequence[Gpu]) -> Gpu | None:
    """The kernel's entry of a row: by its own number of the device, else by address and partition.

    Tools before ROCm 6.3 know only an address, with the partition in place of the function.
    """
    if row.kfd_id:
        return next((gpu for gpu in gpus if gpu.kfd_id == row.kfd_id), None)
    slot, _, function = row.pci.rpartition(".")
    names = (row.key, f"{slot}.0+{function}")
    return next((gpu for gpu in gpus if gpu.key in names), None)


def _disagreements(found: Found, kernel: Kernel) -> Iterator[Problem]:
    """Where a tool and the kernel do not see the same devices."""
    if not (found.gpus and kernel.gpus):
        return
    pairs = [(row, _of_kernel(row, kernel.gpus)) for row in found.gpus]
    hidden = {gpu.key for gpu in kernel.gpus if gpu.render} - {same.key for _, same in pairs if same}
    unknown = {row.key for row, same in pairs if same is None and kernel.slots.get(row.pci)}
    hint = "a GPU may have fallen off its bus: dmesg, lspci -d 1002:; the node may need a reset"
    for names, who, other in ((hidden, "the kernel", found.source), (unknown, found.source, "the kernel")):
        if names:
            message = f"{who} knows {', '.join(sorted(names))}, {other} does not"
            yield Problem("sources-disagree", message, hint)
    for row, same in pairs:
        if same and row.arch and same.arch and row.arch != same.arch:
            message = f"{found.source} calls {same.key} {row.arch}, the kernel {same.arch}"
            yield Problem(
                "sources-disagree", message, "tool and driver are of different ROCm versions: update the older"
            )


def _numbered(gpus: Sequence[Gpu], kernel: Kernel) -> tuple[Gpu, ...]:
    """In the order the runtime counts: the kernel's nodes that this process may open; the rest as they came."""
    order = {gpu.key: number for number, gpu in enumerate(kernel.gpus)}
    ordered = sorted(gpus, key=lambda gpu: (order.get(gpu.key, len(order)), gpu.index))
    return tuple(replace(gpu, index=number) for number, gpu in enumerate(ordered))


def _holders(found: Found, kernel: Kernel, seen: Sequence[Gpu]) -> tuple[Holder, ...]:
    """What both say, each process once per device."""
    keys = {row.key: gpu.key for row, gpu in zip(found.gpus, seen, strict=False)}
    said = [holder._replace(gpu=keys.get(holder.gpu, holder.gpu)) for holder in found.holders]
    merged = {(holder.pid, holder.gpu): holder for holder in (*kernel.holders, *said)}
    return tuple(sorted(merged.values()))


def access(kfd: Device | None, render: Sequence[Device], settings: Settings) -> tuple[Problem, ...]:
    """Why a program could not use the GPUs: a device file that is missing or does not open, with the exact remedy."""
    problems = []
    lacks = [what for what, there in (("/dev/kfd", kfd), ("render node", render)) if not there]
    if lacks:
        hint = "load the driver (modprobe amdgpu); in a container add --device /dev/kfd --device /dev/dri/renderD..."
        message = f"AMD's driver is here but no {' and no '.join(lacks)}: suites run on CPU"
        problems.append(Problem("no-device", message, hint))
    user = settings.host("USER") or "$USER"
    for device in (*((kfd,) if kfd else ()), *render):
        if device.trouble:
            message = f"{device.path} does not open: {device.trouble}; its group is {device.gid}"
            hint = f"usermod -aG {device.gid} {user}, then log in again; in a container --group-add {device.gid}"
            if device.trouble == os.strerror(errno.EPERM):
                hint = f"this container was not given it: --device {device.path}"
            problems.append(Problem("closed-device", message, hint))
    return tuple(problems)


# --- masks ------------------------------------------------------------------------------------


def allotted(settings: Settings, node: Node) -> tuple[Gpu, ...]:
    """The GPUs that the caller's environment leaves us: all, or those its one mask names, by index or UUID.

    ``ConfigError`` where two masks name different GPUs, or one names none that is here.
    """
    set_here = [mask for mask in MASKS if mask in settings.environ]
    if not (node.gpus and set_here):
        return node.gpus
    named = {mask: _named(mask, settings.host(mask), node) for mask in set_here}
    if len(set(named.values())) > 1:
        message = f"{' and '.join(named)} name different GPUs: together they may hide every one"
        hint = f"keep one: unset {' '.join(set_here[1:])}"
        context = "\n".join(f"{mask}={settings.host(mask)}" for mask in set_here)
        raise ConfigError("conflicting-masks", message, hint=hint, context=context)
    return named[set_here[0]]


def _named(mask: str, value: str, node: Node) -> tuple[Gpu, ...]:
    if not value.strip():
        hint = f"unset {mask} for all GPUs, or set it to -1 for none"
        raise ConfigError("empty-mask", f"{mask} is set but empty: some read that as all GPUs, some as none", hint=hint)
    chosen: list[Gpu] = []
    for word in (part.strip() for part in value.split(",")):
        if word == "-1":  # ends the list, for every reader of these variables
            break
        if re.fullmatch(r"[0-9]+", word):
            matches = [gpu for gpu in node.gpus if gpu.index == int(word)]
        else:
            matches = [gpu for gpu in node.gpus if gpu.uuid and gpu.uuid.lower() == word.lower()]
        if len(matches) != 1:
            what = "no GPU" if not matches else f"{len(matches)} GPUs"
            hint = f"this node has 0 to {len(node.gpus) - 1}: {', '.join(gpu.uuid or gpu.key for gpu in node.gpus)}"
            raise ConfigError("unknown-gpu", f"{mask}={value}: {word!r} is {what} of this node", hint=hint)
        chosen += matches
    return tuple(gpu for gpu in node.gpus if gpu in chosen)
