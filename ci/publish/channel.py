"""What a stack releases, and in which channels: one file, read and checked as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    """A channel. ``suites`` maps a suite to the tests that must have run; 0 ``fresh_hours`` is never too old."""

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
        named_after=data["named_after"],
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
        word=data["tags"]["moving"],
        fixed=data["tags"]["fixed"],
        index=data["index"],
        suites={suite: each["at_least"] for suite, each in data.get("suites", {}).items()},
        fresh_hours=data.get("fresh_hours", 0),
        retain=Retain(retain["keep"], retain["days"], tuple(retain.get("protect", ()))),
    )


def _problems(document: documents.Document, stack: Stack) -> Iterator[Problem]:
    """What the schema cannot see: tiers that are not there, words that two channels share."""
    data = document.value
    if not data.get("wheels"):
        hint = "list under `wheels:` where they come from; the version of a release is that of a wheel"
        yield Problem("no-wheels", "no wheel is released", hint, place=document.place())
    for name, tier in data.get("images", {}).items():
        yield from _tier(document, stack, tier, ("images", name))
    for number, each in enumerate(data.get("wheels", ())):
        if len(each) != 1:
            hint = "give `project: FOLDER` or `tier: NAME`"
            yield Problem("wrong-wheels", "wheels come from one place", hint, place=document.place("wheels", number))
        elif "tier" in each:
            yield from _tier(document, stack, each["tier"], ("wheels", number, "tier"))
    yield from _channel_problems(document)


def _tier(document: documents.Document, stack: Stack, tier: str, where: tuple[str | int, ...]) -> Iterator[Problem]:
    if tier not in stack.tiers:
        hint = documents.suggest(tier, list(stack.tiers))
        yield Problem("unknown-tier", f"stack {stack.name} has no tier {tier!r}", hint, place=document.place(*where))


def _channel_problems(document: documents.Document) -> Iterator[Problem]:
    taken: dict[tuple[str, ...], str] = {}
    for name, each in document.value["channels"].items():
        word = each["tags"]["moving"]
        key = (word, each.get("registry", ""), each.get("repository", ""))
        if taken.setdefault(key, name) != name:
            message = f"{name} and {taken[key]} both move the tag {word} of one repository"
            place = document.place("channels", name, "tags", "moving")
            yield Problem("tag-twice", message, "two channels cannot share a pointer", place=place)
        if word in document.value.get("images", {}) and word != MAIN_IMAGE:
            message = f"the tag {word} is the name of an image as well"
            place = document.place("channels", name, "tags", "moving")
            yield Problem("name-clash", message, "call one of them otherwise", place=place)
        if each.get("promoted", False) != ("git_tag" in each):
            hint = "a promoted channel says at which git tag a release stands, no other channel does"
            yield Problem("wrong-promoted", f"channel {name}", hint, place=document.key("channels", name))
