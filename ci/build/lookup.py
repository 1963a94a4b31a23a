"""Is an image of this identity there already?  Three answers: found, absent, could not tell."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ContractError, InfraError
from ..names import Place, Reference
from ..world.engine import Engine, Image
from .definition import LABEL

if TYPE_CHECKING:
    from ..world import registry as oci

IDENTITY = LABEL + "identity"
REGISTRY, SCOPE, ENGINE = "registry", "scope", "engine"
"""Where an image is found: what everybody reads, this run's own scope, this host."""


@dataclass(frozen=True, slots=True)
class Found:
    """It is there: ``reference`` is ``name:tag@digest`` as seen from ``where`` (engine, registry or scope)."""

    reference: str
    digest: str
    where: str


@dataclass(frozen=True, slots=True)
class Absent:
    """It surely is not there."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """Nobody could tell. Never taken for absent, never for found. ``silent``: there was no answer at all."""

    reason: str
    silent: bool = False


Answer = Found | Absent | Unclear


class Shelf(NamedTuple):
    """A place in a registry where images are looked up, and what one found there is told as."""

    where: str
    place: Place
    registry: oci.Registry


def finder(engine: Engine, shelves: Sequence[Shelf]) -> Callable[[str, str], Answer]:
    """Look on the shelves, one after the other, then in the engine.

    A shelf whose registry cannot tell ends the search: what comes later must not be taken for what it has.  One
    that did not answer at all is not asked about the next tier: its patience is long.
    """
    silent: dict[str, Unclear] = {}

    def lookup(tag: str, identity: str) -> Answer:
        for shelf in shelves:
            answer = silent.get(shelf.where) or in_registry(shelf.registry, shelf.place, tag, shelf.where)
            if isinstance(answer, Unclear) and answer.silent:
                silent[shelf.where] = answer
            if not isinstance(answer, Absent):
                return answer
        return in_engine(engine, tag, identity)

    return lookup


def in_engine(engine: Engine, tag: str, identity: str) -> Answer:
    """The image the engine has under a content tag, its label compared with the identity."""
    image = engine.image(tag)
    if image is None:
        return Absent()
    _same(image, tag, identity)
    return Found(f"{tag}@{image.id}", image.id, ENGINE)


def _same(image: Image, tag: str, identity: str) -> None:
    label = image.labels.get(IDENTITY, "")
    if label != identity:
        message = f"{tag} carries the identity {label or '(none)'}: somebody moved the tag"
        raise ContractError("moved-tag", message, hint=f"docker image rm {tag}, then run the same command again")


def in_registry(registry: oci.Registry, place: Place, tag: str, where: str = REGISTRY) -> Answer:
    """What the registry has under a content tag; ``where`` is what an image there is told as."""
    from ..world import registry as oci

    name = Reference.parse(tag)
    repository = place.repository(name.path)
    answer = registry.head(repository.path, name.tag)
    if isinstance(answer, oci.Found):
        return Found(f"{repository}:{name.tag}@{answer.digest}", answer.digest, where)
    if isinstance(answer, oci.Unknown):
        return Unclear(f"registry {place.host}: {answer.reason}", silent=answer.status is None)
    return Absent()


def verify_remote(registry: oci.Registry, place: Place, tag: str, identity: str, digest: str) -> None:
    """Read the label of a registry's image: a tag that somebody moved is a broken contract, not a reuse."""
    found = remote_identity(registry, place, tag, digest)
    if found != identity:
        message = f"{place.host} has under {tag} the identity {found or '(none)'}: somebody moved the tag"
        raise ContractError(
            "moved-tag", message, hint="remove that tag in the registry, then run the same command again"
        )


def remote_identity(registry: oci.Registry, place: Place, tag: str, digest: str) -> str:
    """The identity in the labels of the image ``digest``, empty for none; ``InfraError`` where it cannot be read."""
    labels = remote_config(registry, place, tag, digest).get("config", {}).get("Labels") or {}
    return str(labels.get(IDENTITY, ""))


def remote_config(registry: oci.Registry, place: Place, tag: str, digest: str) -> Mapping[str, Any]:
    """The configuration of the image ``digest`` as its registry has it; ``InfraError`` where it cannot be read."""
    repository = place.repository(Reference.parse(tag).path).path
    document = _json(registry.manifest(repository, digest), tag)
    if "manifests" in document:  # an index: the image beside its attestations
        image = next(row for row in document["manifests"] if row.get("platform", {}).get("os") != "unknown")
        document = _json(registry.manifest(repository, image["digest"]), tag)
    config = registry.blob(repository, document["config"]["digest"])
    if not isinstance(config, bytes):
        raise _unreadable(tag, config)
    found: Mapping[str, Any] = json.loads(config)
    return found


def _json(answer: tuple[oci.Found, bytes] | oci.Absent | oci.Unknown, tag: str) -> dict[str, Any]:
    if not isinstance(answer, tuple):
        raise _unreadable(tag, answer)
    document: dict[str, Any] = json.loads(answer[1])
    return document


def _unreadable(tag: str, answer: oci.Absent | oci.Unknown) -> InfraError:
    reason = getattr(answer, "reason", "it vanished meanwhile")
    message = f"{tag} cannot be read from the registry: {reason}"
    return InfraError("could-not-tell", message, hint="run the same command again, or inv doctor")
