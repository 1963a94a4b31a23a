"""The verbs that release, and go back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..answer import Answer
from ..call import Call
from ..errors import ConfigError
from .common import begin, performing, say_notices, state_folder, workspace

if TYPE_CHECKING:
    from ..publish.places import Places
    from ..publish.release import Ground


def release_nightly(call: Call) -> Answer:
    """Release this commit: build or reuse, prove, publish images and wheels together, move the pointers last."""
    from ..publish import release
    from ..publish.stamped import stamped
    from ..report import releases

    ground = _ground(call)
    ground = ground._replace(work=stamped(ground.work))
    if call.on("plan"):
        return releases.planned(call.verb.name, release.outlook(ground))
    with performing(call, ground.work, push=True) as performance:
        return releases.answer(call.verb.name, release.perform(ground, performance))


def promote(call: Call) -> Answer:
    """Give a release that was built and proven to a channel, or a commit's images their pointers; never rebuilt."""
    from ..publish import channel
    from ..publish import promote as promoting
    from ..publish.places import open_places
    from ..report import releases

    ground = _ground(call, call.text("to") or "release")
    if ground.places.channel.images:
        return _point(call, ground)
    work, target, name = ground.work, ground.places, call.text("channel") or channel.NIGHTLY
    source = open_places(work, ground.channels, name, target.journal, call.console.say)
    asked = promoting.Transfer(source, target, call.text("nightly"), ground.folder)
    if call.on("plan"):
        return releases.planned(call.verb.name, promoting.outlook(asked))
    with performing(call, work, push=True) as performance:
        return releases.answer(call.verb.name, promoting.promote(asked, performance))


def _point(call: Call, ground: Ground) -> Answer:
    """Move the pointers of a channel of images to what a commit's plan names."""
    from ..publish import pointing
    from ..report import releases

    with pointing.asked(ground, call.text("nightly")) as asked:
        if call.on("plan"):
            return releases.planned(call.verb.name, pointing.outlook(asked))
        with performing(call, asked.work, push=True) as performance:
            return releases.answer(call.verb.name, pointing.promote(asked, performance))


def rollback(call: Call) -> Answer:
    """Move a channel's pointers, images and wheels together, back to an earlier release."""
    from ..publish import rollback as going_back
    from ..publish.prove import read_back
    from ..report import releases

    if not call.text("to"):
        raise ConfigError("no-release", "--to is missing", hint="inv release-status shows the last releases")
    places = _ground(call).places
    if call.on("plan"):
        return releases.switched(call.verb.name, places, going_back.outlook(places, call.text("to")), plan=True)
    read_back(places, places.released(going_back.resolve(places, call.text("to"))))
    run = begin(call, state_folder(call)).folder.name
    return releases.switched(call.verb.name, places, going_back.rollback(places, call.text("to"), run), plan=False)


def retain(call: Call) -> Answer:
    """Remove what a channel's policy gives up; the plan comes first, and without --apply nothing else does."""
    from ..publish import retain as retaining
    from ..report import retentions

    if call.on("plan") and call.on("apply"):
        raise ConfigError("plan-or-apply", "--plan and --apply were both given", hint="give one of them")
    ground = _ground(call, writing=call.on("apply"))
    others = [each for each in _every(call, ground) if each.channel != ground.places.channel]
    images = ground.channels.images_of(ground.places.channel)
    scope = retaining.scope_of(ground.places, others, images)
    run = begin(call, state_folder(call)).folder.name if call.on("apply") else ""
    return retentions.answer(call.verb.name, retaining.retain(scope, run, apply=call.on("apply")))


def release_status(call: Call) -> Answer:
    """Show what each channel stands at, how old and how proven that is; needs no credentials."""
    from ..publish import retain as retaining
    from ..publish.status import statuses
    from ..report import retentions
    from ..report import statuses as shown

    ground = _ground(call, anonymous=True)
    if call.on("removed"):
        name = ground.places.channel.name
        return retentions.removed(call.verb.name, name, retaining.removed(ground.places))
    wanted = (ground.places,) if call.text("channel") else tuple(_every(call, ground, anonymous=True))
    return shown.answer(call.verb.name, statuses(wanted))


def _every(call: Call, ground: Ground, *, anonymous: bool = False) -> Iterator[Places]:
    """The places of every channel of the stack."""
    from ..publish.places import open_places

    for name in ground.channels.channels:
        yield open_places(
            ground.work, ground.channels, name, ground.places.journal, call.console.say, anonymous=anonymous
        )


def _ground(call: Call, name: str = "", *, anonymous: bool = False, writing: bool = True) -> Ground:
    """What a release works with, in channel ``name`` or that of the call; ``writing`` is for trusted runs alone."""
    from ..build.scope import demand_trusted
    from ..publish import channel
    from ..publish.places import open_places
    from ..publish.release import Ground

    work = workspace(call)
    if writing and not anonymous:
        demand_trusted(work.scope, f"inv {call.verb.name}")
    say_notices(call, work)
    channels = channel.load(work.stack)
    name = name or call.text("channel") or channel.NIGHTLY
    journal = work.state / "journal"
    places = open_places(work, channels, name, journal, call.console.say, anonymous=anonymous)
    return Ground(work, channels, places)
