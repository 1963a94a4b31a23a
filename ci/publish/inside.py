"""Run by the Python of a clean environment: what is installed there, as one JSON document on stdout.

The file named by the argument maps projects to the files their wheels brought, each with its digest as
a RECORD writes it.  Needs nothing but the standard library.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any


def look(project: str, files: Mapping[str, str]) -> dict[str, Any] | None:
    """The version of a project, and which of ``files`` are not there with these bytes; None for one not installed."""
    try:
        found = metadata.distribution(project)
    except metadata.PackageNotFoundError:
        return None
    wrong = [path for path, said in files.items() if _digest(Path(str(found.locate_file(path)))) != said]
    return {"version": found.version, "wrong": wrong}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError:
        return ""
    return "sha256=" + base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()


if __name__ == "__main__":
    wanted = json.loads(Path(sys.argv[1]).read_text())
    sys.stdout.write(json.dumps({project: look(project, listed) for project, listed in wanted.items()}))
