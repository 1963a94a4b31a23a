"""The documents of a channel: what one release is, and which release stands.

A release's manifest is written once, below its commit.  ``Standing`` is the one moving document of a
channel and the truth: tags and index follow it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

from ..world.versioned import broken, decoded, encoded

MANIFEST = "release.json"
STANDING = "standing.json"


class ImageRow(NamedTuple):
    """A released image: ``name`` in its tags, the tier and identity it is of, its digest and size in bytes."""

    name: str
    tier: str
    identity: str
    digest: str
    size: int


class WheelRow(NamedTuple):
    """A released wheel; ``metadata`` is the SHA-256 of its METADATA, ``part`` the key of the set it was made in."""

    project: str
    version: str
    filename: str
    sha256: str
    size: int
    requires_python: str
    metadata: str
    part: str


class SuiteRow(NamedTuple):
    """A suite that ran on the images with these digests: how it ended and how many tests really ran."""

    suite: str
    outcome: str
    run: int
    failed: int
    skipped: int
    on: str
    digests: tuple[str, ...]


@dataclass(frozen=True)
class Release:
    """One release: everything somebody needs to know what it is, and to find it again.

    ``commit`` is its identity; ``date`` the UTC day its first run began; ``version`` that of the wheel it is
    named after; ``pins`` and ``args`` what it was built with; ``place`` the registry and repository of its images.
    """

    stack: str
    channel: str
    commit: str
    version: str
    date: str
    place: str
    images: tuple[ImageRow, ...] = ()
    wheels: tuple[WheelRow, ...] = ()
    suites: tuple[SuiteRow, ...] = ()
    pins: Mapping[str, str] = field(default_factory=dict)
    args: Mapping[str, str] = field(default_factory=dict)

    @property
    def public_version(self) -> str:
        """The version without its label: what a tag can hold."""
        return self.version.partition("+")[0]

    @property
    def digest(self) -> str:
        """The SHA-256 of the manifest."""
        return hashlib.sha256(self.encode()).hexdigest()

    def same(self, other: Release) -> bool:
        """Whether both are the same bytes for users: the day of the run and the tests behind it do not count."""
        return replace(self, date="", suites=()) == replace(other, date="", suites=())

    def encode(self) -> bytes:
        """The one way to write it down."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        rows = {name: [row._asdict() for row in own[name]] for name in ("images", "wheels", "suites")}
        return encoded({**own, **rows})

    @classmethod
    def decode(cls, data: bytes, where: str) -> Release:
        """The release that ``encode`` wrote; ``where`` names it in errors."""
        document = decoded(data, where)
        try:
            suites = tuple(SuiteRow(**{**row, "digests": tuple(row["digests"])}) for row in document["suites"])
            images = tuple(ImageRow(**row) for row in document["images"])
            wheels = tuple(WheelRow(**row) for row in document["wheels"])
            return cls(**{**document, "images": images, "wheels": wheels, "suites": suites})
        except (KeyError, TypeError) as error:
            raise broken(where, str(error)) from None


@dataclass(frozen=True)
class Standing:
    """The release a channel stands at.

    ``sequence`` counts the switches; ``run`` made this one, of ``kind`` release, promote or rollback, ``at`` (UTC);
    ``manifest`` is the SHA-256 of the release's manifest; ``before`` the commit it stood at until then, or empty;
    ``withdrawn`` the commits a rollback took back; ``listed`` those whose wheels the index shows, oldest first.
    """

    sequence: int
    run: str
    kind: str
    at: str
    commit: str
    manifest: str
    before: str = ""
    withdrawn: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The one way to write it down."""
        return encoded({each.name: getattr(self, each.name) for each in fields(self)})

    @classmethod
    def decode(cls, data: bytes, where: str) -> Standing:
        """The standing that ``encode`` wrote; ``where`` names it in errors."""
        document = decoded(data, where)
        try:
            lists = {name: tuple(document[name]) for name in ("withdrawn", "listed")}
            found = cls(**{**document, **lists})
        except (KeyError, TypeError) as error:
            raise broken(where, str(error)) from None
        texts = (found.run, found.kind, found.at, found.commit, found.manifest, found.before, *found.withdrawn)
        if type(found.sequence) is not int or not all(isinstance(text, str) for text in (*texts, *found.listed)):
            raise broken(where, "a number or a text stands where the other belongs")
        return found
