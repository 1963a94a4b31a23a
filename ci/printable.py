"""Foreign text for a terminal or a page."""

from __future__ import annotations

import re

# Operating system commands (titles, links), then CSI sequences (colours, cursor), then other escapes.
_ESCAPE = re.compile(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-~]?")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """``text`` without escape sequences and control characters: a build must not drive the terminal."""
    return _CONTROL.sub(" ", _ESCAPE.sub("", text)).replace("\t", "    ")
