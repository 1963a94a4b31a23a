"""How unit tests reach the files that run inside images: by path, as those files reach each other."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parents[1] / "gpu"


def module(name: str) -> Any:
    """One of the modules of ``tests/gpu``, its plugin or its site folder."""
    for folder in (HOME, HOME / "plugin"):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    return importlib.import_module(name)
