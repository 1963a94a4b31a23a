"""How tests reach the probe: it is a package of its own, below ``kernels/``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

KERNELS = Path(__file__).resolve().parents[2] / "kernels"


def module(name: str) -> Any:
    """``rocm_probe`` or one of its modules."""
    if str(KERNELS) not in sys.path:
        sys.path.append(str(KERNELS))
    return importlib.import_module(f"rocm_probe.{name}" if name else "rocm_probe")
