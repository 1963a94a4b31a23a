"""How much memory of each GPU is in use, as ``amd-smi`` says.

Its JSON is a bare list up to ROCm 6.3 and stands below ``gpu_data`` later; warnings may come before it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from typing import Any

import detached

ASK = ("amd-smi", "metric", "--mem-usage", "--json")
LIMIT = 20.0
SLACK_MB = 64
"""What the driver itself may take or give back in the meantime."""
_MB = {"B": 1 / (1 << 20), "KB": 1 / 1024, "MB": 1.0, "GB": 1024.0}


class Unknown(Exception):
    """The tool is there, but its answer is not."""


def used() -> dict[int, float]:
    """Megabytes in use by GPU number; empty where there is no ``amd-smi``, ``Unknown`` where it does not answer."""
    if shutil.which(ASK[0]) is None:
        return {}
    told = detached.ask(ASK, LIMIT)
    if not told.ok:
        how = "did not end in time" if told.code is None else f"ended with {told.code}"
        raise Unknown(f"{' '.join(ASK)} {how}: {told.text[-300:]}")
    return parse(told.text)


def parse(text: str) -> dict[int, float]:
    """Megabytes in use by GPU number; ``Unknown`` if the text is not of that kind."""
    begin = re.search(r"^\s*[\[{]", text, re.MULTILINE)
    try:
        document: Any = json.JSONDecoder().raw_decode(text, begin.end() - 1)[0] if begin else None
        rows = document["gpu_data"] if isinstance(document, dict) else document
        return {int(row["gpu"]): megabytes(row["mem_usage"]["used_vram"]) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise Unknown(f"{' '.join(ASK)} says something unexpected ({error!r}): {text[:300]}") from None


def megabytes(amount: Mapping[str, Any]) -> float:
    """``{"value": 285, "unit": "MB"}`` as a number."""
    return float(amount["value"]) * _MB[str(amount["unit"]).upper()]


def held(before: Mapping[int, float], after: Mapping[int, float]) -> tuple[str, ...]:
    """The GPUs that have more in use than before; one that no longer answers is among them."""
    found = []
    for number, amount in sorted(before.items()):
        now = after.get(number)
        if now is None:
            found.append(f"GPU {number} is no longer listed")
        elif now > amount + SLACK_MB:
            found.append(f"GPU {number} holds {now:.0f} MB, {amount:.0f} MB before")
    return tuple(found)
