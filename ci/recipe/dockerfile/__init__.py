"""A model of Dockerfiles: what a target is made from, known without asking BuildKit.

``parse`` reads a file, ``reach`` answers for a target, ``Ignore`` and ``select`` turn
the answer's file needs into paths.  Pure functions over text: no IO.
"""

from __future__ import annotations

from .grammar import parse
from .ignore import Ignore
from .model import Arg, Dockerfile, Instruction, Stage
from .needs import FileNeed, ImageNeed, Reach, RemoteNeed
from .reach import reach
from .select import select, touched

__all__ = [
    "Arg",
    "Dockerfile",
    "FileNeed",
    "Ignore",
    "ImageNeed",
    "Instruction",
    "Reach",
    "RemoteNeed",
    "Stage",
    "parse",
    "reach",
    "select",
    "touched",
]
