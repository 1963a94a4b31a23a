"""What one file holds: host code, device code, or both. Looks at the bytes, never at the name alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import CiError, ConfigError, ContractError, Place
from ..world import views
from . import archive, bundles, code_object, elf
from .code_object import CodeObject, Kernel
from .elf import Elf, HostElf

__all__ = ["CodeObject", "HostElf", "Inspection", "Kernel", "claims", "inspect", "look", "recognise"]

_FATBIN = ".hip_fatbin"
_PACKAGED = ".llvm.offloading"
_SPLIT = "__CLANG_OFFLOAD_BUNDLE__"
_CLAIMS = (".so", ".hsaco", ".co", ".o", ".a", ".bc", ".hipfb")


@dataclass(frozen=True, slots=True)
class Inspection:
    """A file, taken apart.

    ``kind`` is host (an ELF for a CPU), code-object, bundle, archive or bitcode; ``objects`` is the
    device code in it, in the order found, and ``host`` what the dynamic linker sees of a host ELF.
    """

    path: Path
    kind: str
    objects: tuple[CodeObject, ...]
    host: HostElf | None = None
    size: int = 0

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets it has device code for, sorted, each once."""
        return tuple(sorted({each.target for each in self.objects}))


def inspect(path: Path) -> Inspection:
    """Take the file ``path`` apart.

    Raises ``ConfigError`` for what is no file or nothing of the kind, ``ContractError`` for a file
    that is damaged, cut off or empty; both name the file.
    """
    with views.mapped(path) as data:
        return look(data, path, str(path))


def look(data: memoryview, path: Path, shown: str) -> Inspection:
    """The same for bytes at hand; ``shown`` is how an error calls them."""
    kind = recognise(bytes(data[:24]))
    try:
        if kind:
            return _LOOKS[kind](data, path)
        if claims(path.name):
            what = "is empty" if not len(data) else "is not what its name says: no ELF, bundle, archive or bitcode"
            raise ContractError("not-a-binary", f"{shown} {what}", hint="build it again, or copy it again")
    except CiError as error:
        raise _placed(error, shown) from None
    hint = "audit takes a wheel, an ELF file, a code object (.hsaco), an offload bundle, an .a archive or a folder"
    raise ConfigError("cannot-audit", f"{shown} is nothing an audit knows", hint=hint, place=Place(shown))


def recognise(head: bytes) -> str:
    """What a file that begins with these 24 bytes is: elf, bundle, archive, bitcode; empty for anything else."""
    if head.startswith(elf.MAGIC):
        return "elf"
    if head.startswith(bundles.MAGICS):
        return "bundle"
    if head.startswith((archive.MAGIC, archive.THIN)):
        return "archive"
    return "bitcode" if head.startswith(code_object.BITCODE) else ""


def claims(name: str) -> bool:
    """Whether a file of this name says of itself that it is a binary."""
    stem, _, last = name.rpartition(".so.")
    versioned = bool(stem) and all(part.isdigit() for part in last.split("."))
    return versioned or name.endswith(_CLAIMS)


def _placed(error: CiError, shown: str) -> CiError:
    problems = [problem._replace(place=problem.place or Place(shown)) for problem in error.problems]
    return type(error).of(problems)


def _look_at_elf(data: memoryview, path: Path) -> Inspection:
    found = elf.read(data)
    if found.machine == elf.AMDGPU:
        return Inspection(path, "code-object", (code_object.from_elf(found),), None, len(data))
    return Inspection(path, "host", tuple(_in_host(found)), found.host, len(data))


def _in_host(found: Elf, member: str = "") -> Iterator[CodeObject]:
    """The device code of a host ELF, in whichever of the three ways its compiler put it there."""
    for section in found.sections:
        if not len(section.data):
            continue
        place = _SPLIT if section.name.startswith(_SPLIT) else section.name
        origin = f"{member}({place})" if member else place
        if section.name in {_FATBIN, _PACKAGED}:
            yield from _unbundled(section.data, origin)
        elif section.name.startswith(_SPLIT):  # relocatable device code: one section for each target
            declared = bundles.target(section.name.removeprefix(_SPLIT))
            if declared:
                yield code_object.read(section.data, declared, origin=origin)


def _unbundled(data: memoryview, origin: str) -> Iterator[CodeObject]:
    for entry in bundles.entries(data):
        numbered = f"{origin}#{entry.bundle}" if entry.bundle else origin
        yield code_object.read(entry.data, entry.target, compressed=entry.compressed, origin=numbered)


def _look_at_bundle(data: memoryview, path: Path) -> Inspection:
    return Inspection(path, "bundle", tuple(_unbundled(data, "")), None, len(data))


def _look_at_archive(data: memoryview, path: Path) -> Inspection:
    return Inspection(path, "archive", tuple(_in_archive(data)), None, len(data))


def _in_archive(data: memoryview) -> Iterator[CodeObject]:
    for member in archive.members(data):
        kind = recognise(bytes(member.data[:24]))
        if kind == "elf":
            found = elf.read(member.data)
            if found.machine == elf.AMDGPU:
                yield code_object.from_elf(found, origin=member.name)
            else:
                yield from _in_host(found, member.name)
        elif kind == "bundle":
            yield from _unbundled(member.data, member.name)
        elif kind == "bitcode":
            yield code_object.read(member.data, origin=member.name)


def _look_at_bitcode(data: memoryview, path: Path) -> Inspection:
    return Inspection(path, "bitcode", (code_object.read(data),), None, len(data))


_LOOKS: dict[str, Callable[[memoryview, Path], Inspection]] = {
    "elf": _look_at_elf,
    "bundle": _look_at_bundle,
    "archive": _look_at_archive,
    "bitcode": _look_at_bitcode,
}
