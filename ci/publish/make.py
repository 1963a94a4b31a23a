"""Make what a release consists of, and prove it, before anything stands under a name of the release."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..build.lookup import verify_remote
from ..build.perform import Performance
from ..errors import ConfigError, ContractError, InfraError, InternalError, Problem
from ..names import ContentTag
from ..world import files
from . import decide, preflight, sources, versions, wheelset
from .cached import WheelSet
from .channel import Channels, WheelSource
from .decide import Part
from .images import digest_at, manifest_at, registry_of
from .manifest import ImageRow, Release, SuiteRow, WheelRow
from .places import Places
from .preflight import Ready
from .suites import Proof
from .survey import Ground, survey

if TYPE_CHECKING:
    from ..world.registry import Registry


@dataclass(frozen=True)
class Candidate:
    """A release that could be staged; ``files`` are its wheels on this host by SHA-256, none that the cache has.

    Its images are in the channel's repository.
    """

    release: Release
    files: Mapping[str, Path] = field(default_factory=dict)


def make(
    performance: Performance, places: Places, channels: Channels, date: str, ready: Ready | None = None
) -> Candidate:
    """Build, copy or export every part, whichever is cheapest, and run the suites on the very images.

    ``date`` is the UTC day the run began; ``ready`` what ``preflight.check`` gave, asked for here where nobody did.
    New wheels are in the cache when this ends, images under their content tags in the channel's repository.
    Raises ``InfraError`` before the first write where nobody can tell what is there.
    """
    ready = ready or preflight.check(performance.workspace, places, channels)
    ground = Ground.of(performance.workspace, places, channels, ready)
    inner = Performance(ground.work, performance.ledger, performance.screen, True, "stop", performance.results)
    held = performance.ledger.folder / "sets"
    thing = performance.ledger.will_make("folder", str(held))
    try:
        return _Making(ground, inner, held).candidate(date)
    finally:
        performance.ledger.clear(thing, lambda: files.remove(held), performance.screen.warn)


@dataclass(frozen=True)
class _Making:
    """``performance`` pushes into the registry of ``ground.work``; ``held`` is a folder for what passes through."""

    ground: Ground
    performance: Performance
    held: Path

    def candidate(self, date: str) -> Candidate:
        ground = self.ground
        parts = survey(ground, self.performance.prepare(ground.goals))
        decide.refuse_unknown(parts)
        for part in parts:
            self.performance.screen.say(f"{part.kind} {part.name}: {part.path} ({part.why})")
        images = parts[: len(ground.channels.images)]
        wheels = tuple(zip(ground.channels.wheels, parts[len(images) :], strict=True))
        self._bring_about(images, wheels)
        rows = tuple(self._image(part) for part in images)
        sets = tuple(row for source, part in wheels for row in self._set(source, part))
        _refuse_twice(sets)
        return Candidate(self._release(date, rows, sets))

    def _release(self, date: str, images: tuple[ImageRow, ...], wheels: tuple[WheelRow, ...]) -> Release:
        work, places = self.ground.work, self.ground.places
        version = versions.named(wheels, self.ground.channels)
        self._refuse_older(version)
        return Release(
            work.stack.name,
            places.channel.name,
            self.ground.ready.commit,
            version,
            date,
            str(places.place.repository(places.channel.repository)) if places.place else "",
            images,
            wheels,
            self._suites(images),
            work.stack.pins,
            {arg.name: arg.value for arg in work.args.values},
        )

    def _refuse_older(self, version: str) -> None:
        """Once more: the version of an exported wheel is known only now, and another run may have moved the channel."""
        places = self.ground.places
        standing = places.standing()
        stands = places.released(standing[0].commit) if standing else None
        found = list(versions.problems(version, self.ground.ready.commit, stands, ()))
        if found:
            raise ConfigError.of(found)

    def _bring_about(self, images: Sequence[Part], wheels: Sequence[tuple[WheelSource, Part]]) -> None:
        """Build what has to be built, and publish it by content tag; a tier nobody needs is not looked at."""
        ground = self.ground
        goals = [
            ground.channels.images[part.name] for part in images if ground.own or part.path is not decide.Path.THERE
        ]
        for source, part in wheels:
            if source.tier and part.path in {decide.Path.EXPORT, decide.Path.BUILD}:
                goals.append(source.tier)
            elif part.path is decide.Path.BUILD and (tier := ground.compiles_in(source)):
                goals.append(tier)
        if goals:
            self.performance.run(tuple(dict.fromkeys(goals)))

    def _image(self, part: Part) -> ImageRow:
        """The image in the channel's repository, under its content tag."""
        ground, places = self.ground, self.ground.places
        tier = ground.channels.images[part.name]
        tag = str(ContentTag(tier, part.identity))
        if ground.own:
            digest = self._made(tier)[1]
        elif part.path is decide.Path.THERE:
            digest = self._verified(tag, part)
        else:
            digest = self._copied(tag, self._made(tier)[1])
        return ImageRow(
            part.name, tier, part.identity, digest, image_size(registry_of(places), places.repository, digest)
        )

    def _made(self, tier: str) -> tuple[str, str]:
        """Reference and digest of a tier this run has settled."""
        found = next((each for each in self.performance.results if each.tier == tier), None)
        if found is None:
            raise InternalError("no-result", f"tier {tier} was neither reused nor built")
        return found.reference, found.digest

    def _verified(self, tag: str, part: Part) -> str:
        places = self.ground.places
        if places.place:
            name = f"{places.channel.repository}:{tag}"
            verify_remote(registry_of(places), places.place, name, part.identity, part.digest)
        return part.digest

    def _copied(self, tag: str, digest: str) -> str:
        """Copy an image by digest; the content tag comes last, and the first image under it wins."""
        from ..world.registry_copy import copy

        work, places = self.ground.work, self.ground.places
        if work.registry is None or work.place is None:
            raise InternalError("no-registry", "an image was to be copied out of no registry")
        self._room()
        source, say = work.place.repository(work.stack.repository).path, self.performance.screen.say
        copy(work.registry, source, digest, registry_of(places), places.repository, say=say, scratch=self.held)
        there = digest_at(places, tag)
        if there:
            return there
        found = manifest_at(places, digest)
        if found is None:
            raise InfraError("no-image", f"{digest} was copied and is not there", hint="run the same command again")
        registry_of(places).put_manifest(places.repository, tag, found[1], found[0].media_type)
        return digest

    def _room(self) -> None:
        with files.disk_errors(f"cannot make {self.held}"):
            self.held.mkdir(exist_ok=True)

    def _set(self, source: WheelSource, part: Part) -> tuple[WheelRow, ...]:
        """The wheels of a source, in the cache."""
        places = self.ground.places
        if part.path is decide.Path.THERE:
            return tuple(row for row in places.released(self.ground.ready.commit).wheels if row.part == part.identity)
        if part.path is decide.Path.COPY:
            known = wheelset.whole(places.cache, part.identity)
            if known:
                return known.wheels
            hint = "run the same command again"
            raise InfraError("set-gone", f"the wheels of {part.name} went from the cache meanwhile", hint=hint)
        self._room()
        folder = self.held / part.identity
        if source.tier:
            paths = sources.of_tier(self.performance, source.tier, self._made(source.tier)[0], folder)
        else:
            paths = sources.of_project(self.performance, self.ground.ready.wheels[source.project], folder)
        rows = {path: wheelset.row_of(path, part.identity) for path in paths}
        made = WheelSet(part.identity, tuple(rows.values()))
        return wheelset.keep(places, made, {row.sha256: path for path, row in rows.items()}).wheels

    def _suites(self, images: Sequence[ImageRow]) -> tuple[SuiteRow, ...]:
        ground = self.ground
        proof = Proof(
            self.performance, ground.places, ground.ready.commit, {row.tier: self._named(row) for row in images}
        )
        return proof.rows(ground.ready.suites)

    def _named(self, row: ImageRow) -> str:
        """An image as the engine has it, or can pull it; by digest either way."""
        tag = str(ContentTag(row.tier, row.identity))
        here = f"{self.ground.work.stack.repository}:{tag}"
        image = self.ground.work.engine.image(here)
        return f"{here if image and image.id == row.digest else self.ground.places.reference(tag)}@{row.digest}"


def _refuse_twice(rows: Sequence[WheelRow]) -> None:
    names = [row.filename for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        hint = "let one source of the channel file make it, not two"
        raise ContractError.of(Problem("wheel-twice", f"{name} comes from two sources", hint) for name in twice)


def image_size(registry: Registry, repository: str, digest: str) -> int:
    """The bytes of an image as its registry lists them, compressed; attestations left out."""
    document = _manifest(registry, repository, digest)
    if "manifests" in document:
        rows = [row for row in document["manifests"] if row.get("platform", {}).get("os") != "unknown"]
        return sum(image_size(registry, repository, row["digest"]) for row in rows)
    return int(document["config"]["size"]) + sum(int(row["size"]) for row in document["layers"])


def _manifest(registry: Registry, repository: str, digest: str) -> dict[str, Any]:
    found = registry.manifest(repository, digest)
    if not isinstance(found, tuple):
        reason = getattr(found, "reason", "it is not there")
        message = f"{registry.host}/{repository}@{digest} cannot be read: {reason}"
        raise InfraError("could-not-tell", message, hint="run the same command again")
    document: dict[str, Any] = json.loads(found[1])
    return document
