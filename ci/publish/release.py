"""``release-nightly`` from a workspace to a channel that stands at its commit: make, stage, prove, switch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..build import age
from ..build.perform import Performance
from ..build.workspace import Workspace
from ..errors import ContractError
from ..wheels.install import Line, lines
from ..world import files
from ..world.history import commits_between
from ..world.process import Run, run
from . import changes, index, journal, pointers, preflight, survey
from .changes import Changes, Log
from .channel import Channels
from .decide import Part
from .journal import Move
from .make import make
from .manifest import Release
from .order import ancestry
from .places import Places
from .prove import prove, read_back
from .stage import stage
from .switch import Switched, switch
from .told import told
from .trees import named_after


class Ground(NamedTuple):
    """What a release works with."""

    work: Workspace
    channels: Channels
    places: Places

    @property
    def folder(self) -> Path:
        """The working tree whose commit is released."""
        return self.work.trees[named_after(self.work)].root


@dataclass(frozen=True)
class Outlook:
    """What a release would do: the way to every part, the suites to run, every pointer's old and new value.

    A new value is None where it is not known before it is made; ``there`` says that the release is staged already.
    ``aged`` tells of images that are older than they may be.
    """

    channel: str
    commit: str
    there: bool
    parts: tuple[Part, ...]
    suites: Mapping[str, int]
    moves: tuple[Move, ...]
    aged: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """A release that stands; ``images`` are references by digest, ``ways`` how to install its wheels.

    ``aged`` tells of images that are older than they may be.
    """

    release: Release
    switched: Switched
    changes: Changes
    images: Mapping[str, str]
    ways: tuple[Line, ...]
    aged: tuple[str, ...] = ()


def outlook(ground: Ground) -> Outlook:
    """What ``perform`` would do; nothing is written, and nobody's right to write is asked for."""
    places, channel = ground.places, ground.places.channel
    ready = preflight.check(ground.work, places, ground.channels, writes=False)
    release = places.release(ready.commit)
    if release is not None:
        same_inputs(release, ground.work)
        aim: Mapping[str, str | None] = pointers.wanted(places, release, listed(places, release))
        return Outlook(channel.name, ready.commit, True, (), {}, moves(places, aim, ready.commit), aged(ground))
    parts = survey.outlook(ground.work, places, ground.channels, ready)
    images = {pointers.image_pointer(places, part.name): part.digest or None for part in parts if part.kind == "image"}
    index_of = {pointers.index_pointer(places): None} if ground.channels.wheels else {}
    change = moves(places, {**images, **index_of}, ready.commit)
    return Outlook(channel.name, ready.commit, False, parts, channel.suites, change, aged(ground))


def perform(ground: Ground, performance: Performance, start: Run = run) -> Result:
    """Release the commit of the tree, or find that the channel stands there already."""
    work, places, compare = ground.work, ground.places, ancestry(ground.folder)
    date = f"{places.clock.now():%Y-%m-%d}"
    during = performance.ledger.spans.during
    with during("phase", "preflight"):
        ready = preflight.check(work, places, ground.channels)
        old = aged(ground)
    for each in old:
        performance.screen.warn(each)
    with told(places, ready.commit):
        release = places.release(ready.commit)
        if release is None:
            with during("phase", "make"):
                made = make(performance, places, ground.channels, date, ready)
            with during("phase", "stage"):
                release = stage(places, made)
        else:
            same_inputs(release, work)
        current = places.standing()
        if current and current[0].commit == release.commit:
            read_back(places, release)  # it was installed before it came to stand there
        else:
            with during("phase", "prove"), scratch(performance) as folder:
                prove(places, release, folder, start, work.settings)
        with during("phase", "switch"):
            done = switch(places, release, performance.ledger.folder.name, journal.RELEASE, compare)
    return replace(result(places, release, done, partial(commits_between, ground.folder)), aged=old)


def aged(ground: Ground) -> tuple[str, ...]:
    """What is to be said of images that are older than their stack wants them, or whose age nobody can tell.

    A commit is released all the same: only another epoch, which is another commit, makes them new.
    """
    tiers = [tier for tier in ground.work.stack.tiers.values() if tier.max_age_days]
    if not tiers:
        return ()
    work = survey.placed(ground.work, ground.places)
    plan = work.plan(tuple(dict.fromkeys(ground.channels.images.values())), everything=True)
    return tuple(str(each) for each in age.ages(work, plan.tiers) if each.due or each.made is None)


def result(places: Places, release: Release, done: Switched, log: Log) -> Result:
    """What there is to say of a release that stands; ``log`` lists commits."""
    before = places.release(done.standing.before) if done.standing.before else None
    found = changes.between(before, release, log)
    images = {
        places.reference(places.channel.staying(row.name, release.commit, release.public_version)): row.digest
        for row in release.images
    }
    ways = tuple(lines(index.entries(release), places.url)) if _web(places.url) else ()
    return Result(release, done, found, images, ways)


def _web(url: str) -> bool:
    """Whether installers can read it; where clients find a bucket only its channel can say."""
    return url.startswith(("http://", "https://", "file://"))


@contextmanager
def scratch(performance: Performance) -> Iterator[Path]:
    """A folder of this run that the ledger knows."""
    folder = performance.ledger.folder / "release"
    thing = performance.ledger.will_make("folder", str(folder))
    try:
        with files.disk_errors(f"cannot make {folder}"):
            folder.mkdir()
        yield folder
    finally:
        performance.ledger.clear(thing, lambda: files.remove(folder), performance.screen.warn)


def same_inputs(release: Release, work: Workspace) -> None:
    """A commit is released once: asked for with other arguments it would be another release of the same name."""
    now = {**work.stack.pins, **{arg.name: arg.value for arg in work.args.values}}
    then = {**release.pins, **release.args}
    differing = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
    if differing:
        rows = "\n".join(f"{name}: released {then.get(name)}, now {now.get(name)}" for name in differing)
        message = f"{release.commit[:12]} is released already, with other arguments: {', '.join(differing)}"
        hint = "leave the arguments as they were, or release another commit"
        raise ContractError("other-release", message, hint=hint, context=rows)


def listed(places: Places, release: Release) -> tuple[Release, ...]:
    """What the index of the channel lists once it stands at ``release``."""
    current = places.standing()
    if places.channel.index != "every" or current is None:
        return (release,)
    others = [commit for commit in current[0].listed if commit != release.commit]
    return (*map(places.released, others), release)


def moves(places: Places, aim: Mapping[str, str | None], commit: str) -> tuple[Move, ...]:
    """Every pointer there is or will be with what it shows now and what it would; ``aim`` has what is wanted."""
    current = places.standing()
    there = pointers.names(places, current[0] if current else None, dict.fromkeys(aim, ""))
    now = pointers.seen(places, there)
    return tuple(Move(name, now[name], aim.get(name), commit) for name in there if now[name] or name in aim)
