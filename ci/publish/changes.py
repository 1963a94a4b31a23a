"""What changed from one release to the next: from their manifests, and the commits git knows between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..world.history import Commit
from .manifest import Release


class Change(NamedTuple):
    """Something by name, before and after; None is not there."""

    name: str
    old: str | None
    new: str | None


class Size(NamedTuple):
    """The bytes of an image or wheel, before and after; None is not there."""

    name: str
    old: int | None
    new: int | None


@dataclass(frozen=True)
class Changes:
    """The difference of two releases; ``since`` is the older commit, empty for a first release.

    ``commits`` are newest first, None where git cannot list them.
    """

    since: str
    commits: tuple[Commit, ...] | None
    pins: tuple[Change, ...]
    sizes: tuple[Size, ...]
    tests: tuple[Change, ...]

    def to_json(self) -> dict[str, object]:
        """As a plain value."""
        return {
            "since": self.since or None,
            "commits": None if self.commits is None else [each._asdict() for each in self.commits],
            "pins": [each._asdict() for each in self.pins],
            "sizes": [each._asdict() for each in self.sizes],
            "tests": [each._asdict() for each in self.tests],
        }


Log = Callable[[str, str], Sequence[Commit] | None]
"""``log(old, new)`` lists the commits between, newest first; None where it cannot."""


def between(old: Release | None, new: Release, log: Log) -> Changes:
    """What ``new`` has that ``old`` had not."""
    if old is None:
        return Changes("", (), (), _sizes(None, new), _tests(None, new))
    commits = log(old.commit, new.commit)
    pins = _differing({**old.args, **old.pins}, {**new.args, **new.pins})
    return Changes(old.commit, None if commits is None else tuple(commits), pins, _sizes(old, new), _tests(old, new))


def _differing(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Change, ...]:
    names = sorted(old.keys() | new.keys())
    return tuple(Change(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name))


def _sizes(old: Release | None, new: Release) -> tuple[Size, ...]:
    """Every image and wheel, also one whose size stayed: a table without it would hide that it is there."""
    before, after = _measured(old), _measured(new)
    return tuple(Size(name, before.get(name), after.get(name)) for name in {**after, **before})


def _measured(release: Release | None) -> dict[str, int]:
    if release is None:
        return {}
    images = {f"image {row.name}": row.size for row in release.images}
    return images | {f"wheel {row.project}": row.size for row in release.wheels}


def _tests(old: Release | None, new: Release) -> tuple[Change, ...]:
    before, after = _judged(old), _judged(new)
    return tuple(Change(name, before.get(name), after.get(name)) for name in {**after, **before})


def _judged(release: Release | None) -> dict[str, str]:
    rows = release.suites if release else ()
    return {row.suite: f"{row.outcome}, {row.run} run, {row.skipped} skipped, on {row.on}" for row in rows}
