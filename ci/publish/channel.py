"""What a stack releases, and in which channels: one file, read and checked as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .. import documents
from ..errors import ConfigError, Place, Problem
from ..names import MAIN_IMAGE, ReleaseTag
from ..recipe.stack import HOME, Stack
from ..world import files

NIGHTLY = "nightly"


class WheelSource(NamedTuple):
    """Where wheels come from: ``project`` (a folder, relative to the recipe) or ``tier``; the other is empty."""

    project: str
    tier: str


class Retain(NamedTuple):
    """What stays: the newest ``keep`` releases, all younger than ``days``, and tags that match ``protect``."""

    keep: int
    days: int
    protect: tuple[str, ...] = ()


@dataclass(frozen=True)
class Channel:
    """A channel. ``suites`` maps a suite to the tests that must have run; 0 ``fresh_hours`` is never too old.

    With ``images`` of its own, a name and a tier, it has those and no wheels, nothing is built for it, and each name is
    a pointer: its ``word`` is empty.
    """

    name: str
    summary: str
    promoted: bool
    git_tag: str
    registry: str
    repository: str
    store: str
    url: str
    word: str
    fixed: str
    index: str
    suites: Mapping[str, int]
    fresh_hours: int
    retain: Retain
    images: Mapping[str, str] = field(default_factory=dict)

    def moving(self, image: str) -> ReleaseTag:
        """The pointer of an image of the release."""
        return ReleaseTag(image, self.word)

    def staying(self, image: str, commit: str, version: str) -> ReleaseTag:
        """The tag of one release that never moves; ``version`` is the public one, without its label."""
        if self.fixed == "version":
            return ReleaseTag(image, self.word, version=version)
        return ReleaseTag(image, self.word, commit=commit)


@dataclass(frozen=True)
class Channels:
    """The whole file: what is released, and every channel."""

    file: str
    named_after: str
    images: Mapping[str, str]
    wheels: tuple[WheelSource, ...]
    channels: Mapping[str, Channel]

    def channel(self, name: str) -> Channel:
        """The channel called ``name``; raises ``ConfigError`` with a suggestion."""
        if name not in self.channels:
            hint = documents.suggest(name, list(self.channels))
            raise ConfigError("unknown-channel", f"{self.file} has no channel {name!r}", hint=hint)
        return self.channels[name]

    def images_of(self, channel: Channel) -> Mapping[str, str]:
        """The images of a channel: its own, else those of the file."""
        return channel.images or self.images


def load(stack: Stack) -> Channels:
    """The channels of ``stack``; raises ``ConfigError`` with all problems, each with its line."""
    if not stack.channels:
        hint = "name its channel file: `channels: channels/NAME.yaml`"
        raise ConfigError("no-channels", f"stack {stack.name} has no channels", hint=hint, place=Place(stack.file))
    path = stack.recipe / stack.channels
    document = documents.read(files.read_text(path), path.name)
    schema = json.loads(files.read_text(HOME / "channels" / "channel.schema.json"))
    documents.refuse((*document.problems, *documents.check(document, schema)))
    documents.refuse(tuple(_problems(document, stack)))
    data = document.value
    return Channels(
        file=path.name,
        named_after=data.get("named_after", ""),
        images=data.get("images", {}),
        wheels=tuple(WheelSource(each.get("project", ""), each.get("tier", "")) for each in data.get("wheels", ())),
        channels={name: _channel(name, each, stack) for name, each in data["channels"].items()},
    )


def _channel(name: str, data: Mapping[str, Any], stack: Stack) -> Channel:
    retain = data["retain"]
    return Channel(
        name=name,
        summary=data["summary"],
        promoted=data.get("promoted", False),
        git_tag=data.get("git_tag", ""),
        registry=data.get("registry", ""),
        repository=data.get("repository", stack.repository),
        store=data.get("store", ""),
        url=data.get("url", ""),
        word=data["tags"].get("moving", ""),
        fixed=data["tags"]["fixed"],
        index=data.get("index", "current"),
        suites={suite: each["at_least"] for suite, each in data.get("suites", {}).items()},
        fresh_hours=data.get("fresh_hours", 0),
        retain=Retain(retain["keep"], retain["days"], tuple(retain.get("protect", ()))),
        images=data.get("images", {}),
    )


def _problems(document: documents.Document, stack: Stack) -> Iterator[Problem]:
    """What the schema cannot see: tiers that are not there, words that two channels share."""
    data = document.value
    if any("images" not in channel for channel in data["channels"].values()):
        if not data.get("wheels"):
            hint = "list under `wheels:` where they come from; the version of a release is that of a wheel"
            yield Problem("no-wheels", "no wheel is released", hint, place=document.place())
        if "named_after" not in data:
            hint = "name the project whose wheel gives a release its version"
            yield Problem("missing-key", "there is no named_after", hint, place=document.place())
    for name, tier in data.get("images", {}).items():
        yield from _tier(document, stack, tier, ("images", name))
    for number, each in enumerate(data.get("wheels", ())):
        if len(each) != 1:
            hint = "give `project: FOLDER` or `tier: NAME`"
            yield Problem("wrong-wheels", "wheels come from one place", hint, place=document.place("wheels", number))
        elif "tier" in each:
            yield from _tier(document, stack, each["tier"], ("wheels", number, "tier"))
    for channel, each in data["channels"].items():
        for name, tier in each.get("images", {}).items():
            yield from _tier(document, stack, tier, ("channels", channel, "images", name))
    yield from _channel_problems(document)


def _tier(document: documents.Document, stack: Stack, tier: str, where: tuple[str | int, ...]) -> Iterator[Problem]:
    if tier not in stack.tiers:
        hint = documents.suggest(tier, list(stack.tiers))
        yield Problem("unknown-tier", f"stack {stack.name} has no tier {tier!r}", hint, place=document.place(*where))


def _channel_problems(document: documents.Document) -> Iterator[Problem]:
    taken: dict[tuple[str, ...], str] = {}
    for name, each in document.value["channels"].items():
        for tag in _pointers(each):
            owner = taken.setdefault((tag, each.get("registry", ""), each.get("repository", "")), name)
            if owner != name:
                message = f"{name} and {owner} both move the tag {tag} of one repository"
                place = document.place("channels", name, "tags", "moving")
                yield Problem("tag-twice", message, "two channels cannot share a pointer", place=place)
        word = each["tags"].get("moving", "")
        if word in document.value.get("images", {}) and word != MAIN_IMAGE:
            message = f"the tag {word} is the name of an image as well"
            place = document.place("channels", name, "tags", "moving")
            yield Problem("name-clash", message, "call one of them otherwise", place=place)
        if each.get("promoted", False) != ("git_tag" in each):
            hint = "a promoted channel says at which git tag a release stands, no other channel does"
            yield Problem("wrong-promoted", f"channel {name}", hint, place=document.key("channels", name))
        yield from _own_images(document, name, each)


def _pointers(channel: Mapping[str, Any]) -> tuple[str, ...]:
    """The words that a channel moves alone."""
    return tuple(channel.get("images", ())) or (channel["tags"].get("moving", ""),)


def _own_images(document: documents.Document, name: str, channel: Mapping[str, Any]) -> Iterator[Problem]:
    """What a channel of images cannot have, and what another one must."""
    place = document.key("channels", name)
    if "images" not in channel:
        for what in ("tags.moving",) * ("moving" not in channel["tags"]) + ("index",) * ("index" not in channel):
            hint = "add it; only a channel with `images:` of its own has none"
            yield Problem("missing-key", f"channel {name} lacks {what}", hint, place=place)
        return
    wrong = {
        "tags.moving": "moving" in channel["tags"],
        "tags.fixed: version": channel["tags"]["fixed"] == "version",
        "index": "index" in channel,
        "promoted": channel.get("promoted", False),
        "an image main": MAIN_IMAGE in channel["images"],
    }
    for what in (what for what, found in wrong.items() if found):
        hint = "its images are its pointers, each under its name, and stay under name and commit"
        yield Problem("wrong-images", f"channel {name} has images of its own and {what}", hint, place=place)
