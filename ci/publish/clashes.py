"""What must stop a release before it writes anything: names that stand for other bytes already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from ..errors import Problem
from . import cached, images
from .manifest import MANIFEST, ImageRow, Release, WheelRow
from .places import Places

_ROWS = ("images", "wheels", "suites", "date")
_ONCE = "a commit is released once; release another commit, or remove that release by hand if nobody has it"


def clashes(places: Places, release: Release) -> Iterator[Problem]:
    """All of them: another release of the commit, other sets of the parts, other images under tags that stay."""
    stood = places.release(release.commit)
    if stood is not None:
        yield from differences(stood, release, f"{places.store.name}/{release.commit}/{MANIFEST}")
    for key in parts(release):
        yield from _of_set(places, release, key)
    for row in release.images:
        yield from _of_tag(places, release, row)


def parts(release: Release) -> tuple[str, ...]:
    """The keys of the sets its wheels were made in."""
    return tuple(dict.fromkeys(row.part for row in release.wheels))


def differences(stands: Release, other: Release, where: str) -> Iterator[Problem]:
    """What ``stands`` at ``where`` has otherwise; the day of the run and the tests behind it do not count."""
    if stands.same(other):
        return
    for each in fields(Release):
        old, new = getattr(stands, each.name), getattr(other, each.name)
        if each.name not in _ROWS and old != new:
            yield _other(where, each.name, str(old), str(new))
    yield from _rows(where, "image", _images(stands), _images(other))
    yield from _rows(where, "wheel", _wheels(stands), _wheels(other))


def _images(release: Release) -> dict[str, tuple[str, ImageRow | WheelRow]]:
    return {row.name: (row.digest, row) for row in release.images}


def _wheels(release: Release) -> dict[str, tuple[str, ImageRow | WheelRow]]:
    return {row.filename: (row.sha256, row) for row in release.wheels}


def _rows(
    where: str,
    kind: str,
    old: dict[str, tuple[str, ImageRow | WheelRow]],
    new: dict[str, tuple[str, ImageRow | WheelRow]],
) -> Iterator[Problem]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        same = before and after and before[0] == after[0]
        shown = [str(each[1] if same else each[0]) if each else "none" for each in (before, after)]
        yield _other(where, f"{kind} {name}", *shown)


def _other(where: str, what: str, old: str, new: str) -> Problem:
    message = f"{where} stands already with another {what}"
    return Problem("other-release", message, _ONCE, f"it stands with  {old}\nthis run made   {new}")


def _of_set(places: Places, release: Release, key: str) -> Iterator[Problem]:
    found = cached.find(places.cache, key)
    ours = {row.filename: row for row in release.wheels if row.part == key}
    theirs = {row.filename: row for row in found.wheels} if found else ours
    for name in sorted(name for name in ours if ours[name] != theirs.get(name)):
        other = theirs.get(name)
        hint = "another run was faster; the same command again uses the set that is there"
        message = f"the cache has for {key} another {name}" if other else f"the cache has for {key} no {name}"
        context = f"the cache has  {other.sha256 if other else 'none'}\nthis run made  {ours[name].sha256}"
        yield Problem("other-set", message, hint, context)


def _of_tag(places: Places, release: Release, row: ImageRow) -> Iterator[Problem]:
    name = images.staying_tag(places, release, row)
    digest = images.digest_at(places, name)
    if digest not in {"", row.digest}:
        context = f"the tag names   {digest}\nthis release has {row.digest}"
        message = f"{places.reference(name)} is another image: a tag that stays never moves"
        yield Problem("other-image", message, _ONCE, context)
