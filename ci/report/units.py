"""Numbers and names as a person reads them."""

from __future__ import annotations

import re

from ..printable import printable

_RUN_OPTION = re.compile(r"(?<=\bRUN)((?: --(?:mount|network|security)=\S+)+)")


def seconds(value: float) -> str:
    """``0.4 s``, ``12.3 s``, ``1 min 12 s``, ``2 h 03 min``; below zero counts as zero."""
    tenths = round(max(0.0, value) * 10)
    if tenths < 600:
        return f"{tenths / 10:.1f} s"
    whole = round(max(0.0, value))
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: int | None) -> str:
    """Decimal units, as registries and disks are sold: ``1.55 GB``, ``412 MB``, ``3.2 kB``."""
    if count is None:
        return "unknown"
    if count < 1000:
        return f"{count} B"
    for unit, factor in (("kB", 1e3), ("MB", 1e6)):
        if count / factor < 999.5:
            return f"{count / factor:.3g} {unit}"
    return f"{count / 1e9:.2f} GB"


def clip(text: str, width: int) -> str:
    """One line of at most ``width`` characters; what was cut shows as ``...``."""
    line = " ".join(printable(text).split())
    return line if len(line) <= width else line[: max(0, width - 3)].rstrip() + "..."


def counted(number: int, noun: str) -> str:
    """``1 step``, ``3 steps``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def command(step: str) -> str:
    """A step without the mounts of its RUN, which would fill the line before the command begins."""
    return _RUN_OPTION.sub("", step, count=1)
