"""Names of agents and devices, as other projects write them, as what a node must have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_GPUS = re.compile(r"(?P<family>[a-z]+\d+[a-z]*)(?:[-_](?P<count>\d+|[a-z]+\d*))?")
_CPU = re.compile(r"(?:amd[-_])?cpu(?:[-_](?:small|medium|large))?")


class Device(NamedTuple):
    """A device by name: its ``arch`` (empty: none we know), GPUs (0: a CPU), and a partition mode of its GPUs."""

    known: bool
    arch: str = ""
    gpus: int = 0
    mode: str = ""


def device(name: str, families: Mapping[str, str]) -> Device:
    """``mi300_4``: four GPUs of the family that the table of archs has as MI300 or MI300X."""
    if _CPU.fullmatch(name.lower()):
        return Device(known=True)
    match = _GPUS.fullmatch(name.lower())
    family = match["family"] if match else ""
    arch = families.get(family) or families.get(family + "x", "")
    if match is None or not arch:
        return Device(known=False)
    count = match["count"] or "1"
    return Device(True, arch, int(count), "") if count.isdigit() else Device(True, arch, 1, count)
