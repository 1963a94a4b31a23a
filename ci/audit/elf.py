"""ELF files, host and device, read with pyelftools and held to their own sizes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import CiError
from .fields import broken, stream

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

MAGIC = b"\x7fELF"
AMDGPU = 224
"""``e_machine`` of a code object."""

_MOST_SECTIONS = 1 << 20  # -ffunction-sections of a large file; a count beyond it is a damaged header
_MOST_ENTRIES = 1 << 16


class Section(NamedTuple):
    """A named piece of the file; one without bytes (``.bss``) has an empty view."""

    name: str
    data: memoryview


class Note(NamedTuple):
    """An ELF note: who wrote it, its number, its bytes."""

    owner: str
    type: int
    data: bytes


@dataclass(frozen=True, slots=True)
class HostElf:
    """What the dynamic linker sees: ``needs`` are (library, symbol version) pairs, paths as written.

    ``inherited`` paths (DT_RPATH) also serve what it loads; the others (DT_RUNPATH) only itself.
    ``kind`` is shared, executable, object or other; ``machine`` the number of ``e_machine``, ``wide`` whether it has
    64 bits; ``interpreter`` is the dynamic linker it asks for.
    """

    kind: str
    machine: int
    soname: str = ""
    needed: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    inherited: bool = False
    needs: tuple[tuple[str, str], ...] = ()
    interpreter: str = ""
    wide: bool = True


@dataclass(frozen=True, slots=True)
class Elf:
    """One parsed ELF file. ``notes`` are read for device files only."""

    machine: int
    flags: int
    os_abi: int
    abi_version: int
    sections: tuple[Section, ...]
    notes: tuple[Note, ...]
    host: HostElf | None
    size: int

    def named(self, prefix: str) -> tuple[Section, ...]:
        """The sections whose name begins with ``prefix``, empty ones left out."""
        return tuple(each for each in self.sections if each.name.startswith(prefix) and len(each.data))


def read(data: memoryview) -> Elf:
    """Parse ``data``; raises ``ContractError`` when it is cut off or contradicts itself."""
    from elftools.elf.elffile import ELFFile

    with _parsing():
        elf = ELFFile(stream(data))
        _check_tables(elf, len(data))
        sections = tuple(_sections(elf, data))
        header: Any = elf.header
        machine = int.from_bytes(data[18:20], "little" if elf.little_endian else "big")
        device = machine == AMDGPU
        return Elf(
            machine,
            int(header["e_flags"]),
            data[7],
            data[8],
            sections,
            tuple(_notes(elf)) if device else (),
            None if device else _host(elf, machine),
            len(data),
        )


def linked(data: memoryview) -> HostElf:
    """What the dynamic linker sees of a host file, symbol versions left out; raises as ``read``, and in less time."""
    from elftools.elf.elffile import ELFFile

    with _parsing():
        elf = ELFFile(stream(data))
        _check_tables(elf, len(data))
        return _host(elf, int.from_bytes(data[18:20], "little" if elf.little_endian else "big"), versions=False)


@contextmanager
def _parsing() -> Iterator[None]:
    """A damaged file makes the library fail in any way there is; all of them mean the same."""
    try:
        yield
    except CiError:
        raise
    except Exception as error:  # noqa: BLE001 - see the docstring; a signal is no Exception of this kind
        raise broken(f"not a readable ELF file: {str(error) or type(error).__name__}") from None


def _check_tables(elf: ELFFile, size: int) -> None:
    """The tables the header names must lie inside the file, before anything loops over them."""
    header: Any = elf.header
    wide = elf.elfclass == 64
    for count, entry, offset, least, what in (
        (elf.num_sections(), header["e_shentsize"], header["e_shoff"], 64 if wide else 40, "section"),
        (elf.num_segments(), header["e_phentsize"], header["e_phoff"], 56 if wide else 32, "program"),
    ):
        if count and (entry != least or count > _MOST_SECTIONS or offset + count * entry > size):
            raise broken(f"its {what} headers lie outside the file of {size} bytes")
    for segment in elf.iter_segments():
        if segment["p_offset"] + segment["p_filesz"] > size:
            raise broken(f"a segment ends at {segment['p_offset'] + segment['p_filesz']}, the file at {size}")


def _sections(elf: ELFFile, data: memoryview) -> Iterator[Section]:
    for section in elf.iter_sections():
        if section["sh_type"] in {"SHT_NOBITS", "SHT_NULL"}:
            yield Section(section.name, data[:0])
            continue
        end = section["sh_offset"] + section["sh_size"]
        if end > len(data):
            raise broken(f"section {section.name!r} ends at {end}, the file at {len(data)}")
        yield Section(section.name, data[section["sh_offset"] : end])


def _notes(elf: ELFFile) -> Iterator[Note]:
    """From the segments the loader reads, else (an object that was not linked) from the sections."""
    from elftools.elf.sections import NoteSection
    from elftools.elf.segments import NoteSegment

    holders: list[Any] = [each for each in elf.iter_segments() if isinstance(each, NoteSegment)]
    holders = holders or [each for each in elf.iter_sections() if isinstance(each, NoteSection)]
    for holder in holders:
        for note in islice(holder.iter_notes(), _MOST_ENTRIES):
            kind = note["n_type"]
            yield Note(note["n_name"], kind if isinstance(kind, int) else -1, bytes(note["n_descdata"]))


_KINDS = {"ET_REL": "object", "ET_EXEC": "executable", "ET_DYN": "shared"}


def _host(elf: ELFFile, machine: int, *, versions: bool = True) -> HostElf:
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.segments import InterpSegment

    header: Any = elf.header
    kind = _KINDS.get(header["e_type"], "other")
    segments = list(elf.iter_segments())
    dynamic = next((each for each in segments if isinstance(each, DynamicSegment)), None)
    wide = elf.elfclass == 64
    if dynamic is None:
        return HostElf(kind, machine, wide=wide)
    interpreter = next((each.get_interp_name() for each in segments if isinstance(each, InterpSegment)), "")
    values: dict[str, list[str]] = {"DT_SONAME": [], "DT_NEEDED": [], "DT_RPATH": [], "DT_RUNPATH": []}
    program = False
    for tag in islice(dynamic.iter_tags(), _MOST_ENTRIES):
        name = str(tag.entry.d_tag)
        if name in values:
            values[name].append(str(getattr(tag, name.removeprefix("DT_").lower())))
        program = program or (name == "DT_FLAGS_1" and bool(tag.entry.d_val & 0x08000000))
    return HostElf(
        "executable" if program else kind,
        machine,
        next(iter(values["DT_SONAME"]), ""),
        tuple(values["DT_NEEDED"]),
        tuple(path for each in (values["DT_RUNPATH"] or values["DT_RPATH"]) for path in each.split(":") if path),
        bool(values["DT_RPATH"]) and not values["DT_RUNPATH"],
        tuple(_needs(elf)) if versions else (),
        str(interpreter),
        wide,
    )


def _needs(elf: ELFFile) -> Iterator[tuple[str, str]]:
    from elftools.elf.gnuversions import GNUVerNeedSection

    for section in elf.iter_sections():
        if not isinstance(section, GNUVerNeedSection):
            continue
        if section["sh_info"] * 16 > section["sh_size"]:
            raise broken("its table of symbol versions is larger than its section")
        for need, versions in section.iter_versions():
            if need["vn_cnt"] * 16 > section["sh_size"]:
                raise broken("its table of symbol versions is larger than its section")
            yield from ((str(need.name), str(version.name)) for version in versions)
