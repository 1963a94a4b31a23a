"""What a command left in its results folder: JUnit and events, read into plain values.

Both files are written by the very program that is judged, so nothing in them is believed to
be whole: a file that is missing, cut short or absurd is said to be so, with all that could be
read of it, and never raises.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigError
from ..world import files
from . import events, junit, words
from .events import Events
from .junit import Junit
from .source import BYTES, Source, State


class Records(NamedTuple):
    """Both files of one command."""

    junit: Junit
    events: Events

    @property
    def collected(self) -> tuple[str, ...]:
        """The tests that were going to be run."""
        return self.events.collected or ()


NOTHING = Records(Junit(Source(State.MISSING)), Events(Source(State.MISSING)))
"""The records of a command that writes none."""


def read(folder: Path) -> Records:
    """The records in a results folder."""
    data, source = _bytes(folder / words.JUNIT)
    found = junit.parse(data) if source.whole else Junit(source)
    data, source = _bytes(folder / words.EVENTS)
    return Records(found, events.parse(data) if source.whole else Events(source))


def _bytes(path: Path) -> tuple[bytes, Source]:
    """The bytes of a plain file; whoever wrote it may have put a link or a pipe there."""
    size = next(iter(files.mark(path)), 0)
    if size > BYTES:
        return b"", Source(State.BROKEN, f"{size} bytes are more than {BYTES}")
    try:
        found = files.content(path)
    except FileNotFoundError:
        return b"", Source(State.MISSING)
    except OSError as error:
        return b"", Source(State.BROKEN, f"it cannot be read: {error.strerror}")
    except ConfigError:
        return b"", Source(State.BROKEN, "it is no file")
    if found.mode == "link":
        return b"", Source(State.BROKEN, "it is a link")
    return found.data, Source()
