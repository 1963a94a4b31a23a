"""What a stream can show, and writing to one that may go away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from errno import EAGAIN
from typing import TextIO

RED, YELLOW, CYAN, GREEN, DIM, BOLD = "31", "33", "36", "32", "2", "1"
"""The sixteen colours follow the reader's theme, dark or light; blue and white do not read on both."""

_OFF = ("", "0", "false", "no")
_CI_NAMES = ("CI", "GITHUB_ACTIONS", "BUILDKITE")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What may be written: a display that redraws itself, colours, characters beyond ASCII."""

    interactive: bool
    colour: bool
    unicode: bool


def capabilities(environ: Mapping[str, str], isatty: bool) -> Capabilities:
    """Decide from the environment alone; NO_COLOR beats FORCE_COLOR, and both beat the guess.

    A CI that gives its jobs a terminal (Buildkite does) still has no one watching it redraw.
    """
    in_ci = any(environ.get(name, "").lower() not in _OFF for name in _CI_NAMES)
    dumb = environ.get("TERM", "") in ("dumb", "unknown")
    shows_colour = isatty or environ.get("GITHUB_ACTIONS", "") == "true" or "BUILDKITE" in environ
    colour = shows_colour and not dumb
    if environ.get("FORCE_COLOR", "") not in ("", "0"):
        colour = True
    if environ.get("NO_COLOR", ""):
        colour = False
    return Capabilities(isatty and not in_ci and not dumb, colour, _unicode(environ))


def _unicode(environ: Mapping[str, str]) -> bool:
    """The first locale variable that is set decides; without one Python itself assumes UTF-8."""
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = environ.get(name, "")
        if value:
            return "utf8" in value.lower().replace("-", "")
    return True


class QuietStream:
    """A text stream that never raises: when its reader is gone or its disk full, it goes silent.

    The work must not fail because nobody listens.  It has just what rich needs of a file.
    """

    def __init__(self, stream: TextIO | None, unicode: bool) -> None:
        self._stream = stream
        self._gone = stream is None
        self.encoding = "utf-8" if unicode else "ascii"

    def write(self, text: str) -> int:
        """Write; characters the stream cannot encode become ``?``."""
        if not self._gone:
            self._try(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or go silent."""
        if not self._gone:
            self._try("")

    def isatty(self) -> bool:
        """Never: whoever draws is told what to do by ``Capabilities``."""
        return False

    def _try(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            encoding = getattr(self._stream, "encoding", None) or "utf-8"
            limit = self.encoding if self.encoding == "ascii" else encoding
            self._stream.write(text.encode(limit, "replace").decode(limit))
            self._stream.flush()
        except OSError as error:  # closed pipe, full disk, terminal hung up
            self._gone = error.errno != EAGAIN
        except ValueError:  # the stream was closed
            self._gone = True


def paint(text: str, *codes: str, colour: bool) -> str:
    """``text`` in a style, where colour is wanted."""
    return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if colour and text else text
