"""Which CI this is, and what it says of this job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..settings import Settings
from ..world import files
from .facts import Facts


def facts_of(settings: Settings) -> Facts | None:
    """The facts of this job; None where no CI that we know says that it runs us.

    A mark with an odd value (``BUILDKITE=false``) is a mark: a job does not get out of its CI by it.
    """
    environ = settings.environ
    on_github, on_buildkite = settings.host("GITHUB_ACTIONS"), settings.host("BUILDKITE")
    if on_github and on_buildkite:
        return Facts("unknown", "", unclear="GITHUB_ACTIONS and BUILDKITE are both set")
    if on_buildkite:
        from . import buildkite

        return buildkite.facts(environ)
    if on_github:
        from . import github

        return github.facts(environ, _event(settings.host("GITHUB_EVENT_PATH")))
    return None


def _event(path: str) -> Mapping[str, Any]:
    """The document of the event; one that cannot be read tells nothing, which makes a source unknown."""
    try:
        found = json.loads(files.read_text(Path(path))) if path else {}
    except (ConfigError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
