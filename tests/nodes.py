"""GPU nodes for tests: the files of the kernel below a folder, and tools that print what is in ``samples/gpus``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ci.world.gpus import Device, Gpu
from ci.world.smi import AMD_SMI, ROCM_SMI

SAMPLES = Path(__file__).parent / "samples/gpus"
MACHINES = tuple(sorted(path.name for path in SAMPLES.iterdir() if path.is_dir()))
MISSING = "exit 127"


def sample(machine: str, name: str) -> Any:
    return json.loads((SAMPLES / machine / f"{name}.json").read_text())


def answers(machine: str, **changed: Any) -> dict[tuple[str, ...], Any]:
    """The script of a ``FakeRun``: each question with its answer; ``changed`` are other endings by sample name."""
    questions = {**AMD_SMI, "rocm-smi": ROCM_SMI}
    told = {argv: (0, (SAMPLES / machine / f"{name}.json").read_text(), "") for name, argv in questions.items()}
    return {**told, **{questions[name.replace("_", "-")]: end for name, end in changed.items()}}


def tree(root: Path, machine: str) -> Path:
    """Lay out ``/sys``, ``/dev`` and ``/proc`` of the machine below ``root``."""
    kernel = sample(machine, "kernel")
    put(root / "dev/kfd", "")
    for number, node in enumerate(kernel["nodes"]):
        _node(root, root / f"sys/class/kfd/kfd/topology/nodes/{number}", node)
    for address, facts in kernel["pci"].items():
        for name, value in facts.items():
            put(root / "sys/bus/pci/devices" / address / name, f"{value}\n")
    for pid, devices in kernel["processes"].items():
        put(root / f"proc/{pid}/comm", "python3\n")
        for number, size in devices.items():
            put(root / f"sys/class/kfd/kfd/proc/{pid}/vram_{number}", f"{size}\n")
    (root / "proc/self/ns").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/ns/pid").symlink_to("pid:[4026531836]")
    return root


def _node(root: Path, folder: Path, node: Mapping[str, Any]) -> None:
    facts = node["properties"]
    put(folder / "gpu_id", f"{node['gpu_id']}\n")
    put(folder / "properties", "".join(f"{name} {value}\n" for name, value in facts.items()))
    for number, bank in enumerate(node.get("mem_banks", ())):
        put(folder / f"mem_banks/{number}/properties", "".join(f"{name} {value}\n" for name, value in bank.items()))
    minor, place = facts["drm_render_minor"], facts["location_id"]
    if not minor:
        return
    put(root / f"dev/dri/renderD{minor}", "")
    drm = root / f"sys/class/drm/renderD{minor}"
    drm.mkdir(parents=True)
    partition = place >> 28
    if partition:
        target = f"../../../devices/platform/amdgpu_xcp.{partition}"
        (root / f"sys/devices/platform/amdgpu_xcp.{partition}").mkdir(parents=True, exist_ok=True)
    else:
        target = f"../../../bus/pci/devices/0000:{place >> 8 & 0xFF:02x}:00.0"
    (drm / "device").symlink_to(target)


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def tools(folder: Path, machine: str, **scripts: str) -> Path:
    """Programs ``amd-smi`` and ``rocm-smi`` in ``folder``; ``scripts`` are other shell bodies by tool."""
    bodies = {
        "amd-smi": f'exec cat "{SAMPLES / machine}/$1.json"',
        "rocm-smi": f'exec cat "{SAMPLES / machine}/rocm-smi.json"',
        **{name.replace("_", "-"): body for name, body in scripts.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in bodies.items():
        if body != MISSING:
            put(folder / name, f"#!/bin/sh\n{body}\n")
            (folder / name).chmod(0o755)
    return folder


def eight(count: int = 8) -> tuple[Gpu, ...]:
    """That many GPUs, for tests that only hand them out."""
    return tuple(
        Gpu(number, f"0000:{number + 1:02x}:00.0", "gfx942", "AMD Instinct MI300X", 196592, 283,
            Device(f"/dev/dri/renderD{128 + number}", 109, ""), f"GPU-{number:016x}")
        for number in range(count)
    )  # fmt: skip
