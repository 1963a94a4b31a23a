"""How often the kernel ended a process for want of memory: what both versions of control groups tell."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def kills(text: str) -> int | None:
    """The counter in the text of ``memory.events`` or ``memory.oom_control``; None where there is none."""
    rows = (line.split() for line in text.splitlines())
    return next((int(row[1]) for row in rows if len(row) == 2 and row[0] == "oom_kill" and row[1].isdigit()), None)


def own_kills(root: Path = Path("/")) -> int | None:
    """The counter of the control group we are in; None where it cannot be read."""
    groups = root / "sys/fs/cgroup"
    for kind, path in _groups(root):
        folder, name = (groups, "memory.events") if not kind else (groups / "memory", "memory.oom_control")
        for file in (folder / path / name, folder / name):  # a container may see its own group as the top
            with suppress(OSError):
                if (count := kills(file.read_text())) is not None:
                    return count
    return None


def _groups(root: Path) -> list[tuple[str, str]]:
    """Controller (empty: version 2) and relative path of the groups that may count memory."""
    try:
        rows = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return []
    return [(row[1], row[2].lstrip("/")) for row in rows if len(row) == 3 and row[1] in {"", "memory"}]
