"""What a step file of another project cannot say and the stack's own suite file does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...documents import Document
from ...recipe.args import Arch

_TAKEN = ("runtime", "workspace", "health", "elsewhere")


class Home(NamedTuple):
    """Keys of the stack's own suite file, and the arch of each product name of the table of archs."""

    own: Mapping[str, Any]
    families: Mapping[str, str]

    @property
    def workspace(self) -> str:
        """The image's folder with the source tree; empty where nobody says."""
        return str(self.own.get("workspace", ""))


def home(own: Document | None, archs: Sequence[Arch]) -> Home:
    """The home of steps that are not ours; ``own`` is None where the stack has no suite file."""
    data = own.value if own and isinstance(own.value, dict) else {}
    taken = {"runtime": "rocm"} | {key: data[key] for key in _TAKEN if key in data}
    return Home(taken, {alias.lower(): arch.name for arch in archs for alias in arch.aliases})
