"""``promote``: give a release that was built at its tag, and proven, to a channel that only takes such; same bytes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..build.perform import Performance
from ..errors import ConfigError, ContractError, Outcome, Problem
from ..names import WheelVersion, wheel_path
from ..world import files
from ..world.history import commits_between, points_at
from ..world.process import Run, run
from . import journal, pointers
from .channel import Channel
from .images import Origin
from .make import Candidate
from .manifest import Release
from .order import ancestry
from .places import Places
from .prove import prove
from .release import Outlook, Result, listed, moves, result, scratch
from .rollback import resolve
from .stage import stage
from .switch import switch
from .told import told


class Transfer(NamedTuple):
    """What is promoted: the release ``wanted`` of ``source`` to ``target``; ``folder`` is a clone with its tag."""

    source: Places
    target: Places
    wanted: str
    folder: Path


def outlook(asked: Transfer) -> Outlook:
    """What ``promote`` would do; nothing is written."""
    target = asked.target
    release = given(chosen(asked), target)
    aim = pointers.wanted(target, release, listed(target, release))
    there = target.release(release.commit) is not None
    return Outlook(target.channel.name, release.commit, there, (), {}, moves(target, aim, release.commit))


def promote(asked: Transfer, performance: Performance, start: Run = run) -> Result:
    """Release the very bytes in the target channel, proven there once more."""
    source, target = asked.source, asked.target
    release = chosen(asked)
    with told(target, release.commit), scratch(performance) as room:
        wheels, environments = room / "wheels", room / "environments"
        with files.disk_errors(f"cannot write below {room}"):
            wheels.mkdir()
            environments.mkdir()
        origin = Origin(source.registry, source.repository, room)
        staged = stage(target, Candidate(given(release, target), _fetched(source, release, wheels)), origin)
        prove(target, staged, environments, start, performance.workspace.settings)
        done = switch(target, staged, performance.ledger.folder.name, journal.PROMOTE, ancestry(asked.folder))
    return result(target, staged, done, partial(commits_between, asked.folder))


def given(release: Release, target: Places) -> Release:
    """The release as it is in another channel: the same bytes, in its registry."""
    place = str(target.place.repository(target.channel.repository)) if target.place else ""
    return replace(release, channel=target.channel.name, place=place)


def chosen(asked: Transfer) -> Release:
    """The release to promote; raises ``ContractError`` with everything that forbids it."""
    channel = asked.target.channel
    if not channel.promoted:
        hint = f"a commit is released there with inv release-nightly --channel {channel.name}"
        raise ConfigError("not-promoted", f"channel {channel.name} is built, nothing is promoted to it", hint=hint)
    if asked.source.channel.images:
        hint = "name a channel with wheels: --channel nightly"
        message = f"channel {asked.source.channel.name} has images alone, which are no release"
        raise ConfigError("not-a-release", message, hint=hint)
    release = asked.source.released(resolve(asked.source, asked.wanted))
    problems = [*_version_problems(release, channel, asked.folder), *_suite_problems(release, channel)]
    if problems:
        raise ContractError.of(problems)
    return release


def _version_problems(release: Release, channel: Channel, folder: Path) -> Iterator[Problem]:
    again = "set the git tag of the version on the commit, release that with inv release-nightly, promote it"
    unfit = [
        version for version in sorted({release.version, *(row.version for row in release.wheels)}) if _unfit(version)
    ]
    for version in unfit:
        yield Problem("not-a-release", f"{version} is no release version: nothing is renamed or built again", again)
    tag = channel.git_tag.replace("{version}", release.public_version)
    there = "" if unfit else points_at(folder, tag)
    if not unfit and there != release.commit:
        found = f"it stands at {there[:12]}" if there else "this clone has no such tag"
        hint = (
            "only a commit that carries the tag of its version becomes a release; git fetch --tags brings missing ones"
        )
        yield Problem("no-tag", f"{release.commit[:12]} is not at the git tag {tag}: {found}", hint)


def _unfit(version: str) -> bool:
    """Whether a version is that of a nightly or a trial."""
    parsed = WheelVersion.parse(version)
    return ".dev" in version or (parsed is not None and bool(parsed.source))


def _suite_problems(release: Release, channel: Channel) -> Iterator[Problem]:
    digests = {row.digest for row in release.images}
    for suite, least in channel.suites.items():
        row = next((each for each in release.suites if each.suite == suite), None)
        if row is None or row.outcome != Outcome.OK or row.run < least or not set(row.digests) <= digests:
            said = f"it was {row.outcome} with {row.run} tests run" if row else "it did not run on these images"
            hint = f"channel {channel.name} wants at least {least}; let the channel it comes from require it as well"
            yield Problem("unproven", f"suite {suite}: {said}", hint)


def _fetched(source: Places, release: Release, room: Path) -> dict[str, Path]:
    """The wheels of the release on this host; ``stage`` compares every digest before it is published."""
    found: dict[str, Path] = {}
    for row in release.wheels:
        path = room / row.sha256 / row.filename
        with (
            source.store.opened(f"{release.commit}/{wheel_path(row.sha256, row.filename)}") as stream,
            files.disk_errors(f"cannot write {path}"),
        ):
            path.parent.mkdir()
            with path.open("wb") as out:
                shutil.copyfileobj(stream, out, 1 << 20)
        found[row.sha256] = path
    return found
