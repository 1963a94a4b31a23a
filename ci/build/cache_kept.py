"""What became of a cache that was to be written."""

from __future__ import annotations

from typing import NamedTuple

WRITTEN, SKIPPED, FAILED = "written", "skipped", "failed"


class Kept(NamedTuple):
    """One cache: ``state`` is written, skipped or failed, and ``why`` says it where it was not written."""

    where: str
    state: str
    why: str = ""
