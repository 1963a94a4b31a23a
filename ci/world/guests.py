"""Whether untrusted runs were on this host: what they leave in its engine and state folder, others read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from .files import disk_errors

_MARK = "untrusted-run"


def note(state: Path, line: str) -> None:
    """Remember the first untrusted run of this host, for all its users; who empties the engine removes that."""
    path = state / _MARK
    if path.exists():
        return
    with disk_errors(f"cannot write {path}"), suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(line + "\n")


def noted(state: Path) -> str:
    """Where that is remembered; empty where there was none."""
    path = state / _MARK
    return str(path) if path.exists() else ""
