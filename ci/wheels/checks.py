"""What no index may hold, each check on its own: one file twice, a project named like a variant, changed bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..errors import Problem
from .entries import Entry
from .wheelfile import named


def twice(entries: Iterable[Entry]) -> Iterator[Problem]:
    """Two files that an installer could not tell apart: same project, version, build and a common tag."""
    by_version: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        by_version.setdefault((entry.project, entry.version), []).append(entry)
    for group in by_version.values():
        taken: dict[object, str] = {}
        for entry in group if len(group) > 1 else ():
            name = named(entry.filename)
            other = ""
            for tag in name.tags:
                other = taken.setdefault((name.build, tag), entry.path)
                if other != entry.path:
                    break
            if other != entry.path:
                hint = "keep one of them; which one would be installed is chance"
                message = f"{other} and {entry.path} are both {entry.project} {entry.version} for the same Pythons"
                yield Problem("wheel-twice", message, hint)


def clashes(entries: Iterable[Entry]) -> Iterator[Problem]:
    """A project whose pages would stand where a variant's pages stand."""
    listed = list(entries)
    for name in sorted({entry.project for entry in listed} & {entry.variant for entry in listed}):
        hint = "rename the project: sub-indices of ROCm versions have such names"
        yield Problem("name-clash", f"the project {name} has the name of a variant", hint)


def changes(entries: Iterable[Entry]) -> Iterator[Problem]:
    """Wheels whose bytes are others than those indexed under the same name."""
    for entry in entries:
        hint = "give it a new version; --replace if nobody can have locked the old one"
        message = f"{entry.filename} is not the file that was indexed: its SHA-256 is now {entry.sha256}"
        yield Problem("wheel-changed", message, hint)


def notices(entries: Iterable[Entry]) -> Iterator[str]:
    """Old and new labels side by side: a request without a label takes the old one."""
    styles: dict[tuple[str, str], set[bool]] = {}
    for entry in entries:
        if entry.variant:
            public = entry.version.partition("+")[0]
            styles.setdefault((entry.project, public), set()).add(entry.label.startswith("rocm."))
    for (project, public), found in sorted(styles.items()):
        if len(found) > 1:
            yield f"{project} {public} is there with a dotted and an undotted label; == {public} takes the undotted one"
