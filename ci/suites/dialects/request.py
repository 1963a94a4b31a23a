"""What somebody asked of ``catalogue``: read and checked before any file is."""

from __future__ import annotations

from ...documents import suggest
from ...errors import ConfigError

ACTIONS = ("convert",)


def read(action: str, file: str) -> None:
    """Raise ``ConfigError`` for an ``action`` there is none of, and where no ``file`` is given."""
    if action not in ACTIONS:
        raise ConfigError("wrong-value", f"there is no `catalogue {action}`", hint=suggest(action, ACTIONS))
    if not file:
        hint = "name the step file: catalogue convert --catalogue .buildkite/test-amd.yaml"
        raise ConfigError("missing-option", "catalogue convert needs --catalogue", hint=hint)


def refuse_ours(file: str, *, foreign: bool) -> None:
    """Raise ``ConfigError`` where there is nothing to convert."""
    if not foreign:
        hint = "inv check --catalogue tells what is wrong with it"
        raise ConfigError("not-foreign", f"{file} is a suite file of ours already", hint=hint)
