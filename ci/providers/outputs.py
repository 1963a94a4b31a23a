"""What a job tells the workflow it is part of: GitHub's outputs. Elsewhere nobody asks for them."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import InternalError
from ..settings import Settings
from ..world import ci_files

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def give(settings: Settings, name: str, value: str) -> None:
    """Set the output ``name`` of the step that runs us; nothing where no step of GitHub Actions does.

    Raises ``InfraError`` where it cannot be written.  A value is one line: a second one would be an output of its own.
    """
    path = settings.host("GITHUB_OUTPUT")
    if not (settings.host("GITHUB_ACTIONS") and path):
        return
    if not _NAME.fullmatch(name) or not value.isprintable():
        raise InternalError("bad-output", f"{name!r} cannot have the value {value!r}")
    ci_files.append(Path(path), f"{name}={value}\n")
