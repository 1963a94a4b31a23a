"""Image names that are this process's alone: test processes and checkouts share one engine and never meet in it.

A name says whose it is, so that a later run can remove what a killed one left.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable

from ci.build.roots import REPOSITORY as ROOTS
from ci.world.ledger import Owner, boot_id, process_space

_SPACE = hashlib.sha256(process_space().encode()).hexdigest()[:8]
_ME = Owner.me()

SHARED = "rocm-ci-test/"
FAMILY = f"rocm-ci-test-{_SPACE}-{_ME.pid}-{_ME.started}"
TINY = f"{FAMILY}/tiny"
BUSY = f"{FAMILY}/busy:1"

_OWNER = re.compile(rf"\brocm-ci-test-{_SPACE}-(\d+)-(\d+)\b")
_BESIDE = re.compile(rf"{re.escape(ROOTS)}$|127\.0\.0\.1:\d+/")
"""What images of a test are called as well: roots by our builds, and whatever is pushed to a test's registry."""


def own(text: str) -> str:
    """A stack file's text with names of images that no other process has."""
    return text.replace(SHARED, f"{FAMILY}/")


def left_over(rows: Iterable[str]) -> list[str]:
    """What ``docker rmi --force`` shall remove of the images that ``rows`` (``ID REPOSITORY TAG``) list.

    That is what test processes left that are gone: images by their id, and single names where
    somebody else has a name for the same image.  Who ran under another boot, or in another
    container, may be alive for all that can be seen from here.
    """
    found = defaultdict[str, list[tuple[str, str]]](list)
    for row in rows:
        image, repository, tag = row.split()
        found[image].append((repository, tag))
    remove = list[str]()
    for image, names in found.items():
        ended = [name for name in names if _ended(name[0])]
        if ended and all(name in ended or _BESIDE.match(name[0]) for name in names):
            remove.append(image)
        else:
            remove += [f"{repository}:{tag}" for repository, tag in ended if tag != "<none>"]
    return remove


def _ended(repository: str) -> bool:
    """Whether the name is of a test process that is gone."""
    owner = _OWNER.search(repository)
    return owner is not None and not Owner(int(owner[1]), int(owner[2]), boot_id()).alive
