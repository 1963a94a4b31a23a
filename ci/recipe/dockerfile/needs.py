"""What a build needs from outside its Dockerfile."""

from __future__ import annotations

from typing import NamedTuple


class FileNeed(NamedTuple):
    """Files of a context: ``""`` is the main one, else a named context.

    ``sources`` are expanded and clean, relative to the context; ``how`` is ``copy``,
    ``add`` or ``bind``.  ``file`` and ``line`` are for errors.
    """

    context: str
    sources: tuple[str, ...]
    line: int
    how: str
    excludes: tuple[str, ...] = ()
    parents: bool = False
    file: str = ""


class ImageNeed(NamedTuple):
    """An image by its expanded reference; ``how`` is ``from``, ``copy`` or ``mount``."""

    ref: str
    platform: str | None
    stage: str
    line: int
    how: str


class RemoteNeed(NamedTuple):
    """What an ADD fetches.

    ``commit`` is set only where the URL (or a Git ``--checksum``) pins a full commit,
    ``checksum`` is the value of ``--checksum``.
    """

    url: str
    checksum: str | None
    commit: str | None
    is_git: bool
    stage: str
    line: int


class Reach(NamedTuple):
    """Everything a target is made from; stages in file order.

    ``args`` are (name, value) in order of name.  A name has more than one entry only
    if its declarations differ: then each is called ``NAME@stage`` (``NAME@FROM`` before
    the first FROM, ``NAME@stage#2`` for the second in one stage).
    """

    target: str
    stages: tuple[str, ...]
    args: tuple[tuple[str, str], ...]
    unset: tuple[str, ...]
    instructions: tuple[tuple[str, int, str], ...]
    images: tuple[ImageNeed, ...]
    contexts: tuple[str, ...]
    files: tuple[FileNeed, ...]
    remotes: tuple[RemoteNeed, ...]
    declared: frozenset[str]
