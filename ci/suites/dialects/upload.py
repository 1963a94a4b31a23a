"""What the upload of a pipeline makes of a text before anything runs: it fills in variables. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

_FILLED = re.compile(r"\$\$|\\\$|\$\{?(?P<name>[A-Za-z_]\w*)", re.ASCII)
"""What it replaces; ``$$`` and ``\\$`` are a dollar sign after it."""

REMEDY = "write its value, or $$ for a variable"


class Filled(NamedTuple):
    """The ``text`` afterwards, with the variables ``names`` of the machine that uploads still in it."""

    text: str
    names: tuple[str, ...]

    @property
    def told(self) -> tuple[str, ...]:
        """A sentence for each of the names, whose values nobody here knows."""
        return tuple(f"${name} is filled in when the pipeline is uploaded" for name in self.names)


def filled(text: str) -> Filled:
    """``text`` as an upload leaves it, but for the values of the variables."""
    names = dict.fromkeys(match["name"] for match in _FILLED.finditer(text) if match["name"])
    return Filled(_FILLED.sub(lambda match: match[0] if match["name"] else "$", text), tuple(names))
