"""A process that performs one verb and ends: its garbage collector has nothing to find."""

from __future__ import annotations

import atexit
import gc


def spare_the_collector() -> None:
    """Look for garbage rarely, and not at all while the interpreter ends: a quarter of a short run's time."""
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
