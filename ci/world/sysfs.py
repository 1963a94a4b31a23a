"""What the kernel's own files say of AMD's GPUs: KFD's topology, render nodes, processes. Needs no root.

Nothing else knows which render node a partition has.  A container reads only the nodes it was given: the
others refuse, and so are none of ours.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from .gpus import Device, Gpu, Holder

_AMD = "0x1002"
_MIB = 1 << 20
_VRAM = {1, 2}
"""Heap types of a memory bank that are the GPU's own: all of it visible to the processor, or a part."""

_FIRST_NAMESPACE = "pid:[4026531836]"
"""The process ids KFD writes are those of the kernel's first namespace, whose number never changes."""

_PCI = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


class Devices(NamedTuple):
    """The compute device of AMD's driver, and the render nodes of AMD GPUs."""

    kfd: Device | None
    render: tuple[Device, ...]


class Kernel(NamedTuple):
    """What was seen: ``gpus`` in KFD's order; ``slots`` are render nodes by PCI address; ``rdma`` are device paths."""

    kfd: Device | None
    render: tuple[Device, ...]
    gpus: tuple[Gpu, ...]
    slots: Mapping[str, Device]
    holders: tuple[Holder, ...]
    rdma: tuple[str, ...]

    @property
    def driver(self) -> bool:
        """Whether anything of AMD's driver is here."""
        return bool(self.kfd or self.render or self.gpus)


NOTHING = Kernel(None, (), (), {}, (), ())


def devices(root: Path = Path("/")) -> Devices:
    """AMD's device files; other makers' render nodes are left out."""
    path = root / "dev/kfd"
    kfd = _device(path) if path.exists() else None
    nodes = sorted((root / "dev/dri").glob("renderD*"))
    makers = {node: _text(root / "sys/class/drm" / node.name / "device/vendor") for node in nodes}
    wanted = (_AMD, "") if kfd else (_AMD,)  # a container may hide who made it, and a partition has no maker
    return Devices(kfd, tuple(_device(node) for node in nodes if makers[node] in wanted))


def look(root: Path = Path("/")) -> Kernel:
    """Read it all; may hang where the driver does, so ask it detached."""
    kfd, render = devices(root)
    by_name = {Path(device.path).name: device for device in render}
    gpus = tuple(_gpus(root, by_name))
    slots = {}
    for name, device in by_name.items():
        pci = (root / "sys/class/drm" / name / "device").resolve().name
        if _PCI.fullmatch(pci):
            slots[pci] = device
    rdma = tuple(sorted(str(path) for path in (root / "dev/infiniband").glob("*") if not path.is_dir()))
    return Kernel(kfd, render, gpus, slots, tuple(_holders(root, gpus)), rdma)


def _device(path: Path) -> Device:
    gid, trouble = path.stat().st_gid, ""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        trouble = error.strerror or str(error)
    return Device(str(path), gid, trouble)


def _text(path: Path) -> str:
    """What the file says; empty where it is not there or not for us."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isascii() and text.isdigit() else None


def _properties(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in _text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _gpus(root: Path, render: Mapping[str, Device]) -> Iterator[Gpu]:
    nodes = (root / "sys/class/kfd/kfd/topology/nodes").glob("[0-9]*")
    before: Counter[str] = Counter()
    for index, node in enumerate(sorted(nodes, key=lambda path: int(path.name))):
        facts = _properties(node / "properties")
        kfd_id = _number(node / "gpu_id")
        if not kfd_id or not facts.get("gfx_target_version"):
            continue  # a processor, or a GPU of another container
        place = facts.get("location_id", 0)
        pci = f"{facts.get('domain', 0):04x}:{place >> 8 & 0xFF:02x}:{place >> 3 & 0x1F:02x}.{place & 7}"
        partition = place >> 28 or before[pci]  # older kernels give every partition the same place
        before[pci] += 1
        here = root / "sys/bus/pci/devices" / pci
        whole = _text(here / "current_compute_partition") in {"", "SPX"}  # else the figure is of all partitions
        yield Gpu(
            index,
            pci,
            _arch(facts["gfx_target_version"]),
            _text(here / "product_name"),
            _bank_mb(node),
            _mb(_number(here / "mem_info_vram_used")) if whole else None,
            render.get(f"renderD{facts.get('drm_render_minor', 0)}"),
            f"GPU-{facts['unique_id']:016x}" if facts.get("unique_id") else "",
            partition,
            kfd_id,
        )


def _arch(version: int) -> str:
    """``90402`` is gfx942, ``90010`` is gfx90a: the last two places are hexadecimal digits."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def _bank_mb(node: Path) -> int | None:
    """The memory of one device as the runtime sees it: of a partition, its own share."""
    banks = [_properties(path) for path in sorted(node.glob("mem_banks/*/properties"))]
    sizes = [bank.get("size_in_bytes", 0) for bank in banks if bank.get("heap_type") in _VRAM]
    return sum(sizes) // _MIB if sizes else None


def _mb(number: int | None) -> int | None:
    return None if number is None else number // _MIB


def _holders(root: Path, gpus: tuple[Gpu, ...]) -> Iterator[Holder]:
    """Processes with memory of a GPU; KFD lists some that only looked, and they hold nothing."""
    try:
        named = str((root / "proc/self/ns/pid").readlink()) == _FIRST_NAMESPACE
    except OSError:
        named = False
    for process in sorted((root / "sys/class/kfd/kfd/proc").glob("[0-9]*")):
        name = _text(root / "proc" / process.name / "comm") if named else ""
        for gpu in gpus:
            held = _number(process / f"vram_{gpu.kfd_id}")
            if held:
                yield Holder(int(process.name), name, gpu.key, held // _MIB)
