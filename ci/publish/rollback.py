"""``rollback``: the channel stands again at a release it stood at before, images and wheels together."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import ConfigError
from . import journal, present
from .journal import Entry
from .lease import held
from .manifest import Release, Standing
from .places import Places
from .status import next_step
from .switch import Switched, advance, moment, outstanding, prepared, repair

_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_SHOWN = 5
"""Releases named where none fits."""


def outlook(places: Places, to: str) -> Switched:
    """What ``rollback`` would do; writes nothing, and nobody is kept from moving the channel meanwhile."""
    current, release, past = _chosen(places, to)
    if release.commit == current[0].commit:
        return Switched(current[0], outstanding(places, current[0]), already=True)
    standing = _standing(places, current[0], release, past, "")
    listed = [places.released(commit) for commit in standing.listed]
    return Switched(standing, prepared(places, current, standing, release, listed).moves, already=False)


def rollback(places: Places, to: str, run: str) -> Switched:
    """Let the channel stand at the release ``to``: a commit, the first seven digits or more, or a version.

    Pointers that release did not have are dropped, those it had come back.  Raises ``ConfigError`` where the
    journal knows no such release, ``ContractError`` with every digest and wheel of it that is gone, and as ``switch``.
    """
    with held(places, run) as lease:
        while True:
            current, release, past = _chosen(places, to)
            if release.commit == current[0].commit:
                return Switched(current[0], repair(places, lease, current[0]), already=True)
            done = advance(places, lease, current, _standing(places, current[0], release, past, run), release)
            if done:
                return done


def resolve(places: Places, to: str) -> str:
    """The commit of the release ``to``, one the channel stood at; raises ``ConfigError`` as ``rollback`` does."""
    history = journal.history(places, _current(places)[0])
    return _commit(places, history, to)


def _current(places: Places) -> tuple[Standing, str]:
    current = places.standing()
    if current is None:
        message = f"channel {places.channel.name} was never released"
        raise ConfigError("no-standing", message, hint=next_step(places))
    return current


def _chosen(places: Places, to: str) -> tuple[tuple[Standing, str], Release, tuple[str, ...]]:
    """What stands, the release that ``to`` names, whole, and the commits of the journal by their first time."""
    current = _current(places)
    history = journal.history(places, current[0])
    release = places.released(_commit(places, history, to))
    present.demand(places, release)
    return current, release, tuple(dict.fromkeys(each.commit for each in history))


def _commit(places: Places, history: Sequence[Entry], to: str) -> str:
    past = dict.fromkeys(each.commit for each in history)
    found = [commit for commit in past if commit.startswith(to)] if _COMMIT.fullmatch(to) else []
    version = to.removeprefix("v")
    found = found or [commit for commit in past if version and _versioned(places, commit, version)]
    if len(found) == 1:
        return found[0]
    if found:
        hint = "give more digits, or the commit"
        raise ConfigError("several-releases", f"{to} is {len(found)} releases", context="\n".join(found), hint=hint)
    newest = "\n".join(f"{each.commit} {each.kind} {each.at}" for each in reversed(history[-_SHOWN:]))
    hint = "give a commit, at least seven digits of one, or a version; the newest are listed here"
    message = f"channel {places.channel.name} never stood at {to!r}"
    raise ConfigError("unknown-release", message, context=newest, hint=hint)


def _versioned(places: Places, commit: str, version: str) -> bool:
    release = places.release(commit)  # a release that was retained away has no version any more
    return release is not None and version in {release.version, release.public_version}


def _standing(places: Places, current: Standing, release: Release, past: Sequence[str], run: str) -> Standing:
    """Every release that first stood after the chosen one is taken back, and leaves the index."""
    later = past[past.index(release.commit) + 1 :]
    taken = dict.fromkeys((*current.withdrawn, *later))
    withdrawn = tuple(commit for commit in taken if commit != release.commit)
    others = tuple(each for each in current.listed if each not in later and each != release.commit)
    listed = (*(others if places.channel.index == "every" else ()), release.commit)
    return Standing(
        current.sequence + 1, run, journal.ROLLBACK, moment(places), release.commit, release.digest, current.commit,
        withdrawn, listed,
    )  # fmt: skip
