"""The files through which a job tells its CI something: lines are added, and what is in them stays."""

from __future__ import annotations

import os
from pathlib import Path

from . import files


def append(path: Path, text: str) -> None:
    """Add ``text`` to the file, on a line of its own; ``InfraError`` where it cannot be written.

    Whoever wrote there before us may have left out the end of the last line.
    """
    with files.disk_errors(f"cannot write {path}"), path.open("a+b") as stream:
        if size := stream.seek(0, os.SEEK_END):
            stream.seek(size - 1)
            text = text if stream.read(1) == b"\n" else f"\n{text}"
        stream.write(text.encode("utf-8", "backslashreplace"))
