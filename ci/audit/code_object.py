"""The device code of one target: an AMDGPU ELF, or bitcode or SPIR-V that is yet to be compiled.

The target is what the ELF itself says (``e_flags``, LLVM's AMDGPUUsage); the name a container
gives it must agree, or the runtime would load the wrong one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..errors import ContractError
from . import elf as elves
from .elf import Elf
from .fields import CUT, broken

BITCODE = (b"BC\xc0\xde", b"\xde\xc0\x17\x0b")
SPIRV = b"\x03\x02\x23\x07"

_HSA = 64
_METADATA = 32
_MACH = 0xFF
_SWITCH = {0: "", 1: "", 2: "-", 3: "+"}
"""A feature's two bits from code object version 4 on: not supported, any, off, on."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """What one kernel takes of a GPU: registers, bytes of LDS and of scratch, and registers that did not fit."""

    name: str
    vgprs: int
    agprs: int
    sgprs: int
    lds: int
    scratch: int
    vgpr_spills: int
    sgpr_spills: int


@dataclass(frozen=True, slots=True)
class CodeObject:
    """Device code for one ``target`` (``gfx942``); ``features`` is ``sramecc+:xnack-``, empty where any will do.

    ``form`` is elf, bitcode or spirv, and only an elf has kernels and a ``version`` (of the code object,
    2 to 6).  ``origin`` says where in the file it was: a section, an archive's member,
    and, where several bundles follow each other, the number of the bundle.
    """

    target: str
    features: str
    kernels: tuple[Kernel, ...]
    size: int
    form: str = "elf"
    version: int = 0
    compressed: bool = False
    origin: str = ""

    @property
    def target_id(self) -> str:
        """Target and features as compilers write them: ``gfx90a:xnack-``."""
        return f"{self.target}:{self.features}" if self.features else self.target


def read(data: memoryview, declared: str = "", *, compressed: bool = False, origin: str = "") -> CodeObject:
    """The code object in ``data``; ``declared`` is the target its container gives it, empty if it has none.

    Raises ``ContractError`` when it is cut off, no device code, or of another target than declared.
    """
    named, _, features = declared.partition(":")
    head = bytes(data[:4])
    if head in BITCODE:
        return CodeObject(named or "unknown", features, (), len(data), "bitcode", 0, compressed, origin)
    if head == SPIRV:
        return CodeObject(named or "amdgcnspirv", features, (), len(data), "spirv", 0, compressed, origin)
    if head != elves.MAGIC:
        raise broken(f"the device code of {declared or 'an unnamed target'} is neither ELF, bitcode nor SPIR-V")
    found = from_elf(elves.read(data), origin=origin, compressed=compressed)
    if declared and found.target != named:
        message = f"its container says {named}, but the code object is for {found.target}"
        raise ContractError("wrong-target", message, hint="it was put together from the wrong parts; build it again")
    return found


def from_elf(elf: Elf, *, origin: str = "", compressed: bool = False) -> CodeObject:
    """The code object a parsed device ELF is."""
    if elf.machine != elves.AMDGPU or elf.os_abi != _HSA:
        raise broken(f"device code that is no AMDGPU code object: machine {elf.machine}, OS {elf.os_abi}")
    version = elf.abi_version + 2
    metadata = _metadata(elf)
    written = str(metadata.get("amdhsa.target", "")).partition("--")[2].partition(":")[0]
    target = _machines().get(elf.flags & _MACH, "") or written or f"mach-{elf.flags & _MACH:#04x}"
    if written and written != target:
        raise broken(f"a code object whose header says {target} and whose metadata says {written}")
    kernels = tuple(_kernel(entry) for entry in _list(metadata.get("amdhsa.kernels", [])))
    return CodeObject(target, _features(elf.flags, version), kernels, elf.size, "elf", version, compressed, origin)


@cache
def _machines() -> Mapping[int, str]:
    from ..recipe.stack import archs

    return {arch.mach: arch.name for arch in archs()}


def _features(flags: int, version: int) -> str:
    if version < 4:
        return "xnack+" if flags & 0x100 else ""
    switches = {"sramecc": _SWITCH[flags >> 10 & 3], "xnack": _SWITCH[flags >> 8 & 3]}
    return ":".join(name + switch for name, switch in switches.items() if switch)


def _metadata(elf: Elf) -> Mapping[str, Any]:
    """The note every code object from version 3 on has; without it the runtime finds no kernel."""
    import msgpack

    note = next((each for each in elf.notes if each.owner == "AMDGPU" and each.type == _METADATA), None)
    if note is None:
        if elf.abi_version < 1:  # version 2 has YAML in another note, and no compiler of this decade writes it
            return {}
        raise ContractError("no-metadata", "a code object without its metadata note", hint=CUT)
    try:
        found = msgpack.unpackb(note.data, strict_map_key=False, unicode_errors="backslashreplace")
    except Exception as error:  # noqa: BLE001 - damaged bytes make it raise whatever they look like
        raise broken(f"metadata of a code object that cannot be read: {type(error).__name__}: {error}") from None
    if not isinstance(found, dict):
        raise broken("metadata of a code object that is no map")
    return found


def _list(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise broken("metadata of a code object whose kernels are no list of maps")
    return value


def _kernel(entry: Mapping[str, Any]) -> Kernel:
    def count(key: str) -> int:
        value = entry.get(key, 0)
        if not isinstance(value, int) or value < 0:
            raise broken(f"metadata of a code object: {key} is {value!r}")
        return value

    return Kernel(
        str(entry.get(".name", "")),
        count(".vgpr_count"),
        count(".agpr_count"),
        count(".sgpr_count"),
        count(".group_segment_fixed_size"),
        count(".private_segment_fixed_size"),
        count(".vgpr_spill_count"),
        count(".sgpr_spill_count"),
    )
