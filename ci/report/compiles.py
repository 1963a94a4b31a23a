"""What ``hip-compile`` says: a table of objects with their kernels, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ..answer import Answer
from ..audit.code_object import Kernel
from ..errors import Outcome
from ..kernels.compile import Row, Unit
from ..kernels.job import Outlook, Result
from . import units

_OBJECTS = ("file", "arch", "time", "size", "", "kernel", "VGPR", "AGPR", "SGPR", "LDS", "scratch", "spills")
_LEFT = frozenset({0, 1, 4, 5})


def planned(outlook: Outlook) -> Answer:
    """What a run would do."""
    rows = [(unit.source, unit.arch, "cached" if unit.hit else "compile") for unit in outlook.units]
    missing = sum(unit.hit is None for unit in outlook.units)
    text = [
        f"compiler: {outlook.compiler.name}",
        *_table(("file", "arch", ""), rows, frozenset({0, 1, 2})),
        f"would compile {missing} of {units.counted(len(rows), 'object')} into {outlook.request.out}",
    ]
    document = {
        "schema": 1,
        "verb": "hip-compile",
        "outcome": Outcome.OK,
        "plan": True,
        "compiler": _compiler(outlook),
        "out": str(outlook.request.out),
        "objects": [_planned(unit) for unit in outlook.units],
    }
    return Answer(Outcome.OK, "\n".join(text), document)


def answer(result: Result) -> Answer:
    """A run in which every object is there."""
    rows = [cells for row in result.rows for cells in _cells(row)]
    text = [*_table(_OBJECTS, rows, _LEFT), "", *_summary(result)]
    document = {
        "schema": 1,
        "verb": "hip-compile",
        "outcome": Outcome.OK,
        "compiler": _compiler(result),
        "out": str(result.request.out),
        "written": result.written,
        "jobs": result.jobs,
        "seconds": round(result.seconds, 3),
        "wrapper": asdict(result.wrapper) if result.wrapper else None,
        "objects": [_row(row, result) for row in result.rows],
    }
    return Answer(Outcome.OK, "\n".join(text), document)


def _planned(unit: Unit) -> dict[str, Any]:
    return {"source": unit.source, "arch": unit.arch, "key": unit.key, "decision": "cached" if unit.hit else "compile"}


def _compiler(of: Outlook | Result) -> dict[str, str | None]:
    return {"name": of.compiler.name, "identity": of.compiler.identity or None}


def _row(row: Row, result: Result) -> dict[str, Any]:
    return {
        "source": row.source,
        "arch": row.arch,
        "object": result.request.project.object_name(row.source, row.arch),
        "cached": row.cached,
        "seconds": 0.0 if row.cached else row.seconds,
        "saved_seconds": row.seconds if row.cached else 0.0,
        "size": row.size,
        "sha256": row.digest,
        "kernels": [asdict(kernel) for kernel in row.kernels],
    }


def _cells(row: Row) -> Iterator[tuple[str, ...]]:
    """A line per kernel; the object's own columns stand on its first line only."""
    seconds = "-" if row.cached else units.seconds(row.seconds)
    own: tuple[str, ...] = (row.source, row.arch, seconds, units.size(row.size), "cached" if row.cached else "compiled")
    for kernel in row.kernels:
        yield (*own, *_kernel(kernel))
        own = ("",) * len(own)
    if not row.kernels:
        yield (*own, "(none)", *[""] * 6)


def _kernel(kernel: Kernel) -> tuple[str, ...]:
    spills = f"{kernel.vgpr_spills}+{kernel.sgpr_spills}" if kernel.vgpr_spills or kernel.sgpr_spills else "0"
    numbers = (kernel.vgprs, kernel.agprs, kernel.sgprs, kernel.lds, kernel.scratch)
    return (kernel.name, *(str(number) for number in numbers), spills)


def _summary(result: Result) -> Iterator[str]:
    cached = [row for row in result.rows if row.cached]
    compiled = len(result.rows) - len(cached)
    saved = units.seconds(sum(row.seconds for row in cached))
    yield f"compiler  {result.compiler.name}"
    reused = f", {len(cached)} reused (they took {saved} when they were compiled)" if cached else ""
    yield f"objects   {compiled} compiled{reused}, {units.seconds(result.seconds)} in all, {result.jobs} at once"
    if result.wrapper:
        asked = result.wrapper.hits + result.wrapper.misses
        rate = f"{result.wrapper.hits / asked:.0%}" if asked else "no answer"
        yield f"{result.wrapper.name:9} {result.wrapper.hits} hits, {result.wrapper.misses} misses ({rate})"
    spilling = sorted({kernel.name for row in result.rows for kernel in row.kernels if kernel.vgpr_spills})
    if spilling:
        yield f"spilling  {', '.join(spilling)}: registers go through memory; smaller blocks or less unrolling help"
    written = f"{result.written} written" if result.written else "all of them were there"
    yield f"out       {result.request.out} ({written})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: frozenset[int]) -> list[str]:
    """Columns as wide as what is in them, numbers to the right."""
    widths = [max(len(row[index]) for row in (head, *rows)) for index in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
