"""Is an image of this identity there already?  Three answers: found, absent, could not tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ContractError, InfraError
from ..names import Place, Reference
from ..world.engine import Engine, Image
from .definition import LABEL

if TYPE_CHECKING:
    from ..world import registry as oci

IDENTITY = LABEL + "identity"


@dataclass(frozen=True, slots=True)
class Found:
    """It is there: ``reference`` is ``name:tag@digest`` as seen from ``where`` (engine or registry)."""

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


def finder(engine: Engine, place: Place | None, registry: oci.Registry | None) -> Callable[[str, str], Answer]:
    """Look in the registry first when there is one, then in the engine.

    A registry that did not answer at all is not asked about the next tier: its patience is long.
    """
    silent: list[Unclear] = []

    def lookup(tag: str, identity: str) -> Answer:
        if place and registry:
            answer = silent[0] if silent else in_registry(registry, place, tag)
            if isinstance(answer, Unclear) and answer.silent:
                silent.append(answer)
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
    return Found(f"{tag}@{image.id}", image.id, "engine")


def _same(image: Image, tag: str, identity: str) -> None:
    label = image.labels.get(IDENTITY, "")
    if label != identity:
        message = f"{tag} carries the identity {label or '(none)'}: somebody moved the tag"
        raise ContractError("moved-tag", message, hint=f"docker image rm {tag}, then run the same command again")


def in_registry(registry: oci.Registry, place: Place, tag: str) -> Answer:
    """What the registry has under a content tag."""
    from ..world import registry as oci

    name = Reference.parse(tag)
    repository = place.repository(name.path)
    answer = registry.head(repository.path, name.tag)
    if isinstance(answer, oci.Found):
        return Found(f"{repository}:{name.tag}@{answer.digest}", answer.digest, "registry")
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
    repository = place.repository(Reference.parse(tag).path).path
    document = _json(registry.manifest(repository, digest), tag)
    if "manifests" in document:  # an index: the image beside its attestations
        image = next(row for row in document["manifests"] if row.get("platform", {}).get("os") != "unknown")
        document = _json(registry.manifest(repository, image["digest"]), tag)
    config = registry.blob(repository, document["config"]["digest"])
    if not isinstance(config, bytes):
        raise _unreadable(tag, config)
    return str((json.loads(config).get("config", {}).get("Labels") or {}).get(IDENTITY, ""))


def _json(answer: tuple[oci.Found, bytes] | oci.Absent | oci.Unknown, tag: str) -> dict[str, Any]:
    if not isinstance(answer, tuple):
        raise _unreadable(tag, answer)
    document: dict[str, Any] = json.loads(answer[1])
    return document


def _unreadable(tag: str, answer: oci.Absent | oci.Unknown) -> InfraError:
    reason = getattr(answer, "reason", "it vanished meanwhile")
    message = f"{tag} cannot be read from the registry: {reason}"
    return InfraError("could-not-tell", message, hint="run the same command again, or inv doctor")
