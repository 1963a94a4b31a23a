"""What a sandbox looks like from inside when a command has failed or hangs.

    python evidence.py --seconds 20 --out /rocm-ci/results

Writes ``evidence.json`` and ``evidence.txt`` within its time, and ends with 0 whatever happens: it never
changes an outcome.  Each section is a process of its own with a deadline, because whoever asks about a
process in uninterruptible sleep may hang with it.  The environment is never written down.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import detached
from masking import mask_all
from sections import SECTIONS

SHARE = 0.75
"""Of the time, for the sections; the rest is for those that must be ended and for writing."""


def section_command(name: str, seconds: float) -> list[str]:
    """The argument list that prints one section, a JSON value per line; without ``site`` it starts sooner."""
    return [sys.executable, "-S", str(Path(__file__).resolve()), "--section", name, "--seconds", f"{seconds:g}"]


def print_section(name: str, seconds: float) -> None:
    """Print the rows of a section, each as soon as it is known."""
    try:
        for row in SECTIONS[name](seconds * SHARE):
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
    except Exception as error:  # noqa: BLE001 - a section that fails says so, and the others go on
        sys.stdout.write(json.dumps({"trouble": repr(error)}) + "\n")


def rows_of(told: detached.Told) -> list[Any]:
    """The rows a section printed, and a last one if it did not come to its end."""
    rows: list[Any] = []
    for line in told.text.splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            rows.append(line)
    if told.code is None:
        rows.append({"trouble": "this section did not end in time"})
    elif told.code:
        rows.append({"trouble": f"this section ended with {told.code}"})
    return rows


def collect(seconds: float) -> dict[str, Any]:
    """All sections, gathered at the same time."""
    began, each = time.monotonic(), seconds * SHARE
    started = {name: detached.start(section_command(name, each), each) for name in SECTIONS}
    found = {name: rows_of(detached.finish(one)) for name, one in started.items()}
    taken = round(time.monotonic() - began, 3)
    masked: dict[str, Any] = mask_all(found)
    return {"schema": 1, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "seconds": taken, "sections": masked}


def as_text(document: dict[str, Any]) -> str:
    """The same for people."""
    lines = [f"Evidence of {document['at']}, gathered in {document['seconds']} s"]
    for name, rows in document["sections"].items():
        lines += ["", f"== {name.replace('_', ' ')} =="]
        lines += [row if isinstance(row, str) else line_of(row) for row in rows]
    return "\n".join(lines) + "\n"


def line_of(row: Any) -> str:
    """One row on one line; a process in uninterruptible sleep stands out."""
    if not isinstance(row, dict):
        return str(row)
    flag = "!! " if row.get("state") == "D" or "uninterruptible" in row else ""
    return flag + "  ".join(f"{name}={value}" for name, value in row.items())


def write(path: Path, content: str) -> None:
    """The whole file or none."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(content, encoding="utf-8")
    scratch.replace(path)


def main(argv: Sequence[str]) -> int:
    """Gather and write; always 0."""
    parser = argparse.ArgumentParser(description="Write evidence.json and evidence.txt.")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--out", type=Path, default=Path("/rocm-ci/results"))
    parser.add_argument("--section", choices=sorted(SECTIONS), help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.section:
        print_section(chosen.section, chosen.seconds)
        return 0
    try:
        document = collect(chosen.seconds)
        write(chosen.out / "evidence.json", json.dumps(document, indent=1) + "\n")
        write(chosen.out / "evidence.txt", as_text(document))
    except Exception:  # noqa: BLE001 - evidence that cannot be had must not hide what it is about
        traceback.print_exc()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
